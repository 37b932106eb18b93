//! The chunks of a list as a table: records of NumPy's, columns of Arrow's.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::ffi::CStr;

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::error::{Error, FormatError, NoMemory};
use crate::list::chunks::Chunk;
use crate::list::frozen::Frozen;
use crate::list::frozen::extend::ExtendError;
use crate::list::reading::{Inner, List, Steps};
use crate::python::convert::arrow_made::{self, Vector};
use crate::python::convert::buffer::Bytes;
use crate::python::convert::fits;
use crate::python::error;
use crate::python::list::column::PyColumn;
use crate::python::made::{self, Ignored, Text};

const WORD: usize = size_of::<u64>();

/// Chunks looked at between two looks at signals.
const BLOCK_CHUNKS: usize = 1 << 20;

/// Rows of a batch, unless asked otherwise.
pub(crate) const ROWS: u64 = 1 << 16;

/// The chunks of a list, as a table of uint64 for NumPy, Arrow and data frames.
///
/// A row is a chunk: ``paddr``, ``length`` and, where it was asked for, ``position``, all in bytes.
/// ``numpy.asarray`` makes an array of records of it, ``pyarrow.table`` a table of batches, and
/// ``pyarrow.record_batch`` one batch; data frames take it as they take Arrow's. Made by
/// ``chunks.table``.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> table = Phyr.from_pfns([7, 8, 512]).chunks.table(position=True)
///     >>> table
///     Table(2 rows of paddr, length, position)
#[pyclass(name = "Table", module = "phyr", frozen)]
#[derive(Debug)]
pub(crate) struct PyTable {
    list: Frozen,
    has_position: bool,
    rows: u64,
}

impl PyTable {
    pub(crate) fn new(list: Frozen, has_position: bool, rows: u64) -> Self {
        Self { list, has_position, rows }
    }

    fn fields(&self) -> &'static [&'static CStr] {
        const FIELDS: &[&CStr] = &[c"paddr", c"length", c"position"];

        if self.has_position { FIELDS } else { &FIELDS[..2] }
    }

    /// An array of NumPy's, a record a row.
    fn records<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let numpy = made::module(py, "numpy")?;
        let dtype = made::list(py)?;
        for field in self.fields() {
            let (name, form) = (made::text(py, &field.to_string_lossy())?, made::text(py, "=u8")?);
            dtype.append(made::objects(py, [name.as_any(), form.as_any()])?)?;
        }
        let count = self.list.nr_chunks();
        let arguments = made::objects(py, [&made::int(py, count)?, dtype.as_any()])?;
        let array = made::attribute(&numpy, "empty")?.call1(arguments)?;
        let bytes = Bytes::new(&array, true)?;
        for first in (0..count).step_by(BLOCK_CHUNKS) {
            py.detach(|| self.fill(&bytes, first, count.min(first + BLOCK_CHUNKS as u64)))?;
            py.check_signals()?;
        }
        Ok(array)
    }

    /// Writes rows `first` to `end` to where they belong in `bytes`.
    fn fill(&self, bytes: &Bytes, first: u64, end: u64) -> Result<(), ExtendError> {
        /// Rows made at a time: as many as stay in the first level cache.
        const FEW: usize = 512;

        let width = self.fields().len() * WORD;
        let part = rows_of(&self.list, first, end)?;
        let mut few = [0; FEW * 3 * WORD];
        let mut chunks = part.walk_from(0);
        // From where the walk counts bytes to where the list does.
        let back = Steps::at(&chunks).wrapping_sub(start(&self.list, first));
        // It has fewer bytes than the array, which has an address for each.
        let mut at = usize::try_from(first).unwrap_or(usize::MAX) * width;
        let mut left = end - first;
        while left > 0 {
            let rows = few[..FEW * width].chunks_exact_mut(width);
            let rows = rows.take(usize::try_from(left).unwrap_or(FEW));
            let made = chunks.write(rows, |row, chunk, start| {
                row[..WORD].copy_from_slice(&chunk.paddr.to_ne_bytes());
                row[WORD..2 * WORD].copy_from_slice(&chunk.length.to_ne_bytes());
                if width > 2 * WORD {
                    row[2 * WORD..].copy_from_slice(&start.wrapping_sub(back).to_ne_bytes());
                }
            });
            if made == 0 {
                return Err(changed(&self.list).into());
            }
            bytes.write(at, &few[..made * width]);
            at += made * width;
            left -= made as u64;
        }
        Ok(())
    }

    /// All rows, as columns.
    fn columns(&self, py: Python<'_>) -> PyResult<Vec<Vector>> {
        let count = self.list.nr_chunks();
        let mut columns = Columns::new(self, count)?;
        for first in (0..count).step_by(BLOCK_CHUNKS) {
            py.detach(|| columns.extend(self, first, count.min(first + BLOCK_CHUNKS as u64)))?;
            py.check_signals()?;
        }
        Ok(columns.finish()?)
    }
}

