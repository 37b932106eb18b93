//! Memory shared with Python: reads arrays of Python objects, and lends columns to Python.
//!
//! Nearly all unsafe code of the bindings is here. The rest makes tuples and fills slots.
#![expect(unsafe_code, reason = "the buffer protocol is made of raw pointers")]

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::ffi::{CStr, c_int, c_void};
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr;

use pyo3::PyClass;
use pyo3::buffer::{ElementType, PyUntypedBuffer};
use pyo3::exceptions::{PyBufferError, PyMemoryError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::PyMemoryView;

use crate::python::convert::foreign;
use crate::python::error;
use crate::python::made;

/// Borrows the memory that an object lends.
pub(crate) fn borrow(object: &Bound<'_, PyAny>) -> PyResult<PyUntypedBuffer> {
    PyUntypedBuffer::get(object).or_else(|failure| {
        // An object may leave out the strides of contiguous memory, as ctypes does. A memoryview
        // adds them.
        let view = PyMemoryView::from(object).map_err(|second| {
            if second.is_instance_of::<PyMemoryError>(object.py()) { second } else { failure }
        })?;
        PyUntypedBuffer::get(&view)
    })
}

/// The type of an array's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Unsigned(usize),
    Signed(usize),
}

impl Item {
    /// Bytes of an item.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Unsigned(size) | Self::Signed(size) => size,
        }
    }
}

/// The object that keeps the memory of an array in place.
#[derive(Debug)]
enum Lease {
    Buffer { _buffer: PyUntypedBuffer },
    Other { _keeper: Box<dyn fmt::Debug + Send + Sync> },
}

/// An array of integers that another object owns.
#[derive(Debug)]
pub(crate) struct Array {
    _lease: Lease,
    /// The first item. Each other item is `stride` bytes after the item before.
    start: *const u8,
    stride: isize,
    item: Item,
    len: usize,
    /// How many items come before these, for messages.
    before: usize,
}

// SAFETY: the pointer is to memory that the lease keeps, which may be dropped and read on any thread.
unsafe impl Send for Array {}
// SAFETY: as above; nothing of it changes.
unsafe impl Sync for Array {}

/// Returns true if a format's byte order is not this machine's.
fn is_foreign(format: &CStr) -> bool {
    let foreign = if cfg!(target_endian = "little") { [b'>', b'!'] } else { [b'<', b'<'] };
    format.to_bytes().first().is_some_and(|order| foreign.contains(order))
}

impl Array {
    /// Returns true if `object` lends memory.
    pub(crate) fn is_lent_by(object: &Bound<'_, PyAny>) -> bool {
        // SAFETY: the object is alive and the interpreter attached.
        unsafe { ffi::PyObject_CheckBuffer(object.as_ptr()) == 1 }
    }

    /// The array that `object` lends, if it lends memory.
    ///
    /// With `raw`, any memory is taken as packed `u64`.
    pub(crate) fn new(object: &Bound<'_, PyAny>, raw: bool) -> PyResult<Self> {
        let buffer = borrow(object).map_err(|failure| {
            if failure.is_instance_of::<PyMemoryError>(object.py()) {
                return failure;
            }
            let what = format!("{} lends no array: {failure}", object.get_type());
            error::new("ArrayError", what, error::NO_NUMBERS)
        })?;
        if !buffer.is_c_contiguous() || (buffer.dimensions() != 1 && !raw) {
            let (dimensions, what) = (buffer.dimensions(), object.get_type());
            let why = if buffer.is_c_contiguous() {
                "is no array of one"
            } else {
                "has gaps between its items: pass a contiguous copy"
            };
            return Err(error::new(
                "ArrayError",
                format!("{what} with {dimensions} dimensions {why}"),
                [("dimensions", dimensions as u64)],
            ));
        }
        if !raw {
            return Self::typed(object, buffer);
        }
        let (bytes, item) = (buffer.len_bytes(), Item::Unsigned(size_of::<u64>()));
        if bytes % item.size() != 0 {
            return Err(error::new(
                "ArrayError",
                format!("{bytes} bytes are not whole numbers of 8 bytes"),
                [("bytes", bytes as u64)],
            ));
        }
        Ok(Self::of_buffer(buffer, made::signed(item.size()), item, bytes / item.size()))
    }

