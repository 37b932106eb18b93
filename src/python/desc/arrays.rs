//! Arrays of the kernel's structs: scatterlist, `bio_vec`, `iovec`, `phys_vec`.

use core::ffi::CStr;

use pyo3::prelude::*;

use crate::desc::{PageStructs, Table};
use crate::python::convert::amounts::Amount;
use crate::python::desc::descriptors::{PyDescriptors, table};
use crate::python::desc::limits::DeviceLimits;
use crate::python::list::either::Either;

/// Formats of records, in the notation of the `struct` module and NumPy.
const SCATTERLIST: &CStr =
    c"T{<Q:page_link:<I:offset:<I:length:<Q:dma_address:<I:dma_length:<I:dma_flags:}";
const BIO_VEC: &CStr = c"T{<Q:bv_page:<I:bv_len:<I:bv_offset:}";
const IOVEC: &CStr = c"T{<Q:iov_base:<Q:iov_len:}";
pub(crate) const PHYS_VEC: &CStr = c"T{<Q:paddr:<Q:len:}";

/// Make a Linux scatterlist: 32-byte ``struct scatterlist`` of x86-64, in chained blocks.
///
/// Every block is a page of 128 entries. The last entry of each block but the last links to the
/// next block. The last entry of all has the end mark. Chunks are cut at page boundaries into
/// segments of at most 4 GiB less a page, as ``sg_alloc_table_from_pages_segment()`` cuts them.
///
/// Args:
///     phyr: The memory. Memory of a device (MMIO) has no ``struct page`` and is refused.
///     vmemmap: Virtual address of the ``struct page`` of page 0: ``vmemmap_base`` of the kernel that
///         reads the table, ``0xffff_ea00_0000_0000`` on x86-64 without KASLR.
///     address: Virtual address of the first block; the others follow it.
///     bus_offset: A number to add to physical addresses to get DMA addresses. Without it the DMA
///         fields are 0, as before ``dma_map_sg()``.
///     page_size: Page size of that kernel in bytes.
///     limits: The limits of the device, a `phyr.iommu.DeviceLimits`. Its `dma_mask` counts with a
///         `bus_offset` only: without one the table holds no bus addresses.
///
/// Raises:
///     GapError: A boundary inside the list violates the virt boundary.
///     AlignmentError: `address` is not a multiple of 4096, or `vmemmap` is not a multiple of 4:
///         the low bits of pointers hold the marks of the table.
///     RangeError: No segment can meet the limits, or addresses pass 2^64.
///     LimitError: A bus address above the DMA mask.
///     MismatchError: The list is not of RAM.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> phyr = Phyr.from_pfns([3, 4, 9])
///     >>> table = scatterlist(phyr, vmemmap=0xffff_ea00_0000_0000)
///     >>> from_scatterlist(table, vmemmap=0xffff_ea00_0000_0000) == phyr
///     True
///
/// Source:
///     ``include/linux/scatterlist.h``, ``lib/scatterlist.c``, Linux.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (
        phyr, *, vmemmap, address=Amount(0), bus_offset=None, page_size=Amount(4096), limits=None
    ),
    text_signature = "(phyr, *, vmemmap, address=0, bus_offset=None, page_size=4096, limits=None)"
)]
pub(crate) fn scatterlist(
    py: Python<'_>,
    phyr: Either,
    vmemmap: Amount,
    address: Amount,
    bus_offset: Option<Amount>,
    page_size: Amount,
    limits: Option<DeviceLimits>,
) -> PyResult<PyDescriptors> {
    let list = &phyr.into_list();
    let pages = PageStructs::new(vmemmap.0, page_size.0)?;
    let limits = limits.unwrap_or_default();
    let bus_offset = bus_offset.map(|offset| offset.0);
    if let Some(offset) = bus_offset {
        limits.check_reach(list, offset)?;
    }
    table(py, SCATTERLIST, || {
        Table::scatterlist(list, pages, address.0, bus_offset, limits.segments)
    })
}

