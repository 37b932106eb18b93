//! A column of numbers that Python reads in place.

use core::ffi::c_int;

use alloc::format;
use alloc::vec::Vec;

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyMemoryView, PySlice};

use crate::python::convert::buffer::{self, Lender, Lent};
use crate::python::convert::numbers::{self, Key};
use crate::python::made::{self, Text};

/// A read-only column of unsigned 64-bit numbers.
///
/// A column lends its memory through the buffer protocol, so that ``memoryview`` and
/// ``numpy.asarray`` use it without a copy. A column is also a sequence of int.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> memoryview(Phyr.from_pfns([1, 2, 9]).chunks.paddrs).tolist()
///     [4096, 36864]
#[pyclass(name = "Column", module = "phyr", frozen, sequence)]
#[derive(Debug)]
pub(crate) struct PyColumn {
    items: Vec<u64>,
    /// A buffer view of the column points to this.
    shape: isize,
    stride: isize,
}

impl PyColumn {
    pub(crate) fn new(items: Vec<u64>) -> Self {
        let shape = items.len().cast_signed();
        Self { items, shape, stride: size_of::<u64>().cast_signed() }
    }

    /// Makes a column of `count` items, a block at a time. After each block the interpreter may
    /// handle signals.
    pub(crate) fn collect(
        py: Python<'_>,
        count: u64,
        mut items: impl Iterator<Item = u64> + Send,
    ) -> PyResult<Self> {
        const BLOCK: usize = 1 << 20;

        let mut column = Vec::new();
        let room = usize::try_from(count).ok().map(|count| column.try_reserve_exact(count));
        if !matches!(room, Some(Ok(()))) {
            return Err(made::failure::<PyMemoryError>(format!("no memory for {count} items")));
        }
        loop {
            let before = column.len();
            py.detach(|| column.extend(items.by_ref().take(BLOCK)));
            if column.len() == before {
                return Ok(Self::new(column));
            }
            py.check_signals()?;
        }
    }

    pub(crate) fn items(&self) -> &[u64] {
        &self.items
    }
}

impl Lender for PyColumn {
    fn lent(&self, _py: Python<'_>) -> PyResult<Lent<'_>> {
        Ok(Lent {
            start: self.items.as_ptr().cast_mut().cast(),
            length: size_of_val(&*self.items),
            readonly: true,
            item_size: size_of::<u64>(),
            format: c"Q",
            shape: &self.shape,
            stride: &self.stride,
        })
    }
}

#[pymethods]
impl PyColumn {
    fn __len__(&self) -> usize {
        self.items.len()
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let len = self.items.len() as u64;
        match Key::new(key, len)? {
            // The index is below the length of a vector, so it fits.
            Key::Index(Some(index)) => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                made::int(py, self.items[index])
            }
            Key::Index(None) => Err(numbers::outside(key, len, "items")),
            Key::Slice(_) => {
                // A list can be indexed with any step.
                let indices = key.cast::<PySlice>()?.indices(self.shape)?;
                let (mut at, step) = (indices.start, indices.step);
                let list = made::list(py)?;
                for done in 1..=indices.slicelength {
                    list.append(made::int(py, self.items[at.unsigned_abs()])?)?;
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
        signature = (value, start=0, stop=isize::MAX),
        text_signature = "($self, value, start=0, stop=sys.maxsize)"
    )]
    fn index(&self, value: &Bound<'_, PyAny>, start: isize, stop: isize) -> PyResult<usize> {
        let wanted = numbers::wanted(value)?;
        numbers::index_of(value.py(), self.items.iter().copied(), wanted, (start, stop))
    }

    /// Number of items equal to `value`.
    fn count(&self, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        let wanted = numbers::wanted::<u64>(value)?;
        Ok(value.py().detach(|| self.items.iter().filter(|&&item| Some(item) == wanted).count()))
    }

    fn __contains__(&self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.count(value)? > 0)
    }

    fn __repr__(&self) -> Text {
        Text(alloc::format!("Column({} items)", self.items.len()))
    }

    fn __sizeof__(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.items)
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
