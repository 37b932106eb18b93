//! What keeps a list's memory where it is, and where that memory lies in this process.

use alloc::format;

use pyo3::prelude::*;

use super::error;
use super::numbers::Amount;
use super::phyr::PyPhyr;

/// What a list knows of the memory it stands for, beside its addresses. It is no part of its value.
///
/// An owner that refers to a list which it holds is a circle that Python does not collect: lists take
/// no part in that, which would cost each of them 16 bytes and the collector's visits.
#[derive(Debug, Default)]
pub(super) struct Held {
    owner: Option<Py<PyAny>>,
    /// User virtual address of the first byte.
    uaddr: Option<u64>,
}

impl Held {
    pub(super) fn owner(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.owner.as_ref().map(|owner| owner.clone_ref(py))
    }

    pub(super) fn uaddr(&self) -> Option<u64> {
        self.uaddr
    }

    /// What a part knows that starts at byte `start` of the list.
    #[inline]
    pub(super) fn part(&self, py: Python<'_>, start: u64) -> Self {
        // Only an empty part may start at 2^64, where there is no address.
        Self { owner: self.owner(py), uaddr: self.uaddr.and_then(|uaddr| uaddr.checked_add(start)) }
    }

    /// What a list of two knows: `left`, of `length` bytes, and `right`.
    pub(super) fn joined(
        py: Python<'_>,
        (left, length): (&Self, u64),
        (right, right_length): (&Self, u64),
    ) -> PyResult<Self> {
        if length == 0 || right_length == 0 {
            // An empty list has no memory that anything could hold.
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
        let owner = py.import("phyr._owners")?.getattr("Owners")?.call1(owners)?;
        Ok(Self { owner: Some(owner.unbind()), uaddr: None })
    }
}

/// Return the same list, which knows what holds its memory and where that is.
///
/// Args:
///     phyr: The list; the storage is shared.
///     owner: What keeps the memory in place as long as it is referred to, or None. It has `hold`
///         and `release`, which `dma_map` calls; it must not refer to the list.
///     uaddr: User virtual address of the list's first byte in this process, or None.
///
/// Raises:
///     RangeError: The list would pass 2^64 from there.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> hex(held(Phyr.from_pfns([7, 3]), None, 0x7f00_0000_0000)[0x1234:].uaddr)
///     '0x7f0000001234'
#[pyfunction]
#[pyo3(signature = (phyr, owner, uaddr))]
pub(super) fn held(
    phyr: &PyPhyr,
    owner: Option<Py<PyAny>>,
    uaddr: Option<Amount>,
) -> PyResult<PyPhyr> {
    let uaddr = uaddr.map(|uaddr| uaddr.0);
    let length = phyr.as_ref().length();
    if let Some(uaddr) = uaddr
        .filter(|uaddr| length.checked_sub(1).is_some_and(|last| uaddr.checked_add(last).is_none()))
    {
        return Err(error::new(
            "RangeError",
            format!("user addresses {uaddr:#x}+{length:#x} pass 2^64"),
            [("uaddr", uaddr), ("length", length)],
        ));
    }
    Ok(PyPhyr::with(phyr.as_ref().clone(), Held { owner, uaddr }))
}