    /// The column `object`, of a table that is an array: its items may be apart.
    pub(crate) fn column(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = borrow(object)?;
        if buffer.dimensions() != 1 || buffer.suboffsets().is_some() {
            let dimensions = buffer.dimensions();
            return Err(error::new(
                "ArrayError",
                format!("a column with {dimensions} dimensions is not an array of one"),
                [("dimensions", dimensions as u64)],
            ));
        }
        Self::typed(object, buffer)
    }

    /// An array of integers at `start`, each right after the one before.
    ///
    /// # Safety
    ///
    /// `len` items can be read from `start` on as long as `keeper` lives, and are written by no Rust but
    /// by atomic operations.
    pub(crate) unsafe fn foreign(
        keeper: Box<dyn fmt::Debug + Send + Sync>,
        start: *const u8,
        item: Item,
        len: usize,
    ) -> Self {
        let stride = made::signed(item.size());
        Self { _lease: Lease::Other { _keeper: keeper }, start, stride, item, len, before: 0 }
    }

    /// The same array, as a part of a longer one that has so many items before it.
    pub(crate) fn after(self, before: usize) -> Self {
        Self { before, ..self }
    }

    fn of_buffer(buffer: PyUntypedBuffer, stride: isize, item: Item, len: usize) -> Self {
        let start = buffer.buf_ptr().cast::<u8>().cast_const();
        Self { _lease: Lease::Buffer { _buffer: buffer }, start, stride, item, len, before: 0 }
    }

    /// The integers of a buffer of one dimension that `object` lends.
    fn typed(object: &Bound<'_, PyAny>, buffer: PyUntypedBuffer) -> PyResult<Self> {
        let typed = |name| made::attribute(object, name).is_ok();
        if buffer.format().to_bytes() == b"B" && !typed("dtype") && !typed("typecode") {
            return Err(error::new(
                "ArrayTypeError",
                format!(
                    "{} holds bytes; say what the bytes hold, as in memoryview(x).cast('Q')",
                    object.get_type(),
                ),
                error::NO_NUMBERS,
            ));
        }
        let size = buffer.item_size();
        let item = match ElementType::from_format(buffer.format()) {
            // One-byte characters, which would otherwise count as numbers.
            _ if buffer.format().to_bytes().ends_with(b"c") => None,
            ElementType::UnsignedInteger { bytes } if bytes == size => Some(Item::Unsigned(size)),
            ElementType::SignedInteger { bytes } if bytes == size => Some(Item::Signed(size)),
            _ => None,
        };
        let known = matches!(size, 1 | 2 | 4 | 8);
        match (item, buffer.shape(), buffer.strides()) {
            (Some(item), &[len], &[stride]) if known && !is_foreign(buffer.format()) => {
                Ok(Self::of_buffer(buffer, stride, item, len))
            }
            _ => Err(error::new(
                "ArrayTypeError",
                format!(
                    "an array of format {:?} does not hold integers, or not in this machine's byte order",
                    buffer.format(),
                ),
                error::NO_NUMBERS,
            )),
        }
    }