/// Make an array of ``struct bio_vec``.
///
/// Chunks above 4 GiB - 4 KiB are cut at page boundaries, because lengths have 32 bits.
///
/// Args:
///     phyr: The memory. Memory of a device (MMIO) has no ``struct page`` and is refused.
///     vmemmap: Virtual address of the ``struct page`` of page 0, as for `scatterlist`.
///     page_size: Page size of the kernel in bytes.
///     limits: The limits of the device, a `phyr.iommu.DeviceLimits`; its `dma_mask` is not used.
///
/// Raises:
///     GapError: A boundary inside the list violates the virt boundary.
///     RangeError: No segment can meet the limits.
///     MismatchError: The list is not of RAM.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> bytes(bio_vecs(Phyr.from_pfns([3], offset=16), vmemmap=0)).hex(" ", 4)
///     'c0000000 00000000 f00f0000 10000000'
///
/// Source:
///     ``include/linux/bvec.h``, Linux.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (
        phyr, *, vmemmap, page_size=Amount(4096), limits=None
    ),
    text_signature = "(phyr, *, vmemmap, page_size=4096, limits=None)"
)]
pub(crate) fn bio_vecs(
    py: Python<'_>,
    phyr: Either,
    vmemmap: Amount,
    page_size: Amount,
    limits: Option<DeviceLimits>,
) -> PyResult<PyDescriptors> {
    let list = &phyr.into_list();
    let pages = PageStructs::new(vmemmap.0, page_size.0)?;
    let limits = limits.unwrap_or_default();
    table(py, BIO_VEC, || Table::bio_vecs(list, pages, limits.segments))
}

/// Make an array of ``struct iovec``, for memory that is mapped without gaps.
///
/// Args:
///     phyr: The memory, such as that of a guest, in a process that maps all of it.
///     uaddr: Virtual address at which physical address 0 is mapped.
///     limits: The limits of the device, a `phyr.iommu.DeviceLimits`; its `dma_mask` is not used.
///
/// Raises:
///     GapError: A boundary inside the list violates the virt boundary.
///     RangeError: No segment can meet the limits, or a chunk passes the end of the virtual space.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> bytes(iovecs(Phyr.from_pfns([3]), 0x7f00_0000_0000)).hex(" ", 8)
///     '00300000007f0000 0010000000000000'
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (
        phyr, uaddr, *, limits=None
    ),
    text_signature = "(phyr, uaddr, *, limits=None)"
)]
pub(crate) fn iovecs(
    py: Python<'_>,
    phyr: Either,
    uaddr: Amount,
    limits: Option<DeviceLimits>,
) -> PyResult<PyDescriptors> {
    let list = &phyr.into_list();
    let limits = limits.unwrap_or_default();
    table(py, IOVEC, || Table::iovecs(list, uaddr.0, limits.segments))
}

/// Make an array of ``struct phys_vec``: address and length, 64 bits each.
///
/// Use it also to get the segments of a list under a device's limits, to make other descriptors.
///
/// Args:
///     phyr: The memory.
///     limits: The limits of the device, a `phyr.iommu.DeviceLimits`.
///
/// Raises:
///     GapError: A boundary inside the list violates the virt boundary.
///     LimitError: An address above the DMA mask.
///     RangeError: No segment can meet the limits.
///
/// Examples:
///     >>> import struct
///     >>> from phyr import Phyr
///     >>> from phyr.iommu import DeviceLimits
///     >>> segments = phys_vecs(
///     ...     Phyr.from_pfns(range(3, 9)), limits=DeviceLimits(max_segment_size=0x4000)
///     ... )
///     >>> [(hex(paddr), hex(length)) for paddr, length in struct.iter_unpack("<QQ", segments)]
///     [('0x3000', '0x4000'), ('0x7000', '0x2000')]
///
/// Source:
///     ``include/linux/types.h``, Linux.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (
        phyr, *, limits=None
    ),
    text_signature = "(phyr, *, limits=None)"
)]
pub(crate) fn phys_vecs(
    py: Python<'_>,
    phyr: Either,
    limits: Option<DeviceLimits>,
) -> PyResult<PyDescriptors> {
    let list = &phyr.into_list();
    let limits = limits.unwrap_or_default();
    limits.check_reach(list, 0)?;
    table(py, PHYS_VEC, || Table::phys_vecs(list, limits.segments))
}
