//! Arrays handed over through DLPack: a struct of C, in a capsule of Python's.
//!
//! Who takes it renames the capsule and calls the struct's `deleter`, once, on any thread. A capsule that
//! nobody took does so itself.
//!
//! Source: <https://dmlc.github.io/dlpack/latest/c_api.html> and `python_spec.html` beside it.
#![expect(unsafe_code, reason = "an interface of raw pointers")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::{CStr, c_void};
use core::fmt;
use core::ptr::{self, NonNull};

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::error::Error;
use crate::python::convert::arrow_made::{Vector, boxed};
use crate::python::convert::buffer::{Array, Item};
use crate::python::made;

/// `kDLCPU`, the type of device that the processor's own memory is.
pub(crate) const CPU: i32 = 1;
/// `kDLInt` and `kDLUInt`.
const INT: u8 = 0;
const UINT: u8 = 1;
/// `DLPACK_FLAG_BITMASK_READ_ONLY` and `DLPACK_FLAG_BITMASK_IS_COPIED`.
const READ_ONLY: u64 = 1;
const IS_COPIED: u64 = 2;
/// The version that is handed out, and the only major one that is known.
const VERSION: (u32, u32) = (1, 0);

/// `DLTensor`: where the items are, and what.
#[repr(C)]
pub(crate) struct Tensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// Called on a struct to give back what it refers to.
type Deleter<T> = Option<unsafe extern "C" fn(*mut T)>;

/// `DLManagedTensor`.
#[repr(C)]
struct Plain {
    tensor: Tensor,
    manager: *mut c_void,
    deleter: Deleter<Self>,
}

/// `DLManagedTensorVersioned`.
#[repr(C)]
struct Versioned {
    major: u32,
    minor: u32,
    manager: *mut c_void,
    deleter: Deleter<Self>,
    flags: u64,
    tensor: Tensor,
}

/// One of the two structs.
trait Managed: Sized + 'static {
    /// The names of its capsules: before and after somebody takes it.
    const NAME: &'static CStr;
    const USED: &'static CStr;

    fn new(tensor: Tensor, flags: u64, deleter: Deleter<Self>) -> Self;
    fn deleter(&self) -> Deleter<Self>;
    /// Says where the tensor's shape and strides are.
    fn point(&mut self, shape: *mut i64, strides: *mut i64);
    /// The tensor, unless its version is one that is not known.
    fn tensor(&self) -> Result<&Tensor, u32>;
}

impl Managed for Plain {
    const NAME: &'static CStr = c"dltensor";
    const USED: &'static CStr = c"used_dltensor";

    fn new(tensor: Tensor, _flags: u64, deleter: Deleter<Self>) -> Self {
        Self { tensor, manager: ptr::null_mut(), deleter }
    }

    fn deleter(&self) -> Deleter<Self> {
        self.deleter
    }

    fn point(&mut self, shape: *mut i64, strides: *mut i64) {
        (self.tensor.shape, self.tensor.strides) = (shape, strides);
    }

    fn tensor(&self) -> Result<&Tensor, u32> {
        Ok(&self.tensor)
    }
}

impl Managed for Versioned {
    const NAME: &'static CStr = c"dltensor_versioned";
    const USED: &'static CStr = c"used_dltensor_versioned";

    fn new(tensor: Tensor, flags: u64, deleter: Deleter<Self>) -> Self {
        let (major, minor) = VERSION;
        Self { major, minor, manager: ptr::null_mut(), deleter, flags, tensor }
    }

    fn deleter(&self) -> Deleter<Self> {
        self.deleter
    }

    fn point(&mut self, shape: *mut i64, strides: *mut i64) {
        (self.tensor.shape, self.tensor.strides) = (shape, strides);
    }

    fn tensor(&self) -> Result<&Tensor, u32> {
        if self.major == VERSION.0 { Ok(&self.tensor) } else { Err(self.major) }
    }
}

/// A struct of ours, with all that it refers to. The struct comes first: its address is this one's.
#[repr(C)]
struct Made<T> {
    managed: T,
    shape: [i64; 1],
    strides: [i64; 1],
    _numbers: Vector,
}

