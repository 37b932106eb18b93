//! The walk that unmaps a plan. It is made when the plan is mapped.

use core::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;

use crate::dma::plan::Plan;
use crate::dma::unmaps::Joiner;
use crate::error::Error;
use crate::list::frozen::Frozen;
use crate::pgsize::PageSizes;
use crate::python::convert::amounts::Amount;
use crate::python::dma::plan::{PyPlan, stretch};
use crate::python::made;

/// Calls of a plan that are joined one by one to a run, before the run counts as long.
const FEW: u64 = 1024;

/// The largest number of chunks that are joined to a long run at a time.
const STRIDE: u64 = 1 << 16;

/// The walk that unmaps a plan. It is made before anything is mapped. So unmapping needs memory
/// only for the numbers of one call at a time.
#[pyclass(name = "Unmapping", module = "phyr._phyr", frozen)]
pub(crate) struct PyUnmapping {
    list: Frozen,
    iova: u64,
    sizes: PageSizes,
    /// Bytes of the list before the next call.
    done: AtomicU64,
}

impl PyUnmapping {
    /// The calls for the part of the list that starts at `position`. A call must begin there.
    fn plan<'a>(&self, part: &'a Frozen, position: u64) -> Plan<'a, Frozen> {
        Plan::checked(part, self.iova.wrapping_add(position), self.sizes)
    }

    /// Adds the chunks from `position` on to a run, many at a time, as long as the run continues
    /// with all of them.
    fn stride(&self, joiner: &mut Joiner, position: &mut u64, end: u64) -> Result<(), Error> {
        // The steps grow, because the last step is walked in vain.
        let mut stride = FEW;
        while *position < end {
            stride = (2 * stride).min(STRIDE);
            let rest = self.list.slice(*position, end)?;
            let length = stretch(&rest, stride);
            let part = rest.slice(0, length)?;
            let mut longer = *joiner;
            let odd = self
                .plan(&part, *position)
                .unmaps()
                .fold(0_u32, |odd, run| odd | u32::from(longer.push(run).is_some()));
            if odd != 0 {
                break;
            }
            *joiner = longer;
            *position += length;
        }
        Ok(())
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyUnmapping {
    #[new]
    fn new(plan: &PyPlan) -> Self {
        let (list, iova, sizes) = plan.parts();
        Self { list, iova, sizes, done: AtomicU64::new(0) }
    }

    /// Make the remaining calls to `unmap_pages(iova, pgsize, pgcount)`, in order.
    ///
    /// Neighbours of one page size are one call. If a call raises, this method raises the same;
    /// called again, it continues with the call after that one.
    ///
    /// Args:
    ///     unmap_pages: A function of I/O virtual address, page size and number of pages.
    ///     anew: Start again with the first call.
    ///     end: Unmap only what the calls before this I/O virtual address mapped. A call must begin
    ///         there. By default, unmap everything.
    #[pyo3(signature = (unmap_pages, *, anew=false, end=None))]
    fn run(&self, unmap_pages: &Bound<'_, PyAny>, anew: bool, end: Option<Amount>) -> PyResult<()> {
        let py = unmap_pages.py();
        let length = self.list.length();
        let end = end.map_or(length, |end| end.0.saturating_sub(self.iova).min(length));
        let mut position = if anew { 0 } else { self.done.load(Ordering::Relaxed).min(end) };
        let mut joiner = Joiner::default();
        loop {
            let rest = self.list.slice(position, end)?;
            let mut plan = self.plan(&rest, position);
            let mut calls = 0;
            while calls < FEW {
                // Differences wrap only after the last page of the 64-bit space, where nothing
                // follows.
                let (next, ended) = match plan.next() {
                    Some(call) => {
                        let behind = call.iova.wrapping_add(call.length());
                        position = behind.wrapping_sub(self.iova).min(end);
                        (call.iova.wrapping_sub(self.iova), joiner.push(call.into()))
                    }
                    None => (end, joiner.finish()),
                };
                match ended {
                    Some(run) => {
                        // Made first: if there is no memory for the tuple, no call is made and
                        // nothing is lost.
                        let call = made::numbers(py, [run.iova, run.pgsize, run.pgcount])?;
                        // Stored before the call, so that the next run continues after it, whatever
                        // the call raises.
                        self.done.store(next, Ordering::Relaxed);
                        unmap_pages.call1(call)?;
                        calls = 0;
                    }
                    None if next == end => return Ok(()),
                    None => calls += 1,
                }
            }
            py.detach(|| self.stride(&mut joiner, &mut position, end))?;
        }
    }
}
