//! `phyr.desc`: descriptors from lists. Extract, call, convert.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::ffi::{CStr, c_int};
use core::fmt;

use std::sync::{Mutex, OnceLock, PoisonError};

use pyo3::exceptions::{PyMemoryError, PyOverflowError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::desc::{
    self, ByteOrder, Count, DescError, Fill, Limits, PageStructs, Place, Prp, Table,
};
use crate::list::phyr::Phyr;
use crate::python::convert::buffer::{self, Bytes, Lender, Lent};
use crate::python::convert::numbers::{self, Amount, Numbers};
use crate::python::error;
use crate::python::list::object::PyPhyr;
use crate::python::made::{self, Int, Text};

/// Bytes made at a time for a caller's buffer; between two such pieces the interpreter may handle
/// signals.
const PIECE: usize = 256 << 10;
/// Parts of a list, or pieces of descriptors, after which the interpreter may handle signals.
const SIGNALS: usize = 64;

/// The descriptors of a list, as bytes.
///
/// Lends all of its bytes through the buffer protocol, with a format that ``numpy.asarray`` reads
/// field by field; they are made at the first use. `fill` makes them piece by piece instead, and
/// keeps nothing. Either walks the list once. How many there are is a search, or where a limit may cut
/// a chunk another walk, at the first time that ``len``, `nents` or `nbytes` ask.
///
/// Examples:
///     >>> from phyr import Phyr, desc
///     >>> table = desc.phys_vecs(Phyr.from_pfns([1, 2, 9]))
///     >>> len(table), table.itemsize, table.nbytes
///     (2, 16, 32)
///     >>> ring = bytearray(16)
///     >>> while table.fill(ring):
///     ...     print(ring.hex(" ", 8))
///     0010000000000000 0020000000000000
///     0090000000000000 0010000000000000
#[pyclass(name = "Descriptors", module = "phyr.desc", frozen)]
pub(crate) struct PyDescriptors {
    table: Box<dyn Fill + Send + Sync>,
    format: &'static CStr,
    /// What a buffer view points to.
    stride: isize,
    /// How far `fill` got. Whoever holds the lock does not wait for the interpreter.
    place: Mutex<Place>,
    count: OnceLock<Count>,
    whole: OnceLock<Whole>,
}

/// All bytes.
#[derive(Default)]
struct Whole {
    bytes: Vec<u8>,
    /// What a buffer view points to: the number of records.
    shape: isize,
}

impl fmt::Debug for PyDescriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PyDescriptors").field("format", &self.format).finish_non_exhaustive()
    }
}

/// A size that memory can have.
fn room(size: u128) -> Option<usize> {
    isize::try_from(size).ok().map(isize::unsigned_abs)
}

/// Memory to make descriptors in, where so many bytes are wanted in all.
fn piece(wanted: usize) -> PyResult<Vec<u8>> {
    let (mut piece, size) = (Vec::new(), wanted.min(PIECE));
    numbers::reserve(&mut piece, size)?;
    piece.resize(size, 0);
    Ok(piece)
}

fn no_memory(least: &str, size: u128) -> PyErr {
    made::failure::<PyMemoryError>(format!("no memory for {least}{size} bytes of descriptors"))
}

impl Lender for PyDescriptors {
    fn lent(&self, py: Python<'_>) -> PyResult<Lent<'_>> {
        let whole = self.whole(py)?;
        Ok(Lent {
            start: whole.bytes.as_ptr().cast_mut(),
            length: whole.bytes.len(),
            readonly: true,
            item_size: self.table.record_size(),
            format: self.format,
            shape: &whole.shape,
            stride: &self.stride,
        })
    }
}

impl PyDescriptors {
    fn new(table: impl Fill + Send + Sync + 'static, format: &'static CStr) -> Self {
        let stride = table.record_size().cast_signed();
        let (place, count, whole) = (Mutex::default(), OnceLock::new(), OnceLock::new());
        Self { table: Box::new(table), format, stride, place, count, whole }
    }

