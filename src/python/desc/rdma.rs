//! Page lists of RDMA memory regions.

use alloc::format;
use core::ffi::CStr;

use pyo3::prelude::*;

use crate::desc::{self, ByteOrder};
use crate::python::convert::amounts::Amount;
use crate::python::desc::descriptors::{PyDescriptors, table};
use crate::python::error;
use crate::python::list::either::Either;

const LITTLE: &CStr = if cfg!(target_endian = "little") { c"Q" } else { c"<Q" };
const BIG: &CStr = if cfg!(target_endian = "big") { c"Q" } else { c">Q" };

/// Return the best block size for an RDMA page list: the largest that fits.
///
/// The result is not larger than the smallest size that holds the whole list in one block. Sizes
/// below 4096 are left out. Returns 0 if no size fits.
///
/// Args:
///     phyr: The memory.
///     pgsize_bitmap: Sizes that the device takes; bit *n* set means ``1 << n`` bytes.
///     iova: The address at which the device sees the first byte.
///
/// Raises:
///     RangeError: The list passes the end of the I/O virtual space.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> phyr = Phyr.from_chunks([(0x20_0000, 0x60_0000), (0x1000_0000, 0x1000)])
///     >>> hex(best_pgsize(phyr, 1 << 12 | 1 << 21, 0x4000_0000))
///     '0x200000'
///
/// Source:
///     ``ib_umem_find_best_pgsz()``, ``drivers/infiniband/core/umem.c``, Linux.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
pub(crate) fn best_pgsize(
    py: Python<'_>,
    phyr: Either,
    pgsize_bitmap: Amount,
    iova: Amount,
) -> PyResult<u64> {
    let list = &phyr.into_list();
    Ok(py.detach(|| desc::best_pgsize(list, pgsize_bitmap.0, iova.0))?)
}

/// Make the page list of an RDMA memory region: addresses of aligned blocks of one size.
///
/// The first block may start before the list and the last may end after it.
///
/// Args:
///     phyr: The memory, as the device addresses it.
///     page_size: Bytes in a block, a power of two, such as the result of `best_pgsize`.
///     flags: Bits to set in each entry, below `page_size`.
///     byteorder: ``"little"`` or ``"big"``.
///
/// Raises:
///     GapError: A boundary inside the list is not a multiple of `page_size`.
///     RangeError: `page_size` is not a power of two, or there is no such byte order.
///     FormatError: `flags` has bits of `page_size` or above.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> bytes(page_list(Phyr.from_pfns([7, 3]), 4096, flags=3, byteorder="big")).hex(" ", 8)
///     '0000000000007003 0000000000003003'
///
/// Source:
///     ``rdma_umem_for_each_dma_block()``, ``include/rdma/ib_umem.h``, Linux.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (phyr, page_size, *, flags=Amount(0), byteorder="little"),
    text_signature = "(phyr, page_size, *, flags=0, byteorder='little')"
)]
pub(crate) fn page_list(
    py: Python<'_>,
    phyr: Either,
    page_size: Amount,
    flags: Amount,
    byteorder: &str,
) -> PyResult<PyDescriptors> {
    let list = &phyr.into_list();
    let (order, format) = match byteorder {
        "little" => (ByteOrder::Little, LITTLE),
        "big" => (ByteOrder::Big, BIG),
        _ => {
            let what = format!("byte order {byteorder:?} is not \"little\" or \"big\"");
            return Err(error::new("RangeError", what, error::NO_NUMBERS));
        }
    };
    table(py, format, || desc::page_list(list, page_size.0, flags.0, order))
}