/// How a column is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// In the old struct, which cannot say that it is read-only: a copy.
    Plain,
    /// In place, read-only.
    Shared,
    /// A copy, to be written.
    Copied,
}

/// A capsule of a column of `uint64`.
pub(crate) fn capsule<'py>(
    py: Python<'py>,
    numbers: &Vector,
    form: Form,
) -> PyResult<Bound<'py, PyAny>> {
    if form == Form::Shared {
        let start = numbers[0].as_ptr().cast_mut();
        return make::<Versioned>(py, numbers.clone(), start, READ_ONLY);
    }
    let (mut copy, len) = (Vec::new(), numbers[0].len());
    if copy.try_reserve_exact(len).is_err() {
        let what = alloc::format!("no memory for {len} items");
        return Err(made::exception::<PyMemoryError>(py, &what));
    }
    py.detach(|| copy.extend_from_slice(&numbers[0]));
    // Before it is shared: who has the capsule may write there, and phyr never looks.
    let start = copy.as_mut_ptr();
    let copy = Vector::try_one(|| copy).map_err(Error::from)?;
    match form {
        Form::Plain => make::<Plain>(py, copy, start, 0),
        _ => make::<Versioned>(py, copy, start, IS_COPIED),
    }
}

fn make<T: Managed>(
    py: Python<'_>,
    numbers: Vector,
    start: *mut u64,
    flags: u64,
) -> PyResult<Bound<'_, PyAny>> {
    unsafe extern "C" fn delete<T>(at: *mut T) {
        // SAFETY: `boxed` made it, with the struct first, and a struct is deleted once.
        drop(unsafe { Box::from_raw(at.cast::<Made<T>>()) });
    }
    unsafe extern "C" fn destroy<T: Managed>(capsule: *mut ffi::PyObject) {
        // SAFETY: the interpreter passes the capsule; the function looks whether it is of that name.
        if unsafe { ffi::PyCapsule_IsValid(capsule, T::NAME.as_ptr()) } == 0 {
            return;
        }
        // SAFETY: it is such a capsule.
        let at = unsafe { ffi::PyCapsule_GetPointer(capsule, T::NAME.as_ptr()) };
        // SAFETY: nobody took what is in it, or the name would be another.
        unsafe { delete(at.cast::<T>()) };
    }
    let tensor = Tensor {
        data: start.cast(),
        device_type: CPU,
        device_id: 0,
        ndim: 1,
        code: UINT,
        bits: 64,
        lanes: 1,
        shape: ptr::null_mut(),
        strides: ptr::null_mut(),
        byte_offset: 0,
    };
    let shape = [made::signed(numbers[0].len()) as i64];
    let managed = T::new(tensor, flags, Some(delete::<T>));
    let at =
        boxed(Made { managed, shape, strides: [1], _numbers: numbers }).map_err(Error::from)?;
    // SAFETY: `boxed` just made it, and nobody else has it.
    let made = unsafe { &mut *at };
    let (shape, strides) = (made.shape.as_mut_ptr(), made.strides.as_mut_ptr());
    made.managed.point(shape, strides);
    // SAFETY: the interpreter is attached, the name is static, and the pointer is not null.
    let capsule = unsafe { ffi::PyCapsule_New(at.cast(), T::NAME.as_ptr(), Some(destroy::<T>)) };
    if capsule.is_null() {
        // SAFETY: `boxed` made it, and there is no capsule that could free it.
        drop(unsafe { Box::from_raw(at) });
    }
    // SAFETY: null with an exception set, or a new reference that is ours.
    unsafe { Bound::from_owned_ptr_or_err(py, capsule) }
}

/// A struct of somebody else's, to be deleted.
struct Taken<T: Managed>(NonNull<T>);

// SAFETY: a struct may be deleted on any thread.
unsafe impl<T: Managed> Send for Taken<T> {}
// SAFETY: what a shared reference gives access to never changes.
unsafe impl<T: Managed> Sync for Taken<T> {}