    /// Bytes of all records, if no walk is needed to tell.
    fn known_size(&self) -> Option<u128> {
        let count = self.count.get().copied().or_else(|| self.table.find_count())?;
        Some(u128::from(count.records) * self.table.record_size() as u128)
    }

    /// All bytes, made now. Called without the interpreter.
    fn make(&self) -> PyResult<Vec<u8>> {
        let known = self.known_size();
        // Where memory will never do, that is to show before it is used up.
        let least = u128::from(self.table.least()) * self.table.record_size() as u128;
        let reserve = |bytes: &mut Vec<u8>, more: u128| {
            // What may follow unexpectedly is reserved by doubling.
            let done = room(more).map(|more| match known {
                Some(_) => bytes.try_reserve_exact(more),
                None => bytes.try_reserve(more),
            });
            done.and_then(Result::ok).ok_or_else(|| match known {
                Some(size) => no_memory("", size),
                None => no_memory("at least ", least.max(bytes.len() as u128 + 1)),
            })
        };
        let mut bytes = Vec::new();
        reserve(&mut bytes, known.unwrap_or(least))?;
        let mut piece = piece(known.and_then(room).unwrap_or(PIECE))?;
        let mut place = Place::default();
        for number in 1.. {
            let made = self.table.fill(&mut place, &mut piece);
            if made == 0 {
                break;
            }
            reserve(&mut bytes, made as u128)?;
            bytes.extend_from_slice(&piece[..made]);
            if number % SIGNALS == 0 {
                let check = |py: Python<'_>| py.check_signals();
                Python::attach(check)?;
            }
        }
        bytes.shrink_to_fit();
        Ok(bytes)
    }

    /// All bytes, made once.
    fn whole(&self, py: Python<'_>) -> PyResult<&Whole> {
        if self.whole.get().is_none() {
            let bytes = py.detach(|| self.make())?;
            let shape = (bytes.len() / self.table.record_size()).cast_signed();
            // Another thread may have been first, with the same bytes.
            let _ = self.whole.set(Whole { bytes, shape });
        }
        Ok(self.whole.get_or_init(Whole::default))
    }

    /// How many records there are, found once.
    fn count(&self, py: Python<'_>) -> Count {
        *self.count.get().unwrap_or_else(|| {
            let count = py.detach(|| self.table.count());
            self.count.get_or_init(|| count)
        })
    }
}

#[pymethods]
impl PyDescriptors {
    /// Bytes of a record.
    #[getter]
    fn itemsize(&self) -> Int {
        Int(self.table.record_size() as u64)
    }

    /// Bytes of all records.
    #[getter]
    fn nbytes(&self, py: Python<'_>) -> u128 {
        u128::from(self.count(py).records) * self.table.record_size() as u128
    }

    /// Records that stand for bytes of the list; `len` counts the links between blocks too.
    #[getter]
    fn nents(&self, py: Python<'_>) -> Int {
        Int(self.count(py).data)
    }

    /// Records that `fill` has written.
    #[getter]
    fn done(&self, py: Python<'_>) -> Int {
        Int(py.detach(|| self.place.lock().unwrap_or_else(PoisonError::into_inner).record()))
    }

    /// Write the next records to a caller's memory, and return the bytes written.
    ///
    /// Writes as many whole records as fit, and goes on from there at the next call; returns 0 when
    /// all are written.
    ///
    /// Args:
    ///     buffer: Writable, contiguous memory: a ``bytearray``, an array, a mapped ring.
    ///
    /// Raises:
    ///     ArrayError: The memory is not writable, not contiguous, or too short for one record that is
    ///         still to be written.
    fn fill(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let target = Bytes::new(buffer, true)?;
        let size = self.table.record_size();
        let is_done =
            || self.table.is_done(&self.place.lock().unwrap_or_else(PoisonError::into_inner));
        if target.len() < size && !py.detach(is_done) {
            let len = target.len();
            return Err(error::new(
                "ArrayError",
                format!("{len} bytes have no room for a record of {size}"),
                [("bytes", len as u64)],
            ));
        }
        let mut piece = piece(target.len())?;
        let mut written = 0;
        loop {
            let room = piece.len().min(target.len() - written);
            let made = py.detach(|| {
                let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
                self.table.fill(&mut place, &mut piece[..room])
            });
            if made == 0 {
                return Ok(written);
            }
            target.write(written, &piece[..made]);
            written += made;
            py.check_signals()?;
        }
    }

