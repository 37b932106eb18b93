//! Named tuples of numbers, made without their classes' code; pairs in bulk, for `phyr.chunks`.

use alloc::format;
use core::cell::Cell;
use core::ptr;

use std::thread_local;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::python::made::{self, int, numbers, objects, put};

/// A class of named tuples of `N` numbers, which `tuple.__new__` can make.
#[derive(Debug)]
pub(crate) struct Named<const N: usize> {
    class: Py<PyType>,
    /// The function with which `tuple` makes instances of its subclasses.
    new: ffi::newfunc,
    /// The function that allocates an instance, where a tuple is its items and nothing else. From
    /// CPython 3.14 on it holds its hash, which `tuple.__new__` alone sets.
    alloc: Option<ffi::allocfunc>,
}

/// A class of pairs.
pub(crate) type Pairs = Named<2>;

thread_local! {
    /// The arguments of this thread's last call, `((paddr, length),)`, kept to be used again.
    static SPARE: Cell<Option<Py<PyTuple>>> = const { Cell::new(None) };
}

impl<const N: usize> Named<N> {
    /// The class of that name in a module, if `tuple.__new__` makes instances of it that hold as many
    /// items.
    ///
    /// # Errors
    ///
    /// `TypeError` if `class` is not a subclass of tuple, or if only its own `__new__` can make
    /// instances.
    #[expect(unsafe_code, reason = "slots of a class are read through raw pointers")]
    pub(crate) fn new(py: Python<'_>, module: &str, name: &str) -> PyResult<Self> {
        let class = made::attribute(&made::module(py, module)?, name)?;
        let class = class.cast_into::<PyType>()?;
        let tuple = py.get_type::<PyTuple>();
        // The method checks that it may make instances of the class. The slot does not.
        let tried = made::attribute(&tuple, "__new__")?
            .call1(objects(py, [class.as_any(), numbers(py, [0; N])?.as_any()])?)?;
        if !tried.get_type().is(&class) || tried.cast::<PyTuple>()?.len() != N {
            let message = format!("{class} is not a class of tuples of {N} items");
            return Err(made::exception::<PyTypeError>(py, &message));
        }
        // SAFETY: the class is a live type; the slot is one that types have.
        let new = unsafe { ffi::PyType_GetSlot(tuple.as_type_ptr(), ffi::Py_tp_new) };
        if new.is_null() {
            return Err(PyErr::fetch(py));
        }
        // SAFETY: the slot `tp_new` holds a `newfunc`, and it is not null.
        let new = unsafe { core::mem::transmute::<*mut core::ffi::c_void, ffi::newfunc>(new) };
        let alloc = if py.version_info() < (3, 14) { Some(alloc_of(&class)?) } else { None };
        Ok(Self { class: class.unbind(), new, alloc })
    }

    /// Calls `tuple.__new__(class, *arguments)`, with exactly one argument.
    #[inline]
    #[expect(unsafe_code, reason = "a slot of Python's is called")]
    fn call<'py>(
        &self,
        py: Python<'py>,
        arguments: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let class = self.class.bind(py).as_type_ptr();
        // SAFETY: the slot is tuple's, and `tuple.__new__` has made an instance of the class; the
        // arguments are a tuple of one, and no keywords; the interpreter is attached.
        let tuple = unsafe { (self.new)(class, arguments.as_ptr(), ptr::null_mut()) };
        // SAFETY: null with an exception set, or a new reference that is ours.
        unsafe { Bound::from_owned_ptr_or_err(py, tuple) }
    }

    /// An instance: what `tuple.__new__(class, items)` returns. The class's own code is not run.
    pub(crate) fn of<'py>(&self, py: Python<'py>, items: [u64; N]) -> PyResult<Bound<'py, PyAny>> {
        self.call(py, &objects(py, [numbers(py, items)?.as_any()])?)
    }
}

