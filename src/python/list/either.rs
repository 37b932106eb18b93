//! A list that Python hands in, in either form.

use alloc::string::ToString;
use core::fmt;

use pyo3::prelude::*;

use crate::error::FormatError;
use crate::kind::Kind;
use crate::list::frozen::Frozen;
use crate::list::phyr::Phyr;
use crate::list::reading::Inner;
use crate::python::list::frozen::{PyFrozen, no_list};
use crate::python::list::held::Held;
use crate::python::list::object::PyPhyr;

/// A `Phyr` or a `FrozenPhyr`.
///
/// The extension reads both as [`Frozen`], of which a `Phyr` is one kind. So there is one copy of the
/// code for both, and a walk asks once a node which it is.
pub(crate) enum Either {
    Phyr(Py<PyPhyr>),
    Frozen(Py<PyFrozen>),
}

impl Either {
    /// The list that `object` is, if it is one.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> Option<Self> {
        if let Ok(phyr) = object.cast::<PyPhyr>() {
            return Some(Self::Phyr(phyr.clone().unbind()));
        }
        object.cast::<PyFrozen>().ok().map(|frozen| Self::Frozen(frozen.clone().unbind()))
    }

    /// The list, to read. O(1).
    pub(crate) fn list(&self) -> Frozen {
        match self {
            Self::Phyr(phyr) => Frozen::kept(phyr.get().as_ref().clone()),
            Self::Frozen(frozen) => frozen.get().as_ref().clone(),
        }
    }

    /// As [`Self::list`], of an argument.
    pub(crate) fn into_list(self) -> Frozen {
        self.list()
    }

    /// The list as a `Phyr`: itself, or a copy for what works on a `Phyr` only.
    pub(crate) fn thawed(self, py: Python<'_>) -> Result<Phyr, FormatError> {
        match &self {
            Self::Phyr(phyr) => Ok(phyr.get().as_ref().clone()),
            Self::Frozen(frozen) => py.detach(|| frozen.get().as_ref().thaw()),
        }
    }

    /// The list, or a copy of one whose words others may change.
    pub(crate) fn settled(self, py: Python<'_>) -> PyResult<Self> {
        if !self.list().may_change() {
            return Ok(self);
        }
        let held = self.held().part(py, 0);
        Ok(Self::Phyr(Py::new(py, PyPhyr::with(self.thawed(py)?, held))?))
    }

    /// The owner and the address of the list's memory.
    pub(crate) fn held(&self) -> &Held {
        match self {
            Self::Phyr(phyr) => phyr.get().held(),
            Self::Frozen(frozen) => frozen.get().held(),
        }
    }

    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Phyr(phyr) => phyr.get().as_ref().length(),
            Self::Frozen(frozen) => frozen.get().as_ref().length(),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Phyr(phyr) => phyr.get().as_ref().kind(),
            Self::Frozen(frozen) => frozen.get().as_ref().kind(),
        }
    }

    /// The very object.
    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        match self {
            Self::Phyr(phyr) => phyr.bind(py).as_any(),
            Self::Frozen(frozen) => frozen.bind(py).as_any(),
        }
    }

    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Phyr(phyr) => Self::Phyr(phyr.clone_ref(py)),
            Self::Frozen(frozen) => Self::Frozen(frozen.clone_ref(py)),
        }
    }

    /// A part of the list as an object of the same class, from byte `start` on.
    pub(crate) fn part<'py>(
        &self,
        py: Python<'py>,
        part: Frozen,
        start: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let held = self.held().part(py, start);
        Ok(match self {
            Self::Phyr(_) => Bound::new(py, PyPhyr::with(part.thaw()?, held))?.into_any(),
            Self::Frozen(_) => Bound::new(py, PyFrozen::with(part, held))?.into_any(),
        })
    }
}

/// Return `phyr`, or a copy if it is frozen and its words are those of a file or of memory of others.
///
/// A list that changes while it is mapped would be unmapped at other addresses.
///
/// Raises:
///     FormatError: The words are not those of a list.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
pub(crate) fn settled(py: Python<'_>, phyr: Either) -> PyResult<Either> {
    phyr.settled(py)
}

impl<'py> FromPyObject<'_, 'py> for Either {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Self::of(&object).ok_or_else(|| no_list(&object))
    }
}

impl<'py> IntoPyObject<'py> for Either {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.bind(py).clone())
    }
}

impl fmt::Debug for Either {
    /// As Python's `repr`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phyr(phyr) => fmt::Debug::fmt(phyr.get().as_ref(), f),
            Self::Frozen(frozen) => f.write_str(&frozen.get().to_string()),
        }
    }
}
