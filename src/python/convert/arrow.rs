//! Columns handed over through the Arrow C data interface: structs of C, in capsules of Python's.
//!
//! The holder of a struct may move it to other memory, byte by byte, and must call its `release`
//! once, on any thread. A struct that was released, or moved away, has no `release`.
//!
//! Source: <https://arrow.apache.org/docs/format/CDataInterface.html>, `CStreamInterface.html` and
//! `CDataInterface/PyCapsuleInterface.html` beside it.
#![expect(unsafe_code, reason = "an interface of raw pointers")]

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::error::Error;
use crate::python::convert::buffer::{Array, Item};
use crate::storage::shared::Shared;

/// Called on a struct to give back what it refers to.
pub(super) type Release<T> = Option<unsafe extern "C" fn(*mut T)>;

/// `ArrowSchema`: the type and the name of a column.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Schema {
    pub(super) format: *const c_char,
    pub(super) name: *const c_char,
    pub(super) metadata: *const c_char,
    pub(super) flags: i64,
    pub(super) n_children: i64,
    pub(super) children: *mut *mut Self,
    pub(super) dictionary: *mut Self,
    pub(super) release: Release<Self>,
    pub(super) private: *mut c_void,
}

/// `ArrowArray`: the items of a column.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Items {
    pub(super) length: i64,
    pub(super) null_count: i64,
    pub(super) offset: i64,
    pub(super) n_buffers: i64,
    pub(super) n_children: i64,
    pub(super) buffers: *mut *const c_void,
    pub(super) children: *mut *mut Self,
    pub(super) dictionary: *mut Self,
    pub(super) release: Release<Self>,
    pub(super) private: *mut c_void,
}

/// `ArrowArrayStream`: batches of a column, one after the other.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Stream {
    pub(super) get_schema: Option<unsafe extern "C" fn(*mut Self, *mut Schema) -> c_int>,
    pub(super) get_next: Option<unsafe extern "C" fn(*mut Self, *mut Items) -> c_int>,
    pub(super) get_last_error: Option<unsafe extern "C" fn(*mut Self) -> *const c_char>,
    pub(super) release: Release<Self>,
    pub(super) private: *mut c_void,
}

/// One of the structs above.
pub(crate) trait Struct: Sized {
    /// The name of its capsules.
    const NAME: &'static CStr;
    /// A struct without a `release`, to be filled in.
    const NONE: Self;

    fn release(&mut self) -> &mut Release<Self>;
    /// The pointer that the struct's maker keeps for its own use.
    fn private(&self) -> *mut c_void;
}

macro_rules! structs {
    ($($name:ident, $capsule:literal, $none:expr;)*) => {$(
        impl Struct for $name {
            const NAME: &'static CStr = $capsule;
            const NONE: Self = $none;

            fn release(&mut self) -> &mut Release<Self> {
                &mut self.release
            }

            fn private(&self) -> *mut c_void {
                self.private
            }
        }
    )*};
}

structs! {
    Schema, c"arrow_schema", Schema {
        format: ptr::null(), name: c"".as_ptr(), metadata: ptr::null(), flags: 0, n_children: 0,
        children: ptr::null_mut(), dictionary: ptr::null_mut(), release: None,
        private: ptr::null_mut(),
    };
    Items, c"arrow_array", Items {
        length: 0, null_count: 0, offset: 0, n_buffers: 0, n_children: 0, buffers: ptr::null_mut(),
        children: ptr::null_mut(), dictionary: ptr::null_mut(), release: None,
        private: ptr::null_mut(),
    };
    Stream, c"arrow_array_stream", Stream {
        get_schema: None, get_next: None, get_last_error: None, release: None,
        private: ptr::null_mut(),
    };
}

/// A struct that is ours to release.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Owned<T: Struct>(pub(super) T);

// SAFETY: the interface lets a struct be used, and released, on any thread.
unsafe impl<T: Struct> Send for Owned<T> {}
// SAFETY: what a shared reference gives access to never changes.
unsafe impl<T: Struct> Sync for Owned<T> {}

impl<T: Struct> Drop for Owned<T> {
    fn drop(&mut self) {
        if let Some(release) = *self.0.release() {
            // SAFETY: the struct was not released before, or it would have no `release`.
            unsafe { release(&raw mut self.0) };
        }
    }
}

