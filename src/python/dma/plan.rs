//! `phyr.iommu.Plan` and `plan_map`.

use alloc::format;
use alloc::vec::Vec;

use std::sync::{Mutex, OnceLock, PoisonError};

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::dma::plan::{MapCall, Plan};
use crate::dma::unmaps::{Joiner, UnmapCall};
use crate::error::Error;
use crate::list::frozen::Frozen;
use crate::pgsize::PageSizes;
use crate::python::convert::amounts::Amount;
use crate::python::list::column::PyColumn;
use crate::python::list::either::Either;
use crate::python::list::frozen::PyFrozen;
use crate::python::list::held::Held;
use crate::python::list::object::PyPhyr;
use crate::python::made::{self, Ignored, Int, Text};

/// The calls to a domain that map a list linearly, in order.
///
/// A plan stores only the list and the address; columns and items are computed on request.
/// Iteration yields tuples (iova, paddr, pgsize, pgcount), the arguments of `map_pages`.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> from phyr.iommu import plan_map
///     >>> phyr = Phyr.from_chunks([(0x7000, 0x1000), (0x20_0000, 0x40_0000)])
///     >>> plan = plan_map(phyr, 0x3f_f000, 1 << 12 | 1 << 21)
///     >>> for iova, paddr, pgsize, pgcount in plan:
///     ...     print(hex(iova), hex(paddr), hex(pgsize), pgcount)
///     0x3ff000 0x7000 0x1000 1
///     0x400000 0x200000 0x200000 2
///     >>> list(plan.pgsizes), list(plan.pgcounts)
///     ([4096, 2097152], [1, 2])
#[pyclass(name = "Plan", module = "phyr.iommu", frozen)]
#[derive(Debug)]
pub(crate) struct PyPlan {
    list: Frozen,
    /// True if it was given as a `FrozenPhyr`.
    is_frozen: bool,
    iova: u64,
    sizes: PageSizes,
    /// The number of calls, after it was counted.
    len: OnceLock<usize>,
}

impl PyPlan {
    /// The core's plan, for a walk.
    pub(crate) fn plan(&self) -> Plan<'_, Frozen> {
        Plan::checked(&self.list, self.iova, self.sizes)
    }

    /// The list, the address of its first byte, and the page sizes.
    pub(crate) fn parts(&self) -> (Frozen, u64, PageSizes) {
        (self.list.clone(), self.iova, self.sizes)
    }

    fn count(&self) -> usize {
        *self.len.get_or_init(|| self.plan().fold_calls(0, |count, _| count + 1))
    }

    fn column(&self, py: Python<'_>, of: impl Fn(MapCall) -> u64 + Sync) -> PyResult<PyColumn> {
        py.detach(|| {
            let count = self.count();
            let mut items = Vec::new();
            if items.try_reserve_exact(count).is_err() {
                return Err(made::failure::<PyMemoryError>(format!("no memory for {count} calls")));
            }
            self.plan().fold_calls((), |(), call| items.push(of(call)));
            Ok(PyColumn::new(items)?)
        })
    }

    fn batches<'py>(&self, py: Python<'py>, unmap: bool) -> PyResult<Bound<'py, PyAny>> {
        let (list, iova, sizes) = self.parts();
        let batches = Batches { list, iova, sizes, unmap, state: Mutex::default() };
        let chain = made::attribute(&made::module(py, "itertools")?, "chain")?;
        made::call(&made::attribute(&chain, "from_iterable")?, Bound::new(py, batches)?.as_any())
    }
}