    /// Let `fill` start over.
    fn rewind(&self, py: Python<'_>) {
        py.detach(|| *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Place::default());
    }

    /// Return all records as ``bytes``.
    fn tobytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let Some(size) = py.detach(|| self.known_size()) else {
            return made::bytes(py, &py.detach(|| self.make())?);
        };
        let Some(room) = room(size) else { return Err(no_memory("", size)) };
        // Made where they stay.
        let made = PyBytes::new_with(py, room, |out| {
            let mut place = Place::default();
            let most = SIGNALS * PIECE / self.table.record_size() * self.table.record_size();
            for piece in out.chunks_mut(most) {
                py.detach(|| self.table.fill(&mut place, piece));
                py.check_signals()?;
            }
            Ok(())
        });
        made.map_err(|failure| {
            let is_memory = failure.is_instance_of::<PyMemoryError>(py);
            if is_memory { no_memory("", size) } else { failure }
        })
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let count = self.count(py).records;
        usize::try_from(count).ok().filter(|&count| isize::try_from(count).is_ok()).ok_or_else(
            || {
                made::failure::<PyOverflowError>(format!(
                    "{count} records are more than len() can say"
                ))
            },
        )
    }

    fn __repr__(&self, py: Python<'_>) -> Text {
        Text(format!(
            "Descriptors({} records of {} bytes, format {:?})",
            self.count(py).records,
            self.table.record_size(),
            self.format,
        ))
    }

    #[expect(unsafe_code, reason = "the signature of the slot")]
    unsafe fn __getbuffer__(
        slf: &Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        // SAFETY: the interpreter passes a view to fill, as the slot demands of it.
        unsafe { buffer::lend(slf, view, flags) }
    }
}

/// Formats of records, as the `struct` module and NumPy spell them.
const SCATTERLIST: &CStr =
    c"T{<Q:page_link:<I:offset:<I:length:<Q:dma_address:<I:dma_length:<I:dma_flags:}";
const BIO_VEC: &CStr = c"T{<Q:bv_page:<I:bv_len:<I:bv_offset:}";
const IOVEC: &CStr = c"T{<Q:iov_base:<Q:iov_len:}";
const PHYS_VEC: &CStr = c"T{<Q:paddr:<Q:len:}";
const SGL: &CStr = c"T{<Q:address:<I:length:3B:reserved:B:identifier:}";
const LITTLE: &CStr = if cfg!(target_endian = "little") { c"Q" } else { c"<Q" };
const BIG: &CStr = if cfg!(target_endian = "big") { c"Q" } else { c">Q" };

/// Limits of arguments from Python; `None` is no limit.
fn limits(size: Option<Amount>, boundary: Option<Amount>, virt: Amount) -> Limits {
    Limits {
        max_segment_size: size.map_or(u64::MAX, |size| size.0),
        seg_boundary_mask: boundary.map_or(u64::MAX, |mask| mask.0),
        virt_boundary_mask: virt.0,
    }
}

/// Makes a table, with the interpreter released.
pub(crate) fn table<T: Fill + Send + Sync + 'static>(
    py: Python<'_>,
    format: &'static CStr,
    make: impl FnOnce() -> Result<T, DescError> + Send,
) -> PyResult<PyDescriptors> {
    Ok(PyDescriptors::new(py.detach(make)?, format))
}

