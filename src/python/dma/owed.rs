//! The calls that a mapping owes its backend and its owner: `unmap` and `release`.
//!
//! ```text
//! Mapping ---> Owed ---> backend ---> maybe the Mapping again
//!   Rust       Python, with `__del__`; its base, in Rust, does the work
//! ```
//!
//! Python takes a cycle of objects apart in any order, but calls every `__del__` in the cycle
//! first. A class in Rust cannot have `__del__`, so this one has a subclass in Python, in
//! `phyr._ownership`.

use alloc::format;
use alloc::string::String;

use std::sync::{Mutex, OnceLock, PoisonError};

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyResourceWarning, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::python::convert::shown;
use crate::python::dma::failures;
use crate::python::error;
use crate::python::list::either::Either;
use crate::python::made;

/// The bus addresses until they are unmapped.
///
/// No Python code runs while the lock is held.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<Option<Either>>);

impl Slot {
    pub(crate) fn get(&self, py: Python<'_>) -> Option<Either> {
        let dma = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        dma.as_ref().map(|dma| dma.clone_ref(py))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn take(&self) -> Option<Either> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, dma: Either) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(dma);
    }
}

/// An interned name, made once. Undoing must not need memory for it.
fn name<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyString>>,
    name: &str,
) -> PyResult<&'py Bound<'py, PyString>> {
    Ok(cell.get_or_try_init(py, || made::text(py, name).map(Bound::unbind))?.bind(py))
}

