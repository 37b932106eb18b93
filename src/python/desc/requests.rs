//! Requests that map a list: VFIO and iommufd.

use core::ffi::CStr;

use pyo3::prelude::*;

use crate::desc::{self, DescError, IoasMap, RequestLayout, Table, VfioDmaMap};
use crate::list::frozen::Frozen;
use crate::python::convert::amounts::{Amount, Decimal};
use crate::python::desc::descriptors::{PyDescriptors, table};
use crate::python::list::either::Either;

const REQUEST: &CStr = c"T{<Q:iova:<Q:uaddr:<Q:length:}";
const VFIO: &CStr = c"T{<I:argsz:<I:flags:<Q:vaddr:<Q:iova:<Q:size:}";
const IOAS: &CStr = c"T{<I:size:<I:flags:<I:ioas_id:<I:reserved:<Q:user_va:<Q:length:<Q:iova:}";

const READ_WRITE: u32 = VfioDmaMap::READ | VfioDmaMap::WRITE;
const FIXED_READ_WRITE: u32 = IoasMap::FIXED_IOVA | IoasMap::WRITEABLE | IoasMap::READABLE;

/// Converts a number to 32 bits.
fn narrow(field: &'static str, value: u64) -> Result<u32, DescError> {
    u32::try_from(value).map_err(|_| DescError::Record { index: 0, field, value })
}

/// The table of requests that all these functions share.
fn plan(
    dma: &Frozen,
    uaddr: Amount,
    page_size: Amount,
    max_requests: Decimal,
) -> Result<Table<RequestLayout, Frozen>, DescError> {
    desc::map_requests(dma, uaddr.0, page_size.0, max_requests.0)
}

/// Plan the fewest VFIO or iommufd requests that map a buffer: (iova, uaddr, length) each.
///
/// Args:
///     dma: The addresses at which the device finds the buffer: the list of the buffer's pages if
///         I/O virtual and physical addresses are to be equal, or one chunk for a linear window.
///     uaddr: Virtual address of the buffer.
///     page_size: The IOMMU's smallest page in bytes.
///     max_requests: The number of mappings that the container allows.
///
/// Raises:
///     RangeError: More requests than `max_requests`; the buffer passes the end of the virtual space.
///     AlignmentError: An address or a length is not a multiple of `page_size`.
///
/// Examples:
///     >>> import struct
///     >>> from phyr import Phyr
///     >>> plan = map_requests(Phyr.from_pfns([1, 2, 9]), 0x7f00_0000_0000)
///     >>> for iova, uaddr, length in struct.iter_unpack("<QQQ", plan):
///     ...     print(hex(iova), hex(uaddr), hex(length))
///     0x1000 0x7f0000000000 0x2000
///     0x9000 0x7f0000002000 0x1000
///
/// Source:
///     ``VFIO_IOMMU_MAP_DMA``, ``include/uapi/linux/vfio.h``; ``IOMMU_IOAS_MAP``,
///     ``include/uapi/linux/iommufd.h``; the limit is ``dma_entry_limit`` of
///     ``drivers/vfio/vfio_iommu_type1.c``, Linux.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (dma, uaddr, *, page_size=Amount(4096), max_requests=Decimal(desc::MAX_REQUESTS)),
    text_signature = "(dma, uaddr, *, page_size=4096, max_requests=65535)"
)]
pub(crate) fn map_requests(
    py: Python<'_>,
    dma: Either,
    uaddr: Amount,
    page_size: Amount,
    max_requests: Decimal,
) -> PyResult<PyDescriptors> {
    let list = &dma.into_list();
    table(py, REQUEST, || plan(list, uaddr, page_size, max_requests))
}

/// Make the structs of the ioctl ``VFIO_IOMMU_MAP_DMA``: the requests of `map_requests`.
///
/// Each record of 32 bytes is the argument of one call.
///
/// Args:
///     dma: The addresses at which the device finds the buffer, as for `map_requests`.
///     uaddr: Virtual address of the buffer.
///     flags: The accesses that the device may make: 1 to read, 2 to write, 3 for both.
///     page_size: The IOMMU's smallest page in bytes.
///     max_requests: The number of mappings that the container allows.
///
/// Raises:
///     RangeError: More requests than `max_requests`; the buffer passes the end of the virtual space.
///     AlignmentError: An address or a length is not a multiple of `page_size`.
///     FormatError: `flags` has more than 32 bits.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> bytes(vfio_maps(Phyr.from_pfns([1, 2]), 0x7f00_0000_0000, flags=1)).hex(" ", 8)
///     '2000000001000000 00000000007f0000 0010000000000000 0020000000000000'
///
/// Source:
///     ``struct vfio_iommu_type1_dma_map``, ``include/uapi/linux/vfio.h``, Linux.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (
        dma, uaddr, *, flags=Amount(READ_WRITE.into()), page_size=Amount(4096),
        max_requests=Decimal(desc::MAX_REQUESTS)
    ),
    text_signature = "(dma, uaddr, *, flags=3, page_size=4096, max_requests=65535)"
)]
pub(crate) fn vfio_maps(
    py: Python<'_>,
    dma: Either,
    uaddr: Amount,
    flags: Amount,
    page_size: Amount,
    max_requests: Decimal,
) -> PyResult<PyDescriptors> {
    let list = &dma.into_list();
    let flags = narrow("flags", flags.0)?;
    table(py, VFIO, || Ok(plan(list, uaddr, page_size, max_requests)?.vfio(flags)))
}

/// Make the structs of the ioctl ``IOMMU_IOAS_MAP`` of iommufd: the requests of `map_requests`.
///
/// Each record of 40 bytes is the argument of one call. There is no limit on their number.
///
/// Args:
///     dma: The addresses at which the device finds the buffer, as for `map_requests`.
///     uaddr: Virtual address of the buffer.
///     ioas_id: The I/O address space to map into.
///     flags: 1 to map at the addresses of `dma` instead of addresses that the kernel chooses; 2 to
///         let the device write, 4 to let it read.
///     page_size: The IOMMU's smallest page in bytes.
///
/// Raises:
///     RangeError: The buffer passes the end of the virtual space.
///     AlignmentError: An address or a length is not a multiple of `page_size`.
///     FormatError: `flags` or `ioas_id` has more than 32 bits.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> bytes(ioas_maps(Phyr.from_pfns([1, 2]), 0x7f00_0000_0000, ioas_id=9)).hex(" ", 8)
///     '2800000007000000 0900000000000000 00000000007f0000 0020000000000000 0010000000000000'
///
/// Source:
///     ``struct iommu_ioas_map``, ``include/uapi/linux/iommufd.h``, Linux.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (
        dma, uaddr, *, ioas_id, flags=Amount(FIXED_READ_WRITE.into()), page_size=Amount(4096)
    ),
    text_signature = "(dma, uaddr, *, ioas_id, flags=7, page_size=4096)"
)]
pub(crate) fn ioas_maps(
    py: Python<'_>,
    dma: Either,
    uaddr: Amount,
    ioas_id: Decimal,
    flags: Amount,
    page_size: Amount,
) -> PyResult<PyDescriptors> {
    let list = &dma.into_list();
    let (flags, ioas_id) = (narrow("flags", flags.0)?, narrow("ioas_id", ioas_id.0)?);
    let no_limit = Decimal(u64::MAX);
    table(py, IOAS, || Ok(plan(list, uaddr, page_size, no_limit)?.ioas(flags, ioas_id)))
}
