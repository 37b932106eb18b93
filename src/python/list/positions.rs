//! The addresses of many positions at once.

use alloc::format;

use pyo3::prelude::*;

use crate::list::frozen::Frozen;
use crate::python::convert::buffer::{Array, Bytes};
use crate::python::convert::items::signals;
use crate::python::convert::numbers::Numbers;
use crate::python::error;
use crate::python::list::column::PyColumn;
use crate::slices;

/// The addresses of the bytes at these positions, in `out` or a column of their own.
pub(crate) fn translate<'py>(
    list: &Frozen,
    positions: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = positions.py();
    let mut paddrs = Numbers::new(positions)?.read_all(py)?;
    let Some(out) = out else {
        py.detach(|| list.translate_blocks(&mut paddrs, signals))?;
        return Ok(Bound::new(py, PyColumn::new(paddrs)?)?.into_any());
    };
    let array = Array::new(out, false)?;
    if !array.is_u64() {
        let what = format!("{} does not hold uint64", out.get_type());
        return Err(error::new("ArrayTypeError", what, error::NO_NUMBERS));
    }
    if array.len() != paddrs.len() {
        return Err(error::new(
            "ArrayError",
            format!("out has {} items for {} positions", array.len(), paddrs.len()),
            [("items", array.len() as u64)],
        ));
    }
    let target = Bytes::new(out, true)?;
    py.detach(|| {
        list.translate_blocks(&mut paddrs, signals)?;
        // All at once: `out` has no address if a position is outside the list, or if a signal's handler
        // raised an exception.
        target.write(0, slices::bytes(&paddrs));
        Ok::<_, PyErr>(())
    })?;
    Ok(out.clone())
}
