//! Many lists as one.

use alloc::format;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::list::builder::Builder;
use crate::python::convert::shown;
use crate::python::error;
use crate::python::list::either::Either;
use crate::python::list::held::Gathered;
use crate::python::list::object::PyPhyr;

/// One list of all that an iterable yields.
pub(crate) fn lists(py: Python<'_>, lists: &Bound<'_, PyAny>) -> PyResult<PyPhyr> {
    /// Lists between which the interpreter may handle signals.
    const BLOCK_CHUNKS: u64 = 1 << 10;
    /// Chunks that take less time than to release the interpreter.
    const FEW: u64 = 128;

    let items = lists.try_iter().map_err(|failure| {
        if failure.is_instance_of::<PyTypeError>(py) {
            let what = shown::wrong("lists", lists, "an iterable of lists of memory");
            error::new("ArrayTypeError", what, error::NO_NUMBERS)
        } else {
            failure
        }
    })?;
    let (mut builder, mut gathered) = (None, Gathered::default());
    for (item, at) in items.zip(0_u64..) {
        let item = item?;
        let Some(part) = Either::of(&item) else {
            let what = shown::wrong(&format!("item {at}"), &item, "a list of memory");
            return Err(error::new("ArrayTypeError", what, [("index", at)]));
        };
        let (length, held) = (part.length(), part.held().part(py, 0));
        let list = &part.list();
        let builder: &mut Builder =
            builder.get_or_insert_with(|| Builder::with(list.granule(), list.kind()));
        if list.nr_chunks() < FEW {
            builder.extend_frozen(list)?;
        } else {
            py.detach(|| builder.extend_frozen(list))?;
        }
        gathered.push(py, &held, length);
        if at % BLOCK_CHUNKS == BLOCK_CHUNKS - 1 {
            py.check_signals()?;
        }
    }
    let phyr = py.detach(|| builder.unwrap_or_default().try_finish())?;
    Ok(PyPhyr::with(phyr, gathered.finish(py)?))
}