/// The struct in a capsule, moved out of it; `None` if there is no such capsule, or nothing in it.
pub(crate) fn take<T: Struct>(capsule: &Bound<'_, PyAny>) -> Option<Owned<T>> {
    // SAFETY: the object is alive; the function looks whether it is a capsule of that name.
    if unsafe { ffi::PyCapsule_IsValid(capsule.as_ptr(), T::NAME.as_ptr()) } == 0 {
        return None;
    }
    // SAFETY: it is such a capsule.
    let at = unsafe { ffi::PyCapsule_GetPointer(capsule.as_ptr(), T::NAME.as_ptr()) }.cast::<T>();
    // SAFETY: a capsule of the name holds a struct of the type, which may be moved away.
    let mut taken = Owned(unsafe { at.read() });
    // SAFETY: as above; the interpreter is attached, so nobody else moves it.
    *unsafe { &mut *at }.release() = None;
    taken.0.release().is_some().then_some(taken)
}

/// The layout of a column, as its schema states it.
#[derive(Clone, Debug)]
pub(crate) enum Layout {
    Integers(Item),
    /// Names and layouts of the columns.
    Struct(Vec<(String, Layout)>),
    /// Anything else, by the format that it has.
    Other(String),
}

/// Copies a string that another library owns; a null pointer is an empty string.
fn text(from: *const c_char) -> String {
    if from.is_null() {
        return String::new();
    }
    // SAFETY: the interface has strings that end with a zero byte, and this is not null.
    unsafe { CStr::from_ptr(from) }.to_string_lossy().to_string()
}

/// Child `number` of as many as there are, if there is memory for one.
fn child<'a, T>(children: *mut *mut T, count: i64, number: usize) -> Option<&'a T> {
    if children.is_null() || usize::try_from(count).ok()? <= number {
        return None;
    }
    // SAFETY: a struct with `count` children has as many pointers there.
    let at = unsafe { children.add(number) };
    // SAFETY: as above.
    let at = unsafe { at.read() };
    // SAFETY: each is null, here let pass, or points to a child, which lives as long as its parent.
    unsafe { at.as_ref() }
}

impl Schema {
    fn layout(&self) -> Layout {
        let format = text(self.format);
        if !self.dictionary.is_null() {
            return Layout::Other("dictionary".to_string());
        }
        let item = match format.as_str() {
            "C" => Item::Unsigned(1),
            "S" => Item::Unsigned(2),
            "I" => Item::Unsigned(4),
            "L" => Item::Unsigned(8),
            "c" => Item::Signed(1),
            "s" => Item::Signed(2),
            "i" => Item::Signed(4),
            "l" => Item::Signed(8),
            "+s" => {
                let child = |number| child(self.children, self.n_children, number);
                let fields = (0..).map_while(child);
                // Structs in structs are of no use here, and may refer to each other.
                let layout = |field: &Self| match text(field.format).as_str() {
                    "+s" => Layout::Other("+s".to_string()),
                    _ => field.layout(),
                };
                return Layout::Struct(
                    fields.map(|field| (text(field.name), layout(field))).collect(),
                );
            }
            _ => return Layout::Other(format),
        };
        Layout::Integers(item)
    }
}

impl Owned<Schema> {
    /// Returns the layout that the schema states.
    pub(crate) fn layout(&self) -> Layout {
        self.0.layout()
    }
}

impl Items {
    /// The length, and what comes before it, if they can be.
    fn range(&self) -> Option<(usize, usize)> {
        let (offset, len) =
            (usize::try_from(self.offset).ok()?, usize::try_from(self.length).ok()?);
        (offset.checked_add(len)?.checked_mul(8)? <= isize::MAX.unsigned_abs())
            .then_some((offset, len))
    }

    /// Buffer `number`: null if it is not there.
    fn buffer(&self, number: usize) -> *const u8 {
        if self.buffers.is_null() || usize::try_from(self.n_buffers).map_or(true, |n| n <= number) {
            return ptr::null();
        }
        // SAFETY: an array with `n_buffers` buffers has as many pointers there.
        let at = unsafe { self.buffers.add(number) };
        // SAFETY: as above.
        unsafe { at.read() }.cast()
    }

