//! The chunks of a list, in either form, as a Python sequence.

use alloc::format;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::list::chunks::Chunk;
use crate::list::frozen::Frozen;
use crate::python::convert::amounts::Decimal;
use crate::python::convert::keys::{self, Indexed, Key, Sought};
use crate::python::convert::search::{self, SearchEnd};
use crate::python::list::column::PyColumn;
use crate::python::list::object::{hash, is_short};
use crate::python::list::table::{self, PyTable, part};
use crate::python::list::walk::{PyWalk, chunk_class, to_python};
use crate::python::made::{self, Ignored, Int, Text};

/// The chunks of a list: a sequence of `Chunk(paddr, length)`.
///
/// Each is a maximal run of physical memory, in bytes; the first and the last are trimmed to the
/// list, which may be a `Phyr` or a `FrozenPhyr`. A slice of chunks is the chunks of a part of the
/// list. NumPy and consumers of Arrow take the chunks as the table of ``paddr`` and ``length`` that
/// they are, in uint64.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> chunks = Phyr.from_pfns([7, 8, 9, 512])[0x800:].chunks
///     >>> len(chunks), chunks[-1]
///     (2, Chunk(paddr=2097152, length=4096))
///     >>> for paddr, length in chunks:
///     ...     print(hex(paddr), hex(length))
///     0x7800 0x2800
///     0x200000 0x1000
#[pyclass(name = "Chunks", module = "phyr", frozen, sequence)]
#[derive(Debug)]
pub(crate) struct PyChunks(Frozen);

impl PyChunks {
    pub(crate) fn new(list: Frozen) -> Self {
        Self(list)
    }

    fn column(
        &self,
        py: Python<'_>,
        of: impl Fn(Chunk) -> u64 + Copy + Sync,
    ) -> PyResult<PyColumn> {
        let Some(phyr) = self.0.as_phyr().filter(|phyr| is_short(phyr)) else {
            return table::column(py, &self.0, of);
        };
        // Nobody waits for a short list: the interpreter is not released, which takes longer.
        let mut walk = phyr.walk();
        // Finds the end of the list, which the count and the rest of the walk need, once.
        let last = walk.next_back();
        let mut items = table::room(walk.remaining() + u64::from(last.is_some()))?;
        walk.extend(&mut items, of);
        items.extend(last.map(of));
        Ok(PyColumn::new(items)?)
    }

    /// The chunks as a table of addresses and lengths, without positions.
    fn pairs(&self) -> PyTable {
        PyTable::new(self.0.clone(), false, table::ROWS)
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyChunks {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = None)]
    fn refuse(_arguments: Ignored, _keywords: Option<Ignored>) -> PyResult<Self> {
        Err(made::no_constructor::<Self>("the attribute `chunks` of a list"))
    }

    /// Addresses of all chunks, in bytes, as a column. Each access makes a new column.
    ///
    /// Raises:
    ///     FormatError: The list lies in memory or a file of others, which changed.
    #[getter]
    fn paddrs(&self, py: Python<'_>) -> PyResult<PyColumn> {
        self.column(py, |chunk| chunk.paddr)
    }

    /// Lengths of all chunks, in bytes, as a column. Each access makes a new column.
    ///
    /// Raises:
    ///     FormatError: The list lies in memory or a file of others, which changed.
    #[getter]
    fn lengths(&self, py: Python<'_>) -> PyResult<PyColumn> {
        self.column(py, |chunk| chunk.length)
    }