/// The byte where chunk `number` starts; the length if there is none.
fn start(list: &impl List, number: u64) -> u64 {
    let length = list.length();
    // Words that are no archive may have chunks anywhere.
    list.chunk(number).map_or(length, |(position, _)| position.min(length))
}

/// Chunks `first` to `end` of a list, or up to its last.
pub(crate) fn part<L: List>(list: &L, first: u64, end: u64) -> Result<L, Error> {
    let (start, end) = (start(list, first), start(list, end));
    list.slice(start, end.max(start))
}

/// Chunks `first` to `end` of a list, which counts so many.
fn rows_of(list: &Frozen, first: u64, end: u64) -> Result<Frozen, ExtendError> {
    let part = part(list, first, end)?;
    // In words that are no archive there may be many more, for which there is no room.
    if part.nr_chunks() == end - first { Ok(part) } else { Err(changed(list).into()) }
}

/// The error for words, in memory of others, that are not those of the list.
fn changed(list: &Frozen) -> FormatError {
    FormatError::Changed { length: list.length() }
}

/// A vector with room for so many items.
pub(crate) fn room(count: u64) -> PyResult<Vec<u64>> {
    let mut items = Vec::new();
    match items.try_reserve_exact(usize::try_from(count).unwrap_or(usize::MAX)) {
        Ok(()) => Ok(items),
        Err(_) => Err(made::failure::<PyMemoryError>(format!("no memory for {count} items"))),
    }
}

/// A number of each chunk, as a column. Whole nodes at a time, a part of the list between two looks at
/// signals.
pub(crate) fn column(
    py: Python<'_>,
    list: &Frozen,
    of: impl Fn(Chunk) -> u64 + Copy + Sync,
) -> PyResult<PyColumn> {
    let count = list.nr_chunks();
    let mut items = room(count)?;
    for first in (0..count).step_by(BLOCK_CHUNKS) {
        let end = count.min(first + BLOCK_CHUNKS as u64);
        py.detach(|| {
            rows_of(list, first, end)?.chunks().extend(&mut items, of);
            Ok::<(), ExtendError>(())
        })?;
        py.check_signals()?;
    }
    if items.len() as u64 != count {
        return Err(changed(list).into());
    }
    Ok(PyColumn::new(items)?)
}

/// Columns that are being made.
struct Columns {
    paddrs: Vec<u64>,
    lengths: Vec<u64>,
    positions: Option<Vec<u64>>,
}

impl Columns {
    /// Columns with room for `count` rows.
    fn new(table: &PyTable, count: u64) -> Result<Self, Error> {
        let column = || {
            let mut column = Vec::<u64>::new();
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            match column.try_reserve_exact(count) {
                Ok(()) => Ok(column),
                Err(_) => Err(NoMemory::of::<u64>(count)),
            }
        };
        let positions = table.has_position.then(column).transpose()?;
        Ok(Self { paddrs: column()?, lengths: column()?, positions })
    }