    /// The first of `len` items from `start` on that is null.
    fn first_null(&self, start: usize, len: usize) -> Option<usize> {
        let valid = self.buffer(0);
        if self.null_count == 0 || valid.is_null() {
            return (self.null_count > 0 && len > 0).then_some(0);
        }
        (0..len).find(|number| {
            let bit = start + number;
            // SAFETY: the array has a bit for each item, and `start + len` items.
            let byte = unsafe { valid.add(bit / 8) };
            // SAFETY: as above; nobody writes it.
            let byte = unsafe { byte.read() };
            byte >> (bit % 8) & 1 == 0
        })
    }
}

/// Why an array cannot be taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unfit {
    /// A length, an offset or a pointer that no array has.
    Broken,
    /// The item of this number is null.
    Null(usize),
}

/// A batch of somebody else's.
#[derive(Debug)]
pub(crate) struct Batch(Shared<Owned<Items>>);

impl Batch {
    pub(crate) fn new(items: Owned<Items>) -> Result<Self, Error> {
        Ok(Self(Shared::try_one(|| items)?))
    }

    /// Column `number` of a struct, or the array itself, as items of the schema's layout.
    ///
    /// `before` is how many items come before the batch's, for messages.
    pub(crate) fn column(
        &self,
        number: Option<usize>,
        item: Item,
        before: usize,
    ) -> Result<Array, Unfit> {
        let whole = &self.0[0].0;
        let (start, len) = whole.range().ok_or(Unfit::Broken)?;
        let (column, start) = match number {
            None => (whole, start),
            Some(number) => {
                let column =
                    child(whole.children, whole.n_children, number).ok_or(Unfit::Broken)?;
                let (offset, has) = column.range().ok_or(Unfit::Broken)?;
                if has < start + len {
                    return Err(Unfit::Broken);
                }
                if let Some(null) = whole.first_null(start, len) {
                    return Err(Unfit::Null(null));
                }
                (column, offset.checked_add(start).ok_or(Unfit::Broken)?)
            }
        };
        let items = column.buffer(1);
        if items.is_null() && len > 0 {
            return Err(Unfit::Broken);
        }
        if let Some(null) = column.first_null(start, len) {
            return Err(Unfit::Null(null));
        }
        // The end is below what a pointer can be moved by, as `range` found.
        let from = items.wrapping_add(start * item.size());
        // SAFETY: the array has `start + len` items of this size in the buffer, which nobody changes
        // and which the batch keeps.
        Ok(unsafe { Array::foreign(Box::new(self.0.clone()), from, item, len) }.after(before))
    }
}

impl Owned<Stream> {
    /// Returns the schema of the stream's batches; the stream's own message if it fails.
    pub(crate) fn schema(&mut self) -> Result<Owned<Schema>, String> {
        let mut out = Owned(Schema::NONE);
        let get = self.0.get_schema.ok_or("it has no get_schema")?;
        // SAFETY: the stream was not released; `out` is memory for a schema.
        let outcome = unsafe { get(&raw mut self.0, &raw mut out.0) };
        if outcome == 0 { Ok(out) } else { Err(self.failure(outcome)) }
    }

    /// Returns the next batch; `None` at the end; the stream's own message if it fails.
    pub(crate) fn next(&mut self) -> Result<Option<Owned<Items>>, String> {
        let mut out = Owned(Items::NONE);
        let get = self.0.get_next.ok_or("it has no get_next")?;
        // SAFETY: as in `schema`, with memory for an array.
        let outcome = unsafe { get(&raw mut self.0, &raw mut out.0) };
        match outcome {
            0 => Ok(out.0.release.is_some().then_some(out)),
            _ => Err(self.failure(outcome)),
        }
    }

    fn failure(&mut self, outcome: c_int) -> String {
        // SAFETY: the stream was not released, and just failed.
        let said = self.0.get_last_error.map(|get| text(unsafe { get(&raw mut self.0) }));
        said.filter(|said| !said.is_empty()).unwrap_or_else(|| alloc::format!("error {outcome}"))
    }
}
