//! `phyr.sim.SimDomain`.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyList, PyTuple};

use crate::dma::backend::Prot;
use crate::python::convert::amounts::{Amount, Decimal, Narrow};
use crate::python::convert::items::Items;
use crate::python::dma::plan::PyPlan;
use crate::python::error;
use crate::python::made::{self, Int, Text};
use crate::python::sim::columns::{Column, Source};
use crate::python::sim::memory::{PyMemory, Shared, lock};
use crate::sim::{Columns, DomainError, DomainOptions, Memory, SimDomain};

/// A simulated IOMMU domain: page tables in simulated memory, in Intel VT-d's second-stage format.
///
/// It has all methods of an `IommuDomain`. The tables take pages from the top of the memory.
/// They are given back when they are empty, at the latest when the domain is dropped. Each call
/// does all of its work or changes nothing. Threads may share a domain.
///
/// Args:
///     memory: The memory that holds the tables.
///     levels: Levels of tables: 3, 4 or 5, for addresses of 39, 48 or 57 bits.
///     pgsize_bitmap: Page sizes, bit *n* set means ``1 << n`` bytes: 4 KiB, and optionally 2 MiB
///         and 1 GiB.
///     aperture: First and last address that may be mapped; by default all that the tables
///         translate.
///     reserved: First and last address of ranges that may not be mapped. The default is the range
///         where the processor takes writes as interrupts.
///     iotlb_sets: Sets of the IOTLB, for each page size: a power of two.
///     iotlb_ways: Entries in a set.
///
/// Raises:
///     RangeError: There is no such domain.
///     NoMemoryError: There is no free page for the root table.
///
/// Examples:
///     >>> from phyr.sim import Memory, SimDomain
///     >>> domain = SimDomain(Memory(1 << 30))
///     >>> domain.map_pages(0x1000, 0x7000, 0x1000, 2, 3)
///     >>> hex(domain.iova_to_phys(0x2abc))
///     '0x8abc'
///     >>> domain.unmap_pages(0x1000, 0x1000, 2)
///     >>> domain.counters.table_pages
///     1
///
/// Source:
///     Intel Virtualization Technology for Directed I/O, Architecture Specification, chapter on
///     second-stage translation.
#[pyclass(name = "SimDomain", module = "phyr.sim", frozen, weakref)]
#[derive(Debug)]
pub(crate) struct PySimDomain {
    pub(crate) memory: Shared,
    /// Locked before the memory, never after it. None when the domain is dropped.
    domain: Mutex<Option<SimDomain>>,
    pgsize_bitmap: u64,
    aperture: (u64, u64),
    reserved: Vec<(u64, u64)>,
    levels: u32,
    root: u64,
}

impl PySimDomain {
    fn lock(&self) -> MutexGuard<'_, Option<SimDomain>> {
        self.domain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a closure on the domain and its memory, with the interpreter released.
    pub(crate) fn with<T: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut SimDomain, &mut Memory) -> T + Send,
    ) -> T {
        py.detach(|| {
            let mut domain = self.lock();
            // Only `drop` takes the domain away, and no method is called on a dropped object.
            let domain = domain.as_mut().unwrap_or_else(|| unreachable!("a domain in use"));
            act(domain, &mut lock(&self.memory))
        })
    }
}

impl Drop for PySimDomain {
    fn drop(&mut self) {
        if let Some(domain) = self.lock().take() {
            domain.destroy(&mut lock(&self.memory));
        }
    }
}

fn prot(bits: Amount) -> PyResult<Prot> {
    // The domain checks the bits. Here they only have to fit.
    let bits_ = u32::try_from(bits.0).map_err(|_| DomainError::Prot { prot: bits.0 })?;
    Ok(Prot::from_bits(bits_))
}

