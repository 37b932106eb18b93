//! Columns of phyr's, handed over through the Arrow C data interface.
//!
//! Both sides share the memory; nothing is copied. The memory lives until the other side releases
//! it, even if the Python object that it came from is gone.
#![expect(unsafe_code, reason = "an interface of raw pointers")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::error::{Error, NoMemory};
use crate::python::convert::arrow::{Items, Owned, Schema, Stream, Struct};
use crate::python::made;
use crate::storage::shared::Shared;

/// One vector of numbers, which several may hold, Python or not.
pub(crate) type Vector = Shared<Vec<u64>>;

/// A value in memory of its own, to be freed by `Box::from_raw`.
pub(super) fn boxed<T>(value: T) -> Result<*mut T, NoMemory> {
    let mut one = Vec::new();
    one.try_reserve_exact(1).map_err(|_| NoMemory::of::<T>(1))?;
    one.push(value);
    // One item has the layout of a box.
    Ok(Box::into_raw(one.into_boxed_slice()).cast::<T>())
}

/// The memory that a struct of ours refers to.
struct Private<T: Struct> {
    /// Each is boxed. A child that somebody moved away has no `release`.
    children: Vec<*mut Owned<T>>,
    buffers: [*const c_void; 2],
    /// Keeps the numbers that `buffers` points to.
    _numbers: Option<Vector>,
}

impl<T: Struct> Private<T> {
    fn new(children: Vec<Owned<T>>, numbers: Option<Vector>) -> Result<*mut Self, NoMemory> {
        let start = numbers.as_ref().map_or(ptr::null(), |numbers| numbers[0].as_ptr().cast());
        let mut this =
            Self { children: Vec::new(), buffers: [ptr::null(), start], _numbers: numbers };
        let room = this.children.try_reserve_exact(children.len());
        room.map_err(|_| NoMemory::of::<*mut T>(children.len()))?;
        for child in children {
            this.children.push(boxed(child)?);
        }
        boxed(this)
    }
}

impl<T: Struct> Drop for Private<T> {
    fn drop(&mut self) {
        for &child in &self.children {
            // SAFETY: `boxed` made it, and it is freed nowhere else.
            drop(unsafe { Box::from_raw(child) });
        }
    }
}

/// The `release` of structs of ours whose `private` is a boxed `P`.
unsafe extern "C" fn release<T: Struct, P>(at: *mut T) {
    // SAFETY: the caller has the struct, and passes where it is.
    let this = unsafe { &mut *at };
    // SAFETY: `boxed` made what is there, and a struct is released once.
    drop(unsafe { Box::from_raw(this.private().cast::<P>()) });
    *this.release() = None;
}

/// The schema of `uint64` without nulls; with `fields`, of a struct of such columns.
fn schema(name: &'static CStr, fields: &[&'static CStr]) -> Result<Owned<Schema>, NoMemory> {
    let children = fields.iter().map(|field| schema(field, &[])).collect::<Result<Vec<_>, _>>()?;
    let private = Private::new(children, None)?;
    // SAFETY: `boxed` just made it, and nobody else has it.
    let children = unsafe { &mut (*private).children };
    Ok(Owned(Schema {
        format: if fields.is_empty() { c"L".as_ptr() } else { c"+s".as_ptr() },
        name: name.as_ptr(),
        n_children: made::signed(fields.len()) as i64,
        children: children.as_mut_ptr().cast(),
        release: Some(release::<Schema, Private<Schema>>),
        private: private.cast(),
        ..Schema::NONE
    }))
}

/// Columns of equal length as one array: a column itself, or a struct of several.
fn items(columns: Vec<Vector>, is_struct: bool) -> Result<Owned<Items>, NoMemory> {
    let length = columns.first().map_or(0, |column| column[0].len());
    let (children, numbers) = if is_struct {
        let child = |column| items(Vec::from([column]), false);
        (columns.into_iter().map(child).collect::<Result<Vec<_>, _>>()?, None)
    } else {
        (Vec::new(), columns.into_iter().next())
    };
    let private = Private::new(children, numbers)?;
    // SAFETY: `boxed` just made it, and nobody else has it.
    let Private { children, buffers, .. } = unsafe { &mut *private };
    Ok(Owned(Items {
        length: made::signed(length) as i64,
        n_buffers: if is_struct { 1 } else { 2 },
        n_children: made::signed(children.len()) as i64,
        buffers: buffers.as_mut_ptr(),
        children: children.as_mut_ptr().cast(),
        release: Some(release::<Items, Private<Items>>),
        private: private.cast(),
        ..Items::NONE
    }))
}

