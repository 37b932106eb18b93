//! The class `phyr.desc.Descriptors`: the records of a list, as bytes.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::ffi::{CStr, c_int};
use core::fmt;

use std::sync::{Mutex, OnceLock, PoisonError};

use pyo3::exceptions::{PyMemoryError, PyOverflowError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::desc::{Count, DescError, Fill, Place};
use crate::python::convert::buffer::{self, Bytes, Lender, Lent};
use crate::python::convert::items;
use crate::python::convert::numbers;
use crate::python::error;
use crate::python::made::{self, Ignored, Int, Text};

/// Bytes that are written at a time to a caller's buffer. After each piece the interpreter may
/// handle signals.
const PIECE: usize = 256 << 10;
/// Bytes of the first piece: few enough that clearing them costs little beside a few records. Each
/// next piece is twice as long.
const FIRST: usize = 1 << 10;
/// Number of list parts, or of pieces of descriptors, after which the interpreter may handle
/// signals.
pub(crate) const SIGNALS: usize = 64;

/// The descriptors of a list, as bytes.
///
/// The object lends all its bytes through the buffer protocol, in a format that ``numpy.asarray``
/// reads field by field. The bytes are made at the first use. `fill` makes them piece by piece
/// instead and keeps nothing. Both walk the list once. The first use of ``len``, `nents` or
/// `nbytes` needs a search, or one more walk if a limit can cut a chunk.
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
    /// A buffer view points to this.
    stride: isize,
    /// The position of `fill`. Code that holds the lock never waits for the interpreter.
    place: Mutex<Place>,
    count: OnceLock<Count>,
    whole: OnceLock<Whole>,
}

/// All bytes.
#[derive(Default)]
struct Whole {
    bytes: Vec<u8>,
    /// The number of records. A buffer view points to this.
    shape: isize,
}

impl fmt::Debug for PyDescriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PyDescriptors").field("format", &self.format).finish_non_exhaustive()
    }
}

/// Converts a size in bytes to `usize`; `None` if no memory can have that size.
fn room(size: u128) -> Option<usize> {
    isize::try_from(size).ok().map(isize::unsigned_abs)
}

/// Allocates memory for a piece of descriptors; `wanted` is the size of all.
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
    pub(crate) fn new(table: impl Fill + Send + Sync + 'static, format: &'static CStr) -> Self {
        let stride = made::signed(table.record_size());
        let (place, count, whole) = (Mutex::default(), OnceLock::new(), OnceLock::new());
        Self { table: Box::new(table), format, stride, place, count, whole }
    }

    /// The size of all records in bytes, if it is known without a walk.
    fn known_size(&self) -> Option<u128> {
        let count = self.count.get().copied().or_else(|| self.table.find_count())?;
        Some(u128::from(count.records) * self.table.record_size() as u128)
    }

    /// Makes all bytes. Called with the interpreter released.
    fn make(&self) -> PyResult<Vec<u8>> {
        let known = self.known_size();
        // If there can never be enough memory, fail before most of it is used.
        let least = u128::from(self.table.least()) * self.table.record_size() as u128;
        let reserve = |bytes: &mut Vec<u8>, more: u128| {
            // Room for more records than expected is reserved by doubling.
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
                items::signals()?;
            }
        }
        // `shrink_to_fit` aborts the process if there is no memory. The unused end of long memory was
        // never touched, and so is no memory of the machine.
        let mut fit = Vec::new();
        if bytes.len() < bytes.capacity().min(PIECE) && fit.try_reserve_exact(bytes.len()).is_ok() {
            fit.extend_from_slice(&bytes);
            bytes = fit;
        }
        Ok(bytes)
    }

    /// All bytes, made once.
    fn whole(&self, py: Python<'_>) -> PyResult<&Whole> {
        if self.whole.get().is_none() {
            let bytes = py.detach(|| self.make())?;
            let shape = made::signed(bytes.len() / self.table.record_size());
            // If another thread was first, it stored the same bytes.
            let _ = self.whole.set(Whole { bytes, shape });
        }
        Ok(self.whole.get_or_init(Whole::default))
    }

    /// The number of records, counted once.
    fn count(&self, py: Python<'_>) -> Count {
        *self.count.get().unwrap_or_else(|| {
            let count = py.detach(|| self.table.count());
            self.count.get_or_init(|| count)
        })
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyDescriptors {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = None)]
    fn refuse(_arguments: Ignored, _keywords: Option<Ignored>) -> PyResult<Self> {
        Err(made::no_constructor::<Self>("a function of phyr.desc, such as desc.scatterlist"))
    }

    /// Bytes of a record.
    #[getter]
    fn itemsize(&self) -> Int {
        Int(self.table.record_size() as u64)
    }

    /// Bytes of all records.
    #[getter]
    fn nbytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // A size of a record is far below 2^63.
        let size = i128::try_from(self.table.record_size()).unwrap_or(i128::MAX);
        made::wide(py, i128::from(self.count(py).records) * size)
    }

    /// Number of records that stand for bytes of the list. ``len`` counts the links between blocks
    /// too.
    #[getter]
    fn nents(&self, py: Python<'_>) -> Int {
        Int(self.count(py).data)
    }

    /// Number of records that `fill` has written.
    #[getter]
    fn done(&self, py: Python<'_>) -> Int {
        Int(py.detach(|| self.place.lock().unwrap_or_else(PoisonError::into_inner).record()))
    }

    /// Write the next records to a caller's memory, and return the bytes written.
    ///
    /// Writes as many whole records as fit. The next call continues after them. Returns 0 when all
    /// records are written.
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
        let most = target.len().min(PIECE);
        let mut piece = piece(most.min(FIRST))?;
        let mut written = 0;
        loop {
            let room = piece.len().min(target.len() - written);
            let (made, is_done) = py.detach(|| {
                let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
                let made = self.table.fill(&mut place, &mut piece[..room]);
                (made, self.table.is_done(&place))
            });
            target.write(written, &piece[..made]);
            written += made;
            if made == 0 || is_done {
                return Ok(written);
            }
            py.check_signals()?;
            let more = piece.len().min(most - piece.len());
            // Where there is no memory for a longer one, it stays as it is.
            if piece.try_reserve_exact(more).is_ok() {
                piece.resize(piece.len() + more, 0);
            }
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
        // Written straight into the object, without a copy.
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
        // SAFETY: the interpreter passes a view to fill, as the slot requires.
        unsafe { buffer::lend(slf, view, flags) }
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