/// Return the calls to a domain that map `phyr` linearly, byte `i` at ``iova + i``.
///
/// Each call takes the largest pages that fit and divide both addresses, and as many of them as
/// lead up to the place where a larger page can be used. That needs the fewest page-table entries,
/// and for those the fewest calls. Only whole pages can be mapped, so the device can also reach the
/// rest of the first and of the last page.
///
/// Args:
///     phyr: The list to map.
///     iova: I/O virtual address of the first byte, with the same offset inside the smallest page
///         as the first byte's physical address.
///     pgsize_bitmap: Supported page sizes; bit *n* set means ``1 << n`` bytes.
///     strict: Refuse a list that does not fill its first and last page.
///
/// Raises:
///     AlignmentError: `iova` and the first byte's address have different offsets inside the
///         smallest page, or a chunk starts or ends inside the list and inside a page. With
///         `strict`: pages hold `exposed` bytes beyond the list, `before` and `behind` it.
///     RangeError: There is no page size, or the window passes 2^64.
///     FormatError: `phyr` lies in memory or a file of others, and its words are not those of a list.
///
/// Source:
///     Each step as ``iommu_pgsize()``, drivers/iommu/iommu.c, Linux.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(signature = (phyr, iova, pgsize_bitmap, *, strict=false))]
pub(crate) fn plan_map(
    py: Python<'_>,
    phyr: Either,
    iova: Amount,
    pgsize_bitmap: Amount,
    strict: bool,
) -> PyResult<PyPlan> {
    // A plan lasts: it must not change while it is mapped.
    let is_frozen = matches!(phyr, Either::Frozen(_));
    let (list, iova) = (phyr.settled(py)?.into_list(), iova.0);
    let sizes = PageSizes::new(pgsize_bitmap.0)?;
    py.detach(|| Plan::check(&list, iova, sizes))?;
    if strict {
        list.exposes_nothing(sizes)?;
    }
    Ok(PyPlan { list, is_frozen, iova, sizes, len: OnceLock::new() })
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyPlan {
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords), text_signature = None)]
    fn refuse(_arguments: Ignored, _keywords: Option<Ignored>) -> PyResult<Self> {
        Err(made::no_constructor::<Self>("phyr.iommu.plan_map"))
    }

    /// The list to map.
    #[getter]
    fn phyr<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.is_frozen {
            let frozen = PyFrozen::with(self.list.clone(), Held::default());
            return Ok(Bound::new(py, frozen)?.into_any());
        }
        Ok(Bound::new(py, PyPhyr::new(self.list.thaw()?))?.into_any())
    }

    /// I/O virtual address of the list's first byte.
    #[getter]
    fn iova(&self) -> Int {
        Int(self.iova)
    }

    /// Supported page sizes; bit *n* set means ``1 << n`` bytes.
    #[getter]
    fn pgsize_bitmap(&self) -> Int {
        Int(self.sizes.bitmap())
    }

    /// I/O virtual address of the first page of each call, in bytes, as a column.
    #[getter]
    fn iovas(&self, py: Python<'_>) -> PyResult<PyColumn> {
        self.column(py, |call| call.iova)
    }

    /// Physical address of the first page of each call, in bytes, as a column.
    #[getter]
    fn paddrs(&self, py: Python<'_>) -> PyResult<PyColumn> {
        self.column(py, |call| call.paddr)
    }

    /// Bytes in a page of each call, as a column.
    #[getter]
    fn pgsizes(&self, py: Python<'_>) -> PyResult<PyColumn> {
        self.column(py, |call| call.pgsize)
    }

    /// Pages of each call, as a column.
    #[getter]
    fn pgcounts(&self, py: Python<'_>) -> PyResult<PyColumn> {
        self.column(py, |call| call.pgcount)
    }

    /// Return an iterator over the calls that unmap everything: tuples (iova, pgsize, pgcount).
    ///
    /// Neighbours of one page size are one call, whatever their physical addresses.
    ///
    /// Examples:
    ///     >>> from phyr import Phyr
    ///     >>> from phyr.iommu import plan_map
    ///     >>> list(plan_map(Phyr.from_pfns([7, 3, 9]), 0x8000, 1 << 12).unmaps())
    ///     [(32768, 4096, 3)]
    fn unmaps<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.batches(py, true)
    }

    /// Number of calls. The first use walks the list.
    fn __len__(&self, py: Python<'_>) -> usize {
        py.detach(|| self.count())
    }

    fn __bool__(&self) -> bool {
        !self.list.is_empty()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.batches(py, false)
    }

    fn __repr__(&self) -> Text {
        Text(format!(
            "Plan({:#x}+{:#x}, pgsize_bitmap {:#x})",
            self.iova,
            self.list.length(),
            self.sizes.bitmap()
        ))
    }
}

