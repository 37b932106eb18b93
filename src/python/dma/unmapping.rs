//! The walk that unmaps a plan, made when it is mapped: extract, call, convert.

use core::mem;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::dma::plan::{MapCall, Plan, UnmapCall};
use crate::error::Error;
use crate::list::phyr::Phyr;
use crate::pgsize::PageSizes;
use crate::python::convert::made;
use crate::python::dma::plan::PyPlan;

/// Calls of a plan that are joined to a run one by one, before it is taken for a long one.
const FEW: usize = 1024;

/// Most chunks of a long run that are joined to it at a time.
const STRIDE: u64 = 1 << 16;

/// The walk that unmaps a plan. Made before anything is mapped, so that unmapping makes nothing but
/// the numbers of a call, which are gone before the next.
#[pyclass(name = "Unmapping", module = "phyr._phyr", frozen)]
pub(crate) struct PyUnmapping {
    phyr: Phyr,
    iova: u64,
    sizes: PageSizes,
    /// Whoever holds the lock runs no Python.
    state: Mutex<State>,
}

/// How far a walk has come.
struct State {
    /// Bytes of the list before the next call.
    done: u64,
    /// The call that was made last.
    last: UnmapCall,
    /// Whether one was made since somebody asked.
    moved: bool,
}

impl PyUnmapping {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calls for a part of the list that starts at `position`, where a call begins.
    fn plan<'a>(&self, part: &'a Phyr, position: u64) -> Plan<'a> {
        Plan::checked(part, self.iova.wrapping_add(position), self.sizes)
    }

    /// Adds to a run what goes on with it from `position` on, many chunks at a time, while all of them
    /// do.
    fn stride(&self, run: &mut UnmapCall, position: &mut u64) -> Result<(), Error> {
        // Ever longer ones, as the last is walked for nothing.
        let mut stride = FEW as u64;
        while *position < self.phyr.length() {
            stride = (2 * stride).min(STRIDE);
            let rest = self.phyr.slice(*position, self.phyr.length())?;
            let length = rest.chunk(stride).map_or(rest.length(), |(position, _)| position);
            let part = rest.slice(0, length)?;
            let pgsize = run.pgsize;
            let (odd, pgcount) = self.plan(&part, *position).fold((0, 0), |(odd, pages), call| {
                (odd | (call.pgsize ^ pgsize), pages + call.pgcount)
            });
            if odd != 0 {
                break;
            }
            run.pgcount += pgcount;
            *position += length;
        }
        Ok(())
    }
}

#[pymethods]
impl PyUnmapping {
    #[new]
    fn new(plan: &PyPlan) -> Self {
        let (phyr, iova, sizes) = plan.parts();
        let last = UnmapCall { iova, pgsize: sizes.granule(), pgcount: 0 };
        Self { phyr, iova, sizes, state: Mutex::new(State { done: 0, last, moved: false }) }
    }

    /// Make the calls that are left to `unmap_pages(iova, pgsize, pgcount)`, in order.
    ///
    /// Neighbours of one page size are one call. If one raises, that is raised here; this method then
    /// goes on behind it when it is called again.
    ///
    /// Args:
    ///     unmap_pages: Takes I/O virtual address, page size, number of pages.
    ///     anew: Whether to begin with the first call again.
    #[pyo3(signature = (unmap_pages, *, anew=false))]
    fn run(&self, unmap_pages: &Bound<'_, PyAny>, anew: bool) -> PyResult<()> {
        let py = unmap_pages.py();
        let mut position = if anew { 0 } else { self.lock().done };
        let mut long: Option<UnmapCall> = None;
        loop {
            let rest = self.phyr.slice(position, self.phyr.length())?;
            let mut plan = self.plan(&rest, position);
            let mut ahead = plan.next();
            loop {
                let (mut run, most) = match (long.take(), ahead) {
                    (Some(run), _) => (run, usize::MAX),
                    (None, Some(MapCall { iova, pgsize, pgcount, .. })) => {
                        ahead = plan.next();
                        (UnmapCall { iova, pgsize, pgcount }, FEW)
                    }
                    (None, None) => return Ok(()),
                };
                let ended = join(&mut run, &mut plan, &mut ahead, most);
                // Wraps only behind the last page of the 64-bit space, where nothing follows.
                position =
                    ahead.map_or(self.phyr.length(), |call| call.iova.wrapping_sub(self.iova));
                if !ended {
                    py.detach(|| self.stride(&mut run, &mut position))?;
                    long = Some(run);
                    break;
                }
                // Made first: if there is no memory for it, nothing was called and nothing is done.
                let arguments = made::numbers(py, [run.iova, run.pgsize, run.pgcount])?;
                // Before the call, so that whatever comes, the next one goes on behind it.
                *self.lock() = State { done: position, last: run, moved: true };
                unmap_pages.call1(arguments)?;
            }
        }
    }

    /// Return whether a call was made since this was asked last.
    fn moved(&self) -> bool {
        mem::take(&mut self.lock().moved)
    }

    /// The call that was made last: I/O virtual address, page size, number of pages; 0 of them before
    /// the first.
    #[getter]
    fn last<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let UnmapCall { iova, pgsize, pgcount } = self.lock().last;
        made::numbers(py, [iova, pgsize, pgcount])
    }
}

/// Adds to a run the calls that go on with it, at most `most` of them: whether it has ended. `ahead` is
/// the next call of the plan, if there is one.
fn join(
    run: &mut UnmapCall,
    plan: &mut Plan<'_>,
    ahead: &mut Option<MapCall>,
    most: usize,
) -> bool {
    for _ in 0..most {
        match ahead {
            Some(call) if call.pgsize == run.pgsize => run.pgcount += call.pgcount,
            _ => return true,
        }
        *ahead = plan.next();
    }
    false
}