    /// Appends rows `first` to `end` of a table, for which there is room.
    fn extend(&mut self, table: &PyTable, first: u64, end: u64) -> Result<(), ExtendError> {
        let part = rows_of(&table.list, first, end)?;
        let before = self.lengths.len();
        part.chunks().extend(&mut self.paddrs, |chunk: Chunk| chunk.paddr);
        part.chunks().extend(&mut self.lengths, |chunk: Chunk| chunk.length);
        let is_all = |column: &[u64]| (column.len() - before) as u64 == end - first;
        if !is_all(&self.paddrs) || !is_all(&self.lengths) {
            return Err(changed(&table.list).into());
        }
        if let Some(positions) = &mut self.positions {
            let mut position = start(&table.list, first);
            positions.extend(self.lengths[before..].iter().map(|length| {
                let start = position;
                position = position.wrapping_add(*length);
                start
            }));
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<Vector>, Error> {
        let all = [Some(self.paddrs), Some(self.lengths), self.positions];
        let shared = |column| Ok(Vector::try_one(|| column)?);
        all.into_iter().flatten().map(shared).collect()
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyTable {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = None)]
    fn refuse(_arguments: Ignored, _keywords: Option<Ignored>) -> PyResult<Self> {
        Err(made::no_constructor::<Self>("the method `table` of a Phyr's chunks"))
    }

    fn __len__(&self) -> usize {
        usize::try_from(self.list.nr_chunks()).unwrap_or(usize::MAX)
    }

    /// Return a NumPy array of records; of numbers, a row of them for each chunk, with such a `dtype`.
    ///
    /// Args:
    ///     dtype: What to convert the records or numbers to.
    ///     copy: True or None: the array is always new, and can be written.
    ///
    /// Raises:
    ///     ArrayError: `copy` is False.
    ///     RangeError: A number does not fit in `dtype`.
    ///     FormatError: The list is frozen, in memory or a file of others, which changed.
    ///     ImportError: There is no NumPy.
    #[pyo3(signature = (dtype=None, copy=None))]
    pub(crate) fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<&Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if copy == Some(false) {
            let what = "copy=False: the chunks of a list are packed, and no array lies there";
            return Err(error::new("ArrayError", what.into(), error::NO_NUMBERS));
        }
        let array = self.records(py)?;
        let Some(dtype) = dtype else { return Ok(array) };
        let numpy = made::module(py, "numpy")?;
        let dtype = made::call(&made::attribute(&numpy, "dtype")?, dtype)?;
        let mut array = array;
        if made::attribute(&dtype, "fields")?.is_none() {
            let width = made::int(py, self.fields().len() as u64)?;
            let rows = made::int(py, self.list.nr_chunks())?;
            array = made::call(&made::attribute(&array, "view")?, made::text(py, "=u8")?.as_any())?;
            array =
                made::attribute(&array, "reshape")?.call1(made::objects(py, [&rows, &width])?)?;
        }
        let converted = made::call(&made::attribute(&array, "astype")?, &dtype)?;
        fits::check(&converted, &array)?;
        Ok(converted)
    }

    /// Return the Arrow schema of a row, in a capsule: a struct of uint64 without nulls.
    pub(crate) fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        arrow_made::schema_capsule(py, self.fields())
    }

    /// Return all rows as one Arrow struct array, schema and items each in a capsule.
    ///
    /// Args:
    ///     requested_schema: Not looked at: consumers convert.
    ///
    /// Raises:
    ///     FormatError: The list is frozen, in memory or a file of others, which changed.
    #[pyo3(signature = (requested_schema=None))]
    pub(crate) fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let _ = requested_schema;
        let schema = arrow_made::schema_capsule(py, self.fields())?;
        let items = arrow_made::items_capsule(py, self.columns(py)?, true)?;
        made::objects(py, [&schema, &items])
    }

    /// Return the rows as an Arrow stream of batches, in a capsule. Each batch is made when it is asked
    /// for, without the interpreter. If the list is frozen, in memory or a file of others, which changed,
    /// the stream ends with an error that says so.
    ///
    /// Args:
    ///     requested_schema: Not looked at: consumers convert.
    #[pyo3(signature = (requested_schema=None))]
    pub(crate) fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = requested_schema;
        let table = Self::new(self.list.clone(), self.has_position, self.rows);
        let (count, mut first) = (self.list.nr_chunks(), 0);
        let mut batch = move || -> Result<Option<Vec<Vector>>, ExtendError> {
            let rows = table.rows.min(count - first);
            if rows == 0 {
                return Ok(None);
            }
            let mut columns = Columns::new(&table, rows)?;
            columns.extend(&table, first, first + rows)?;
            first += rows;
            Ok(Some(columns.finish()?))
        };
        let batches = Box::new(move || {
            batch().map_err(|why| match why {
                ExtendError::List(_) => c"no memory for a batch",
                ExtendError::Words(_) => {
                    c"the words of a frozen list changed, or were never checked"
                }
            })
        });
        arrow_made::stream_capsule(py, self.fields(), batches)
    }

    fn __repr__(&self) -> Text {
        let names: Vec<_> = self.fields().iter().map(|name| name.to_string_lossy()).collect();
        Text(format!("Table({} rows of {})", self.list.nr_chunks(), names.join(", ")))
    }
}

/// Refuses batches of no rows.
pub(crate) fn rows(rows: u64) -> PyResult<u64> {
    if rows == 0 {
        return Err(error::new(
            "RangeError",
            "batches of 0 rows would never end".into(),
            [("rows", 0_u64)],
        ));
    }
    Ok(rows)
}