fn unmap_name(py: Python<'_>) -> PyResult<&Bound<'_, PyString>> {
    static NAME: PyOnceLock<Py<PyString>> = PyOnceLock::new();
    name(py, &NAME, "unmap")
}

/// The repr of a mapping.
pub(crate) fn describe(
    direction: &Bound<'_, PyAny>,
    phyr: &Either,
    dma: Option<&Either>,
) -> PyResult<String> {
    let name = made::attribute(direction, "name")?;
    Ok(match dma {
        Some(dma) => format!("Mapping({name}, {phyr:?} -> {dma:?})"),
        None => format!("Mapping({name}, {phyr:?}, unmapped)"),
    })
}

/// Warns that a mapping is dropped while it is still mapped.
pub(crate) fn warn(direction: &Bound<'_, PyAny>, phyr: &Either, dma: &Either) -> PyResult<()> {
    let py = direction.py();
    let text = format!("never unmapped: {}", describe(direction, phyr, Some(dma))?);
    PyErr::warn(py, &py.get_type::<PyResourceWarning>(), &alloc::ffi::CString::new(text)?, 1)
}

/// The calls that a mapping owes: to unmap, and to release the owner.
#[pyclass(name = "Owed", module = "phyr._phyr", frozen, subclass)]
pub(crate) struct PyOwed {
    phyr: Either,
    backend: Py<PyAny>,
    direction: Py<PyAny>,
    owner: Option<Py<PyAny>>,
    /// The owner's method `release`, bound when it was held: releasing needs no memory for that.
    release: OnceLock<Py<PyAny>>,
    dma: Slot,
}

impl PyOwed {
    pub(crate) fn slot(&self) -> &Slot {
        &self.dma
    }

    pub(crate) fn owner(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.owner.as_ref().map(|owner| owner.clone_ref(py))
    }

    /// Maps the list. From then on, calls are owed.
    pub(crate) fn map(&self, py: Python<'_>) -> PyResult<()> {
        // Made now, so that undoing needs no memory for them.
        unmap_name(py)?;
        if let Some(owner) = &self.owner {
            let owner = owner.bind(py);
            let _ = self.release.set(made::attribute(owner, "release")?.unbind());
            made::attribute(owner, "hold")?.call0()?;
        }
        match self.ask(py) {
            Ok(dma) => {
                self.dma.put(dma);
                Ok(())
            }
            Err((failure, gone)) => self.settle(py, Err(failure), gone),
        }
    }

    /// Returns the backend's list, after checks; or the error, and true if nothing is mapped.
    fn ask(&self, py: Python<'_>) -> Result<Either, (PyErr, bool)> {
        let backend = self.backend.bind(py);
        // A backend that raises has mapped nothing, unless its exception says that it could not
        // undo.
        let map = || {
            let arguments = [self.phyr.bind(py), self.direction.bind(py)];
            made::attribute(backend, "map")?.call1(made::objects(py, arguments)?)
        };
        let made = failures::caught(map).map_err(|failure| {
            let gone = !failures::is_still_mapped(py, &failure);
            (failure, gone)
        })?;
        let wrong = if let Some(dma) = Either::of(&made) {
            let (given, got) = (self.phyr.length(), dma.length());
            if given == got {
                return Ok(dma);
            }
            let message = format!("the backend mapped {given:#x} bytes to {got:#x}");
            error::new("MismatchError", message, [("length", given), ("mapped", got)])
        } else {
            let what = shown::wrong("the result of the backend", &made, "a list of memory");
            made::failure::<PyTypeError>(what)
        };
        // Whatever the backend returned, it may have mapped something: ask it to unmap.
        let (undone, gone) = self.unmap(&made);
        Err((failures::also(py, wrong, undone, "unmapping it again"), gone))
    }

    /// Asks the backend to unmap what it made. Also returns true if nothing is mapped afterwards.
    fn unmap(&self, made: &Bound<'_, PyAny>) -> (PyResult<()>, bool) {
        let py = made.py();
        let unmap = || {
            failures::caught(|| {
                let unmap = self.backend.bind(py).getattr(unmap_name(py)?)?;
                unmap.call1(made::objects(py, [made, self.direction.bind(py)])?).map(drop)
            })
        };
        match unmap() {
            Err(interrupt) if failures::is_abrupt(py, &interrupt) => {
                // An abrupt exception may come before the backend did anything, or after it did
                // everything: ask again.
                let again = match unmap() {
                    Err(failure) if failures::says_not_mapped(py, &failure) => Ok(()),
                    outcome => outcome,
                };
                let gone = again.is_ok();
                let doing = "unmapping once more after the interrupt";
                (Err(failures::also(py, interrupt, again, doing)), gone)
            }
            outcome => {
                let gone = outcome.is_ok();
                (outcome, gone)
            }
        }
    }

    /// Makes the owed calls, unless they were made before.
    pub(crate) fn pay(&self, py: Python<'_>) -> PyResult<()> {
        let Some(dma) = self.dma.take() else { return Ok(()) };
        let (unmapped, gone) = self.unmap(dma.bind(py));
        self.settle(py, unmapped, gone)
    }

    /// Releases the owner if nothing is mapped any more. Keeps it for ever if something may be.
    fn settle(&self, py: Python<'_>, outcome: PyResult<()>, gone: bool) -> PyResult<()> {
        let Some(owner) = &self.owner else { return outcome };
        if !gone {
            // This reference is never given back: if the owner were dropped, its memory could be
            // freed.
            let _ = owner.clone_ref(py).into_ptr();
            return outcome;
        }
        let Some(release) = self.release.get() else { return outcome };
        let released = failures::caught(|| release.bind(py).call0().map(drop));
        match outcome {
            Err(failure) => Err(failures::also(py, failure, released, "letting the owner go")),
            Ok(()) => released,
        }
    }

    /// Returns how many bytes beyond the list the device can reach, if the backend can tell.
    pub(crate) fn exposed<'py>(
        &self,
        py: Python<'py>,
        dma: &Either,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let exposed = self.backend.bind(py).getattr_opt(made::text(py, "exposed")?)?;
        exposed.map(|exposed| made::call(&exposed, dma.bind(py))).transpose()
    }

    /// Calls a `sync` method of the backend, if it has one.
    pub(crate) fn sync(&self, py: Python<'_>, how: &str, dma: &Either) -> PyResult<()> {
        match self.backend.bind(py).getattr_opt(made::text(py, how)?)? {
            Some(sync) => {
                let arguments = [dma.bind(py), self.direction.bind(py)];
                sync.call1(made::objects(py, arguments)?).map(drop)
            }
            None => Ok(()),
        }
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyOwed {
    #[new]
    fn new(
        phyr: Either,
        backend: Py<PyAny>,
        direction: Py<PyAny>,
        owner: Option<Py<PyAny>>,
    ) -> Self {
        let release = OnceLock::new();
        Self { phyr, backend, direction, owner, release, dma: Slot::default() }
    }

    /// Warn, and make the owed calls, if there are any.
    fn pay_late(&self, py: Python<'_>) {
        let Some(dma) = self.dma.get(py) else { return };
        for outcome in [warn(self.direction.bind(py), &self.phyr, &dma), self.pay(py)] {
            if let Err(failure) = outcome {
                failure.write_unraisable(py, None);
            }
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.backend)?;
        visit.call(&self.direction)?;
        visit.call(&self.owner)?;
        visit.call(self.release.get())
    }
}

/// Runs code of a destructor in Python, without losing an exception that is being raised.
pub(crate) fn aside(act: impl FnOnce(Python<'_>)) {
    Python::attach(|py| {
        let pending = PyErr::take(py);
        act(py);
        if let Some(pending) = pending {
            pending.restore(py);
        }
    });
}

impl Drop for PyOwed {
    /// Does what `__del__` did not get done, if it was interrupted.
    fn drop(&mut self) {
        if !self.dma.is_empty() {
            aside(|py| self.pay_late(py));
        }
    }
}
