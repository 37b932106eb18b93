//! A part of another object's memory that can be lent on its own: the result of `phyr.alloc`.

use alloc::format;
use core::ffi::c_int;

use std::sync::{Mutex, PoisonError};

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::python::convert::buffer::{self, Lender, Lent};
use crate::python::error;
use crate::python::made::{self, Int, Text};

/// The exception of closed memory.
fn closed() -> PyErr {
    error::new::<u64>("ClosedError", "the memory is closed".into(), [])
}

/// A part of the memory of a writable buffer. The part is a buffer too.
///
/// It keeps the buffer's memory in place until it is closed. It can be closed only when its memory
/// is not in use.
///
/// Args:
///     buffer: Anything writable with the buffer protocol and contiguous memory.
///     offset: Bytes to leave out at the start.
///     length: Bytes.
///
/// Raises:
///     RangeError: The part is not inside the buffer.
///     BufferError: The buffer is not writable.
///
/// Examples:
///     >>> with Area(bytearray(b"phyr"), 1, 2) as area:
///     ...     bytes(area)
///     b'hy'
#[pyclass(name = "Area", module = "phyr._phyr", frozen, subclass)]
#[derive(Debug)]
pub(crate) struct PyArea {
    start: usize,
    length: isize,
    stride: isize,
    /// No Python code runs while the lock is held.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The buffer; None when closed.
    whole: Option<PyUntypedBuffer>,
    /// Number of existing views of the part.
    views: usize,
}

impl Lender for PyArea {
    fn lent(&self, _py: Python<'_>) -> PyResult<Lent<'_>> {
        Ok(Lent {
            start: core::ptr::with_exposed_provenance_mut(self.start),
            length: self.length.unsigned_abs(),
            readonly: false,
            item_size: 1,
            format: c"B",
            shape: &self.length,
            stride: &self.stride,
        })
    }
}

impl PyArea {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyArea {
    #[new]
    fn new(buffer: &Bound<'_, PyAny>, offset: usize, length: usize) -> PyResult<Self> {
        let whole = buffer::borrow(buffer)?;
        if whole.readonly() || !whole.is_c_contiguous() {
            let what = format!("{} is not writable, contiguous memory", buffer.get_type());
            return Err(made::failure::<PyBufferError>(what));
        }
        let end = offset.checked_add(length).filter(|&end| end <= whole.len_bytes());
        // No memory is longer than a signed number can express.
        let (Some(_), Ok(signed)) = (end, isize::try_from(length)) else {
            let text = format!("{offset:#x}+{length:#x} is outside {:#x} bytes", whole.len_bytes());
            let numbers = [("offset", offset as u64), ("length", length as u64)];
            return Err(error::new("RangeError", text, numbers));
        };
        let start = whole.buf_ptr().cast::<u8>().wrapping_add(offset).expose_provenance();
        let state = Mutex::new(State { whole: Some(whole), views: 0 });
        Ok(Self { start, length: signed, stride: 1, state })
    }

    /// User virtual address of the first byte.
    #[getter]
    fn uaddr(&self) -> Int {
        Int(self.start as u64)
    }

    /// True if it is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.state().whole.is_none()
    }

    /// Release the memory. If it is closed already, do nothing.
    ///
    /// Raises:
    ///     BufferError: The memory is in use: there are views of it, or it is pinned.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let (views, whole) = {
            let mut state = self.state();
            (state.views, if state.views == 0 { state.whole.take() } else { None })
        };
        if views > 0 {
            return Err(made::failure::<PyBufferError>(format!(
                "{:#x}+{:#x} is in use by {views} views or pins",
                self.start, self.length
            )));
        }
        if let Some(whole) = whole {
            whole.release(py);
        }
        Ok(())
    }

    fn __len__(&self) -> usize {
        self.length.unsigned_abs()
    }

    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        if slf.get().closed() {
            return Err(closed());
        }
        Ok(slf.clone())
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(slf: &Bound<'_, Self>, _args: &Bound<'_, PyAny>) -> PyResult<()> {
        slf.call_method0("close").map(drop)
    }

    fn __repr__(&self) -> Text {
        let closed = if self.closed() { ", closed" } else { "" };
        Text(format!("Area({:#x}+{:#x}{closed})", self.start, self.length))
    }

    #[expect(unsafe_code, reason = "the signature of the slot")]
    unsafe fn __getbuffer__(
        slf: &Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let mut state = slf.get().state();
        if state.whole.is_none() {
            drop(state);
            return Err(closed());
        }
        // SAFETY: the interpreter passes a view to fill, as the slot requires.
        unsafe { buffer::lend(slf, view, flags) }?;
        state.views += 1;
        Ok(())
    }

    #[expect(unsafe_code, reason = "the signature of the slot")]
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.state().views -= 1;
    }
}
