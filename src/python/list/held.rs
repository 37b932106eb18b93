//! The owner that keeps a list's memory in place, and the address of that memory in this process.

use alloc::vec::Vec;

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::python::made;

/// The result of showing references to the garbage collector.
pub(crate) type Visited = Result<(), PyTraverseError>;

/// The owner and the address of a list's memory. They are not part of the list's value.
#[derive(Debug, Default)]
pub(crate) struct Held {
    owner: Option<Py<PyAny>>,
    /// User virtual address of the first byte.
    uaddr: Option<u64>,
}

impl Held {
    pub(crate) fn new(owner: Option<Py<PyAny>>, uaddr: Option<u64>) -> Self {
        Self { owner, uaddr }
    }

    pub(crate) fn owner(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.owner.as_ref().map(|owner| owner.clone_ref(py))
    }

    pub(crate) fn uaddr(&self) -> Option<u64> {
        self.uaddr
    }

    /// Shows the owner to the garbage collector: it may refer to the list that keeps it.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Visited {
        visit.call(&self.owner)
    }

    /// The owner and address of the part that starts at byte `start` of the list.
    #[inline]
    pub(crate) fn part(&self, py: Python<'_>, start: u64) -> Self {
        // Only an empty part can start at 2^64, and that is not an address.
        Self { owner: self.owner(py), uaddr: self.uaddr.and_then(|uaddr| uaddr.checked_add(start)) }
    }

    /// The owner and address of a list of these parts, each with its length in bytes.
    pub(crate) fn joined<'a>(
        py: Python<'_>,
        parts: impl IntoIterator<Item = (&'a Self, u64)>,
    ) -> PyResult<Self> {
        let mut gathered = Gathered::default();
        parts.into_iter().for_each(|(held, length)| gathered.push(py, held, length));
        gathered.finish(py)
    }
}

/// The owner and address of a list of several parts, gathered part by part.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// The owner and address of all parts so far; if all are empty, those of the last. If `owners`
    /// has any, they replace this owner.
    held: Held,
    length: u64,
    /// The owners of the parts, in order, if they differ. Equal neighbours count once.
    owners: Vec<Option<Py<PyAny>>>,
}

impl Gathered {
    /// Takes the next part, of `length` bytes.
    pub(crate) fn push(&mut self, py: Python<'_>, part: &Held, length: u64) {
        if self.length == 0 {
            // An empty list has no memory that anything could hold.
            (self.held, self.length) = (part.part(py, 0), length);
            return;
        }
        if length == 0 {
            return;
        }
        let last = self.owners.last().unwrap_or(&self.held.owner);
        let is_one = match (last, &part.owner) {
            (Some(one), Some(other)) => one.is(other),
            (None, None) => true,
            _ => false,
        };
        if !is_one {
            if self.owners.is_empty() {
                self.owners.push(self.held.owner(py));
            }
            self.owners.push(part.owner(py));
        }
        // Keep the address only if this part follows the parts before and has their owner.
        let end = self.held.uaddr.and_then(|uaddr| uaddr.checked_add(self.length));
        if !self.owners.is_empty() || end.is_none() || end != part.uaddr {
            self.held.uaddr = None;
        }
        // A list that is too long is refused where its chunks are joined.
        self.length = self.length.saturating_add(length);
    }

    /// Returns the owner and address of the list of all parts.
    pub(crate) fn finish(self, py: Python<'_>) -> PyResult<Held> {
        if self.owners.is_empty() {
            return Ok(self.held);
        }
        let owners = made::list(py)?;
        for owner in &self.owners {
            owners.append(owner)?;
        }
        let class = made::attribute(&made::module(py, "phyr._ownership")?, "Owners")?;
        let owner = made::call(&class, owners.as_any())?;
        Ok(Held { owner: Some(owner.unbind()), uaddr: None })
    }
}