    /// Copies the bytes that `object` lends.
    pub(crate) fn bytes(object: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        let buffer = borrow(object)?;
        if !buffer.is_c_contiguous() {
            return Err(error::new(
                "ArrayError",
                format!("{} is not C-contiguous", object.get_type()),
                error::NO_NUMBERS,
            ));
        }
        let count = buffer.len_bytes();
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(count).is_err() {
            return Err(made::failure::<PyMemoryError>(format!("no memory for {count} bytes")));
        }
        let to = bytes.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: the exporter lends `count` contiguous bytes while `buffer` lives, and no Rust writes
        // them but by atomic operations; the reserve made as many writable at `to`.
        unsafe { foreign::read(buffer.buf_ptr().cast::<u8>(), to, count) };
        // SAFETY: the capacity was reserved and all `count` bytes were just written.
        unsafe { bytes.set_len(count) };
        Ok(bytes)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns true if the items are `u64`, side by side.
    pub(crate) fn is_u64(&self) -> bool {
        self.item == Item::Unsigned(8) && self.stride == 8
    }

    fn assert_has(&self, start: usize, count: usize) {
        assert!(
            start <= self.len && count <= self.len - start,
            "items {start}+{count} of {}",
            self.len
        );
    }

    /// [`Self::copy`] for items that must be `u64`. Needs no interpreter.
    pub(crate) fn copy_u64(&self, start: usize, count: usize, items: &mut Vec<u64>) {
        self.assert_has(start, count);
        assert!(self.is_u64(), "items of 8 bytes, not {:?}", self.item);
        items.reserve(count);
        // SAFETY: `start` is at most the number of `u64` that the exporter lends from this address on,
        // so the result stays within, or at the end of, one allocation.
        let from = unsafe { self.start.add(start * size_of::<u64>()) };
        let to = items.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        let bytes = count * size_of::<u64>();
        // SAFETY: `bytes` bytes are readable from `from` on, as asserted above and kept so by the lease,
        // and no Rust writes them but by atomic operations; the reserve made as many writable at `to`.
        unsafe { foreign::read(from, to, bytes) };
        let len = items.len() + count;
        // SAFETY: the capacity was reserved and the items up to `len` just written; every bit pattern
        // is a `u64`.
        unsafe { items.set_len(len) };
    }

    /// Appends items `start..start + count`, which must be inside the array, to `items`.
    ///
    /// Another thread or a device may write to the array meanwhile. The numbers can then be
    /// anything, but all later checks look at this copy.
    pub(crate) fn copy(&self, start: usize, count: usize, items: &mut Vec<u64>) -> PyResult<()> {
        self.assert_has(start, count);
        match self.item {
            _ if self.is_u64() => {
                self.copy_u64(start, count, items);
                Ok(())
            }
            Item::Unsigned(1) => self.convert::<u8>(start, count, items),
            Item::Unsigned(2) => self.convert::<u16>(start, count, items),
            Item::Unsigned(4) => self.convert::<u32>(start, count, items),
            Item::Unsigned(_) => {
                items.extend((start..start + count).map(|index| {
                    // SAFETY: `index` is below the number of items, as asserted above, so this stays
                    // within the allocation, whose size an isize can say.
                    let from = unsafe { self.start.offset(made::signed(index) * self.stride) };
                    // SAFETY: the item is readable as long as the lease lasts, and no Rust writes it but
                    // by atomic operations.
                    unsafe { foreign::word(from) }
                }));
                Ok(())
            }
            Item::Signed(1) => self.convert::<i8>(start, count, items),
            Item::Signed(2) => self.convert::<i16>(start, count, items),
            Item::Signed(4) => self.convert::<i32>(start, count, items),
            Item::Signed(_) => self.convert::<i64>(start, count, items),
        }
    }

    /// [`Self::copy`] for items that are not `u64`. `T` has the size of the array's items.
    fn convert<T>(&self, start: usize, count: usize, items: &mut Vec<u64>) -> PyResult<()>
    where
        T: Copy + TryInto<u64> + Into<i64>,
    {
        for index in start..start + count {
            // SAFETY: `index` is below the number of items, so this stays within the allocation, whose
            // size an isize can say.
            let from = unsafe { self.start.offset(made::signed(index) * self.stride) };
            let mut item = MaybeUninit::<T>::uninit();
            // SAFETY: the item is readable as long as the lease lasts, and no Rust writes it but by
            // atomic operations; as many bytes are ours to write.
            unsafe { foreign::read(from, item.as_mut_ptr().cast(), size_of::<T>()) };
            // SAFETY: all bytes were just written; every bit pattern is a `T`, which is an integer.
            let item = unsafe { item.assume_init() };
            items.push(item.try_into().map_err(|_| {
                let (index, value): (_, i64) = (self.before + index, item.into());
                error::new(
                    "ArrayError",
                    format!(
                        "item {index} of the array is -{:#x}, which is negative",
                        value.unsigned_abs()
                    ),
                    [("index", i128::try_from(index).unwrap_or(-1)), ("value", value.into())],
                )
            })?);
        }
        Ok(())
    }
}

/// Bytes that another object owns, read or written in place.
#[derive(Debug)]
pub(crate) struct Bytes {
    buffer: PyUntypedBuffer,
}

impl Bytes {
    /// Borrows the bytes that `object` lends. They may be written only if `writable`.
    pub(crate) fn new(object: &Bound<'_, PyAny>, writable: bool) -> PyResult<Self> {
        let buffer = borrow(object)?;
        let what = if !buffer.is_c_contiguous() {
            "C-contiguous"
        } else if writable && buffer.readonly() {
            "writable"
        } else {
            return Ok(Self { buffer });
        };
        Err(error::new(
            "ArrayError",
            format!("{} is not {what}", object.get_type()),
            error::NO_NUMBERS,
        ))
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.len_bytes()
    }

