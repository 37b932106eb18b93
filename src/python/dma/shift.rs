//! Functions in Rust for the backends of `phyr.iommu`.

use alloc::format;

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::kind::Kind;
use crate::pgsize::PageSizes;
use crate::python::convert::amounts::Amount;
use crate::python::convert::shown;
use crate::python::error;
use crate::python::list::either::Either;
use crate::python::list::object::PyPhyr;
use crate::python::made::{self, Int};

/// Return the list with `offset` added to every address; the same object for 0.
///
/// Args:
///     phyr: The list.
///     offset: Bytes to add, or to subtract if negative. A multiple of the list's granule.
///
/// Raises:
///     RangeError: A chunk would pass 0, 2^64 or the granule's reach, or `offset` is not a multiple
///         of the granule. The attributes `paddr` and `length` tell which chunk.
///     MismatchError: The list has user addresses, which no bus has.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> shift(Phyr.from_pfns([1, 5]), -0x1000).chunks[1]
///     Chunk(paddr=16384, length=4096)
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
pub(crate) fn shift<'py>(phyr: Either, offset: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = offset.py();
    let offset: i128 = offset.extract().map_err(|failure: PyErr| {
        if failure.is_instance_of::<PyOverflowError>(py) {
            let what = format!("offset {} is outside the 64-bit space", shown::hex(offset));
            error::new("RangeError", what, [("offset", offset)])
        } else {
            failure
        }
    })?;
    if offset == 0 && phyr.kind() != Kind::User {
        return phyr.into_pyobject(py);
    }
    // The result is a list of its own, which takes no chunks but those of a list: thawing refuses
    // others, and keeps them as the check of the reach sees them.
    let phyr = phyr.thawed(py)?;
    let shifted = py.detach(|| phyr.shift(offset))?;
    Ok(Bound::new(py, PyPhyr::new(shifted))?.into_any())
}

/// Return (align, residue): the best place of the first byte of a linear window for the list.
///
/// The first byte keeps its offset inside the granules of the list and of the table. Beyond that,
/// the result lets large pages map the most bytes.
///
/// Args:
///     phyr: The list to map.
///     pgsize_bitmap: Supported page sizes; bit *n* set means ``1 << n`` bytes.
///
/// Raises:
///     RangeError: There is no page size.
///
/// Examples:
///     One small page, then 4 MiB of huge ones: the window starts a page before 2 MiB.
///
///     >>> from phyr import Phyr
///     >>> phyr = Phyr.from_chunks([(0x7000, 0x1000), (0x20_0000, 0x40_0000)])
///     >>> [hex(number) for number in alignment(phyr, 1 << 12 | 1 << 21)]
///     ['0x200000', '0x1ff000']
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
pub(crate) fn alignment(
    py: Python<'_>,
    phyr: Either,
    pgsize_bitmap: Amount,
) -> PyResult<Bound<'_, PyTuple>> {
    let sizes = PageSizes::new(pgsize_bitmap.0)?;
    let phyr = phyr.into_list();
    let alignment = py.detach(|| phyr.alignment(sizes));
    made::numbers(py, [alignment.align, alignment.residue])
}

/// Return the number of the first chunk with a byte above address `last`, or None.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> first_beyond(Phyr.from_pages([0x1000, 0x1_0000_0000]), 2**32 - 1)
///     1
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
pub(crate) fn first_beyond(py: Python<'_>, phyr: Either, last: Amount) -> Option<Int> {
    let phyr = phyr.into_list();
    py.detach(|| phyr.first_beyond(last.0)).map(|(number, _)| Int(number))
}
