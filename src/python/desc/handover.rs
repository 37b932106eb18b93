//! `phyr.desc`: what a kernel hands to the next for a live update, and the array of a dma-buf.

use core::ffi::CStr;

use pyo3::prelude::*;

use crate::desc::{self, KhoRadix, KhoVmalloc, MemfdFolio, Table};
use crate::granule::Granule;
use crate::python::convert::amounts::{Amount, Decimal};
use crate::python::convert::buffer::Array;
use crate::python::convert::kind;
use crate::python::desc::arrays::PHYS_VEC;
use crate::python::desc::descriptors::{PyDescriptors, table};
use crate::python::desc::nvme::{POINTER, pages_for};
use crate::python::desc::parse::read_at;
use crate::python::list::either::Either;
use crate::python::list::object::PyPhyr;
use crate::python::made;

/// As the `struct` module and NumPy spell it; neither has fields of bits.
const FOLIO: &CStr = c"T{<Q:pfn_flags:<Q:index:}";
const MAX_ORDER: u64 = 10;
const DIRTY_UPTODATE: u64 = 3;
const _: () = assert!(MemfdFolio::DIRTY | MemfdFolio::UPTODATE == 3 && KhoRadix::MAX_ORDER == 10);

/// Make the array of ``struct memfd_luo_folio_ser`` of a memfd that is kept over a live update.
///
/// The list is the whole file, in folios of one size. A record is 16 bytes: the page number in 52
/// bits, 12 flags, and the number of the page in the file.
///
/// Args:
///     phyr: The memory of the file, from its first byte to its last.
///     flags: 1 for dirty folios, 2 for folios up to date; a kernel sets both.
///     folio_size: Bytes of each folio. The last may be longer than what is left.
///     page_size: Page size of the kernel in bytes.
///
/// Raises:
///     AlignmentError: The list does not start at a multiple of `folio_size`.
///     GapError: A boundary inside the list is not a multiple of `folio_size`.
///     MismatchError: The list is a device's memory.
///     RangeError: There is no such page size or folio size.
///     FormatError: Page 0, which a kernel skips, or flags that have no meaning.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> bytes(memfd_folios(Phyr.from_pfns([7, 3]))).hex(" ", 8)
///     '0700000000003000 0000000000000000 0300000000003000 0100000000000000'
///
/// Source:
///     ``include/linux/kho/abi/memfd.h``, Linux.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (
        phyr, *, flags=Amount(DIRTY_UPTODATE), folio_size=Amount(4096), page_size=Amount(4096)
    ),
    text_signature = "(phyr, *, flags=3, folio_size=4096, page_size=4096)"
)]
pub(crate) fn memfd_folios(
    py: Python<'_>,
    phyr: Either,
    flags: Amount,
    folio_size: Amount,
    page_size: Amount,
) -> PyResult<PyDescriptors> {
    let list = phyr.into_list();
    table(py, FOLIO, || Table::memfd_folios(&list, flags.0, folio_size.0, page_size.0))
}

/// Read the list of a memfd from its array of ``struct memfd_luo_folio_ser``.
///
/// A record does not say how large its folio is. A memfd is preserved without holes, so each folio
/// ends where the next one starts, and the last ends with the file.
///
/// Args:
///     data: Any bytes-like object; the bytes may come from anywhere.
///     size: Bytes of the file, ``memfd_luo_ser.size``.
///     page_size: Page size of the kernel in bytes.
///     granule: Unit of the list's inner boundaries in bytes.
///
/// Raises:
///     FormatError: The bytes are not such an array: unknown flags, page 0 or one past 2^64 bytes,
///         indexes between which no folio fits, or none for a file that has bytes. Or a list of this
///         granule cannot hold it.
///     RangeError: There is no such page size.
///
/// Examples:
///     >>> data = bytes.fromhex("0002000000003000 0000000000000000 0700000000003000 0002000000000000")
///     >>> from_memfd_folios(data, 0x20_0800)
///     Phyr(0x200800 bytes, granule 4096, 2 chunks: 0x200000+0x200000 0x7000+0x800)
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (data, size, *, page_size=Amount(4096), granule=Decimal(4096)),
    text_signature = "(data, size, *, page_size=4096, granule=4096)"
)]
pub(crate) fn from_memfd_folios(
    data: &Bound<'_, PyAny>,
    size: Amount,
    page_size: Amount,
    granule: Decimal,
) -> PyResult<PyPhyr> {
    let (bytes, granule) = (Array::bytes(data)?, Granule::new(granule.0)?);
    let read = || desc::from_memfd_folios(&bytes, size.0, page_size.0, granule);
    Ok(PyPhyr::new(data.py().detach(read)?))
}

