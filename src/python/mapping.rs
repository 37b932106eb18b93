//! `phyr.iommu.dma_map` and what it returns: extract, call, convert.

use alloc::format;
use alloc::string::String;

use std::sync::{Mutex, PoisonError};

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyResourceWarning, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use super::error;
use super::phyr::PyPhyr;

/// A list mapped for a device, until it is unmapped.
///
/// A context manager, which unmaps at its end. Like a file: unmapping again does nothing, using the
/// addresses afterwards is an error, and dropping a mapping that is not unmapped warns and unmaps.
/// It keeps the list, the backend and the owner alive.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> from phyr.iommu import Direct, Direction, dma_map
///     >>> phyr = Phyr.from_pfns([7, 8, 3])
///     >>> with dma_map(phyr, Direct(), Direction.TO_DEVICE) as mapping:
///     ...     mapping.dma is phyr
///     True
///     >>> mapping.dma
///     Traceback (most recent call last):
///     ...
///     phyr.errors.UnmappedError: the mapping of 0x3000 bytes is unmapped
#[pyclass(name = "Mapping", module = "phyr.iommu", frozen)]
pub(super) struct PyMapping {
    phyr: Py<PyPhyr>,
    backend: Py<PyAny>,
    direction: Py<PyAny>,
    owner: Option<Py<PyAny>>,
    /// The bus addresses, until they are unmapped. Whoever holds the lock runs no Python.
    dma: Mutex<Option<Py<PyPhyr>>>,
}

/// A class of `phyr.iommu`, found once.
fn class<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyType>>,
    module: &str,
    name: &str,
) -> PyResult<&'py Bound<'py, PyType>> {
    cell.import(py, module, name)
}

fn is_direct(backend: &Bound<'_, PyAny>) -> PyResult<bool> {
    static DIRECT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let direct = class(backend.py(), &DIRECT, "phyr.iommu.identity", "Direct")?;
    Ok(backend.get_type_ptr() == direct.as_type_ptr())
}

/// Map `phyr` for a device and return the mapping.
///
/// Args:
///     phyr: What to map.
///     backend: How the device's bus sees memory: `Direct`, `BusOffset`, `Paging`, `Bounce`, or any
///         object with their `map` and `unmap`.
///     direction: Which way the data goes.
///     owner: What keeps the memory in place, the list's own by default: its `hold` is called
///         before, and its `release` when the mapping is unmapped, so that it can refuse to let go in
///         between.
///
/// Raises:
///     Exception: The backend's own; nothing is then mapped.
///     MismatchError: The backend returned a list of another length; it is unmapped again.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> from phyr.iommu import BusOffset, Direction, dma_map
///     >>> with dma_map(Phyr.from_pfns([7]), BusOffset(1 << 40), Direction.TO_DEVICE) as mapping:
///     ...     hex(mapping.dma[0])
///     '0x10000007000'
#[pyfunction]
#[pyo3(signature = (phyr, backend, direction, *, owner=None))]
pub(super) fn dma_map<'py>(
    phyr: &Bound<'py, PyPhyr>,
    backend: &Bound<'py, PyAny>,
    direction: &Bound<'py, PyAny>,
    owner: Option<Bound<'py, PyAny>>,
) -> PyResult<PyMapping> {
    static DIRECTION: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = phyr.py();
    let directions = class(py, &DIRECTION, "phyr.iommu.protocols", "Direction")?;
    if direction.get_type_ptr() != directions.as_type_ptr() {
        return Err(PyTypeError::new_err(format!(
            "direction is of {}, not phyr.iommu.Direction",
            direction.get_type()
        )));
    }
    let owner = owner.or_else(|| phyr.get().held().owner(py).map(|owner| owner.into_bound(py)));
    if let Some(owner) = &owner {
        owner.call_method0("hold")?;
    }
    let dma = if is_direct(backend)? {
        phyr.clone()
    } else {
        match map(phyr, backend, direction) {
            Ok(dma) => dma,
            Err(failure) => {
                if let Some(owner) = &owner {
                    owner.call_method0("release")?;
                }
                return Err(failure);
            }
        }
    };
    Ok(PyMapping {
        phyr: phyr.clone().unbind(),
        backend: backend.clone().unbind(),
        direction: direction.clone().unbind(),
        owner: owner.map(Bound::unbind),
        dma: Mutex::new(Some(dma.unbind())),
    })
}

