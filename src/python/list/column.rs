//! A column of numbers that Python reads in place.

use core::ffi::c_int;

use alloc::format;
use alloc::vec::Vec;

use pyo3::exceptions::{PyBufferError, PyMemoryError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyMemoryView, PySlice, PyTuple};

use crate::error::Error;
use crate::python::convert::arrow_made::{self, Vector};
use crate::python::convert::buffer::{self, Lender, Lent};
use crate::python::convert::dlpack::{self, Form};
use crate::python::convert::keys::{self, Indexed, Key};
use crate::python::convert::search::{self, SearchEnd};
use crate::python::made::{self, Ignored, Text};

/// A read-only column of unsigned 64-bit numbers.
///
/// Lends its memory without a copy: through the buffer protocol, to ``memoryview`` and
/// ``numpy.asarray``; through the Arrow C data interface, to ``pyarrow.array`` and ``polars.Series``;
/// through DLPack. Its items are uint64 for each of them. Also a sequence of int.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> memoryview(Phyr.from_pfns([1, 2, 9]).chunks.paddrs).tolist()
///     [4096, 36864]
#[pyclass(name = "Column", module = "phyr", frozen, sequence)]
#[derive(Debug)]
pub(crate) struct PyColumn {
    /// One vector. Borrowers may keep it longer than the column lives.
    items: Vector,
    /// Items, and bytes from one to the next: a buffer view points to both fields.
    shape: isize,
    stride: isize,
}

impl PyColumn {
    pub(crate) fn new(items: Vec<u64>) -> Result<Self, Error> {
        let shape = made::signed(items.len());
        let items = Vector::try_one(|| items)?;
        Ok(Self { items, shape, stride: made::signed(size_of::<u64>()) })
    }

    /// A column of `count` items, which `read` writes and counts, a block at a time. Between
    /// blocks, the interpreter may handle signals.
    pub(crate) fn collect(
        py: Python<'_>,
        count: u64,
        mut read: impl FnMut(&mut [u64]) -> usize + Send,
    ) -> PyResult<Self> {
        const BLOCK_ITEMS: usize = 1 << 20;
        /// Items read at a time: few enough that the memory just cleared is still in the cache.
        const FEW: usize = 1 << 11;

        let mut column: Vec<u64> = Vec::new();
        let room = usize::try_from(count).ok().map(|count| column.try_reserve_exact(count));
        if !matches!(room, Some(Ok(()))) {
            return Err(made::failure::<PyMemoryError>(format!("no memory for {count} items")));
        }
        loop {
            let is_done = py.detach(|| {
                (0..BLOCK_ITEMS / FEW).any(|_| {
                    let before = column.len();
                    // Never more than there is room for.
                    let few = FEW.min(column.capacity() - before);
                    column.resize(before + few, 0);
                    let count = read(&mut column[before..]);
                    column.truncate(before + count);
                    count == 0
                })
            });
            if is_done {
                return Ok(Self::new(column)?);
            }
            py.check_signals()?;
        }
    }

    pub(crate) fn items(&self) -> &[u64] {
        &self.items[0]
    }
}

impl Lender for PyColumn {
    fn lent(&self, _py: Python<'_>) -> PyResult<Lent<'_>> {
        Ok(Lent {
            start: self.items().as_ptr().cast_mut().cast(),
            length: size_of_val(self.items()),
            readonly: true,
            item_size: size_of::<u64>(),
            format: c"Q",
            shape: &self.shape,
            stride: &self.stride,
        })
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyColumn {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = None)]
    fn refuse(_arguments: Ignored, _keywords: Option<Ignored>) -> PyResult<Self> {
        Err(made::no_constructor::<Self>("an attribute of chunks, such as `chunks.paddrs`"))
    }

    fn __len__(&self) -> usize {
        self.items().len()
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let len = self.items().len() as u64;
        match Key::new(key, len)? {
            // The index is below the length of a vector, so it fits.
            Key::Index(Some(index)) => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                made::int(py, self.items()[index])
            }
            Key::Index(None) => Err(keys::outside(key, len, Indexed::Items)),
            Key::Slice(_) => {
                // A list can be indexed with any step.
                let indices = key.cast::<PySlice>()?.indices(self.shape)?;
                let (mut at, step) = (indices.start, indices.step);
                let list = made::list(py)?;
                for done in 1..=indices.slicelength {
                    list.append(made::int(py, self.items()[at.unsigned_abs()])?)?;
                    at += step;
                    if done % (1 << 16) == 0 {
                        py.check_signals()?;
                    }
                }
                Ok(list.into_any())
            }
        }
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyIterator>> {
        PyMemoryView::from(slf)?.try_iter()
    }

    fn __reversed__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let reversed = made::attribute(&made::module(slf.py(), "builtins")?, "reversed")?;
        made::call(&reversed, PyMemoryView::from(slf)?.as_any())
    }

