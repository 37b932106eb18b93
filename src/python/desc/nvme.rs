//! NVMe commands: physical region pages and scatter gather lists.

use core::ffi::CStr;

use pyo3::prelude::*;

use crate::desc::{self, Prp};
use crate::list::phyr::Phyr;
use crate::python::convert::amounts::Amount;
use crate::python::desc::descriptors::PyDescriptors;
use crate::python::desc::limits::DeviceLimits;
use crate::python::list::either::Either;
use crate::python::made;

/// As the `struct` module and NumPy spell it.
const SGL: &CStr = c"T{<Q:address:<I:length:3B:reserved:B:identifier:}";
/// A little-endian word of 64 bits.
pub(crate) const POINTER: &CStr = if cfg!(target_endian = "little") { c"Q" } else { c"<Q" };

/// A `lists` argument; an empty list if it is left out.
///
/// A frozen one is thawed: it has one page for some five hundred words of a table, so the copy is
/// small, and a table needs no second type of list.
pub(crate) fn pages_for(py: Python<'_>, lists: Option<Either>) -> PyResult<Phyr> {
    Ok(lists.map_or_else(|| Ok(Phyr::default()), |lists| lists.thawed(py))?)
}

/// Point an NVMe command to the memory of a list, by physical region pages.
///
/// Args:
///     phyr: The memory, as the controller addresses it: a list, or the DMA list of a mapping.
///     lists: Memory for PRP lists, in pages of the controller: real, or simulated. Not needed for
///         one or two pages.
///     page_size: Page size of the controller in bytes, 4 to 64 KiB.
///
/// Returns:
///     ``Prp(prp1, prp2, lists)``: the two pointers of the command, and the bytes to write to the
///     pages of `lists`, one after the other.
///
/// Raises:
///     AlignmentError: The first address is not a multiple of 4; `lists` does not start at a page.
///     GapError: A boundary inside the list, or inside `lists`, is not a multiple of the page size.
///     RangeError: The list is empty, there is no such page size, or there are too few list pages: its
///         ``needed`` has the bytes that they take.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> prp1, prp2, lists = prp(Phyr.from_pfns([7, 3, 9]), Phyr.from_pfns([100]))
///     >>> hex(prp1), hex(prp2), [hex(page) for page in memoryview(lists)]
///     ('0x7000', '0x64000', ['0x3000', '0x9000'])
///
/// Source:
///     NVM Express Base Specification 2.0, section 4.1.1.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (phyr, lists=None, *, page_size=Amount(4096)),
    text_signature = "(phyr, lists=None, *, page_size=4096)"
)]
pub(crate) fn prp(
    py: Python<'_>,
    phyr: Either,
    lists: Option<Either>,
    page_size: Amount,
) -> PyResult<Bound<'_, PyAny>> {
    let (list, lists) = (&phyr.into_list(), &pages_for(py, lists)?);
    let Prp { prp1, prp2, lists } = py.detach(|| Prp::new(list, lists, page_size.0))?;
    let lists = PyDescriptors::new(lists, POINTER);
    let lists = Bound::new(py, lists)?;
    let (prp1, prp2) = (made::int(py, prp1)?, made::int(py, prp2)?);
    let class = made::attribute(&made::module(py, "phyr._records")?, "Prp")?;
    class.call1(made::objects(py, [&prp1, &prp2, lists.as_any()])?)
}

/// Describe the memory of a list to an NVMe command, by a scatter gather list.
///
/// Any address and any granule is possible. Chunks above 4 GiB - 4 KiB are cut at multiples of
/// 4096.
///
/// Args:
///     phyr: The memory, as the controller addresses it: a list, or the DMA list of a mapping.
///     lists: Memory for segments of descriptors. Not needed for one descriptor.
///     segment_size: Most bytes of a segment of descriptors; `lists` is used in aligned blocks of
///         this size.
///     limits: The limits of the device, a `phyr.iommu.DeviceLimits`.
///
/// Returns:
///     ``Sgl(sgl1, segments)``: the 16-byte descriptor of the command, and the bytes to write to the
///     blocks of `lists`, one after the other.
///
/// Raises:
///     AlignmentError: `lists` does not start at a multiple of `segment_size`.
///     GapError: A boundary inside the list violates the virt boundary, or one inside `lists` is not a
///         multiple of `segment_size`.
///     LimitError: An address above the DMA mask.
///     RangeError: No such segment size, no segment can meet the limits, or `lists` is too small: its
///         ``needed`` has the bytes that it takes.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> sgl1, segments = sgl(Phyr.from_pfns([7, 3]), Phyr.from_pfns([100]))
///     >>> sgl1.hex(" ", 8)
///     '0040060000000000 2000000000000030'
///     >>> bytes(segments).hex(" ", 8)
///     '0070000000000000 0010000000000000 0030000000000000 0010000000000000'
///
/// Source:
///     NVM Express Base Specification 2.0, section 4.1.2.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (
        phyr, lists=None, *, segment_size=Amount(4096), limits=None
    ),
    text_signature = "(phyr, lists=None, *, segment_size=4096, limits=None)"
)]
pub(crate) fn sgl(
    py: Python<'_>,
    phyr: Either,
    lists: Option<Either>,
    segment_size: Amount,
    limits: Option<DeviceLimits>,
) -> PyResult<Bound<'_, PyAny>> {
    let (list, lists) = (&phyr.into_list(), &pages_for(py, lists)?);
    let limits = limits.unwrap_or_default();
    limits.check_reach(list, 0)?;
    let table =
        py.detach(|| desc::SegmentList::new(list, lists, segment_size.0, limits.segments))?;
    let sgl1 = made::bytes(py, &table.sgl1.to_bytes())?;
    let segments = Bound::new(py, PyDescriptors::new(table.segments, SGL))?;
    let class = made::attribute(&made::module(py, "phyr._records")?, "Sgl")?;
    class.call1(made::objects(py, [sgl1.as_any(), segments.as_any()])?)
}