/// Make the chained pages of addresses in which a kernel hands over a vmalloc area.
///
/// Args:
///     phyr: The memory of the area, in whole blocks.
///     lists: Memory for the chunks, a page each: real, or simulated. One more than is filled, as a
///         kernel does.
///     order: Log2 of the pages of a block.
///     page_size: Page size of the kernel in bytes.
///
/// Returns:
///     ``KhoVmalloc(head, chunks)``: the 16 bytes of ``struct kho_vmalloc``, and the bytes to write
///     to the pages of `lists`, one after the other.
///
/// Raises:
///     AlignmentError: The list does not start or end at a block; `lists` does not start at a page.
///     GapError: A boundary inside the list is not a multiple of a block, or one inside `lists` is
///         not one of a page.
///     MismatchError: A list is a device's memory.
///     RangeError: The list is empty, there is no such page size, or `lists` is too small: its ``needed``
///         has the bytes that it takes.
///     FormatError: Address 0, an order above 31, or 2^32 pages.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> head, chunks = kho_vmalloc(Phyr.from_pfns([7, 3]), Phyr.from_pfns([100]))
///     >>> head.hex(" ", 8), [hex(word) for word in memoryview(chunks)[:4]]
///     ('0040060000000000 0200000001000000', ['0x0', '0x7000', '0x3000', '0x0'])
///
/// Source:
///     ``include/linux/kho/abi/kexec_handover.h``, Linux.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (phyr, lists, *, order=Decimal(0), page_size=Amount(4096)),
    text_signature = "(phyr, lists, *, order=0, page_size=4096)"
)]
pub(crate) fn kho_vmalloc(
    py: Python<'_>,
    phyr: Either,
    lists: Either,
    order: Decimal,
    page_size: Amount,
) -> PyResult<Bound<'_, PyAny>> {
    let (list, lists) = (phyr.into_list(), pages_for(py, Some(lists))?);
    let order = narrow(order);
    let KhoVmalloc { head, chunks } =
        py.detach(|| KhoVmalloc::new(&list, &lists, order, page_size.0))?;
    let head = made::bytes(py, &head)?;
    let chunks = Bound::new(py, PyDescriptors::new(chunks, POINTER))?;
    let class = made::attribute(&made::module(py, "phyr._records")?, "KhoVmalloc")?;
    class.call1(made::objects(py, [head.as_any(), chunks.as_any()])?)
}

/// An order; every one that is too large for 32 bits is too large for a format.
fn narrow(order: Decimal) -> u32 {
    u32::try_from(order.0).unwrap_or(u32::MAX)
}

