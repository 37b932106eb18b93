//! The memory that lists have in common, and the part of one in a range of addresses.

use alloc::format;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::list::frozen::Frozen;
use crate::python::convert::amounts::Amount;
use crate::python::convert::items::SIGNALS;
use crate::python::error;
use crate::python::list::object::PyPhyr;
use crate::python::list::walk::{chunk_class, to_python};
use crate::python::made::{self, Int};

/// The last address of a range.
pub(crate) fn last(paddr: Amount, length: Amount) -> PyResult<u64> {
    let (paddr, length) = (paddr.0, length.0);
    length.checked_sub(1).and_then(|more| paddr.checked_add(more)).ok_or_else(|| {
        let what = format!("range {paddr:#x}+{length:#x} is empty or passes 2^64");
        error::new("RangeError", what, [("paddr", paddr), ("length", length)])
    })
}

pub(crate) fn overlap(py: Python<'_>, one: &Frozen, other: &Frozen) -> PyResult<Int> {
    Ok(Int(py.detach(|| one.overlap(other))?))
}

pub(crate) fn intersect(py: Python<'_>, one: &Frozen, other: &Frozen) -> PyResult<PyPhyr> {
    Ok(PyPhyr::new(py.detach(|| one.intersect(other))?))
}

/// Makes the list of positions, and of the chunks that start there.
pub(crate) fn within<'py>(
    py: Python<'py>,
    list: &Frozen,
    paddr: Amount,
    length: Amount,
) -> PyResult<Bound<'py, PyList>> {
    let end = last(paddr, length)?;
    let found = py.detach(|| list.within(paddr.0, end))?;
    let (class, parts) = (chunk_class(py)?, made::list(py)?);
    for (at, (position, chunk)) in found.into_iter().enumerate() {
        if at % SIGNALS == SIGNALS - 1 {
            py.check_signals()?;
        }
        let (position, chunk) = (made::int(py, position)?, to_python(py, class, chunk)?);
        parts.append(made::objects(py, [&position, &chunk])?)?;
    }
    Ok(parts)
}