impl<T: Managed> fmt::Debug for Taken<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", T::USED)
    }
}

impl<T: Managed> Drop for Taken<T> {
    fn drop(&mut self) {
        // SAFETY: it was taken from its capsule, and nobody else deletes it.
        if let Some(delete) = unsafe { self.0.as_ref() }.deleter() {
            // SAFETY: as above.
            unsafe { delete(self.0.as_ptr()) };
        }
    }
}

/// Why a capsule is no array of integers: the words of a message.
pub(crate) type Unfit = alloc::string::String;

/// The array in a capsule; `None` if it is no capsule of DLPack's, or was taken before.
pub(crate) fn take(capsule: &Bound<'_, PyAny>) -> Option<Result<Array, Unfit>> {
    take_one::<Versioned>(capsule).or_else(|| take_one::<Plain>(capsule))
}

fn take_one<T: Managed>(capsule: &Bound<'_, PyAny>) -> Option<Result<Array, Unfit>> {
    // SAFETY: the object is alive; the function looks whether it is a capsule of that name.
    if unsafe { ffi::PyCapsule_IsValid(capsule.as_ptr(), T::NAME.as_ptr()) } == 0 {
        return None;
    }
    // SAFETY: it is such a capsule.
    let at = unsafe { ffi::PyCapsule_GetPointer(capsule.as_ptr(), T::NAME.as_ptr()) };
    // SAFETY: as above; the name is static.
    if unsafe { ffi::PyCapsule_SetName(capsule.as_ptr(), T::USED.as_ptr()) } != 0 {
        return None;
    }
    let taken = Taken(NonNull::new(at.cast::<T>())?);
    // SAFETY: a capsule of the name holds such a struct, which is ours now.
    let outcome = match unsafe { taken.0.as_ref() }.tensor() {
        Ok(tensor) => items(tensor),
        Err(major) => Err(alloc::format!("has version {major} of DLPack, not {}", VERSION.0)),
    };
    // SAFETY: the tensor has `len` items of this size from there on, which the struct keeps.
    let array = |(from, item, len)| unsafe { Array::foreign(Box::new(taken), from, item, len) };
    Some(outcome.map(array))
}

/// Where the items of a tensor start, how each is written, and how many there are.
fn items(tensor: &Tensor) -> Result<(*const u8, Item, usize), Unfit> {
    let &Tensor { device_type, ndim, code, bits, lanes, .. } = tensor;
    if device_type != CPU {
        return Err(alloc::format!(
            "is in memory of device type {device_type}, not {CPU}, the CPU's"
        ));
    }
    let size = usize::from(bits) / 8;
    let item = match (code, bits, lanes) {
        (UINT, 8 | 16 | 32 | 64, 1) => Item::Unsigned(size),
        (INT, 8 | 16 | 32 | 64, 1) => Item::Signed(size),
        _ => {
            return Err(alloc::format!(
                "has items of type code {code}, {bits} bits and {lanes} lanes, which are not integers"
            ));
        }
    };
    if ndim != 1 || tensor.shape.is_null() {
        return Err(alloc::format!("has {ndim} dimensions, not one"));
    }
    // SAFETY: a tensor has as many lengths there as dimensions, which is one.
    let length = unsafe { tensor.shape.read() };
    // SAFETY: there are none, which means that nothing is between the items, or as many.
    let stride = unsafe { tensor.strides.as_ref() }.copied().unwrap_or(1);
    if stride != 1 && length > 1 {
        return Err(alloc::format!("has items {stride} apart, not side by side"));
    }
    let len = usize::try_from(length).ok().filter(|&len| len <= isize::MAX.unsigned_abs() / size);
    let (Some(len), Ok(offset)) = (len, usize::try_from(tensor.byte_offset)) else {
        return Err(alloc::format!("has {length} items, which no array has"));
    };
    if len > 0 && tensor.data.is_null() {
        return Err(alloc::format!("has {length} items and no memory"));
    }
    Ok((tensor.data.cast::<u8>().cast_const().wrapping_add(offset), item, len))
}