/// Read the list of a vmalloc area that a kernel handed over, by following its chunks.
///
/// Args:
///     head: The 16 bytes of ``struct kho_vmalloc``.
///     read: ``read(address, length)`` returns the bytes of the chunks' memory at an address.
///     page_size: Page size of the kernel in bytes.
///     granule: Unit of the list's inner boundaries in bytes.
///
/// Raises:
///     FormatError: Unknown flags, an order above 31, an address that is not one of a block, chunks
///         in a circle, or more or fewer addresses than `head` says. Or a list of this granule
///         cannot hold it.
///     RangeError: There is no such page size.
///     ArrayError: `read` returned more or fewer bytes.
///
/// Examples:
///     >>> memory = bytes(0x1008) + (0x7000).to_bytes(8, "little") + bytes(0xff0)
///     >>> head = bytes.fromhex("0010000000000000 0100000001000000")
///     >>> from_kho_vmalloc(head, lambda address, length: memory[address:][:length])
///     Phyr(0x1000 bytes, granule 4096, 1 chunk: 0x7000+0x1000)
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (head, read, *, page_size=Amount(4096), granule=Decimal(4096)),
    text_signature = "(head, read, *, page_size=4096, granule=4096)"
)]
pub(crate) fn from_kho_vmalloc(
    head: &Bound<'_, PyAny>,
    read: &Bound<'_, PyAny>,
    page_size: Amount,
    granule: Decimal,
) -> PyResult<PyPhyr> {
    let (bytes, granule) = (Array::bytes(head)?, Granule::new(granule.0)?);
    let head = bytes.as_slice().try_into().map_err(|_| {
        let (bytes, record_size) = (bytes.len() as u64, 16);
        PyErr::from(desc::DescError::Ragged { bytes, record_size })
    })?;
    let from = |at, out: &mut [u8]| read_at(read, at, out);
    Ok(PyPhyr::new(desc::from_kho_vmalloc(head, page_size.0, granule, from)?))
}

/// Make the tree in which a kernel tells the next what memory to keep.
///
/// The tree is a set of blocks of a power of two of pages. The order of the list is lost, so no byte
/// may come twice.
///
/// Args:
///     phyr: The memory to keep, in whole pages.
///     lists: Memory for the nodes, a page each: real, or simulated.
///     max_order: Log2 of the pages of the largest block. Linux gives out and takes back 10.
///     page_size: Page size of the kernel in bytes.
///
/// Returns:
///     ``KhoRadix(root, nodes)``: the address of the root, and the bytes to write to the pages of
///     `lists`, one after the other.
///
/// Raises:
///     AlignmentError: The list does not start or end at a page; `lists` does not start at one.
///     GapError: A boundary inside the list or `lists` is not one of a page.
///     MismatchError: A list is a device's memory.
///     RangeError: There is no such page size, or `lists` is too small: its ``needed`` has the bytes that
///         it takes.
///     FormatError: Pages of 16 KiB, of which the tree loses the order of single ones; a byte comes
///         twice; a block would be of 2^64 bytes; a page of `lists` is at 0.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> root, nodes = kho_radix(Phyr.from_pfns([7, 3]), Phyr.from_pfns(range(100, 110)))
///     >>> hex(root), len(nodes) // 4096, hex(nodes[-4096])
///     ('0x64000', 6, '0x88')
///
/// Source:
///     ``include/linux/kho/abi/kexec_handover.h``, Linux.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (
        phyr, lists, *, max_order=Decimal(MAX_ORDER), page_size=Amount(4096)
    ),
    text_signature = "(phyr, lists, *, max_order=10, page_size=4096)"
)]
pub(crate) fn kho_radix(
    py: Python<'_>,
    phyr: Either,
    lists: Either,
    max_order: Decimal,
    page_size: Amount,
) -> PyResult<Bound<'_, PyAny>> {
    let (list, lists) = (phyr.into_list(), lists.into_list());
    let order = narrow(max_order);
    let tree = py.detach(|| KhoRadix::new(&list, &lists, order, page_size.0))?;
    let (root, nodes) = (made::int(py, tree.root)?, made::bytes(py, &tree.nodes)?);
    let class = made::attribute(&made::module(py, "phyr._records")?, "KhoRadix")?;
    class.call1(made::objects(py, [root.as_any(), nodes.as_any()])?)
}