/// Make a Linux scatterlist: 32-byte ``struct scatterlist`` of x86-64, in chained blocks.
///
/// Every block is a page of 128 entries; the last entry of a block leads to the next block, save in
/// the last, and the last entry of all has the end mark. Chunks are cut at page boundaries to
/// segments of at most 4 GiB less a page, as ``sg_alloc_table_from_pages_segment()`` cuts them.
///
/// Args:
///     phyr: The memory. A device's (MMIO) has no ``struct page`` and is refused.
///     vmemmap: Virtual address of the ``struct page`` of page 0: ``vmemmap_base`` of the kernel that
///         reads the table, ``0xffff_ea00_0000_0000`` on x86-64 without KASLR.
///     address: Virtual address of the first block; the others follow it.
///     bus_offset: What to add to a physical address to get the DMA address. The DMA fields are 0
///         without it, as before ``dma_map_sg()``.
///     page_size: Page size of that kernel in bytes.
///     max_segment_size: Most bytes of a segment.
///     seg_boundary_mask: No segment crosses a multiple of this plus one.
///     virt_boundary_mask: Inside the list, segments start and end at multiples of this plus one.
///
/// Raises:
///     GapError: A boundary inside the list breaks the virt boundary.
///     AlignmentError: `address` is not a multiple of 4096, or `vmemmap` not of 4: the low bits of
///         pointers are the marks of the table.
///     RangeError: Limits that nothing satisfies; addresses that pass 2^64.
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
#[pyo3(
    signature = (
        phyr, *, vmemmap, address=Amount(0), bus_offset=None, page_size=Amount(4096),
        max_segment_size=None, seg_boundary_mask=None, virt_boundary_mask=Amount(0)
    ),
    text_signature = "(phyr, *, vmemmap, address=0, bus_offset=None, page_size=4096, max_segment_size=None, seg_boundary_mask=None, virt_boundary_mask=0)"
)]
#[expect(clippy::too_many_arguments, reason = "keywords of Python's")]
pub(crate) fn scatterlist(
    phyr: &Bound<'_, PyPhyr>,
    vmemmap: Amount,
    address: Amount,
    bus_offset: Option<Amount>,
    page_size: Amount,
    max_segment_size: Option<Amount>,
    seg_boundary_mask: Option<Amount>,
    virt_boundary_mask: Amount,
) -> PyResult<PyDescriptors> {
    let list: &Phyr = phyr.get().as_ref();
    let pages = PageStructs::new(vmemmap.0, page_size.0)?;
    let limits = limits(max_segment_size, seg_boundary_mask, virt_boundary_mask);
    let bus_offset = bus_offset.map(|offset| offset.0);
    table(phyr.py(), SCATTERLIST, || Table::scatterlist(list, pages, address.0, bus_offset, limits))
}

/// Make an array of ``struct bio_vec``.
///
/// Chunks above 4 GiB - 4 KiB are cut at page boundaries, since lengths are 32 bits wide.
///
/// Args:
///     phyr: The memory. A device's (MMIO) has no ``struct page`` and is refused.
///     vmemmap: Virtual address of the ``struct page`` of page 0, as for `scatterlist`.
///     page_size: Page size of the kernel in bytes.
///     max_segment_size: Most bytes of a segment.
///     seg_boundary_mask: No segment crosses a multiple of this plus one.
///     virt_boundary_mask: Inside the list, segments start and end at multiples of this plus one.
///
/// Raises:
///     GapError: A boundary inside the list breaks the virt boundary.
///     RangeError: Limits that nothing satisfies.
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
#[pyo3(
    signature = (
        phyr, *, vmemmap, page_size=Amount(4096),
        max_segment_size=None, seg_boundary_mask=None, virt_boundary_mask=Amount(0)
    ),
    text_signature = "(phyr, *, vmemmap, page_size=4096, max_segment_size=None, seg_boundary_mask=None, virt_boundary_mask=0)"
)]
pub(crate) fn bio_vecs(
    phyr: &Bound<'_, PyPhyr>,
    vmemmap: Amount,
    page_size: Amount,
    max_segment_size: Option<Amount>,
    seg_boundary_mask: Option<Amount>,
    virt_boundary_mask: Amount,
) -> PyResult<PyDescriptors> {
    let list: &Phyr = phyr.get().as_ref();
    let pages = PageStructs::new(vmemmap.0, page_size.0)?;
    let limits = limits(max_segment_size, seg_boundary_mask, virt_boundary_mask);
    table(phyr.py(), BIO_VEC, || Table::bio_vecs(list, pages, limits))
}

