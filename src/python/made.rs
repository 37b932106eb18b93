//! Python objects made by calls that report a lack of memory. The usual calls of `PyO3` panic.

use alloc::format;
use alloc::string::String;
use core::convert::Infallible;
use core::ffi::c_int;

use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyBaseException, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

/// Makes an int.
#[inline]
#[expect(unsafe_code, reason = "the safe function panics where memory is short")]
pub(crate) fn int(py: Python<'_>, number: u64) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the interpreter is attached; every number is valid.
    let number = unsafe { ffi::PyLong_FromUnsignedLongLong(number) };
    // SAFETY: null with an exception set, or a new reference that is ours.
    unsafe { Bound::from_owned_ptr_or_err(py, number) }
}

/// Makes an int from a signed number of 128 bits.
pub(crate) fn wide(py: Python<'_>, number: i128) -> PyResult<Bound<'_, PyAny>> {
    if let Ok(number) = u64::try_from(number) {
        return int(py, number);
    }
    let magnitude = number.unsigned_abs();
    let word = |part: u128| u64::try_from(part & u128::from(u64::MAX)).unwrap_or(u64::MAX);
    let (high, low) = (word(magnitude >> 64), int(py, word(magnitude))?);
    let whole = if high == 0 { low } else { int(py, high)?.lshift(int(py, 64)?)?.bitor(low)? };
    if number < 0 { whole.neg() } else { Ok(whole) }
}

/// A number of items of a slice, or of bytes of an item, as the signed number that C takes.
#[expect(
    clippy::cast_possible_wrap,
    reason = "no allocation has more bytes than an `isize` can say"
)]
pub(crate) const fn signed(number: usize) -> isize {
    number as isize
}

/// Makes a string.
#[expect(unsafe_code, reason = "the safe function panics where memory is short")]
pub(crate) fn text<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    let (start, len) = (text.as_ptr().cast(), signed(text.len()));
    // SAFETY: `len` bytes of UTF-8 are readable from `start` on; the interpreter is attached.
    let string = unsafe { ffi::PyUnicode_FromStringAndSize(start, len) };
    // SAFETY: null with an exception set, or a new reference that is ours.
    let string = unsafe { Bound::from_owned_ptr_or_err(py, string)? };
    // SAFETY: the function makes strings.
    Ok(unsafe { string.cast_into_unchecked::<PyString>() })
}

/// Makes an empty dict.
#[expect(unsafe_code, reason = "the safe function panics where memory is short")]
pub(crate) fn dict(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    // SAFETY: the interpreter is attached.
    let dict = unsafe { ffi::PyDict_New() };
    // SAFETY: null with an exception set, or a new reference that is ours.
    let dict = unsafe { Bound::from_owned_ptr_or_err(py, dict)? };
    // SAFETY: the function makes dicts.
    Ok(unsafe { dict.cast_into_unchecked::<PyDict>() })
}

/// Makes an empty list.
#[expect(unsafe_code, reason = "the safe function panics where memory is short")]
pub(crate) fn list(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    // SAFETY: the interpreter is attached.
    let list = unsafe { ffi::PyList_New(0) };
    // SAFETY: null with an exception set, or a new reference that is ours.
    let list = unsafe { Bound::from_owned_ptr_or_err(py, list)? };
    // SAFETY: the function makes lists.
    Ok(unsafe { list.cast_into_unchecked::<PyList>() })
}

/// Makes a `bytes` object.
#[expect(unsafe_code, reason = "the safe function panics where memory is short")]
pub(crate) fn bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let (start, len) = (bytes.as_ptr().cast(), signed(bytes.len()));
    // SAFETY: `len` bytes are readable from `start` on; the interpreter is attached.
    let made = unsafe { ffi::PyBytes_FromStringAndSize(start, len) };
    // SAFETY: null with an exception set, or a new reference that is ours.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, made)? };
    // SAFETY: the function makes bytes.
    Ok(unsafe { made.cast_into_unchecked::<PyBytes>() })
}

/// Makes a tuple of these numbers.
pub(crate) fn numbers<const N: usize>(
    py: Python<'_>,
    numbers: [u64; N],
) -> PyResult<Bound<'_, PyTuple>> {
    let tuple = new::<N>(py)?;
    for (number, at) in numbers.into_iter().zip(0..) {
        put(&tuple, at, int(py, number)?)?;
    }
    Ok(tuple)
}

/// Makes a tuple of these objects.
pub(crate) fn objects<'py, const N: usize>(
    py: Python<'py>,
    objects: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyTuple>> {
    let tuple = new::<N>(py)?;
    for (object, at) in objects.into_iter().zip(0..) {
        put(&tuple, at, object.clone())?;
    }
    Ok(tuple)
}

