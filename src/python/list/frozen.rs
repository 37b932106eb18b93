//! `phyr.FrozenPhyr`: the list to keep, and its file.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use core::fmt;
use core::slice;
use core::sync::atomic::AtomicU64;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple, PyType};

use crate::error::FormatError;
use crate::list::frozen::Frozen;
use crate::list::phyr::Phyr;
use crate::list::reading::Inner;
use crate::python::convert::amounts::Amount;
use crate::python::convert::buffer::{self, Array};
use crate::python::convert::keys::{self, Indexed, Key};
use crate::python::convert::shown;
use crate::python::list::chunks::PyChunks;
use crate::python::list::column::PyColumn;
use crate::python::list::file;
use crate::python::list::held::{Held, Visited};
use crate::python::list::object::{self, PyPhyr, hash};
use crate::python::list::{overlap, positions};
use crate::python::made::{self, Ignored, Int, Text};

/// A list to keep: about half the bytes of a `Phyr`, the same answers, and a file of its own.
///
/// It reads as a `Phyr` does: ``len(frozen)``, ``frozen[a:b]`` and ``frozen[i]`` speak of bytes, and
/// ``frozen.chunks`` is the sequence of chunks. It equals every `Phyr` of the same chunks, and has
/// its hash. Descriptors, plans and mappings read it as it is; ``+`` and `Phyr.join` make a `Phyr`.
///
/// Made by `Phyr.freeze`, `from_bytes` and `open`.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> phyr = Phyr.from_pfns(i * 7919 % 65536 for i in range(1000))
///     >>> frozen = phyr.freeze()
///     >>> frozen == phyr, frozen[0x1234] == phyr[0x1234], frozen[0x800:0x1800] == phyr[0x800:0x1800]
///     (True, True, True)
///     >>> len(frozen.to_bytes()) < len(phyr.to_bytes()) / 2
///     True
#[pyclass(name = "FrozenPhyr", module = "phyr", frozen)]
#[derive(Debug)]
pub(crate) struct PyFrozen {
    frozen: Frozen,
    held: Held,
}

impl PyFrozen {
    /// The frozen form of a list, which keeps what holds its memory.
    pub(crate) fn of(py: Python<'_>, phyr: &PyPhyr) -> PyResult<Self> {
        let frozen = py.detach(|| phyr.as_ref().try_freeze())?;
        Ok(Self { frozen, held: phyr.held().part(py, 0) })
    }

    fn new(frozen: Frozen) -> Self {
        Self::with(frozen, Held::default())
    }

    /// The list in memory that another object lends.
    fn opened(
        cls: &Bound<'_, PyType>,
        memory: &Bound<'_, PyAny>,
        validate: bool,
    ) -> PyResult<Self> {
        let opened = Words::new(memory)?.map(|words| Frozen::from_shared(Box::new(words)));
        let frozen = match opened {
            Some(Ok(frozen)) => frozen,
            // A few chunks, in the bytes of a `Phyr`, or memory at an odd place.
            None | Some(Err(FormatError::Magic { .. } | FormatError::Size { .. })) => {
                return Self::from_bytes(cls, memory);
            }
            Some(Err(why)) => return Err(why.into()),
        };
        if validate {
            cls.py().detach(|| frozen.check())?;
        }
        Ok(Self::new(frozen))
    }

    pub(crate) fn with(frozen: Frozen, held: Held) -> Self {
        Self { frozen, held }
    }

    /// The owner and the address of the list's memory.
    pub(crate) fn held(&self) -> &Held {
        &self.held
    }
}

impl fmt::Display for PyFrozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{:?}", self.frozen).replacen("Frozen", "FrozenPhyr", 1))
    }
}

impl AsRef<Frozen> for PyFrozen {
    fn as_ref(&self) -> &Frozen {
        &self.frozen
    }
}

/// The list that an object is, in either form, to read.
pub(crate) fn list_of(object: &Bound<'_, PyAny>) -> PyResult<Frozen> {
    if let Ok(frozen) = object.cast::<PyFrozen>() {
        return Ok(frozen.get().frozen.clone());
    }
    let phyr = object.cast::<PyPhyr>().map_err(|_| no_list(object))?;
    Ok(Frozen::kept(phyr.get().as_ref().clone()))
}

/// The error for an object that is no list.
pub(crate) fn no_list(object: &Bound<'_, PyAny>) -> PyErr {
    made::failure::<PyTypeError>(shown::wrong_argument(object, "a list of memory"))
}