/// Make an array of ``struct iovec``, for memory that is mapped as a whole.
///
/// Args:
///     phyr: The memory: a guest's, say, in a process that maps all of it.
///     uaddr: Virtual address at which physical address 0 is mapped.
///     max_segment_size: Most bytes of a segment.
///     seg_boundary_mask: No segment crosses a multiple of this plus one.
///     virt_boundary_mask: Inside the list, segments start and end at multiples of this plus one.
///
/// Raises:
///     GapError: A boundary inside the list breaks the virt boundary.
///     RangeError: Limits that nothing satisfies; a chunk that passes the end of the virtual space.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> bytes(iovecs(Phyr.from_pfns([3]), 0x7f00_0000_0000)).hex(" ", 8)
///     '00300000007f0000 0010000000000000'
#[pyfunction]
#[pyo3(
    signature = (
        phyr, uaddr, *,
        max_segment_size=None, seg_boundary_mask=None, virt_boundary_mask=Amount(0)
    ),
    text_signature = "(phyr, uaddr, *, max_segment_size=None, seg_boundary_mask=None, virt_boundary_mask=0)"
)]
pub(crate) fn iovecs(
    phyr: &Bound<'_, PyPhyr>,
    uaddr: Amount,
    max_segment_size: Option<Amount>,
    seg_boundary_mask: Option<Amount>,
    virt_boundary_mask: Amount,
) -> PyResult<PyDescriptors> {
    let list: &Phyr = phyr.get().as_ref();
    let limits = limits(max_segment_size, seg_boundary_mask, virt_boundary_mask);
    table(phyr.py(), IOVEC, || Table::iovecs(list, uaddr.0, limits))
}

/// Make an array of ``struct phys_vec``: address and length, 64 bits each.
///
/// Also the segments of a list under a device's limits, for whoever makes descriptors of their own.
///
/// Args:
///     phyr: The memory.
///     max_segment_size: Most bytes of a segment.
///     seg_boundary_mask: No segment crosses a multiple of this plus one.
///     virt_boundary_mask: Inside the list, segments start and end at multiples of this plus one.
///
/// Raises:
///     GapError: A boundary inside the list breaks the virt boundary.
///     RangeError: Limits that nothing satisfies.
///
/// Examples:
///     >>> import struct
///     >>> from phyr import Phyr
///     >>> segments = phys_vecs(Phyr.from_pfns(range(3, 9)), max_segment_size=0x4000)
///     >>> [(hex(paddr), hex(length)) for paddr, length in struct.iter_unpack("<QQ", segments)]
///     [('0x3000', '0x4000'), ('0x7000', '0x2000')]
///
/// Source:
///     ``include/linux/types.h``, Linux.
#[pyfunction]
#[pyo3(
    signature = (
        phyr, *, max_segment_size=None, seg_boundary_mask=None, virt_boundary_mask=Amount(0)
    ),
    text_signature = "(phyr, *, max_segment_size=None, seg_boundary_mask=None, virt_boundary_mask=0)"
)]
pub(crate) fn phys_vecs(
    phyr: &Bound<'_, PyPhyr>,
    max_segment_size: Option<Amount>,
    seg_boundary_mask: Option<Amount>,
    virt_boundary_mask: Amount,
) -> PyResult<PyDescriptors> {
    let list: &Phyr = phyr.get().as_ref();
    let limits = limits(max_segment_size, seg_boundary_mask, virt_boundary_mask);
    table(phyr.py(), PHYS_VEC, || Table::phys_vecs(list, limits))
}

