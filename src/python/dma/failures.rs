//! Failing calls, in Rust: the twin of `phyr.iommu._failures`, which states the policy.

use alloc::format;

use core::panic::AssertUnwindSafe;

use std::panic::catch_unwind;

use pyo3::exceptions::{PyException, PyMemoryError};
use pyo3::panic::PanicException;
use pyo3::prelude::*;

use crate::python::calls;
use crate::python::error;
use crate::python::made;

/// Calls Python, and returns a panic as the exception that it is in Python.
///
/// If Python code raises `PanicException`, `PyO3` unwinds. That would skip the undoing that is
/// still to be done.
pub(crate) fn caught<T>(call: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(PanicException::new_err(calls::message(&panic))))
}

/// Returns one exception for a failure and for the cleanup after it: the cleanup's failure becomes
/// a note.
///
/// If either is an interrupt, the result is the interrupt, so that it is not lost.
pub(crate) fn also(py: Python<'_>, first: PyErr, second: PyResult<()>, doing: &str) -> PyErr {
    let Err(second) = second else { return first };
    let (main, other) = if is_interrupt(py, &second) && !is_interrupt(py, &first) {
        (second, first)
    } else {
        (first, second)
    };
    let noted = caught(|| {
        let other = other.value(py).repr()?;
        error::add_note(py, &main, &format!("{doing}: {}", other.to_string_lossy()))
    });
    match noted {
        Err(interrupt) if is_interrupt(py, &interrupt) && !is_interrupt(py, &main) => interrupt,
        // If the note cannot be written, only the note is lost.
        _ => main,
    }
}

/// Returns true if it is a panic of an extension in Rust. Each extension has a class of its own.
fn is_panic(py: Python<'_>, failure: &PyErr) -> bool {
    let class = failure.get_type(py);
    class.name().is_ok_and(|name| name == "PanicException")
        && class.module().is_ok_and(|module| module == "pyo3_runtime")
}

/// Returns true if the exception is not an error but a request to stop. It is raised even if other
/// calls failed.
fn is_interrupt(py: Python<'_>, failure: &PyErr) -> bool {
    !failure.is_instance_of::<PyException>(py) && !is_panic(py, failure)
}

/// Returns true if the exception can come at any moment, and so does not tell what was done. A
/// subclass of `MemoryError` does not count: somebody raised it on purpose.
pub(crate) fn is_abrupt(py: Python<'_>, failure: &PyErr) -> bool {
    failure.get_type(py).is(py.get_type::<PyMemoryError>()) || is_interrupt(py, failure)
}

/// Returns true if a backend's `unmap` says that nothing is mapped.
pub(crate) fn says_not_mapped(py: Python<'_>, failure: &PyErr) -> bool {
    let class = made::module(py, "phyr.errors")
        .and_then(|errors| made::attribute(&errors, "NotMappedError"));
    class.is_ok_and(|class| failure.is_instance(py, &class))
}

/// Returns true if a backend's `map` says that it failed to undo what it did.
pub(crate) fn is_still_mapped(py: Python<'_>, failure: &PyErr) -> bool {
    // If the attribute cannot be read, assume the worst.
    caught(|| match failure.value(py).getattr_opt(made::text(py, "still_mapped")?)? {
        Some(mark) => mark.is_truthy(),
        None => Ok(false),
    })
    .unwrap_or(true)
}
