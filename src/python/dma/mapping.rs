//! `phyr.iommu.dma_map` and the mapping that it returns.

use alloc::format;

use core::sync::atomic::{AtomicBool, Ordering};

use pyo3::PyTraverseError;
use pyo3::exceptions::PyTypeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::error::check_paddrs;
use crate::python::convert::shown;
use crate::python::dma::owed::{self, PyOwed};
use crate::python::error;
use crate::python::list::either::Either;
use crate::python::list::frozen::no_list;
use crate::python::made::{self, Ignored, Text};

/// A list mapped for a device, until it is unmapped.
///
/// A mapping is a context manager, which unmaps at its end. It behaves like a file: unmapping again
/// does nothing, using the addresses afterwards is an error, and dropping a mapping that is not
/// unmapped warns and unmaps. It keeps the list, the backend and the owner alive.
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
pub(crate) struct PyMapping {
    phyr: Either,
    direction: Py<PyAny>,
    /// True while a mapping that owes nothing is mapped: its bus addresses are the list itself. No
    /// lock is needed, because nothing else changes.
    mapped: AtomicBool,
    /// The bus addresses of every other mapping, and the calls that it owes.
    owed: Option<Py<PyOwed>>,
}

/// Looks up a class of phyr once.
fn class<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyType>>,
    module: &str,
    name: &str,
) -> PyResult<&'py Bound<'py, PyType>> {
    let found = cell.get_or_try_init(py, || {
        let class = made::attribute(&made::module(py, module)?, name)?;
        Ok::<_, PyErr>(class.cast_into::<PyType>()?.unbind())
    });
    Ok(found?.bind(py))
}

fn is_direct(backend: &Bound<'_, PyAny>) -> PyResult<bool> {
    static DIRECT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let direct = class(backend.py(), &DIRECT, "phyr.iommu.identity", "Direct")?;
    Ok(backend.get_type_ptr() == direct.as_type_ptr())
}

/// Refuses an object that lacks a method, before anything is held or mapped.
fn check_methods(
    argument: &str,
    object: &Bound<'_, PyAny>,
    names: [&str; 2],
    wanted: &str,
) -> PyResult<()> {
    let py = object.py();
    // The commonest mistake: a domain has pages, and only `Paging` has windows.
    let is_domain = || -> PyResult<bool> {
        let map_pages = made::text(py, "map_pages")?;
        Ok(argument == "backend" && object.getattr_opt(map_pages)?.is_some())
    };
    for name in names {
        let method = object.getattr_opt(made::text(py, name)?)?;
        let why = match method {
            Some(method) if method.is_callable() => continue,
            Some(_) => format!("its {name} cannot be called"),
            None if is_domain()? => "pass Paging(domain)".into(),
            None => format!("it has no {name}"),
        };
        let what = shown::wrong(argument, object, &format!("{wanted}: {why}"));
        return Err(made::failure::<PyTypeError>(what));
    }
    Ok(())
}

/// Map `phyr` for a device and return the mapping.
///
/// Args:
///     phyr: The list to map. Or a buffer, or (uaddr, length), if the backend maps memory by its
///         user address, without page numbers and so without rights: see `Type1.map_buffer`, whose
///         result is then returned.
///     backend: The way the device's bus sees memory: `Direct`, `BusOffset`, `Paging`, `Bounce`, or
///         any object with their `map` and `unmap`.
///     direction: The direction of the data.
///     owner: An object that keeps the memory in place, in addition to the list's own owner. The
///         `hold` of both is called before mapping, and their `release` after unmapping, so that
///         they can refuse to release the memory in between.
///
/// Raises:
///     Exception: The backend's own error; nothing is mapped then.
///     MismatchError: The backend returned a list of another length. Or the list has user addresses,
///         and the backend does not map by them.
///     TypeError: The backend returned something else than a list. In both cases it is asked to
///         unmap what it returned. Or `backend` or `owner` lacks a method, or `direction` is none.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> from phyr.iommu import BusOffset, Direction, dma_map
///     >>> with dma_map(Phyr.from_pfns([7]), BusOffset(1 << 40), Direction.TO_DEVICE) as mapping:
///     ...     hex(mapping.dma[0])
///     '0x10000007000'
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(signature = (phyr, backend, direction, *, owner=None))]
pub(crate) fn dma_map<'py>(
    phyr: &Bound<'py, PyAny>,
    backend: &Bound<'py, PyAny>,
    direction: &Bound<'py, PyAny>,
    owner: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    static DIRECTION: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = backend.py();
    let directions = class(py, &DIRECTION, "phyr.iommu.protocols", "Direction")?;
    if direction.get_type_ptr() != directions.as_type_ptr() {
        let what = shown::wrong("direction", direction, "a Direction");
        return Err(made::failure::<PyTypeError>(what));
    }
    let Some(phyr) = Either::of(phyr) else {
        return match made::attribute(backend, "map_buffer") {
            Ok(map_buffer) if owner.is_none() => {
                map_buffer.call1(made::objects(py, [phyr, direction])?)
            }
            _ => Err(no_list(phyr)),
        };
    };
    // Only a backend that maps by user addresses can do with them.
    if let Err(why) = check_paddrs(phyr.kind()) {
        made::attribute(backend, "map_user").map_err(|_| why)?;
    }
    let is_direct = is_direct(backend)?;
    if !is_direct {
        check_methods("backend", backend, ["map", "unmap"], "a DmaBackend")?;
    }
    if let Some(owner) = &owner {
        check_methods("owner", owner, ["hold", "release"], "an Owner")?;
    }
    let owner = match (phyr.held().owner(py), owner) {
        (Some(own), Some(other)) if !other.is(&own) => {
            static OWNERS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
            let both = made::objects(py, [own.bind(py), &other])?;
            Some(made::call(class(py, &OWNERS, "phyr._ownership", "Owners")?, both.as_any())?)
        }
        (own, other) => other.or(own.map(|own| own.into_bound(py))),
    };
    let owed = if owner.is_none() && is_direct {
        None
    } else {
        static OWED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let class = class(py, &OWED, "phyr._ownership", "Owed")?;
        let none = py.None().into_bound(py);
        let owner = owner.as_ref().unwrap_or(&none);
        let owed = class.call1(made::objects(py, [phyr.bind(py), backend, direction, owner])?)?;
        let owed = owed.cast_into::<PyOwed>()?;
        owed.get().map(py)?;
        Some(owed.unbind())
    };
    let direction = direction.clone().unbind();
    let mapping = PyMapping { phyr, direction, mapped: AtomicBool::new(owed.is_none()), owed };
    Ok(Bound::new(py, mapping)?.into_any())
}