/// Number of rows of a plan that are handled together.
const ROWS: usize = 1024;

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PySimDomain {
    #[new]
    #[pyo3(
        signature = (
            memory, *, levels=Narrow(4), pgsize_bitmap=Amount(0x4020_1000), aperture=None,
            reserved=None, iotlb_sets=Narrow(64), iotlb_ways=Narrow(4)
        ),
         text_signature = "(memory, *, levels=4, pgsize_bitmap=0x40201000, aperture=None, reserved=None, iotlb_sets=64, iotlb_ways=4)"
    )]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn new(
        py: Python<'_>,
        memory: &PyMemory,
        levels: Narrow,
        pgsize_bitmap: Amount,
        aperture: Option<(Amount, Amount)>,
        reserved: Option<Items<(Amount, Amount)>>,
        iotlb_sets: Narrow,
        iotlb_ways: Narrow,
    ) -> PyResult<Self> {
        let pair = |(first, last): (Amount, Amount)| (first.0, last.0);
        let usual = DomainOptions::default();
        let options = DomainOptions {
            levels: levels.0,
            pgsize_bitmap: pgsize_bitmap.0,
            aperture: aperture.map(pair),
            // In place: pairs of the same size.
            reserved: reserved
                .map_or(usual.reserved, |ranges| ranges.0.into_iter().map(pair).collect()),
            iotlb: (iotlb_sets.0, iotlb_ways.0),
        };
        let memory = Arc::clone(memory.shared());
        let domain = py.detach(|| SimDomain::new(&mut lock(&memory), &options))?;
        Ok(Self {
            memory,
            pgsize_bitmap: domain.page_sizes().bitmap(),
            aperture: domain.aperture(),
            reserved: options.reserved,
            levels: options.levels,
            root: domain.root(),
            domain: Mutex::new(Some(domain)),
        })
    }

    /// The memory that holds the tables.
    #[getter]
    fn memory(&self) -> PyMemory {
        PyMemory::new(Arc::clone(&self.memory))
    }

    /// Supported page sizes; bit *n* set means ``1 << n`` bytes.
    #[getter]
    fn pgsize_bitmap(&self) -> Int {
        Int(self.pgsize_bitmap)
    }

    /// First and last address that may be mapped.
    #[getter]
    fn aperture<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        made::numbers(py, self.aperture.into())
    }

    /// First and last address of each range that may not be mapped.
    #[getter]
    fn reserved<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = made::list(py)?;
        for &range in &self.reserved {
            list.append(made::numbers(py, range.into())?)?;
        }
        Ok(list)
    }

    /// Levels of tables: 3, 4 or 5.
    #[getter]
    fn levels(&self) -> Int {
        Int(self.levels.into())
    }

    /// Physical address of the root table.
    #[getter]
    fn root(&self) -> Int {
        Int(self.root)
    }

    /// Counts of the calls and the work so far, as `Counters`.
    #[getter]
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let counters = self.with(py, |domain, _| domain.counters());
        let numbers = [
            counters.map_calls,
            counters.batch_calls,
            counters.unmap_calls,
            counters.ptes_written,
            counters.ptes_cleared,
            counters.table_pages,
            counters.iotlb_hits,
            counters.iotlb_misses,
            counters.faults,
        ];
        made::attribute(&made::module(py, "phyr._records")?, "Counters")?
            .call1(made::numbers(py, numbers)?)
    }

    /// Map pages of one size: all of them, or raise and map nothing.
    ///
    /// Args:
    ///     iova: I/O virtual address of the first page, a multiple of `pgsize`.
    ///     paddr: Physical address of the first page, a multiple of `pgsize`. It need not be in the
    ///         memory.
    ///     pgsize: Bytes in a page, one of the supported sizes.
    ///     pgcount: Pages, at least one.
    ///     prot: The accesses that devices may make, as `phyr.iommu.Prot`: 1 read, 2 write, 4 snoop
    ///         caches.
    ///
    /// Raises:
    ///     MappedError: Some of the addresses are mapped already.
    ///     RangeError: The addresses are outside the aperture or reserved, or there is no such
    ///         number of pages, page size or prot.
    ///     AlignmentError: An address is not a multiple of `pgsize`.
    ///     NoMemoryError: There is no free page for a table.
    fn map_pages(
        &self,
        py: Python<'_>,
        iova: Amount,
        paddr: Amount,
        pgsize: Amount,
        pgcount: Decimal,
        prot: Amount,
    ) -> PyResult<()> {
        let prot = self::prot(prot)?;
        Ok(self.with(py, |domain, memory| {
            domain.map_pages(memory, iova.0, paddr.0, pgsize.0, pgcount.0, prot)
        })?)
    }

    /// Map a whole plan: all of it, or raise and map nothing.
    ///
    /// Args:
    ///     plan: A `phyr.iommu.Plan`, or any object with the columns `iovas`, `paddrs`, `pgsizes` and
    ///         `pgcounts`: arrays or iterables of int.
    ///     prot: As for `map_pages`.
    ///
    /// Raises:
    ///     ArrayError: The columns differ in length, or hold something else than numbers.
    ///     PhyrError: As for `map_pages`, for the first call of the plan that has an error.
    fn map_batch(&self, py: Python<'_>, plan: &Bound<'_, PyAny>, prot: Amount) -> PyResult<()> {
        let prot = self::prot(prot)?;
        if let Ok(plan) = plan.cast::<PyPlan>() {
            let plan = plan.get().plan();
            return Ok(self.with(py, |domain, memory| domain.map_plan(memory, plan, prot))?);
        }
        let columns = [
            Column::new(plan, "iovas")?,
            Column::new(plan, "paddrs")?,
            Column::new(plan, "pgsizes")?,
            Column::new(plan, "pgcounts")?,
        ];
        let columns = columns.each_ref().map(Column::source);
        let [count, others @ ..] = columns.map(Source::len);
        if let Some(other) = others.into_iter().find(|&other| other != count) {
            let (iovas, other) = (count as u64, other as u64);
            return Err(DomainError::Columns { iovas, other }.into());
        }
        let mut blocks = [const { Vec::new() }; 4];
        let feed = |map: &mut dyn FnMut(Columns<'_>)| {
            for start in (0..count).step_by(ROWS) {
                let end = count.min(start + ROWS);
                let [a, b, c, d] = &mut blocks;
                let [iovas, paddrs, pgsizes, pgcounts] = columns;
                let (iovas, paddrs) = (iovas.block(start, end, a), paddrs.block(start, end, b));
                let (sizes, counts) = (pgsizes.block(start, end, c), pgcounts.block(start, end, d));
                // They have the same length.
                let rows = Columns::new(iovas, paddrs, sizes, counts);
                rows.into_iter().for_each(&mut *map);
            }
        };
        Ok(self.with(py, |domain, memory| domain.map_pieces(memory, feed, prot))?)
    }

    /// Unmap pages: all of them, or raise and unmap nothing. Their translations leave the IOTLB.
    ///
    /// The pages may have been mapped in other sizes and by other calls, as long as each page lies
    /// inside the range and the whole range is mapped.
    ///
    /// Args:
    ///     iova: I/O virtual address of the first page, a multiple of `pgsize`.
    ///     pgsize: Bytes in a page, one of the supported sizes.
    ///     pgcount: Pages, at least one.
    ///
    /// Raises:
    ///     NotMappedError: An address is not mapped.
    ///     MappedError: An address is in a larger page that is only partly inside the range.
    ///     RangeError: There is no such number of pages or page size.
    ///     AlignmentError: The address is not a multiple of `pgsize`.
    fn unmap_pages(
        &self,
        py: Python<'_>,
        iova: Amount,
        pgsize: Amount,
        pgcount: Decimal,
    ) -> PyResult<()> {
        Ok(self
            .with(py, |domain, memory| domain.unmap_pages(memory, iova.0, pgsize.0, pgcount.0))?)
    }

    /// Return the physical address that `iova` is mapped to, or None.
    fn iova_to_phys(&self, py: Python<'_>, iova: Amount) -> Option<Int> {
        self.with(py, |domain, memory| domain.iova_to_phys(memory, iova.0)).map(Int)
    }

    /// Return the translation of an address, as `Leaf`; None if it is not mapped.
    fn lookup<'py>(&self, py: Python<'py>, iova: Amount) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(leaf) = self.with(py, |domain, memory| domain.lookup(memory, iova.0)) else {
            return Ok(None);
        };
        let class = made::attribute(&made::module(py, "phyr._records")?, "Leaf")?;
        let [iova, paddr, pgsize] = [leaf.iova, leaf.paddr, leaf.pgsize];
        let numbers = made::numbers(py, [iova, paddr, pgsize])?;
        let [reads, writes, snoops, accessed, dirty] =
            [leaf.reads, leaf.writes, leaf.snoops, leaf.accessed, leaf.dirty]
                .map(|flag| PyBool::new(py, flag).to_owned().into_any());
        let flags = made::objects(py, [&reads, &writes, &snoops, &accessed, &dirty])?;
        class.call1(numbers.add(flags)?.cast_into::<PyTuple>()?).map(Some)
    }

    /// Clear the dirty bit of the page that holds `iova`. Return True if the bit was set.
    ///
    /// Raises:
    ///     NotMappedError: The address is not mapped.
    fn clear_dirty(&self, py: Python<'_>, iova: Amount) -> PyResult<bool> {
        let was = self.with(py, |domain, memory| domain.clear_dirty(memory, iova.0));
        was.ok_or_else(|| {
            let message = format!("iova {:#x} is not mapped", iova.0);
            error::new("NotMappedError", message, [("iova", iova.0)])
        })
    }

    /// Remove every translation from the IOTLB. Call it after writing to the tables directly.
    fn flush_iotlb(&self, py: Python<'_>) {
        self.with(py, |domain, _| domain.flush_iotlb());
    }

    fn __repr__(&self) -> Text {
        let (first, last) = self.aperture;
        Text(format!(
            "SimDomain({} levels, root {:#x}, aperture {first:#x} to {last:#x}, pgsize_bitmap {:#x})",
            self.levels, self.root, self.pgsize_bitmap
        ))
    }
}