impl Pairs {
    /// As [`Self::of`], for many.
    ///
    /// The garbage collector does not track the instance, because two ints refer to nothing. Python
    /// stops tracking ordinary tuples of ints by itself, but only at the first collection, and a
    /// long list starts many before that.
    #[inline]
    pub(crate) fn make<'py>(&self, py: Python<'py>, pair: [u64; 2]) -> PyResult<Bound<'py, PyAny>> {
        if let Some(alloc) = self.alloc {
            let items = [int(py, pair[0])?, int(py, pair[1])?];
            let tuple = self.allocate(py, alloc)?;
            fill(&tuple, items)?;
            return Ok(tuple.into_any());
        }
        let spare = SPARE.take().map(|spare| spare.into_bound(py));
        let arguments = match spare {
            Some(arguments) if refill(&arguments, pair)? => arguments,
            _ => objects(py, [numbers(py, pair)?.as_any()])?,
        };
        let tuple = self.call(py, &arguments)?;
        untrack(&tuple);
        SPARE.set(Some(arguments.unbind()));
        Ok(tuple)
    }

    /// Puts new numbers into an instance that [`Self::make`] made, if only the caller has a reference
    /// to it: nobody can tell it from a new one. Python's `zip` does the same. Returns false, and
    /// changes nothing, if other code has a reference, or if this Python's tuples hold more than items.
    #[inline]
    #[expect(unsafe_code, reason = "references are counted")]
    pub(crate) fn make_again(&self, tuple: &Bound<'_, PyAny>, pair: [u64; 2]) -> PyResult<bool> {
        // SAFETY: the object is live, and the interpreter is attached.
        if self.alloc.is_none() || unsafe { ffi::Py_REFCNT(tuple.as_ptr()) } != 1 {
            return Ok(false);
        }
        let py = tuple.py();
        let items = [int(py, pair[0])?, int(py, pair[1])?];
        fill(tuple.cast::<PyTuple>()?, items)?;
        Ok(true)
    }

    /// An instance with room for two items, which are missing. The collector does not track it.
    #[inline]
    #[expect(unsafe_code, reason = "a slot of Python's is called")]
    fn allocate<'py>(
        &self,
        py: Python<'py>,
        alloc: ffi::allocfunc,
    ) -> PyResult<Bound<'py, PyTuple>> {
        // SAFETY: the slot is that of the class, which `tuple.__new__` calls as well; the interpreter
        // is attached.
        let tuple = unsafe { alloc(self.class.bind(py).as_type_ptr(), 2) };
        // SAFETY: null with an exception set, or a new reference that is ours.
        let tuple = unsafe { Bound::from_owned_ptr_or_err(py, tuple) }?;
        untrack(&tuple);
        // SAFETY: the class is one of tuples.
        Ok(unsafe { tuple.cast_into_unchecked() })
    }
}

/// The function that allocates instances of a class.
#[expect(unsafe_code, reason = "slots of a class are read through raw pointers")]
fn alloc_of(class: &Bound<'_, PyType>) -> PyResult<ffi::allocfunc> {
    // SAFETY: the class is a live type; the slot is one that types have.
    let alloc = unsafe { ffi::PyType_GetSlot(class.as_type_ptr(), ffi::Py_tp_alloc) };
    if alloc.is_null() {
        return Err(PyErr::fetch(class.py()));
    }
    // SAFETY: the slot `tp_alloc` holds an `allocfunc`, and it is not null.
    Ok(unsafe { core::mem::transmute::<*mut core::ffi::c_void, ffi::allocfunc>(alloc) })
}

/// Tells the collector to look away from a tuple of ints.
#[inline]
#[expect(unsafe_code, reason = "the collector is told to look away")]
fn untrack(tuple: &Bound<'_, PyAny>) {
    // SAFETY: instances of a subclass of tuple take part in collection; nobody else has this one.
    unsafe { ffi::PyObject_GC_UnTrack(tuple.as_ptr().cast()) };
}

/// Puts both items into a tuple that no other code has a reference to.
#[inline]
fn fill<'py>(tuple: &Bound<'py, PyTuple>, items: [Bound<'py, PyAny>; 2]) -> PyResult<()> {
    let [first, second] = items;
    put(tuple, 0, first)?;
    put(tuple, 1, second)
}

/// Puts new numbers into the pair of a spare `((paddr, length),)`. Returns false, and changes
/// nothing, if other code has a reference to that pair.
#[expect(unsafe_code, reason = "a tuple is filled item by item")]
fn refill(arguments: &Bound<'_, PyTuple>, pair: [u64; 2]) -> PyResult<bool> {
    let py = arguments.py();
    let tuple = arguments.get_borrowed_item(0)?;
    for (number, at) in pair.into_iter().zip(0..) {
        let number = int(py, number)?;
        // SAFETY: the tuple is live; the function refuses it unless there is one reference to it, and
        // an item that it has not; the reference to the number is handed over either way.
        let done = unsafe { ffi::PyTuple_SetItem(tuple.as_ptr(), at, number.into_ptr()) };
        if done != 0 {
            drop(PyErr::take(py));
            return Ok(false);
        }
    }
    Ok(true)
}