/// A list that may be left out: no memory.
fn or_none<'a>(lists: Option<&'a Bound<'_, PyPhyr>>, none: &'a Phyr) -> &'a Phyr {
    lists.map_or(none, |lists| lists.get().as_ref())
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
///     RangeError: An empty list, no such page size, or too few list pages.
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
#[pyo3(
    signature = (phyr, lists=None, *, page_size=Amount(4096)),
    text_signature = "(phyr, lists=None, *, page_size=4096)"
)]
pub(crate) fn prp<'py>(
    phyr: &Bound<'py, PyPhyr>,
    lists: Option<&Bound<'py, PyPhyr>>,
    page_size: Amount,
) -> PyResult<Bound<'py, PyAny>> {
    let py = phyr.py();
    let none = Phyr::default();
    let (list, lists): (&Phyr, _) = (phyr.get().as_ref(), or_none(lists, &none));
    let Prp { prp1, prp2, lists } = py.detach(|| Prp::new(list, lists, page_size.0))?;
    let lists = PyDescriptors::new(lists, LITTLE);
    let lists = Bound::new(py, lists)?;
    let (prp1, prp2) = (made::int(py, prp1)?, made::int(py, prp2)?);
    let class = made::attribute(&made::module(py, "phyr._records")?, "Prp")?;
    class.call1(made::objects(py, [&prp1, &prp2, lists.as_any()])?)
}

/// Describe the memory of a list to an NVMe command, by a scatter gather list.
///
/// Any address and any granule will do. Chunks above 4 GiB - 4 KiB are cut at multiples of 4096.
///
/// Args:
///     phyr: The memory, as the controller addresses it: a list, or the DMA list of a mapping.
///     lists: Memory for segments of descriptors. Not needed for one descriptor.
///     segment_size: Most bytes of a segment of descriptors; `lists` is used in aligned blocks of
///         this size.
///     max_segment_size: Most bytes of a data block.
///     seg_boundary_mask: No data block crosses a multiple of this plus one.
///     virt_boundary_mask: Inside the list, data blocks start and end at multiples of this plus one.
///
/// Returns:
///     ``Sgl(sgl1, segments)``: the 16-byte descriptor of the command, and the bytes to write to the
///     blocks of `lists`, one after the other.
///
/// Raises:
///     AlignmentError: `lists` does not start at a multiple of `segment_size`.
///     GapError: A boundary inside the list breaks the virt boundary, or one inside `lists` is not a
///         multiple of `segment_size`.
///     RangeError: No such segment size, limits that nothing satisfies, or too little room in `lists`.
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
#[pyo3(
    signature = (
        phyr, lists=None, *, segment_size=Amount(4096),
        max_segment_size=None, seg_boundary_mask=None, virt_boundary_mask=Amount(0)
    ),
    text_signature = "(phyr, lists=None, *, segment_size=4096, max_segment_size=None, seg_boundary_mask=None, virt_boundary_mask=0)"
)]
pub(crate) fn sgl<'py>(
    phyr: &Bound<'py, PyPhyr>,
    lists: Option<&Bound<'py, PyPhyr>>,
    segment_size: Amount,
    max_segment_size: Option<Amount>,
    seg_boundary_mask: Option<Amount>,
    virt_boundary_mask: Amount,
) -> PyResult<Bound<'py, PyAny>> {
    let py = phyr.py();
    let none = Phyr::default();
    let (list, lists): (&Phyr, _) = (phyr.get().as_ref(), or_none(lists, &none));
    let limits = limits(max_segment_size, seg_boundary_mask, virt_boundary_mask);
    let table = py.detach(|| desc::SegmentList::new(list, lists, segment_size.0, limits))?;
    let sgl1 = made::bytes(py, &table.sgl1.to_bytes())?;
    let segments = Bound::new(py, PyDescriptors::new(table.segments, SGL))?;
    let class = made::attribute(&made::module(py, "phyr._records")?, "Sgl")?;
    class.call1(made::objects(py, [sgl1.as_any(), segments.as_any()])?)
}

