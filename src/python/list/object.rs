//! The object behind `phyr.Phyr`: a list, and the owner of the memory that it describes.

use alloc::format;
use core::hash::{Hash, Hasher};

use std::hash::DefaultHasher;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::list::builder::Builder;
use crate::list::frozen::Frozen;
use crate::list::phyr::Phyr;
use crate::list::stats::Stats;
use crate::python::convert::amounts::Amount;
use crate::python::convert::tuple::Named;
use crate::python::error;
use crate::python::list::held::Held;
use crate::python::made;

/// The physical memory under a buffer: a list of chunks that stands for the buffer.
///
/// ``len(phyr)``, ``phyr[a:b]`` and ``phyr[i]`` count bytes, as those of the buffer do. A slice is
/// again a list, which shares the storage. An index gives the physical address of that byte.
/// ``phyr.chunks`` is the sequence of chunks. Lists never change, compare and hash by value, and
/// may be shared between threads.
///
/// Make one with `from_chunks`, `from_pfns`, `from_pages`, `from_bytes`, or with a `Builder`.
///
/// Examples:
///     >>> phyr = Phyr.from_chunks([(0x7000, 0x1000), (0x20_0000, 0x20_0000)])
///     >>> phyr
///     Phyr(0x201000 bytes, granule 4096, 2 chunks: 0x7000+0x1000 0x200000+0x200000)
///     >>> phyr[0xf00:0x2000].chunks[0]
///     Chunk(paddr=32512, length=256)
///     >>> hex(phyr[0x1234])
///     '0x200234'
#[pyclass(name = "Phyr", module = "phyr", frozen)]
#[derive(Debug)]
pub(crate) struct PyPhyr {
    pub(crate) phyr: Phyr,
    pub(crate) held: Held,
}

impl PyPhyr {
    pub(crate) fn new(phyr: Phyr) -> Self {
        Self::with(phyr, Held::default())
    }

    pub(crate) fn with(phyr: Phyr, held: Held) -> Self {
        Self { phyr, held }
    }

    /// The bytes from `start` on and before `end`, as an object that keeps the owner.
    #[inline]
    pub(crate) fn part<'py>(
        &self,
        py: Python<'py>,
        (start, end): (u64, u64),
    ) -> PyResult<Bound<'py, PyAny>> {
        let part = Self::with(self.phyr.slice(start, end)?, self.held.part(py, start));
        Ok(Bound::new(py, part)?.into_any())
    }

    /// The owner and the address of the list's memory.
    pub(crate) fn held(&self) -> &Held {
        &self.held
    }
}

impl AsRef<Phyr> for PyPhyr {
    fn as_ref(&self) -> &Phyr {
        &self.phyr
    }
}

/// One list of two, each given with what holds its memory.
pub(crate) fn sum<'py>(
    py: Python<'py>,
    parts: [(&Frozen, &Held); 2],
) -> PyResult<Bound<'py, PyAny>> {
    let [(first, _), (second, _)] = parts;
    let mut builder = Builder::with(first.granule(), first.kind());
    py.detach(|| builder.extend_frozen(first).and_then(|()| builder.extend_frozen(second)))?;
    let phyr = py.detach(|| builder.try_finish())?;
    let held = Held::joined(py, parts.map(|(list, held)| (held, list.length())))?;
    Ok(Bound::new(py, PyPhyr::with(phyr, held))?.into_any())
}

/// A hash of the list's value, the same in every process.
pub(crate) fn hash(list: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    list.hash(&mut hasher);
    hasher.finish()
}

/// Returns true if a list is known to have few chunks, some 1,000 at most. True is certain; false means
/// look. O(1).
pub(crate) fn is_short(phyr: &Phyr) -> bool {
    // A list of one node has at most as many chunks as the node has words.
    phyr.chain().totals().is_none() || phyr.granules().1 <= 1 << 10
}

/// Makes `phyr.Stats`.
pub(crate) fn stats(py: Python<'_>, stats: Stats) -> PyResult<Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Named<6>> = PyOnceLock::new();
    let class = CLASS.get_or_try_init(py, || Named::new(py, "phyr._stats", "Stats"))?;
    let numbers = [
        stats.length,
        stats.nr_chunks,
        stats.nr_entries,
        stats.nr_nodes,
        stats.largest,
        stats.storage,
    ];
    class.of(py, numbers)
}

/// Makes the dict of orders that a list has, and of how many blocks there are of each.
pub(crate) fn orders<'py>(py: Python<'py>, orders: &[u64; 53]) -> PyResult<Bound<'py, PyDict>> {
    let found = made::dict(py)?;
    for (order, count) in orders.iter().enumerate().filter(|&(_, &count)| count > 0) {
        found.set_item(made::int(py, order as u64)?, made::int(py, *count)?)?;
    }
    Ok(found)
}

/// Bytes `offset` to `offset + length` of a list, or from `offset` to its end.
pub(crate) fn view(phyr: &Phyr, offset: Amount, length: Option<Amount>) -> PyResult<PyPhyr> {
    let end = match length {
        Some(length) => offset.0.saturating_add(length.0),
        None => phyr.length().max(offset.0),
    };
    Ok(PyPhyr::new(phyr.slice(offset.0, end)?))
}

/// Return the same list with an owner of its memory and the address of that memory.
///
/// Args:
///     phyr: The list; the storage is shared.
///     owner: The object that keeps the memory in place while a reference to it exists, or None. It
///         has `hold` and `release`, which `dma_map` calls. It must not refer to the list.
///     uaddr: User virtual address of the list's first byte in this process, or None.
///
/// Raises:
///     RangeError: The list would pass 2^64 from `uaddr` on.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> hex(held(Phyr.from_pfns([7, 3]), None, 0x7f00_0000_0000)[0x1234:].uaddr)
///     '0x7f0000001234'
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(signature = (phyr, owner, uaddr))]
pub(crate) fn held(
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
    Ok(PyPhyr::with(phyr.as_ref().clone(), Held::new(owner, uaddr)))
}