/// A struct in a capsule, which releases it unless somebody moves it away.
fn capsule<T: Struct>(py: Python<'_>, value: Owned<T>) -> PyResult<Bound<'_, PyAny>> {
    unsafe extern "C" fn destroy<T: Struct>(capsule: *mut ffi::PyObject) {
        // SAFETY: the interpreter passes the capsule.
        let at = unsafe { ffi::PyCapsule_GetPointer(capsule, T::NAME.as_ptr()) };
        if !at.is_null() {
            // SAFETY: `boxed` made it, and a capsule is destroyed once.
            drop(unsafe { Box::from_raw(at.cast::<Owned<T>>()) });
        }
    }
    let at = boxed(value).map_err(Error::from)?;
    // SAFETY: the interpreter is attached, the name is static, and the pointer is not null.
    let made = unsafe { ffi::PyCapsule_New(at.cast(), T::NAME.as_ptr(), Some(destroy::<T>)) };
    if made.is_null() {
        // SAFETY: `boxed` made it, and there is no capsule that could free it.
        drop(unsafe { Box::from_raw(at) });
    }
    // SAFETY: null with an exception set, or a new reference that is ours.
    unsafe { Bound::from_owned_ptr_or_err(py, made) }
}

/// The capsule `arrow_schema` of a column, or of a struct of `fields`.
pub(crate) fn schema_capsule<'py>(
    py: Python<'py>,
    fields: &[&'static CStr],
) -> PyResult<Bound<'py, PyAny>> {
    capsule(py, schema(c"", fields).map_err(Error::from)?)
}

/// The capsule `arrow_array` of a column, or of a struct of columns of equal length.
pub(crate) fn items_capsule(
    py: Python<'_>,
    columns: Vec<Vector>,
    is_struct: bool,
) -> PyResult<Bound<'_, PyAny>> {
    capsule(py, items(columns, is_struct).map_err(Error::from)?)
}

/// The batches of a stream of ours, all columns of each; `None` at the end.
pub(crate) type Batches = Box<dyn FnMut() -> Result<Option<Vec<Vector>>, &'static CStr> + Send>;

struct Source {
    fields: &'static [&'static CStr],
    batches: Batches,
    failure: &'static CStr,
}

/// Linux's `EIO` and `ENOMEM`, by which a stream says that it failed.
const EIO: c_int = 5;
const ENOMEM: c_int = 12;

/// The capsule `arrow_array_stream` of batches of a struct of `fields`.
pub(crate) fn stream_capsule<'py>(
    py: Python<'py>,
    fields: &'static [&'static CStr],
    batches: Batches,
) -> PyResult<Bound<'py, PyAny>> {
    /// Returns the source that a stream of ours keeps.
    unsafe fn source<'a>(stream: *mut Stream) -> &'a mut Source {
        // SAFETY: the caller passes a stream that `stream_capsule` made, and is the only one to use it.
        let private = unsafe { (*stream).private };
        // SAFETY: `boxed` made it.
        unsafe { &mut *private.cast::<Source>() }
    }
    unsafe extern "C" fn get_schema(stream: *mut Stream, out: *mut Schema) -> c_int {
        // SAFETY: as the caller of the stream's `get_schema` promises.
        let Ok(made) = schema(c"", unsafe { source(stream) }.fields) else { return ENOMEM };
        // SAFETY: `out` is memory for a schema, and what was there is of no use; ours moves there.
        unsafe { out.cast::<Owned<Schema>>().write(made) };
        0
    }
    unsafe extern "C" fn get_next(stream: *mut Stream, out: *mut Items) -> c_int {
        // SAFETY: as the caller of the stream's `get_next` promises.
        let source = unsafe { source(stream) };
        let made = match (source.batches)() {
            Ok(Some(columns)) => match items(columns, true) {
                Ok(made) => made,
                Err(_) => return ENOMEM,
            },
            Ok(None) => Owned(Items::NONE),
            Err(failure) => {
                source.failure = failure;
                return EIO;
            }
        };
        // SAFETY: `out` is memory for an array, and what was there is of no use; ours moves there.
        unsafe { out.cast::<Owned<Items>>().write(made) };
        0
    }
    unsafe extern "C" fn get_last_error(stream: *mut Stream) -> *const c_char {
        // SAFETY: as the caller of the stream's `get_last_error` promises.
        unsafe { source(stream) }.failure.as_ptr()
    }
    let private = boxed(Source { fields, batches, failure: c"" }).map_err(Error::from)?;
    capsule(
        py,
        Owned(Stream {
            get_schema: Some(get_schema),
            get_next: Some(get_next),
            get_last_error: Some(get_last_error),
            release: Some(release::<Stream, Source>),
            private: private.cast(),
        }),
    )
}
