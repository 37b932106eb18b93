//! `PyO3` as its macros see it, with one change: a call from Python stands a lack of memory.
//!
//! ```text
//! Python --> trampoline of PyO3 --> guarded --> what PyO3's macros make --> a method of ours
//!            aborts if an exception cannot be made            panics if a dict or string cannot be made
//! ```
//!
//! `PyO3` makes most exceptions, such as those for a wrong keyword, only when it hands them to
//! Python. There, a lack of memory is a panic that nothing can catch. So the exception is made here,
//! and if that fails, it is the `MemoryError` that Python always has ready. The same goes for
//! `PyO3`'s panic where a new object is null. Operators and attributes do not pass here, so they have
//! no arguments that `PyO3` would convert.
//!
//! Functions and methods name this module by `#[pyo3(crate = "crate::python::calls")]`. It replaces
//! one private macro of `PyO3`, so Cargo.toml names the exact version.
#![expect(unsafe_code, reason = "calls functions by the signatures of Python's slots")]

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::any::Any;
use core::ffi::c_int;
use core::panic::AssertUnwindSafe;

use std::panic::catch_unwind;

use pyo3::exceptions::{PyBaseException, PyTypeError, PyValueError};
use pyo3::impl_::trampoline::MethodDef;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::PyList;
// The same names as in `PyO3`: its macros look them up here.
pub(crate) use pyo3::*;

use crate::python::made;

/// `PyO3`'s private module, with one macro of ours.
pub(crate) mod impl_ {
    pub(crate) use pyo3::impl_::*;

    pub(crate) mod trampoline {
        pub(crate) use crate::python::calls::get_trampoline_function;
    }
}

/// The function that Python calls for a function of `PyO3`'s macros.
macro_rules! get_trampoline_function {
    ($trampoline:ident, $function:path) => {{
        struct Inner;
        impl ::pyo3::impl_::trampoline::MethodDef<::pyo3::impl_::trampoline::$trampoline::Func>
            for Inner
        {
            const METH: ::pyo3::impl_::trampoline::$trampoline::Func = $function;
        }
        ::pyo3::impl_::trampoline::$trampoline::<$crate::python::calls::Guarded<Inner>>
    }};
}
pub(crate) use get_trampoline_function;

/// A function that is called by [`guarded`].
pub(crate) struct Guarded<F>(F);

/// Guards the functions of these signatures; many kinds of slot share one.
macro_rules! guard {
    ($(($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {$(
        impl<F> MethodDef<for<'py> unsafe fn(Python<'py> $(, $kind)*) -> PyResult<$result>>
            for Guarded<F>
        where
            F: MethodDef<for<'py> unsafe fn(Python<'py> $(, $kind)*) -> PyResult<$result>>,
        {
            const METH: for<'py> unsafe fn(Python<'py> $(, $kind)*) -> PyResult<$result> =
                |py $(, $argument)*| {
                    // SAFETY: the arguments are those that Python passed to the same kind of slot.
                    guarded(py, || unsafe { (F::METH)(py $(, $argument)*) })
                };
        }
    )*};
}

type Object = *mut ffi::PyObject;

guard! {
    (slf: Object) -> Object;
    (slf: Object) -> c_int;
    (slf: Object) -> ffi::Py_ssize_t;
    (slf: Object, other: Object) -> Object;
    (slf: Object, other: Object) -> c_int;
    (slf: Object, at: ffi::Py_ssize_t) -> Object;
    (slf: Object, other: Object, op: c_int) -> Object;
    (slf: Object, arguments: Object, keywords: Object) -> Object;
    (slf: Object, arguments: Object, keywords: Object) -> c_int;
    (class: *mut ffi::PyTypeObject, arguments: Object, keywords: Object) -> Object;
    (slf: Object, arguments: *const Object, count: ffi::Py_ssize_t, names: Object) -> Object;
    (slf: Object, view: *mut ffi::Py_buffer, flags: c_int) -> c_int;
    (slf: Object, view: *mut ffi::Py_buffer) -> ();
}

/// Calls a function of `PyO3`'s macros. Makes its exception, or that of its panic, at once.
#[inline]
fn guarded<T>(py: Python<'_>, call: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(failure)) => Err(named(made_now(py, failure), py)),
        Err(panic) => Err(of_panic(py, &panic)),
    }
}

/// Returns an exception that exists already; `MemoryError` if there is no memory for it.
#[cold]
fn made_now(py: Python<'_>, failure: PyErr) -> PyErr {
    let made = catch_unwind(AssertUnwindSafe(|| {
        // Makes it, if it was not made yet.
        failure.value(py);
        failure
    }));
    made.unwrap_or_else(|_| no_memory(py))
}

/// Puts the name of a wrong argument into the message of an exception, where `PyO3` makes a note of
/// it. If there is no memory for that, the note stays.
#[cold]
fn named(failure: PyErr, py: Python<'_>) -> PyErr {
    match take_note(failure.value(py)) {
        Ok(()) | Err(_) => failure,
    }
}

/// Takes the name of an argument out of the last note of an exception. An argument's own exception of
/// another class stays as it is, and so does one that has a name already.
fn take_note(failure: &Bound<'_, PyBaseException>) -> PyResult<()> {
    let py = failure.py();
    let module = made::attribute(&failure.get_type(), "__module__")?;
    let is_of_pyo3 = failure.is_exact_instance_of::<PyTypeError>()
        || failure.is_exact_instance_of::<PyValueError>();
    if !is_of_pyo3 && !module.eq(made::text(py, "phyr.errors")?)? {
        return Ok(());
    }
    let Some(notes) = failure.getattr_opt(made::text(py, "__notes__")?)? else { return Ok(()) };
    let notes = notes.cast_into::<PyList>()?;
    let Some(last) = notes.len().checked_sub(1) else { return Ok(()) };
    let note = notes.get_item(last)?.extract::<String>()?;
    if let Some(name) = note.strip_prefix("while processing ") {
        if failure.str()?.to_string_lossy().starts_with("argument ") {
            return Ok(());
        }
        made::prefix(failure, &format!("argument {name}: "))?;
        notes.del_item(last)?;
        if last == 0 {
            failure.delattr(made::text(py, "__notes__")?)?;
        }
    }
    Ok(())
}

/// Returns the exception for a panic.
#[cold]
fn of_panic(py: Python<'_>, panic: &Box<dyn Any + Send>) -> PyErr {
    let text = message(panic);
    // An object that `PyO3` could not make, or an exception that it did not expect.
    if text.contains("pointer is null") || text.contains("<class 'MemoryError'>") {
        return no_memory(py);
    }
    made_now(py, PanicException::new_err(text))
}

/// The message of a panic.
pub(crate) fn message(panic: &Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|&text| text.to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "panic from Rust code".to_owned())
}

/// Returns the `MemoryError` that Python keeps ready.
fn no_memory(py: Python<'_>) -> PyErr {
    // SAFETY: the interpreter is attached.
    unsafe { ffi::PyErr_NoMemory() };
    PyErr::fetch(py)
}
