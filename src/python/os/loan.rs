//! The address of an object's memory in this process, for `phyr.pagemap`.

use alloc::format;

use std::sync::{Mutex, PoisonError};

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::python::convert::buffer::{self, Array};
use crate::python::error;
use crate::python::made::{self, Text};

/// Keep a buffer in place and return its address.
///
/// While the context lasts, the buffer's owner can neither resize nor release it.
///
/// Args:
///     buffer: Anything with the buffer protocol and one contiguous stretch of memory.
///
/// Raises:
///     ArrayTypeError: The object has no buffer.
///     ArrayError: Its memory is not contiguous, or it refuses to lend it.
///     Exception: Errors of the object itself, such as `ValueError` if it is closed.
///
/// Examples:
///     >>> with Loan(bytearray(5)) as (uaddr, length):
///     ...     uaddr > 0, length
///     (True, 5)
#[pyclass(name = "Loan", module = "phyr._phyr", frozen)]
#[derive(Debug)]
pub(crate) struct PyLoan {
    buffer: Mutex<Option<PyUntypedBuffer>>,
    uaddr: usize,
    length: usize,
    /// True if the owner forbids writing to it.
    #[pyo3(get)]
    readonly: bool,
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyLoan {
    #[new]
    fn new(buffer: &Bound<'_, PyAny>) -> PyResult<Self> {
        if !Array::is_lent_by(buffer) {
            let what = format!("{} has no buffer", buffer.get_type());
            return Err(error::new("ArrayTypeError", what, error::NO_NUMBERS));
        }
        let lent = buffer::borrow(buffer).map_err(|failure| {
            // Other errors, such as that of a closed mmap, come from the owner, whose message is
            // the best.
            if !failure.is_instance_of::<PyBufferError>(buffer.py()) {
                return failure;
            }
            let what = format!("{} does not lend its memory: {failure}", buffer.get_type());
            error::new("ArrayError", what, error::NO_NUMBERS)
        })?;
        if !lent.is_c_contiguous() && !lent.is_fortran_contiguous() {
            let what = format!("the memory of {} is not contiguous", buffer.get_type());
            return Err(error::new("ArrayError", what, error::NO_NUMBERS));
        }
        let (uaddr, length) = (lent.buf_ptr().addr(), lent.len_bytes());
        let readonly = lent.readonly();
        Ok(Self { buffer: Mutex::new(Some(lent)), uaddr, length, readonly })
    }

    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        made::numbers(py, [self.uaddr as u64, self.length as u64])
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, py: Python<'_>, _args: &Bound<'_, PyAny>) {
        // Taken while the lock is held, released after it: releasing calls code of the owner.
        let lent = self.buffer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(lent) = lent {
            lent.release(py);
        }
    }

    fn __repr__(&self) -> Text {
        Text(format!("Loan({:#x}+{:#x})", self.uaddr, self.length))
    }
}