/// Memory that another object lends, as words.
#[derive(Debug)]
struct Words(PyUntypedBuffer);

impl Words {
    /// The words that `object` lends, if they lie where words may.
    fn new(object: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let buffer = buffer::borrow(object)?;
        let is_aligned = buffer.buf_ptr().cast::<AtomicU64>().is_aligned();
        let is_whole = buffer.len_bytes() % size_of::<u64>() == 0;
        let fits = buffer.is_c_contiguous() && is_aligned && is_whole && buffer.len_bytes() > 0;
        Ok(fits.then_some(Self(buffer)))
    }
}

impl AsRef<[AtomicU64]> for Words {
    #[expect(unsafe_code, reason = "a buffer is a raw pointer and a size")]
    fn as_ref(&self) -> &[AtomicU64] {
        let (start, bytes) = (self.0.buf_ptr().cast::<AtomicU64>(), self.0.len_bytes());
        // SAFETY: the exporter lends so many contiguous bytes while the buffer lives, which this
        // reference does not outlive; `new` saw that they are aligned and not null. Others may write
        // them: the words are atomic, and are only loaded.
        unsafe { slice::from_raw_parts(start, bytes / size_of::<u64>()) }
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyFrozen {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = None)]
    fn refuse(_arguments: Ignored, _keywords: Option<Ignored>) -> PyResult<Self> {
        Err(made::no_constructor::<Self>(
            "freeze() of a Phyr, FrozenPhyr.from_bytes or FrozenPhyr.open",
        ))
    }