    /// Return the chunks as a table for NumPy, Arrow and data frames; with their positions, if asked.
    ///
    /// Args:
    ///     position: True for a third column, ``position``: bytes of the list before each chunk.
    ///     rows: Rows of a batch, where the table is taken as a stream.
    ///
    /// Raises:
    ///     RangeError: `rows` is 0.
    #[pyo3(
        signature = (*, position=false, rows=Decimal(table::ROWS)),
        text_signature = "($self, *, position=False, rows=65536)"
    )]
    fn table(&self, position: bool, rows: Decimal) -> PyResult<PyTable> {
        Ok(PyTable::new(self.0.clone(), position, table::rows(rows.0)?))
    }

    /// Return a NumPy array of records; of numbers, a row of them for each chunk, with such a `dtype`.
    ///
    /// Raises:
    ///     FormatError: The list lies in memory or a file of others, which changed.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<&Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.pairs().__array__(py, dtype, copy)
    }

    /// Return the Arrow schema of a chunk, in a capsule: a struct of uint64 without nulls.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.pairs().__arrow_c_schema__(py)
    }

    /// Return all chunks as one Arrow struct array, schema and items each in a capsule.
    ///
    /// Raises:
    ///     FormatError: The list lies in memory or a file of others, which changed.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        self.pairs().__arrow_c_array__(py, requested_schema)
    }

    /// Return the chunks as an Arrow stream of batches, in a capsule. If the list lies in memory or a
    /// file of others, which changed, the stream ends with an error that says so.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.pairs().__arrow_c_stream__(py, requested_schema)
    }

    /// Number of the chunk that holds the byte at `position`. O(log n).
    ///
    /// Args:
    ///     position: Bytes from the start of the list.
    ///
    /// Raises:
    ///     PositionError: `position` is outside the list.
    fn find(&self, position: Sought<'_>) -> PyResult<Int> {
        let position = position.number(|| self.0.length(), Indexed::Bytes("list"))?;
        Ok(Int(self.0.find(position)?))
    }

    /// Position, in bytes, where chunk `number` starts. O(log n).
    ///
    /// Args:
    ///     number: Number of the chunk, from 0.
    ///
    /// Raises:
    ///     PositionError: There is no such chunk.
    fn position(&self, number: Sought<'_>) -> PyResult<Int> {
        let number = number.number(|| self.0.nr_chunks(), Indexed::Chunks)?;
        Ok(Int(self.0.chunk(number)?.0))
    }

    /// Number of the first chunk equal to `value`; works as for any sequence.
    #[pyo3(
        signature = (value, start=SearchEnd(0), stop=SearchEnd(isize::MAX)),
        text_signature = "($self, value, start=0, stop=sys.maxsize)"
    )]
    fn index(
        &self,
        value: &Bound<'_, PyAny>,
        start: SearchEnd,
        stop: SearchEnd,
    ) -> PyResult<usize> {
        let wanted = chunk(value)?;
        search::index_of(value.py(), self.0.chunks(), wanted, (start, stop))
    }

    /// Number of chunks equal to `value`.
    fn count(&self, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        let wanted = chunk(value)?;
        let is_it = |chunk: &Chunk| Some(*chunk) == wanted;
        Ok(value.py().detach(|| self.0.chunks().filter(is_it).count()))
    }

    fn __contains__(&self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.count(value)? > 0)
    }

    fn __eq__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        let Ok(other) = other.cast::<Self>() else {
            return Ok(py.NotImplemented().into_bound(py));
        };
        let other = &other.get().0;
        let is_equal = py.detach(|| self.0 == *other);
        Ok(is_equal.into_pyobject(py)?.to_owned().into_any())
    }

    fn __hash__(&self, py: Python<'_>) -> u64 {
        py.detach(|| hash(&self.0))
    }

    fn __len__(&self) -> usize {
        usize::try_from(self.0.nr_chunks()).unwrap_or(usize::MAX)
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let (first, nr_chunks) = self.0.numbers();
        match Key::new(key, nr_chunks)? {
            Key::Index(Some(number)) => {
                let (_, chunk) = self.0.numbered(first + number);
                chunk_class(py).and_then(|class| to_python(py, class, chunk))
            }
            Key::Index(None) => Err(keys::outside(key, nr_chunks, Indexed::Chunks)),
            Key::Slice(range) => {
                let (start, end) = range.bounds(key)?;
                Ok(Bound::new(py, Self(part(&self.0, start, end)?))?.into_any())
            }
        }
    }

    fn __iter__(&self, py: Python<'_>) -> PyResult<PyWalk> {
        PyWalk::new(py, self.0.clone(), false)
    }

    fn __reversed__(&self, py: Python<'_>) -> PyResult<PyWalk> {
        PyWalk::new(py, self.0.clone(), true)
    }

    fn __sizeof__(&self) -> usize {
        size_of::<Self>() + self.0.storage()
    }

    fn __repr__(&self) -> Text {
        Text(format!("{:?}", self.0).replacen("Frozen", "Chunks", 1))
    }
}

/// Converts a pair of numbers to a chunk.
pub(crate) fn chunk(value: &Bound<'_, PyAny>) -> PyResult<Option<Chunk>> {
    Ok(search::wanted(value)?.map(|(paddr, length)| Chunk { paddr, length }))
}