/// Return the best size for a page list of one size: the largest that fits.
///
/// None is taken that is larger than the smallest that holds the whole list in one block. Sizes below 4096 are left out. Returns 0 where no size fits.
///
/// Args:
///     phyr: The memory.
///     pgsize_bitmap: Sizes that the device takes; bit *n* set means ``1 << n`` bytes.
///     iova: Where the device is to see the first byte.
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
pub(crate) fn best_pgsize(
    phyr: &Bound<'_, PyPhyr>,
    pgsize_bitmap: Amount,
    iova: Amount,
) -> PyResult<u64> {
    let list: &Phyr = phyr.get().as_ref();
    Ok(phyr.py().detach(|| desc::best_pgsize(list, pgsize_bitmap.0, iova.0))?)
}

/// Make the page list of an RDMA memory region: addresses of aligned blocks of one size.
///
/// The first block may start before the list and the last may end after it.
///
/// Args:
///     phyr: The memory, as the device addresses it.
///     page_size: Bytes in a block, a power of two: what `best_pgsize` returns.
///     flags: Bits to set in each entry, below `page_size`.
///     byteorder: ``"little"`` or ``"big"``.
///
/// Raises:
///     GapError: A boundary inside the list is not a multiple of `page_size`.
///     RangeError: `page_size` is not a power of two, or there is no such byte order.
///     FormatError: `flags` reach into the address.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> bytes(page_list(Phyr.from_pfns([7, 3]), 4096, flags=3, byteorder="big")).hex(" ", 8)
///     '0000000000007003 0000000000003003'
///
/// Source:
///     ``rdma_umem_for_each_dma_block()``, ``include/rdma/ib_umem.h``, Linux.
#[pyfunction]
#[pyo3(
    signature = (phyr, page_size, *, flags=Amount(0), byteorder="little"),
    text_signature = "(phyr, page_size, *, flags=0, byteorder='little')"
)]
pub(crate) fn page_list(
    phyr: &Bound<'_, PyPhyr>,
    page_size: Amount,
    flags: Amount,
    byteorder: &str,
) -> PyResult<PyDescriptors> {
    let list: &Phyr = phyr.get().as_ref();
    let (order, format) = match byteorder {
        "little" => (ByteOrder::Little, LITTLE),
        "big" => (ByteOrder::Big, BIG),
        _ => {
            let what = format!("byte order {byteorder:?} is not \"little\" or \"big\"");
            return Err(error::new("RangeError", what, error::NO_NUMBERS));
        }
    };
    table(phyr.py(), format, || desc::page_list(list, page_size.0, flags.0, order))
}

/// Cut a list into consecutive parts, which share its storage.
///
/// Lengths of 0 make no part; what lies after the last part is left out.
///
/// Args:
///     phyr: The list.
///     lengths: Array or iterable of lengths in bytes.
///     start: Position of the first part in bytes.
///
/// Raises:
///     RangeError: A part lies beyond the end of the list.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> [part.length for part in split(Phyr.from_pfns([1, 5]), [0x800, 0, 0x1000], start=0x100)]
///     [2048, 4096]
///
/// Source:
///     What ``sg_split()`` does, ``lib/sg_split.c``, Linux, without its entries of no bytes.
#[pyfunction]
#[pyo3(
    signature = (phyr, lengths, *, start=Amount(0)),
    text_signature = "(phyr, lengths, *, start=0)"
)]
pub(crate) fn split<'py>(
    phyr: &Bound<'py, PyPhyr>,
    lengths: &Bound<'_, PyAny>,
    start: Amount,
) -> PyResult<Bound<'py, PyList>> {
    let (py, list): (_, &Phyr) = (phyr.py(), phyr.get().as_ref());
    let (parts, mut all) = (made::list(py)?, Vec::new());
    Numbers::new(lengths)?.for_each_block(py, |block| {
        numbers::reserve(&mut all, block.len())?;
        all.extend_from_slice(block);
        Ok::<(), PyErr>(())
    })?;
    let mut at = start.0;
    for (number, part) in desc::split(list, start.0, all).enumerate() {
        let (part, held) = (part?, phyr.get().held().part(py, at));
        at += part.length();
        parts.append(Bound::new(py, PyPhyr::with(part, held))?)?;
        if number % SIGNALS == 0 {
            py.check_signals()?;
        }
    }
    Ok(parts)
}