    /// Number of the first item equal to `value`; works as for any sequence.
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
        let wanted = search::wanted(value)?;
        search::index_of(value.py(), self.items().iter().copied(), wanted, (start, stop))
    }

    /// Number of items equal to `value`.
    fn count(&self, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        let wanted = search::wanted::<u64>(value)?;
        Ok(value.py().detach(|| self.items().iter().filter(|&&item| Some(item) == wanted).count()))
    }

    fn __contains__(&self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.count(value)? > 0)
    }

    /// Return a NumPy array of uint64, or of another `dtype`; without a copy where that can be.
    ///
    /// Args:
    ///     dtype: What to convert the numbers to.
    ///     copy: True for an array of its own, which can be written; False for none that is a copy.
    ///
    /// Raises:
    ///     ImportError: There is no NumPy.
    ///     ValueError: `copy` is False, and `dtype` needs one.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<&Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let numpy = made::module(py, "numpy")?;
        let keywords = made::dict(py)?;
        keywords.set_item(made::text(py, "dtype")?, dtype)?;
        keywords.set_item(made::text(py, "copy")?, copy)?;
        // By way of the buffer protocol.
        made::attribute(&numpy, "array")?.call(made::objects(py, [slf.as_any()])?, Some(&keywords))
    }

    /// Return the device of the memory, as DLPack numbers it: the CPU.
    #[expect(clippy::unused_self, reason = "a method of the protocol")]
    fn __dlpack_device__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        made::numbers(py, [dlpack::CPU.unsigned_abs().into(), 0])
    }

    /// Return a DLPack capsule of uint64: in place and read-only, or a copy.
    ///
    /// Consumers of DLPack before version 1 get a copy, as its struct cannot say that memory is
    /// read-only.
    ///
    /// Args:
    ///     stream: None, as for all memory of the CPU.
    ///     max_version: The newest version that the consumer takes; (major, minor).
    ///     dl_device: The device to hand it over on: that of `__dlpack_device__`, the default.
    ///     copy: True for a copy, False for none.
    ///
    /// Raises:
    ///     BufferError: It cannot be handed over in that way.
    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<&Bound<'py, PyAny>>,
        max_version: Option<(u64, u64)>,
        dl_device: Option<(i64, i64)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let refused = |what: &str| Err(made::exception::<PyBufferError>(py, what));
        if stream.is_some() {
            return refused("memory of the CPU has no stream");
        }
        if let Some((device, number)) = dl_device.filter(|&given| given != (dlpack::CPU.into(), 0))
        {
            return refused(&format!("device ({device}, {number}) is not the CPU"));
        }
        let form = match (max_version, copy) {
            (None | Some((0, _)), Some(false)) => {
                return refused("DLPack before version 1 cannot say that memory is read-only");
            }
            (None | Some((0, _)), _) => Form::Plain,
            (_, Some(true)) => Form::Copied,
            _ => Form::Shared,
        };
        dlpack::capsule(py, &self.items, form)
    }

    /// Return the Arrow schema of the column, in a capsule: uint64, without nulls.
    #[expect(clippy::unused_self, reason = "a method of the protocol")]
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        arrow_made::schema_capsule(py, &[])
    }

    /// Return the column as an Arrow array, schema and items each in a capsule, without a copy.
    ///
    /// Args:
    ///     requested_schema: Not looked at: consumers convert.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let _ = requested_schema;
        let schema = arrow_made::schema_capsule(py, &[])?;
        let items = arrow_made::items_capsule(py, Vec::from([self.items.clone()]), false)?;
        made::objects(py, [&schema, &items])
    }

    fn __repr__(&self) -> Text {
        Text(alloc::format!("Column({} items)", self.items().len()))
    }

    fn __sizeof__(&self) -> usize {
        size_of::<Self>() + size_of_val(self.items())
    }

    #[expect(unsafe_code, reason = "the signature of the slot")]
    unsafe fn __getbuffer__(
        slf: &Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        // SAFETY: the interpreter passes a view to fill, as the slot requires.
        unsafe { buffer::lend(slf, view, flags) }
    }
}
