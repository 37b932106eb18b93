//! Tuples made item by item: without a call, and with an error, not a panic, where memory is short.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

/// A tuple of a class which is a subclass of tuple without fields of its own, as named tuples are. The
/// class's own code is not run.
#[inline]
#[expect(unsafe_code, reason = "a class of Python's is made without a call")]
pub(crate) fn named<'py, const N: usize>(
    class: &Bound<'py, PyType>,
    numbers: [u64; N],
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    // SAFETY: the class is a live subclass of tuple without fields of its own, so `N` items are what
    // an instance holds; the interpreter is attached.
    let tuple = unsafe { ffi::PyType_GenericAlloc(class.as_type_ptr(), N.cast_signed()) };
    // SAFETY: null with an exception set, or a new reference that is ours.
    let tuple = unsafe { Bound::from_owned_ptr_or_err(py, tuple)? };
    for (number, at) in numbers.into_iter().zip(0..) {
        put(&tuple, at, int(py, number)?);
    }
    Ok(tuple)
}

/// A tuple of these numbers.
pub(crate) fn numbers<const N: usize>(
    py: Python<'_>,
    numbers: [u64; N],
) -> PyResult<Bound<'_, PyTuple>> {
    let tuple = new::<N>(py)?;
    for (number, at) in numbers.into_iter().zip(0..) {
        put(&tuple, at, int(py, number)?);
    }
    Ok(tuple)
}

/// A tuple of these objects.
pub(crate) fn objects<'py, const N: usize>(
    py: Python<'py>,
    objects: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyTuple>> {
    let tuple = new::<N>(py)?;
    for (object, at) in objects.into_iter().zip(0..) {
        put(&tuple, at, object.clone());
    }
    Ok(tuple)
}

/// A tuple of `N` items, none of them there yet.
#[expect(unsafe_code, reason = "the safe function panics where memory is short")]
fn new<const N: usize>(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    // SAFETY: the interpreter is attached.
    let tuple = unsafe { ffi::PyTuple_New(N.cast_signed()) };
    // SAFETY: null with an exception set, or a new reference that is ours.
    let tuple = unsafe { Bound::from_owned_ptr_or_err(py, tuple)? };
    Ok(tuple.cast_into::<PyTuple>()?)
}

#[inline]
#[expect(unsafe_code, reason = "the safe function panics where memory is short")]
fn int(py: Python<'_>, number: u64) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the interpreter is attached; any number will do.
    let number = unsafe { ffi::PyLong_FromUnsignedLongLong(number) };
    // SAFETY: null with an exception set, or a new reference that is ours.
    unsafe { Bound::from_owned_ptr_or_err(py, number) }
}

/// Puts an item in its place, in a tuple that nobody else has yet; nothing happens beyond its end.
#[inline]
#[expect(unsafe_code, reason = "a tuple is filled item by item")]
fn put<'py>(tuple: &Bound<'py, impl Sized>, at: isize, item: Bound<'py, PyAny>) {
    // SAFETY: the tuple is one, live, new and nobody else's; the function looks whether it has an item
    // `at`; the reference to the item is handed over.
    unsafe { ffi::PyTuple_SetItem(tuple.as_ptr(), at, item.into_ptr()) };
}