/// What the backend makes of the list, checked.
fn map<'py>(
    phyr: &Bound<'py, PyPhyr>,
    backend: &Bound<'py, PyAny>,
    direction: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyPhyr>> {
    let dma = backend.call_method1("map", (phyr, direction))?.cast_into::<PyPhyr>()?;
    let (given, made) = (phyr.get().as_ref().length(), dma.get().as_ref().length());
    if given == made {
        return Ok(dma);
    }
    backend.call_method1("unmap", (&dma, direction))?;
    Err(error::new(
        "MismatchError",
        format!("the backend mapped {given:#x} bytes to {made:#x}"),
        [("length", given), ("mapped", made)],
    ))
}

/// Unmap `mapping`; as its `unmap`.
#[pyfunction]
pub(super) fn dma_unmap(py: Python<'_>, mapping: &PyMapping) -> PyResult<()> {
    mapping.unmap(py)
}

impl PyMapping {
    fn take(&self) -> Option<Py<PyPhyr>> {
        self.dma.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn sync(&self, py: Python<'_>, how: &str) -> PyResult<()> {
        let dma = self.dma(py)?;
        match self.backend.bind(py).getattr_opt(how)? {
            Some(sync) => sync.call1((dma, &self.direction)).map(drop),
            None => Ok(()),
        }
    }
}

#[pymethods]
impl PyMapping {
    /// The bus addresses: a list of the same length.
    ///
    /// Raises:
    ///     UnmappedError: They are no longer valid.
    #[getter]
    fn dma(&self, py: Python<'_>) -> PyResult<Py<PyPhyr>> {
        let dma = {
            let dma = self.dma.lock().unwrap_or_else(PoisonError::into_inner);
            dma.as_ref().map(|dma| dma.clone_ref(py))
        };
        dma.ok_or_else(|| {
            let length = self.phyr.get().as_ref().length();
            error::new(
                "UnmappedError",
                format!("the mapping of {length:#x} bytes is unmapped"),
                [("length", length)],
            )
        })
    }

    /// What is mapped.
    #[getter]
    fn phyr(&self, py: Python<'_>) -> Py<PyPhyr> {
        self.phyr.clone_ref(py)
    }

    /// Which way the data goes.
    #[getter]
    fn direction(&self, py: Python<'_>) -> Py<PyAny> {
        self.direction.clone_ref(py)
    }

    /// What keeps the memory in place, if anything was said to.
    #[getter]
    fn owner(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.owner.as_ref().map(|owner| owner.clone_ref(py))
    }

    /// Whether it is mapped no longer.
    #[getter]
    fn unmapped(&self) -> bool {
        self.dma.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Take the mapping away from the device; again, it does nothing.
    ///
    /// Raises:
    ///     Exception: The backend's own, if it breaks its promise not to fail; the mapping counts as
    ///         unmapped all the same.
    fn unmap(&self, py: Python<'_>) -> PyResult<()> {
        let Some(dma) = self.take() else { return Ok(()) };
        let backend = self.backend.bind(py);
        let unmapped = if is_direct(backend)? {
            Ok(())
        } else {
            backend.call_method1("unmap", (dma, &self.direction)).map(drop)
        };
        let released = match &self.owner {
            Some(owner) => owner.call_method0(py, "release").map(drop),
            None => Ok(()),
        };
        unmapped.and(released)
    }

    /// Let the device see what the CPU wrote, where it works on a copy.
    ///
    /// Raises:
    ///     UnmappedError: The mapping is unmapped.
    fn sync_for_device(&self, py: Python<'_>) -> PyResult<()> {
        self.sync(py, "sync_for_device")
    }

    /// Let the CPU see what the device wrote, where it works on a copy.
    ///
    /// Raises:
    ///     UnmappedError: The mapping is unmapped.
    fn sync_for_cpu(&self, py: Python<'_>) -> PyResult<()> {
        self.sync(py, "sync_for_cpu")
    }

    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        slf.get().dma(slf.py())?;
        Ok(slf.clone())
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        self.unmap(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let name = self.direction.bind(py).getattr("name")?;
        let phyr = self.phyr.get().as_ref();
        Ok(match &*self.dma.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(dma) => format!("Mapping({name}, {phyr:?} -> {:?})", dma.get().as_ref()),
            None => format!("Mapping({name}, {phyr:?}, unmapped)"),
        })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.backend)?;
        visit.call(&self.direction)?;
        visit.call(&self.owner)
    }
}

impl Drop for PyMapping {
    fn drop(&mut self) {
        if self.unmapped() {
            return;
        }
        Python::attach(|py| {
            let warned = (|| {
                let text =
                    alloc::ffi::CString::new(format!("never unmapped: {}", self.__repr__(py)?))?;
                PyErr::warn(py, &py.get_type::<PyResourceWarning>(), &text, 1)
            })();
            for result in [warned, self.unmap(py)] {
                if let Err(failure) = result {
                    failure.write_unraisable(py, None);
                }
            }
        });
    }
}