/// Makes a tuple with room for `N` items, all still empty.
#[expect(unsafe_code, reason = "the safe function panics where memory is short")]
fn new<const N: usize>(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    // SAFETY: the interpreter is attached.
    let tuple = unsafe { ffi::PyTuple_New(signed(N)) };
    // SAFETY: null with an exception set, or a new reference that is ours.
    let tuple = unsafe { Bound::from_owned_ptr_or_err(py, tuple)? };
    // SAFETY: the function makes tuples.
    Ok(unsafe { tuple.cast_into_unchecked::<PyTuple>() })
}

/// Puts an item into a tuple that no other code has a reference to.
#[inline]
#[expect(unsafe_code, reason = "a tuple is filled item by item")]
pub(crate) fn put<'py>(
    tuple: &Bound<'py, PyTuple>,
    at: ffi::Py_ssize_t,
    item: Bound<'py, PyAny>,
) -> PyResult<()> {
    // SAFETY: the tuple is live; the function refuses it if there is another reference to it, or no
    // item `at`; it takes over the reference to the item, and drops that reference on failure.
    let done: c_int = unsafe { ffi::PyTuple_SetItem(tuple.as_ptr(), at, item.into_ptr()) };
    if done == 0 { Ok(()) } else { Err(PyErr::fetch(tuple.py())) }
}

/// As [`exception`], for callers that do not have the interpreter at hand.
pub(crate) fn failure<E: PyTypeInfo>(message: impl AsRef<str>) -> PyErr {
    Python::attach(|py| exception::<E>(py, message.as_ref()))
}

/// An argument of a call that is refused whatever it is called with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ignored;

impl FromPyObject<'_, '_> for Ignored {
    type Error = Infallible;

    fn extract(_argument: Borrowed<'_, '_, PyAny>) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

/// The error of a call of a class without a constructor: it names what makes the objects instead.
pub(crate) fn no_constructor<T: PyTypeInfo>(makers: &str) -> PyErr {
    Python::attach(|py| match T::type_object(py).fully_qualified_name() {
        Ok(name) => {
            exception::<PyTypeError>(py, &format!("{name} has no constructor: use {makers}"))
        }
        Err(error) => error,
    })
}

/// Makes a built-in exception at once. `PyO3` makes one only when it is raised, and panics there if
/// there is no memory; nothing catches that panic.
///
/// Returns `MemoryError` if there is no memory for the exception.
pub(crate) fn exception<E: PyTypeInfo>(py: Python<'_>, message: &str) -> PyErr {
    let made = text(py, message).and_then(|message| call(E::type_object(py).as_any(), &message));
    made.map_or_else(|failure| failure, PyErr::from_value)
}

/// Puts words before the message of an exception, if it has one and nothing else.
pub(crate) fn prefix(failure: &Bound<'_, PyBaseException>, words: &str) -> PyResult<()> {
    let py = failure.py();
    let args = attribute(failure, "args")?.cast_into::<PyTuple>()?;
    if args.len() != 1 {
        return Ok(());
    }
    let message = args.get_item(0)?.cast_into::<PyString>()?;
    let message = text(py, &format!("{words}{}", message.to_string_lossy()))?;
    failure.setattr(text(py, "args")?, objects(py, [message.as_any()])?)
}

/// Returns the result of `callable(argument)`.
#[expect(unsafe_code, reason = "the safe function panics where memory is short")]
pub(crate) fn call<'py>(
    callable: &Bound<'py, PyAny>,
    argument: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = objects(callable.py(), [argument])?;
    // SAFETY: both are live, the second is a tuple; the interpreter is attached.
    let result = unsafe { ffi::PyObject_CallObject(callable.as_ptr(), arguments.as_ptr()) };
    // SAFETY: null with an exception set, or a new reference that is ours.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), result) }
}

/// Returns `object.name`.
pub(crate) fn attribute<'py>(
    object: &Bound<'py, PyAny>,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    object.getattr(text(object.py(), name)?)
}

/// Imports the module called `name`.
#[expect(unsafe_code, reason = "the safe function panics where memory is short")]
pub(crate) fn module<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let name = text(py, name)?;
    // SAFETY: the name is a live string; the interpreter is attached.
    let module = unsafe { ffi::PyImport_Import(name.as_ptr()) };
    // SAFETY: null with an exception set, or a new reference that is ours.
    unsafe { Bound::from_owned_ptr_or_err(py, module) }
}

/// An int as the result of a method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int(pub(crate) u64);

impl<'py> IntoPyObject<'py> for Int {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        int(py, self.0)
    }
}

/// A string as the result of a method.
#[derive(Clone, Debug)]
pub(crate) struct Text(pub(crate) String);

impl<'py> IntoPyObject<'py> for Text {
    type Target = PyString;
    type Output = Bound<'py, PyString>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.0)
    }
}
