//! The owner that keeps a list's memory in place, and the address of that memory in this process.

use pyo3::prelude::*;

use crate::python::made;

/// The owner and the address of a list's memory. They are not part of the list's value.
///
/// If an owner refers to a list that it holds, the two form a cycle that Python does not collect.
/// Lists do not take part in garbage collection, because each would need 16 bytes more and be
/// visited by the collector.
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

    /// The owner and address of the part that starts at byte `start` of the list.
    #[inline]
    pub(crate) fn part(&self, py: Python<'_>, start: u64) -> Self {
        // Only an empty part can start at 2^64, and that is not an address.
        Self { owner: self.owner(py), uaddr: self.uaddr.and_then(|uaddr| uaddr.checked_add(start)) }
    }

    /// The owner and address of two joined lists: `left`, of `length` bytes, and `right`.
    pub(crate) fn joined(
        py: Python<'_>,
        (left, length): (&Self, u64),
        (right, right_length): (&Self, u64),
    ) -> PyResult<Self> {
        if length == 0 || right_length == 0 {
            // An empty list has no memory, so its owner does not matter.
            return Ok(if length == 0 { right.part(py, 0) } else { left.part(py, 0) });
        }
        let owners = (left.owner(py), right.owner(py));
        let is_one = match &owners {
            (Some(one), Some(other)) => one.is(other),
            (None, None) => true,
            _ => false,
        };
        if is_one {
            let left = left.part(py, 0);
            let after = left.uaddr.and_then(|uaddr| uaddr.checked_add(length));
            let uaddr = left.uaddr.filter(|_| after.is_some() && after == right.uaddr);
            return Ok(Self { uaddr, ..left });
        }
        let none = py.None().into_bound(py);
        let owner = |owner: &Option<Py<PyAny>>| {
            owner.as_ref().map_or_else(|| none.clone(), |owner| owner.bind(py).clone())
        };
        let class = made::attribute(&made::module(py, "phyr._ownership")?, "Owners")?;
        let owners = [&owner(&owners.0), &owner(&owners.1)];
        let owner = class.call1(made::objects(py, owners)?)?;
        Ok(Self { owner: Some(owner.unbind()), uaddr: None })
    }
}
