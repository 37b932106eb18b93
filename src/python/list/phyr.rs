//! The methods of `phyr.Phyr`.

use alloc::format;
use alloc::string::ToString;

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple, PyType};

use crate::list::frozen::Frozen;
use crate::list::phyr::Phyr;
use crate::list::reading::Inner;
use crate::python::convert::amounts::Amount;
use crate::python::convert::buffer::Bytes;
use crate::python::convert::keys::{self, Indexed, Key};
use crate::python::convert::numbers::Numbers;
use crate::python::list::chunks::PyChunks;
use crate::python::list::column::PyColumn;
use crate::python::list::either::Either;
use crate::python::list::fill::{self, Options};
use crate::python::list::frozen::PyFrozen;
use crate::python::list::held::Visited;
use crate::python::list::object::{self, PyPhyr, hash};
use crate::python::list::{join, overlap, positions};
use crate::python::made::{self, Ignored, Int, Text};

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyPhyr {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = None)]
    fn refuse(_arguments: Ignored, _keywords: Option<Ignored>) -> PyResult<Self> {
        Err(made::no_constructor::<Self>(
            "Phyr.from_chunks, Phyr.from_pfns, Phyr.from_pages, Phyr.from_bytes, Phyr.join, or a \
             Builder; phyr.pin and phyr.pagemap.of make the list of a buffer",
        ))
    }

    /// Make a list of byte ranges.
    ///
    /// Ranges that touch are merged. The first may start inside a granule and the last may end
    /// inside one; every boundary between them must be a multiple of the granule.
    ///
    /// Args:
    ///     chunks: Iterable of (paddr, length) in bytes; or a table with columns ``paddr`` and
    ///         ``length``: of Arrow, an array of records, a data frame; or, with `lengths`, an array of
    ///         addresses.
    ///     lengths: Array of lengths in bytes.
    ///     granule: Unit of the list's inner boundaries in bytes, a power of two up to 65536.
    ///     kind: ``"ram"``; ``"mmio"``, or ``"mmio:N"`` with the number of the provider; or ``"user"``.
    ///     offset: Bytes to leave out at the start.
    ///     length: Bytes to keep from there, all by default.
    ///
    /// Raises:
    ///     AlignmentError: A boundary inside the list is not a multiple of the granule.
    ///     RangeError: A range is empty, wraps or is out of reach; the list is longer than
    ///         2^64 - 1 bytes; `offset` and `length` are outside it.
    ///     ArrayError: An array is not contiguous, holds nulls or negative numbers, or they differ in
    ///         length; the stream of a table failed.
    ///     ArrayTypeError: Something is not a number, or not in the CPU's memory.
    ///
    /// Examples:
    ///     >>> phyr = Phyr.from_chunks([(0x1800, 0x800), (0x5000, 0x10)])
    ///     >>> Phyr.from_chunks(phyr.chunks.paddrs, phyr.chunks.lengths) == phyr
    ///     True
    #[classmethod]
    #[pyo3(
        signature = (chunks, lengths=None, **options),
        text_signature = "($cls, chunks, lengths=None, *, granule=4096, kind='ram', offset=0, length=None)"
    )]
    fn from_chunks(
        cls: &Bound<'_, PyType>,
        chunks: &Bound<'_, PyAny>,
        lengths: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let options = Options::new(options)?;
        let mut builder = options.empty()?;
        fill::chunks(cls.py(), &mut builder, chunks, lengths)?;
        options.view(&builder.try_finish()?)
    }

    /// Make a list of page numbers. A page is one granule.
    ///
    /// Args:
    ///     pfns: Array, column (of Arrow, DLPack, a data frame) or iterable of page numbers; ``bytes``
    ///         hold packed native ``uint64``.
    ///     granule: Page size in bytes, a power of two up to 65536.
    ///     kind: ``"ram"``; ``"mmio"``, or ``"mmio:N"`` with the number of the provider; or ``"user"``.
    ///     offset: Bytes to leave out at the start.
    ///     length: Bytes to keep from there, all by default.
    ///
    /// Raises:
    ///     RangeError: A number is out of reach; the list is longer than 2^64 - 1 bytes; `offset`
    ///         and `length` are outside it.
    ///     ArrayError: The array is not contiguous, or holds nulls or negative numbers.
    ///     ArrayTypeError: Something is not a number, or not in the CPU's memory.
    ///
    /// Examples:
    ///     >>> Phyr.from_pfns(range(512, 1024), offset=0x10)
    ///     Phyr(0x1ffff0 bytes, granule 4096, 1 chunk: 0x200010+0x1ffff0)
    #[classmethod]
    #[pyo3(
        signature = (pfns, **options),
        text_signature = "($cls, pfns, *, granule=4096, kind='ram', offset=0, length=None)"
    )]
    fn from_pfns(
        cls: &Bound<'_, PyType>,
        pfns: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let options = Options::new(options)?;
        let mut builder = options.empty()?;
        Numbers::new(pfns)?.for_each_block(cls.py(), |block| builder.extend_pfns(block))?;
        options.view(&builder.try_finish()?)
    }

    /// Make a list of page addresses.
    ///
    /// Args:
    ///     paddrs: Array, column (of Arrow, DLPack, a data frame) or iterable of addresses in bytes,
    ///         multiples of the granule; ``bytes`` hold packed native ``uint64``.
    ///     granule: Page size in bytes, a power of two up to 65536.
    ///     kind: ``"ram"``; ``"mmio"``, or ``"mmio:N"`` with the number of the provider; or ``"user"``.
    ///     offset: Bytes to leave out at the start.
    ///     length: Bytes to keep from there, all by default.
    ///
    /// Raises:
    ///     AlignmentError: An address is not a multiple of the granule.
    ///     RangeError: An address is out of reach; the list is longer than 2^64 - 1 bytes; `offset`
    ///         and `length` are outside it.
    ///     ArrayError: The array is not contiguous, or holds nulls or negative numbers.
    ///     ArrayTypeError: Something is not a number, or not in the CPU's memory.
    ///
    /// Examples:
    ///     >>> Phyr.from_pages([0x3000, 0x4000, 0x9000], length=0x2800).chunks[-1]
    ///     Chunk(paddr=36864, length=2048)
    #[classmethod]
    #[pyo3(
        signature = (paddrs, **options),
        text_signature = "($cls, paddrs, *, granule=4096, kind='ram', offset=0, length=None)"
    )]
    fn from_pages(
        cls: &Bound<'_, PyType>,
        paddrs: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let options = Options::new(options)?;
        let mut builder = options.empty()?;
        Numbers::new(paddrs)?.for_each_block(cls.py(), |block| builder.extend_pages(block))?;
        options.view(&builder.try_finish()?)
    }

    /// Read a list from the bytes that `to_bytes` returned; `data` is any bytes-like object.
    ///
    /// The bytes may come from anywhere: everything is checked before a list is made.
    ///
    /// Raises:
    ///     FormatError: The bytes are not a serialised list, or were changed.
    #[classmethod]
    #[pyo3(text_signature = "($cls, data)")]
    fn from_bytes(cls: &Bound<'_, PyType>, data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let bytes = Bytes::new(data, false)?;
        let read = |at, out: &mut [u8]| bytes.read(at, out);
        Ok(Self::new(cls.py().detach(|| Phyr::deserialise(bytes.len(), read))?))
    }

    /// Make one list of many, one after another, as the concatenation of their buffers. O(n).
    ///
    /// Adding lists in a loop copies the earlier chunks again each time; this copies each chunk
    /// once. The first list sets the granule and the kind. The result keeps the owners of the lists
    /// alive.
    ///
    /// Args:
    ///     lists: Iterable of lists of one granule and kind; of none, the list is empty.
    ///
    /// Raises:
    ///     AlignmentError: A joint is inside a granule.
    ///     MismatchError: Granules or kinds differ.
    ///     RangeError: The length would pass 2^64 - 1 bytes.
    ///     ArrayTypeError: Something is not a list.
    ///
    /// Examples:
    ///     >>> Phyr.join(Phyr.from_pfns([pfn]) for pfn in [7, 8, 3])
    ///     Phyr(0x3000 bytes, granule 4096, 2 chunks: 0x7000+0x2000 0x3000+0x1000)
    #[classmethod]
    #[pyo3(text_signature = "($cls, lists)")]
    fn join(cls: &Bound<'_, PyType>, lists: &Bound<'_, PyAny>) -> PyResult<Self> {
        join::lists(cls.py(), lists)
    }

    /// Return the list as bytes: versioned, little-endian, the same for equal lists.
    ///
    /// Examples:
    ///     >>> phyr = Phyr.from_pfns([1, 2, 9])
    ///     >>> Phyr.from_bytes(phyr.to_bytes()) == phyr
    ///     True
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        // Written straight into the object, without a copy.
        PyBytes::new_with(py, py.detach(|| self.phyr.serialised_size()), |out| {
            py.detach(|| self.phyr.serialise(out));
            Ok(())
        })
    }

    /// Bytes in the list; as ``len(phyr)``, which Python limits to 2^63 - 1.
    #[getter]
    fn length(&self) -> Int {
        Int(self.phyr.length())
    }

    /// Unit of the list's addresses and inner boundaries, in bytes.
    #[getter]
    fn granule(&self) -> Int {
        Int(self.phyr.granule().bytes())
    }

    /// Kind of the addresses: ``"ram"``, ``"mmio"``, ``"mmio:N"`` or ``"user"``.
    #[getter]
    fn kind(&self) -> Text {
        Text(self.phyr.kind().to_string())
    }

    /// The object that keeps the memory in place, such as the hold of a pin; or None.
    ///
    /// The list keeps its owner alive. So do its slices, its compact copies, and lists joined with
    /// them. The owner is not part of the list's value: equality and pickles leave it out.
    #[getter]
    fn owner(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.held.owner(py)
    }

    /// User virtual address of the first byte, if the list is of a pinned buffer; or None.
    ///
    /// Not part of the list's value, like `owner`. Joined lists have an address only if the second
    /// buffer follows the first, under the same owner.
    #[getter]
    fn uaddr(&self) -> Option<Int> {
        self.held.uaddr().map(Int)
    }

    /// The chunks, as a sequence of ``Chunk(paddr, length)``.
    #[getter]
    fn chunks(&self) -> PyChunks {
        PyChunks::new(Frozen::kept(self.phyr.clone()))
    }

    /// Return the addresses of the aligned blocks of one size that cover the list, as a column.
    ///
    /// The first block may start before the list and the last may end after it.
    ///
    /// Args:
    ///     page_size: Bytes in a block, a power of two.
    ///
    /// Raises:
    ///     AlignmentError: A chunk starts or ends inside the list at an address that is not a
    ///         multiple of `page_size`.
    ///     RangeError: `page_size` is not a power of two.
    ///     MemoryError: There are more blocks than memory for their addresses.
    ///
    /// Examples:
    ///     >>> phyr = Phyr.from_chunks([(0x1_0000, 0x2_0000), (0x9_0000, 0x1_0000)])
    ///     >>> [hex(paddr) for paddr in phyr.pages(0x1_0000)]
    ///     ['0x10000', '0x20000', '0x90000']
    fn pages(&self, py: Python<'_>, page_size: Amount) -> PyResult<PyColumn> {
        let mut pages = py.detach(|| self.phyr.pages(page_size.0))?;
        PyColumn::collect(py, pages.remaining(), |out| pages.read(out))
    }

    /// Return the physical addresses of the bytes at many positions, as a column.
    ///
    /// The same as ``[phyr[position] for position in positions]``, in one call; fastest where
    /// positions ascend. Negative ones are refused. After an exception `out` has all addresses or none.
    ///
    /// Args:
    ///     positions: Array or iterable of positions in bytes; ``bytes`` hold packed native ``uint64``.
    ///     out: Writable array of as many ``uint64``, which then takes the addresses and is returned.
    ///
    /// Raises:
    ///     PositionError: A position is outside the list; `out` is as it was.
    ///     ArrayError: An array is not contiguous or holds negative numbers; `out` has another length.
    ///     ArrayTypeError: Something is not a number, or `out` no ``uint64``.
    ///
    /// Examples:
    ///     >>> phyr = Phyr.from_pfns([7, 3])
    ///     >>> [hex(paddr) for paddr in phyr.translate([0x1002, 0x10])]
    ///     ['0x3002', '0x7010']
    #[pyo3(signature = (positions, *, out=None))]
    fn translate<'py>(
        &self,
        positions: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        positions::translate(&Frozen::kept(self.phyr.clone()), positions, out)
    }

    /// Return two lists: the bytes before `position`, and the bytes from `position` on. O(1).
    ///
    /// Raises:
    ///     RangeError: `position` is past the end.
    fn split(&self, py: Python<'_>, position: Amount) -> PyResult<(Self, Self)> {
        let (before, after) = self.phyr.split_at(position.0)?;
        let held = self.held.part(py, position.0);
        Ok((Self::with(before, self.held.part(py, 0)), Self::with(after, held)))
    }

    /// Return an equal list that keeps only its own entries alive.
    ///
    /// A slice shares the storage it was cut from, even if the slice is small. Its compact copy
    /// does not. Both keep the owner of the memory.
    fn compact(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self::with(py.detach(|| self.phyr.try_compact())?, self.held.part(py, 0)))
    }

    /// Return the same list in its frozen form: about half the bytes, for lists that are kept. O(n).
    ///
    /// It knows the owner of the memory, as the list does.
    ///
    /// Examples:
    ///     >>> phyr = Phyr.from_pfns(i * 7919 % 65536 for i in range(1000))
    ///     >>> phyr.freeze() == phyr, phyr.freeze().thaw() == phyr
    ///     (True, True)
    fn freeze(slf: &Bound<'_, Self>) -> PyResult<PyFrozen> {
        PyFrozen::of(slf.py(), slf.get())
    }

    /// Return how many bytes of memory this list and another have in common. A byte counts once,
    /// however often it is listed. O(n).
    ///
    /// Raises:
    ///     MismatchError: Granule or kind differ.
    ///
    /// Examples:
    ///     >>> Phyr.from_pfns([7, 3, 9]).overlap(Phyr.from_pfns([9, 8, 7, 9]))
    ///     8192
    fn overlap(&self, py: Python<'_>, other: Either) -> PyResult<Int> {
        overlap::overlap(py, &Frozen::kept(self.phyr.clone()), &other.into_list())
    }

    /// Return the memory that this list and another have in common: by address, each byte once.
    ///
    /// The result has the granule of the lists, or a smaller one if it has a boundary inside a
    /// granule that is not at its own ends. It has no owner. O(n).
    ///
    /// Raises:
    ///     MismatchError: Granule or kind differ.
    ///     RangeError: An address is out of the smaller granule's reach.
    ///
    /// Examples:
    ///     >>> list(Phyr.from_pfns([7, 3, 9]).intersect(Phyr.from_pfns([9, 8, 7, 9])).chunks)
    ///     [Chunk(paddr=28672, length=4096), Chunk(paddr=36864, length=4096)]
    fn intersect(&self, py: Python<'_>, other: Either) -> PyResult<Self> {
        overlap::intersect(py, &Frozen::kept(self.phyr.clone()), &other.into_list())
    }

    /// Return the parts of the list that lie in a range of addresses, in the list's order.
    ///
    /// Args:
    ///     paddr: Physical address of the first byte.
    ///     length: Bytes, at least one.
    ///
    /// Returns:
    ///     For each chunk with bytes in the range, the position of the first of them, and the part of
    ///     the chunk that lies in the range.
    ///
    /// Raises:
    ///     RangeError: The range is empty or passes 2^64.
    ///
    /// Examples:
    ///     >>> Phyr.from_pfns([7, 3, 8]).within(0x7800, 0x900)
    ///     [(2048, Chunk(paddr=30720, length=2048)), (8192, Chunk(paddr=32768, length=256))]
    #[pyo3(signature = (paddr, length=Amount(1)), text_signature = "($self, paddr, length=1)")]
    fn within<'py>(
        &self,
        py: Python<'py>,
        paddr: Amount,
        length: Amount,
    ) -> PyResult<Bound<'py, PyList>> {
        overlap::within(py, &Frozen::kept(self.phyr.clone()), paddr, length)
    }

    /// Return counts of what the list holds and of the memory that it uses. O(n).
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // Nobody waits for a short list; to release the interpreter takes longer.
        let stats = if object::is_short(&self.phyr) {
            self.phyr.stats()
        } else {
            py.detach(|| self.phyr.stats())
        };
        object::stats(py, stats)
    }

    /// Return the number of naturally aligned blocks of each order in the list.
    ///
    /// Every chunk is cut, front to back, into the largest blocks that are aligned to their own
    /// size. A granule that the list touches in part counts as whole. A block of order k has
    /// ``granule << k`` bytes.
    ///
    /// Examples:
    ///     >>> Phyr.from_pfns(range(511, 1024)).orders()
    ///     {0: 1, 9: 1}
    fn orders<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        object::orders(py, &py.detach(|| self.phyr.orders()))
    }

    /// Check every invariant of the list and of its storage; for tests of phyr itself.
    ///
    /// Raises:
    ///     PhyrError: An invariant does not hold: phyr has a bug, or the machine is faulty.
    fn validate(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.phyr.validate())?)
    }

    fn __len__(&self) -> PyResult<usize> {
        let length = self.phyr.length();
        usize::try_from(length).ok().filter(|&length| isize::try_from(length).is_ok()).ok_or_else(
            || {
                made::failure::<PyOverflowError>(format!(
                    "the list has {length:#x} bytes, more than len() can say; use .length"
                ))
            },
        )
    }

    fn __bool__(&self) -> bool {
        !self.phyr.is_empty()
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let length = self.phyr.length();
        match Key::new(key, length)? {
            Key::Slice(range) => self.part(py, range.bounds(key)?),
            Key::Index(Some(position)) => made::int(py, self.phyr.translate(position)?),
            Key::Index(None) => Err(keys::outside(key, length, Indexed::Bytes("list"))),
        }
    }

    fn __add__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        let Some(other) = Either::of(other) else {
            return Ok(py.NotImplemented().into_bound(py));
        };
        let (own, list) = (Frozen::kept(self.phyr.clone()), other.list());
        object::sum(py, [(&own, &self.held), (&list, other.held())])
    }

    fn __eq__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        let Ok(other) = other.cast::<Self>() else {
            return Ok(py.NotImplemented().into_bound(py));
        };
        let other = &other.get().phyr;
        let is_equal = py.detach(|| self.phyr == *other);
        Ok(is_equal.into_pyobject(py)?.to_owned().into_any())
    }

    fn __hash__(&self, py: Python<'_>) -> u64 {
        py.detach(|| hash(&self.phyr))
    }

    #[expect(clippy::unused_self, reason = "the signature of the slot")]
    fn __iter__(&self) -> PyResult<()> {
        Err(made::failure::<PyTypeError>(
            "a Phyr is not iterable, since that could mean bytes or chunks: use .chunks or .pages()",
        ))
    }

    fn __contains__(&self, _item: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.__iter__().map(|()| false)
    }

    fn __copy__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: PyRef<'py, Self>, _memo: &Bound<'py, PyAny>) -> PyRef<'py, Self> {
        slf
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let bytes = slf.get().to_bytes(py)?;
        let from = made::attribute(&py.get_type::<Self>(), "from_bytes")?;
        made::objects(py, [&from, made::objects(py, [bytes.as_any()])?.as_any()])
    }

    fn __sizeof__(&self) -> usize {
        size_of::<Self>() + self.phyr.storage()
    }

    fn __repr__(&self) -> Text {
        Text(format!("{:?}", self.phyr))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Visited {
        self.held.traverse(&visit)
    }
}
