//! Counting who holds memory, by calls that need no memory themselves: undoing must not fail.

use core::sync::atomic::{AtomicI64, Ordering};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::python::dma::failures;
use crate::python::made;

/// A number of mappings. No call of it allocates, waits or runs other code.
///
/// Examples:
///     >>> count = Count()
///     >>> count.add()
///     >>> count.value, count.drop(), count.value
///     (1, None, 0)
#[pyclass(name = "Count", module = "phyr._phyr", frozen)]
#[derive(Debug, Default)]
pub(crate) struct PyCount(AtomicI64);

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyCount {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Count one more.
    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Count one less.
    fn drop(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The number.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        made::wide(py, self.0.load(Ordering::Relaxed).into())
    }
}

/// Holds several owners, or releases them. Allocates nothing itself.
///
/// Args:
///     owners: The owners.
#[pyclass(name = "Sides", module = "phyr._phyr", frozen)]
#[derive(Debug)]
pub(crate) struct PySides {
    /// The methods `hold` and `release` of each owner, bound.
    holds: Py<PyTuple>,
    releases: Py<PyTuple>,
}

impl PySides {
    /// Calls each of `calls`, even if one fails. Returns the first failure, with the others as notes.
    fn call_all<'py>(
        py: Python<'py>,
        calls: impl Iterator<Item = Bound<'py, PyAny>>,
        before: PyResult<()>,
        doing: &str,
    ) -> PyResult<()> {
        calls.fold(before, |outcome, call| {
            let done = failures::caught(|| call.call0().map(drop));
            match outcome {
                Ok(()) => done,
                Err(failure) => Err(failures::also(py, failure, done, doing)),
            }
        })
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PySides {
    #[new]
    fn new(owners: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let py = owners.py();
        let methods = |name| {
            let list = made::list(py)?;
            for owner in owners.iter() {
                list.append(made::attribute(&owner, name)?)?;
            }
            tuple(&list)
        };
        Ok(Self { holds: methods("hold")?, releases: methods("release")? })
    }

    /// Hold all owners, or none.
    fn hold(&self, py: Python<'_>) -> PyResult<()> {
        for (hold, at) in self.holds.bind(py).iter().zip(0..) {
            if let Err(failure) = failures::caught(|| hold.call0().map(drop)) {
                let held = self.releases.bind(py).iter().take(at);
                return Self::call_all(py, held, Err(failure), "letting another owner go");
            }
        }
        Ok(())
    }

    /// Release all owners, even if one fails.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let releases = self.releases.bind(py).iter();
        Self::call_all(py, releases, Ok(()), "letting another owner go")
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.holds)?;
        visit.call(&self.releases)
    }
}

/// The items of a list as a tuple.
fn tuple(list: &Bound<'_, PyList>) -> PyResult<Py<PyTuple>> {
    let class = list.py().get_type::<PyTuple>();
    let made = made::call(class.as_any(), list.as_any())?;
    Ok(made.cast_into::<PyTuple>()?.unbind())
}