    fn at(&self, position: usize, count: usize) -> *mut u8 {
        let len = self.len();
        assert!(position <= len && count <= len - position, "bytes {position}+{count} of {len}");
        // The sum is inside the range that was just asserted, so it never wraps.
        self.buffer.buf_ptr().cast::<u8>().wrapping_add(position)
    }

    /// Copies the bytes from `position` on to `to`.
    ///
    /// Another thread may write to them meanwhile. The bytes can then be anything.
    pub(crate) fn read(&self, position: usize, to: &mut [u8]) {
        let from = self.at(position, to.len());
        // SAFETY: `at` asserted that the exporter lends as many bytes from there on, which it does
        // while `self.buffer` lives, and no Rust writes them but by atomic operations; `to` is a
        // unique reference.
        unsafe { foreign::read(from, to.as_mut_ptr(), to.len()) };
    }

    /// Copies `from` to the bytes from `position` on. The object must lend writable bytes.
    ///
    /// Another thread may read or write them meanwhile; the buffer protocol permits that.
    pub(crate) fn write(&self, position: usize, from: &[u8]) {
        let to = self.at(position, from.len());
        assert!(!self.buffer.readonly(), "{} read-only bytes at {position}", from.len());
        // SAFETY: `at` asserted that the exporter lends as many bytes from there on, which it does
        // while `self.buffer` lives, they are writable, and no Rust accesses them but by atomic
        // operations; `from` is other memory, because memory borrowed here as a slice belongs to no
        // Python object.
        unsafe { foreign::write(from, to) };
    }
}

/// One dimension of memory.
pub(crate) struct Lent<'a> {
    pub(crate) start: *mut u8,
    pub(crate) length: usize,
    pub(crate) readonly: bool,
    pub(crate) item_size: usize,
    pub(crate) format: &'static CStr,
    pub(crate) shape: &'a isize,
    pub(crate) stride: &'a isize,
}

/// An object that lends its own memory. The object is frozen, so its memory does not move or change
/// size while the object lives.
pub(crate) trait Lender: PyClass<Frozen = True> + Sync {
    /// Returns the memory to lend.
    fn lent(&self, py: Python<'_>) -> PyResult<Lent<'_>>;
}

/// Lends memory through the buffer protocol.
///
/// # Safety
///
/// `view` is null or points to a `Py_buffer` to fill, as the caller of `bf_getbuffer` promises.
pub(crate) unsafe fn lend<T: Lender>(
    owner: &Bound<'_, T>,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> PyResult<()> {
    if view.is_null() {
        return Err(made::exception::<PyBufferError>(owner.py(), "no view to fill"));
    }
    // The memory at `view` may be uninitialised, so it is written as a whole and never borrowed.
    let nothing = ffi::Py_buffer::new();
    // SAFETY: not null, so it is a `Py_buffer` to fill.
    unsafe { view.write(nothing) };
    let lent = owner.get().lent(owner.py())?;
    if lent.readonly && flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
        let what = "what a list lends is read-only";
        return Err(made::exception::<PyBufferError>(owner.py(), what));
    }
    let asked = |flag| flags & flag == flag;
    let mut filled = ffi::Py_buffer::new();
    filled.buf = lent.start.cast::<c_void>();
    filled.len = made::signed(lent.length);
    filled.readonly = c_int::from(lent.readonly);
    filled.itemsize = made::signed(lent.item_size);
    if asked(ffi::PyBUF_FORMAT) {
        filled.format = lent.format.as_ptr().cast_mut();
    }
    filled.ndim = 1;
    // `obj` keeps the owner alive, so the addresses of its fields stay valid.
    if asked(ffi::PyBUF_ND) {
        filled.shape = ptr::from_ref(lent.shape).cast_mut();
    }
    if asked(ffi::PyBUF_STRIDES) {
        filled.strides = ptr::from_ref(lent.stride).cast_mut();
    }
    filled.obj = owner.clone().into_any().into_ptr();
    // SAFETY: as above.
    unsafe { view.write(filled) };
    Ok(())
}