/// Read the set of memory that a kernel handed over, as a list that ascends.
///
/// Args:
///     root: Address of the tree's root.
///     read: ``read(address, length)`` returns the bytes of the nodes' memory at an address.
///     max_length: Most bytes of memory; 2^64 - 1 by default. It bounds how much is read if `read`
///         returns bad data: a node for each page, and 2^20.
///     page_size: Page size of the kernel in bytes.
///     granule: Unit of the list's inner boundaries in bytes.
///
/// Raises:
///     FormatError: A key stands for no block, a byte comes twice, a node is in two places or not at
///         a page, there are more than `max_length` bytes, or there are more than 2^20 nodes
///         beyond one for each block. Or a list of this granule cannot hold it.
///     RangeError: There is no such page size.
///     ArrayError: `read` returned more or fewer bytes.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> root, nodes = kho_radix(Phyr.from_pfns([7, 3]), Phyr.from_pfns(range(100, 110)))
///     >>> from_kho_radix(root, lambda address, length: nodes[address - root :][:length])
///     Phyr(0x2000 bytes, granule 4096, 2 chunks: 0x3000+0x1000 0x7000+0x1000)
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (root, read, *, max_length=None, page_size=Amount(4096), granule=Decimal(4096)),
    text_signature = "(root, read, *, max_length=None, page_size=4096, granule=4096)"
)]
pub(crate) fn from_kho_radix(
    root: Amount,
    read: &Bound<'_, PyAny>,
    max_length: Option<Amount>,
    page_size: Amount,
    granule: Decimal,
) -> PyResult<PyPhyr> {
    let granule = Granule::new(granule.0)?;
    let from = |at, out: &mut [u8]| read_at(read, at, out);
    let max_length = max_length.map_or(u64::MAX, |length| length.0);
    Ok(PyPhyr::new(desc::from_kho_radix(root.0, max_length, page_size.0, granule, from)?))
}

/// Make the array of ``struct phys_vec`` that describes a dma-buf: no byte of memory comes twice.
///
/// Args:
///     phyr: The memory of the buffer.
///
/// Raises:
///     FormatError: A byte of memory comes twice.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> dma_buf_vecs(Phyr.from_pfns([7, 3, 7]))
///     Traceback (most recent call last):
///     phyr.errors.FormatError: 0x1000 bytes of memory at 0x7000 come twice
///
/// Source:
///     ``dma_buf_phys_vec_to_sgt()``, ``include/linux/dma-buf-mapping.h``, Linux.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
pub(crate) fn dma_buf_vecs(py: Python<'_>, phyr: Either) -> PyResult<PyDescriptors> {
    let list = phyr.into_list();
    table(py, PHYS_VEC, || Table::dma_buf_vecs(&list))
}

/// Read the list of a dma-buf from the array of ``struct phys_vec`` that describes it.
///
/// The array says nothing of what it must not hold, so all of it is checked here: no record of zero
/// bytes, no byte twice, and as many bytes in all as the buffer has.
///
/// Args:
///     data: Any bytes-like object; the bytes may come from anywhere.
///     length: Bytes of the dma-buf.
///     granule: Unit of the list's inner boundaries in bytes.
///     kind: ``"ram"``, ``"mmio"``, or ``"mmio:N"`` with the number of the provider.
///
/// Raises:
///     FormatError: The bytes are not such an array, or a list of this granule cannot hold it.
///
/// Examples:
///     >>> data = bytes.fromhex("0070000000000000 0010000000000000")
///     >>> from_dma_buf_vecs(data, 0x1000, kind="mmio:3")
///     Phyr(0x1000 bytes, granule 4096, mmio:3, 1 chunk: 0x7000+0x1000)
///     >>> from_dma_buf_vecs(data, 0x2000)
///     Traceback (most recent call last):
///     phyr.errors.FormatError: the records cover 0x1000 bytes, not 0x2000
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (data, length, *, granule=Decimal(4096), kind="ram"),
    text_signature = "(data, length, *, granule=4096, kind='ram')"
)]
pub(crate) fn from_dma_buf_vecs(
    data: &Bound<'_, PyAny>,
    length: Amount,
    granule: Decimal,
    kind: &str,
) -> PyResult<PyPhyr> {
    let (bytes, granule, kind) =
        (Array::bytes(data)?, Granule::new(granule.0)?, kind::parse(kind)?);
    let read = || desc::from_dma_buf_vecs(&bytes, length.0, granule, kind);
    Ok(PyPhyr::new(data.py().detach(read)?))
}