/// Number of chunks planned at a time, for tuples and for runs, of which there are few.
const BATCH: u64 = 256;
const RUNS: u64 = 1 << 16;

/// An iterator over lists of calls.
#[pyclass(frozen)]
struct Batches {
    list: Frozen,
    iova: u64,
    sizes: PageSizes,
    unmap: bool,
    state: Mutex<State>,
}

/// The state of an iterator.
#[derive(Clone, Copy, Default)]
struct State {
    /// Bytes of the list before the next chunk.
    done: u64,
    /// The run that may continue in the next chunk.
    joiner: Joiner,
}

/// Bytes of the first `count` chunks of a list that has bytes; some of them, whatever its words are.
pub(crate) fn stretch(list: &Frozen, count: u64) -> u64 {
    list.chunk(count).map_or(list.length(), |(position, _)| position).clamp(1, list.length())
}

impl Batches {
    /// Passes the plan of the next `count` chunks to `take`; `None` at the end.
    ///
    /// A call never crosses chunks, so the plan of some chunks is a part of the whole plan.
    fn next<T>(
        &self,
        state: &mut State,
        count: u64,
        take: impl FnOnce(&mut Plan<'_, Frozen>) -> T,
    ) -> Result<Option<T>, Error> {
        let rest = self.list.slice(state.done, self.list.length())?;
        if rest.is_empty() {
            return Ok(None);
        }
        let length = stretch(&rest, count);
        let iova = self.iova.wrapping_add(state.done);
        state.done += length;
        Ok(Some(take(&mut Plan::checked(&rest.slice(0, length)?, iova, self.sizes))))
    }

    /// The next calls; an empty result is the end.
    fn calls(&self, state: &mut State) -> Result<Vec<MapCall>, Error> {
        let mut calls = Vec::new();
        self.next(state, BATCH, |plan| plan.fold_calls((), |(), call| calls.push(call)))?;
        Ok(calls)
    }

    /// The next runs; an empty result is the end.
    fn runs(&self, state: &mut State) -> Result<Vec<UnmapCall>, Error> {
        let mut runs = Vec::new();
        while runs.is_empty() {
            let mut joiner = state.joiner;
            let more = self.next(state, RUNS, |plan| {
                plan.clone().unmaps().for_each(|run| runs.extend(joiner.push(run)));
            })?;
            if more.is_none() {
                runs.extend(joiner.finish());
            }
            state.joiner = joiner;
            if more.is_none() {
                break;
            }
        }
        Ok(runs)
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl Batches {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let state = || self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *state();
        let list = if self.unmap {
            let runs = py.detach(|| self.runs(&mut state()))?;
            let tuple = |run: UnmapCall| made::numbers(py, [run.iova, run.pgsize, run.pgcount]);
            listed(py, runs.into_iter().map(tuple))
        } else {
            let calls = py.detach(|| self.calls(&mut state()))?;
            let tuple = |call: MapCall| {
                made::numbers(py, [call.iova, call.paddr, call.pgsize, call.pgcount])
            };
            listed(py, calls.into_iter().map(tuple))
        };
        // If the list was not made, its calls are still to come.
        list.inspect_err(|_| *state() = before)
    }
}

/// Tuples as a list; `None` if there are none.
fn listed<'py>(
    py: Python<'py>,
    tuples: impl Iterator<Item = PyResult<Bound<'py, PyTuple>>>,
) -> PyResult<Option<Bound<'py, PyList>>> {
    let list = made::list(py)?;
    for tuple in tuples {
        list.append(tuple?)?;
    }
    Ok(if list.is_empty() { None } else { Some(list) })
}