/// Unmap `mapping`; as the method `unmap`.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
pub(crate) fn dma_unmap(py: Python<'_>, mapping: &PyMapping) -> PyResult<()> {
    mapping.unmap(py)
}

impl PyMapping {
    /// The bus addresses while they are valid.
    fn valid(&self, py: Python<'_>) -> Option<Either> {
        match &self.owed {
            Some(owed) => owed.get().slot().get(py),
            None => self.mapped.load(Ordering::Acquire).then(|| self.phyr.clone_ref(py)),
        }
    }

    fn sync(&self, py: Python<'_>, how: &str) -> PyResult<()> {
        let dma = self.dma(py)?;
        self.owed.as_ref().map_or(Ok(()), |owed| owed.get().sync(py, how, &dma))
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyMapping {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = None)]
    fn refuse(_arguments: Ignored, _keywords: Option<Ignored>) -> PyResult<Self> {
        Err(made::no_constructor::<Self>("phyr.iommu.dma_map"))
    }

    /// The bus addresses: a list of the same length.
    ///
    /// Raises:
    ///     UnmappedError: The addresses are no longer valid.
    #[getter]
    fn dma(&self, py: Python<'_>) -> PyResult<Either> {
        self.valid(py).ok_or_else(|| {
            let length = self.phyr.length();
            error::new(
                "UnmappedError",
                format!("the mapping of {length:#x} bytes is unmapped"),
                [("length", length)],
            )
        })
    }

    /// Bytes beyond the list that the device can reach, because a table maps whole pages. None if
    /// the backend does not restrict the device, or cannot tell.
    ///
    /// Raises:
    ///     UnmappedError: The mapping is unmapped.
    ///
    /// Examples:
    ///     >>> from phyr import Phyr
    ///     >>> from phyr.iommu import Direct, Direction, Paging, dma_map
    ///     >>> from phyr.testing import TableDomain
    ///     >>> phyr = Phyr.from_chunks([(0x7080, 0x100)])
    ///     >>> with dma_map(phyr, Paging(TableDomain()), Direction.TO_DEVICE) as mapping:
    ///     ...     hex(mapping.exposed)
    ///     '0xf00'
    ///     >>> with dma_map(phyr, Direct(), Direction.TO_DEVICE) as mapping:
    ///     ...     mapping.exposed is None
    ///     True
    #[getter]
    fn exposed<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let dma = self.dma(py)?;
        self.owed.as_ref().map_or(Ok(None), |owed| owed.get().exposed(py, &dma))
    }

    /// The mapped list.
    #[getter]
    fn phyr(&self, py: Python<'_>) -> Either {
        self.phyr.clone_ref(py)
    }

    /// Direction of the data.
    #[getter]
    fn direction(&self, py: Python<'_>) -> Py<PyAny> {
        self.direction.clone_ref(py)
    }

    /// The object given as `owner`, or None.
    #[getter]
    fn owner(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.owed.as_ref().and_then(|owed| owed.get().owner(py))
    }

    /// True if it is no longer mapped.
    #[getter]
    fn unmapped(&self) -> bool {
        match &self.owed {
            Some(owed) => owed.get().slot().is_empty(),
            None => !self.mapped.load(Ordering::Acquire),
        }
    }

    /// Take the mapping away from the device. If it is unmapped already, do nothing.
    ///
    /// Raises:
    ///     Exception: The backend's own error, although backends promise not to fail. The mapping
    ///         still counts as unmapped.
    fn unmap(&self, py: Python<'_>) -> PyResult<()> {
        self.mapped.store(false, Ordering::Release);
        self.owed.as_ref().map_or(Ok(()), |owed| owed.get().pay(py))
    }

    /// Make the CPU's writes visible to the device, if the device works on a copy.
    ///
    /// Raises:
    ///     UnmappedError: The mapping is unmapped.
    fn sync_for_device(&self, py: Python<'_>) -> PyResult<()> {
        self.sync(py, "sync_for_device")
    }

    /// Make the device's writes visible to the CPU, if the device works on a copy.
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

    fn __repr__(&self, py: Python<'_>) -> PyResult<Text> {
        owed::describe(self.direction.bind(py), &self.phyr, self.valid(py).as_ref()).map(Text)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.direction)?;
        visit.call(&self.owed)
    }
}

impl Drop for PyMapping {
    /// The object that owes the calls makes them itself, when it is dropped.
    fn drop(&mut self) {
        if !*self.mapped.get_mut() {
            return;
        }
        owed::aside(|py| {
            if let Err(failure) = owed::warn(self.direction.bind(py), &self.phyr, &self.phyr) {
                failure.write_unraisable(py, None);
            }
        });
    }
}
