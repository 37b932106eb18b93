//! `phyr.iommu.IovaMap`.

use alloc::format;
use alloc::vec::Vec;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::dma::iova_map::{IovaMap, Mapped};
use crate::error::{Error, NoMemory};
use crate::list::frozen::Frozen;
use crate::python::convert::amounts::Amount;
use crate::python::list::either::Either;
use crate::python::made::{self, Int, Text};
use crate::storage::shared::Shared;

/// The arguments that an area was mapped with. Its parts share them; no interpreter is needed for
/// that.
#[derive(Debug)]
struct Given {
    /// The list as it was given, with its owner, and the address where it was mapped.
    whole: Either,
    iova: u64,
    tag: Py<PyAny>,
}

/// One `Given`.
type Tag = Shared<Given>;

/// A map of I/O virtual addresses to lists, changed as a guest, or a driver, maps and unmaps.
///
/// An area is all that one call of `map` mapped, or a part of it that is left. Parts share the
/// storage of the list and keep its owner. With n areas of lists of m chunks, finding an address
/// takes O(log n + log m). Mapping an area, and unmapping each area that is met, takes O(log n) and
/// moves at most a block, 4 KiB of areas; when a block becomes full or empty, the list of blocks moves
/// as well, 32 bytes for each. Threads may share a map. ``len(map)`` is the number of areas.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> from phyr.iommu import IovaMap
///     >>> iovas = IovaMap()
///     >>> iovas.map(0x10_0000, Phyr.from_pfns([7, 9, 5]), "guest 1")
///     >>> hex(iovas.translate(0x10_1234))
///     '0x9234'
///     >>> iovas.unmap(0x10_1000, 0x1000), iovas.translate(0x10_1234)
///     (4096, None)
///     >>> for iova, part, tag in iovas.ranges():
///     ...     print(hex(iova), part, tag)
///     0x100000 Phyr(0x1000 bytes, granule 4096, 1 chunk: 0x7000+0x1000) guest 1
///     0x102000 Phyr(0x1000 bytes, granule 4096, 1 chunk: 0x5000+0x1000) guest 1
#[pyclass(name = "IovaMap", module = "phyr.iommu", frozen)]
#[derive(Debug)]
pub(crate) struct PyIovaMap {
    /// No Python code runs while the lock is held: removed objects are dropped, and exceptions made,
    /// afterwards.
    inner: Mutex<IovaMap<Tag, Frozen>>,
}