    /// Open a file, or memory, that holds the bytes of a list. Nothing is copied, or read yet.
    ///
    /// A file is mapped, so any number of processes share one copy of it. Opening without `validate`
    /// takes the same time whatever the size. Bytes that are no list's, or that change later, then
    /// yield wrong chunks, but no crash. No reader can prevent one thing: if somebody cuts a mapped
    /// file short, reading the lost part ends the process (``SIGBUS``).
    ///
    /// Args:
    ///     source: Path of a file; or an object that lends memory, whose start is a multiple of eight.
    ///         Memory elsewhere is copied and validated.
    ///     validate: Check every word first: that they are those of one list, unchanged since they were
    ///         written. O(n), and the interpreter is free meanwhile. The bytes of a list that freezing
    ///         makes no smaller are copied and checked in any case.
    ///
    /// Raises:
    ///     FormatError: The bytes are not a list's, or have changed since they were written. The
    ///         message starts with the path of the file, which is `filename`.
    ///     OSError: The file cannot be opened or mapped; `filename` is its path.
    ///
    /// Examples:
    ///     >>> import pathlib, tempfile
    ///     >>> from phyr import Phyr
    ///     >>> phyr = Phyr.from_pfns(i * 7919 % 65536 for i in range(1000))
    ///     >>> with tempfile.TemporaryDirectory() as directory:
    ///     ...     path = pathlib.Path(directory, "guest.phyf")
    ///     ...     _ = path.write_bytes(phyr.freeze().to_bytes())
    ///     ...     FrozenPhyr.open(path) == phyr
    ///     True
    #[classmethod]
    #[pyo3(
        signature = (source, *, validate=true),
        text_signature = "($cls, source, *, validate=True)"
    )]
    fn open(cls: &Bound<'_, PyType>, source: &Bound<'_, PyAny>, validate: bool) -> PyResult<Self> {
        if Array::is_lent_by(source) {
            return Self::opened(cls, source, validate);
        }
        let os = made::module(cls.py(), "os")?;
        let path = made::call(&made::attribute(&os, "fspath")?, source)?;
        file::map(&os, &path)
            .and_then(|memory| Self::opened(cls, &memory, validate))
            .map_err(|failure| file::naming(failure, &path))
    }

    /// Read a list that `to_bytes` wrote, from any bytes-like object; that of a `Phyr` as well.
    ///
    /// The bytes may come from anywhere: they are copied, and everything is checked.
    ///
    /// Raises:
    ///     FormatError: They are not a list's, or have changed since they were written.
    #[classmethod]
    #[pyo3(text_signature = "($cls, data)")]
    fn from_bytes(cls: &Bound<'_, PyType>, data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let bytes = Array::bytes(data)?;
        Ok(Self::new(cls.py().detach(|| Frozen::from_bytes(&bytes))?))
    }

    /// Return the list as bytes, which are also its file: versioned, little-endian, without pointers,
    /// the same for equal lists. A list that freezing makes no smaller has those of a `Phyr`.
    ///
    /// Raises:
    ///     FormatError: The list lies in memory or a file of others, which changed.
    ///
    /// Examples:
    ///     >>> from phyr import Phyr
    ///     >>> frozen = Phyr.from_pfns(i * 7919 % 65536 for i in range(1000)).freeze()
    ///     >>> FrozenPhyr.from_bytes(frozen.to_bytes()) == frozen
    ///     True
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| self.frozen.to_bytes())?;
        made::bytes(py, &bytes)
    }

    /// Return the same list as a `Phyr`. O(n), about the cost of a walk.
    ///
    /// Raises:
    ///     FormatError: The list lies in memory or a file of others, which changed.
    ///
    /// Examples:
    ///     >>> from phyr import Phyr
    ///     >>> Phyr.from_pfns([1, 2, 9]).freeze().thaw().chunks[0]
    ///     Chunk(paddr=4096, length=8192)
    fn thaw(&self, py: Python<'_>) -> PyResult<PyPhyr> {
        let phyr: Result<Phyr, FormatError> = py.detach(|| self.frozen.thaw());
        Ok(PyPhyr::with(phyr?, self.held.part(py, 0)))
    }

    /// Return how many bytes of memory this list and another have in common, as for a `Phyr`.
    ///
    /// Raises:
    ///     MismatchError: Granule or kind differ.
    fn overlap(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<Int> {
        overlap::overlap(py, &self.frozen, &list_of(other)?)
    }

    /// Return the memory that this list and another have in common, as a `Phyr` does.
    ///
    /// Raises:
    ///     MismatchError: Granule or kind differ.
    ///     RangeError: An address is out of a smaller granule's reach.
    fn intersect(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<PyPhyr> {
        overlap::intersect(py, &self.frozen, &list_of(other)?)
    }

    /// Return the parts of the list that lie in a range of addresses, as for a `Phyr`.
    ///
    /// Raises:
    ///     RangeError: The range is empty or passes 2^64.
    #[pyo3(signature = (paddr, length=Amount(1)), text_signature = "($self, paddr, length=1)")]
    fn within<'py>(
        &self,
        py: Python<'py>,
        paddr: Amount,
        length: Amount,
    ) -> PyResult<Bound<'py, PyList>> {
        overlap::within(py, &self.frozen, paddr, length)
    }

    /// Return counts of what the list holds and of the memory that it uses. O(n).
    ///
    /// ``nr_entries`` counts the words that a `Phyr` would have; ``storage`` is this list's own, without
    /// memory of others.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        object::stats(py, py.detach(|| self.frozen.stats()))
    }

    /// Return the number of naturally aligned blocks of each order in the list, as for a `Phyr`.
    ///
    /// Examples:
    ///     >>> from phyr import Phyr
    ///     >>> Phyr.from_pfns(range(511, 1024)).freeze().orders()
    ///     {0: 1, 9: 1}
    fn orders<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        object::orders(py, &py.detach(|| self.frozen.orders()))
    }

    /// Check every word: that they are those of one list, unchanged since they were written. O(n).
    ///
    /// Of a slice, only what is read for the slice is checked: that it is part of a list. That it is
    /// unchanged only the whole can say. So a large file can be opened with ``validate=False``, and
    /// checked part by part.
    ///
    /// Raises:
    ///     FormatError: They are not.
    fn validate(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.frozen.check())?)
    }

    /// Bytes in the list; as ``len(frozen)``, which Python limits to 2^63 - 1.
    #[getter]
    fn length(&self) -> Int {
        Int(self.frozen.length())
    }

    /// Unit of the list's addresses and inner boundaries, in bytes.
    #[getter]
    fn granule(&self) -> Int {
        Int(self.frozen.granule().bytes())
    }

    /// Kind of the addresses: ``"ram"``, ``"mmio"``, ``"mmio:N"`` or ``"user"``.
    #[getter]
    fn kind(&self) -> Text {
        Text(self.frozen.kind().to_string())
    }

    /// The object that keeps the memory in place: the owner of the list that was frozen, or None.
    #[getter]
    fn owner(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.held.owner(py)
    }

    /// User virtual address of the first byte: that of the list that was frozen, or None.
    #[getter]
    fn uaddr(&self) -> Option<Int> {
        self.held.uaddr().map(Int)
    }

    /// The chunks, as a sequence of ``Chunk(paddr, length)``.
    #[getter]
    fn chunks(&self) -> PyChunks {
        PyChunks::new(self.frozen.clone())
    }

    /// Return the physical addresses of the bytes at many positions, as a column; as for a `Phyr`.
    ///
    /// Positions that ascend are the fastest; others are looked up one by one. After an exception,
    /// also at Ctrl-C, `out` has all addresses or none.
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
    ///     >>> from phyr import Phyr
    ///     >>> [hex(paddr) for paddr in Phyr.from_pfns([7, 3]).freeze().translate([0x1004, 8])]
    ///     ['0x3004', '0x7008']
    #[pyo3(signature = (positions, *, out=None))]
    fn translate<'py>(
        &self,
        positions: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        positions::translate(&self.frozen, positions, out)
    }

    /// Return the addresses of the aligned blocks of one size that cover the list, as a column.
    ///
    /// Args:
    ///     page_size: Bytes in a block, a power of two.
    ///
    /// Raises:
    ///     AlignmentError: A chunk starts or ends inside the list at an address that is not a
    ///         multiple of `page_size`.
    ///     RangeError: `page_size` is not a power of two.
    ///     MemoryError: There are more blocks than memory for their addresses.
    fn pages(&self, py: Python<'_>, page_size: Amount) -> PyResult<PyColumn> {
        let mut pages = py.detach(|| self.frozen.pages(page_size.0))?;
        PyColumn::collect(py, pages.remaining(), |out| pages.read(out))
    }

    /// Return the bytes before `position` and those from it on, as two lists. O(1).
    ///
    /// Raises:
    ///     RangeError: `position` is beyond the end.
    fn split(&self, py: Python<'_>, position: Amount) -> PyResult<(Self, Self)> {
        let (before, after) = self.frozen.split_at(position.0)?;
        let part = |frozen, start| Self { frozen, held: self.held.part(py, start) };
        Ok((part(before, 0), part(after, position.0)))
    }

    fn __len__(&self) -> PyResult<usize> {
        let length = self.frozen.length();
        usize::try_from(length).ok().filter(|&length| isize::try_from(length).is_ok()).ok_or_else(
            || {
                made::failure::<PyOverflowError>(format!(
                    "the list has {length:#x} bytes, more than len() can say; use .length"
                ))
            },
        )
    }

    fn __bool__(&self) -> bool {
        !self.frozen.is_empty()
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let length = self.frozen.length();
        match Key::new(key, length)? {
            Key::Slice(range) => {
                let (start, end) = range.bounds(key)?;
                let held = self.held.part(py, start);
                let frozen = self.frozen.slice(start, end)?;
                Ok(Bound::new(py, Self { frozen, held })?.into_any())
            }
            Key::Index(Some(position)) => made::int(py, self.frozen.translate(position)?),
            Key::Index(None) => Err(keys::outside(key, length, Indexed::Bytes("list"))),
        }
    }

    fn __add__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        let (list, held) = if let Ok(other) = other.cast::<Self>() {
            (other.get().frozen.clone(), &other.get().held)
        } else if let Ok(other) = other.cast::<PyPhyr>() {
            (Frozen::kept(other.get().phyr.clone()), &other.get().held)
        } else {
            return Ok(py.NotImplemented().into_bound(py));
        };
        object::sum(py, [(&self.frozen, &self.held), (&list, held)])
    }

    fn __eq__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        let is_equal = if let Ok(other) = other.cast::<Self>() {
            let other = &other.get().frozen;
            py.detach(|| self.frozen == *other)
        } else if let Ok(other) = other.cast::<PyPhyr>() {
            let other = other.get().as_ref();
            py.detach(|| self.frozen == *other)
        } else {
            return Ok(py.NotImplemented().into_bound(py));
        };
        Ok(is_equal.into_pyobject(py)?.to_owned().into_any())
    }

    fn __hash__(&self, py: Python<'_>) -> u64 {
        py.detach(|| hash(&self.frozen))
    }

    #[expect(clippy::unused_self, reason = "the signature of the slot")]
    fn __iter__(&self) -> PyResult<()> {
        Err(made::failure::<PyTypeError>(
            "a FrozenPhyr is not iterable, since that could mean bytes or chunks: use .chunks",
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
        size_of::<Self>() + self.frozen.storage()
    }

    fn __repr__(&self) -> Text {
        Text(self.to_string())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Visited {
        self.held.traverse(&visit)
    }
}