impl PyIovaMap {
    fn lock(&self) -> MutexGuard<'_, IovaMap<Tag, Frozen>> {
        // No call leaves the map in a half-done state, so a panic in another thread does no harm.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room for so many items more.
fn reserve<T>(items: &mut Vec<T>, more: usize) -> Result<(), Error> {
    Ok(items.try_reserve(more).map_err(|_| NoMemory::of::<T>(items.len() + more))?)
}

/// A part of an area as a tuple: its address, its memory and its tag.
fn triple(py: Python<'_>, mapped: Mapped<Tag, Frozen>) -> PyResult<Bound<'_, PyTuple>> {
    let Mapped { iova, phyr, tag } = mapped;
    let tag = &tag[0];
    let whole = &tag.whole;
    let object = if phyr.length() == whole.length() {
        whole.bind(py).clone()
    } else {
        whole.part(py, phyr, iova - tag.iova)?
    };
    let iova = made::int(py, iova)?;
    made::objects(py, [&iova, &object, tag.tag.bind(py)])
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyIovaMap {
    #[new]
    fn new() -> Self {
        Self { inner: Mutex::new(IovaMap::new()) }
    }

    /// Map a list at the addresses from `iova` on.
    ///
    /// An empty list changes nothing.
    ///
    /// Args:
    ///     iova: First I/O virtual address, in bytes.
    ///     phyr: The list.
    ///     tag: Any object, such as a `phyr.iommu.Prot`. `ranges` returns it. The garbage collector does
    ///         not see it: one that refers to the map stays until it is unmapped, as does an owner of
    ///         the list.
    ///
    /// Raises:
    ///     MappedError: An address is mapped already; nothing changed.
    ///     RangeError: The addresses pass 2^64.
    #[pyo3(signature = (iova, phyr, tag=None))]
    fn map(
        &self,
        py: Python<'_>,
        iova: Amount,
        phyr: Either,
        tag: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let list = phyr.list();
        let tag = tag.unwrap_or_else(|| py.None());
        // The caller refers to both objects, so dropping the tag on failure runs no code.
        let given = Given { whole: phyr, iova: iova.0, tag };
        let tag = Shared::try_one(|| given).map_err(Error::from)?;
        let outcome = self.lock().map(iova.0, list, tag);
        Ok(outcome?)
    }

    /// Unmap `length` addresses from `iova` on, areas and parts of areas.
    ///
    /// Returns:
    ///     How many bytes were mapped there.
    ///
    /// Raises:
    ///     MemoryError: There is no memory; nothing changed.
    fn unmap(&self, iova: Amount, length: Amount) -> PyResult<Int> {
        let mut removed = Vec::new();
        let outcome = {
            let mut inner = self.lock();
            let count = inner.range(iova.0, length.0).count();
            reserve(&mut removed, count).and_then(|()| {
                inner.try_unmap_with(iova.0, length.0, |mapped| removed.push(mapped))
            })
        };
        outcome?;
        // An owner that is dropped now may run any code, even this method.
        Ok(Int(removed.iter().map(|mapped| mapped.phyr.length()).sum()))
    }

    /// Unmap everything, up to the last address of the space, which no length from 0 on reaches.
    fn clear(&self) {
        let all = core::mem::replace(&mut *self.lock(), IovaMap::new());
        // An owner that is dropped now may run any code, even a method of this map.
        drop(all);
    }

    /// Return the physical address behind `iova`; None if nothing is mapped there.
    fn translate(&self, iova: Amount) -> Option<Int> {
        self.lock().translate(iova.0).map(Int)
    }

    /// Return the mapped parts of `length` addresses from `iova` on.
    ///
    /// Args:
    ///     iova: First I/O virtual address, in bytes.
    ///     length: Bytes; to the end of the address space by default.
    ///
    /// Returns:
    ///     An (iova, list, tag) for each area, in order, trimmed to the range. A whole area is the
    ///     same list object that was mapped.
    #[pyo3(signature = (iova=Amount(0), length=None), text_signature = "($self, iova=0, length=None)")]
    fn ranges<'py>(
        &self,
        py: Python<'py>,
        iova: Amount,
        length: Option<Amount>,
    ) -> PyResult<Bound<'py, PyList>> {
        let owned = |Mapped { iova, phyr, tag }: Mapped<&Tag, Frozen>| Mapped {
            iova,
            phyr,
            tag: tag.clone(),
        };
        let mut found = Vec::new();
        let mut take = |mapped| {
            reserve(&mut found, 1)?;
            found.push(owned(mapped));
            Ok::<_, Error>(())
        };
        let outcome = {
            let inner = self.lock();
            match length {
                Some(length) => inner.range(iova.0, length.0).try_for_each(&mut take),
                // A range has at most 2^64 - 1 bytes, one less than the whole space.
                None if iova.0 == 0 => inner.areas().try_for_each(&mut take),
                None => inner.range(iova.0, u64::MAX).try_for_each(&mut take),
            }
        };
        outcome?;
        let list = made::list(py)?;
        for mapped in found {
            list.append(triple(py, mapped)?)?;
        }
        Ok(list)
    }

    /// Return true if unmapping `length` addresses from `iova` on would split no area.
    ///
    /// A virtio-iommu refuses to split (virtio specification, IOMMU device, UNMAP).
    fn is_whole(&self, iova: Amount, length: Amount) -> bool {
        self.lock().is_whole(iova.0, length.0)
    }

    fn __len__(&self) -> usize {
        self.lock().nr_areas()
    }

    fn __repr__(&self) -> Text {
        let areas = self.lock().nr_areas();
        Text(format!("IovaMap({areas} area{})", if areas == 1 { "" } else { "s" }))
    }
}
