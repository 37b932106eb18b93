//! The calls that undo a plan. They are fewer than the calls that map.
//!
//! ```text
//! calls of the plan   4 KiB x 3 | 4 KiB x 2 | 2 MiB x 3 | 4 KiB x 1
//! runs                4 KiB x 5             | 2 MiB x 3 | 4 KiB x 1     neighbours of one size
//! ```

use core::fmt;
use core::iter::FusedIterator;

use crate::dma::plan::{MapCall, Part, Plan};
use crate::list::phyr::Phyr;
use crate::list::reading::List;

/// One call to a domain: `pgcount` pages of `pgsize` bytes at `iova` are to be unmapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnmapCall {
    /// I/O virtual address of the first page.
    pub iova: u64,
    /// Bytes in a page.
    pub pgsize: u64,
    /// Pages, at least one.
    pub pgcount: u64,
}

impl fmt::Debug for UnmapCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { iova, pgsize, pgcount } = self;
        write!(f, "{iova:#x}, {pgcount} of {pgsize:#x}")
    }
}

impl From<MapCall> for UnmapCall {
    /// Returns the call that undoes a call of a plan.
    fn from(MapCall { iova, pgsize, pgcount, .. }: MapCall) -> Self {
        Self { iova, pgsize, pgcount }
    }
}

/// Joins neighbouring calls of one page size into runs, whatever their physical addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Joiner {
    run: Option<UnmapCall>,
}

impl Joiner {
    /// Adds the next call or run. Returns the run that ends before it.
    #[inline(always)]
    pub(crate) fn push(&mut self, next: UnmapCall) -> Option<UnmapCall> {
        match &mut self.run {
            Some(run) if run.pgsize == next.pgsize => {
                // At most the pages of a window, whose bytes fit in 64 bits.
                run.pgcount += next.pgcount;
                None
            }
            run => run.replace(next),
        }
    }

    /// Returns the last run. The joiner is empty then.
    pub(crate) fn finish(&mut self) -> Option<UnmapCall> {
        self.run.take()
    }
}

impl<'a, P: List> Plan<'a, P> {
    /// The calls that unmap what the remaining calls of this plan map, in order.
    ///
    /// Neighbours of one page size are one call, whatever their physical addresses.
    #[must_use]
    pub fn unmaps(self) -> Unmaps<'a, P> {
        Unmaps { plan: self, joiner: Joiner::default() }
    }
}

/// The calls that undo a plan; from [`Plan::unmaps`].
#[derive(Clone, Debug)]
pub struct Unmaps<'a, P: List = Phyr> {
    plan: Plan<'a, P>,
    joiner: Joiner,
}

impl<P: List> Iterator for Unmaps<'_, P> {
    type Item = UnmapCall;

    fn next(&mut self) -> Option<UnmapCall> {
        for call in self.plan.by_ref() {
            if let Some(run) = self.joiner.push(call.into()) {
                return Some(run);
            }
        }
        self.joiner.finish()
    }

    fn fold<A, F: FnMut(A, UnmapCall) -> A>(self, start: A, mut f: F) -> A {
        let Self { mut plan, joiner } = self;
        let pgsize = plan.sizes().granule();
        let (acc, mut joiner) = plan.fold_parts((start, joiner), |(mut acc, mut joiner), part| {
            let next = match part {
                Part::Call(call) => call.into(),
                // Single pages, next to each other in the window.
                Part::Pages(iova, pages) => UnmapCall { iova, pgsize, pgcount: pages.len() as u64 },
            };
            if let Some(run) = joiner.push(next) {
                acc = f(acc, run);
            }
            (acc, joiner)
        });
        joiner.finish().into_iter().fold(acc, f)
    }
}

impl<P: List> FusedIterator for Unmaps<'_, P> {}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use crate::dma::plan::Plan;
    use crate::granule::Granule;
    use crate::kind::Kind;
    use crate::list::builder::Builder;
    use crate::pgsize::PageSizes;

    proptest! {
        #[test]
        fn undoing_covers_the_same_pages_by_runs_that_cannot_be_joined(
            pieces in proptest::collection::vec((0_u64..512, 1_u64..90), 1..6),
            bitmap in 0_u64..1 << 8, iova in 0_u64..300, taken in 0_usize..4,
        ) {
            let mut builder = Builder::with(Granule::new(1).unwrap(), Kind::Ram);
            for (paddr, length) in pieces {
                builder.append(paddr, length).unwrap();
            }
            let phyr = builder.finish();
            let plan = Plan::new(&phyr, iova, PageSizes::new(bitmap | 1).unwrap()).unwrap();
            let calls: Vec<_> = plan.clone().collect();

            let mut unmaps = Vec::new();
            plan.clone().unmaps().for_each(|call| unmaps.push(call));
            prop_assert!(plan.clone().unmaps().eq(unmaps.iter().copied()));
            prop_assert!(unmaps.windows(2).all(|pair| pair[0].pgsize != pair[1].pgsize));
            let mapped = calls.iter().flat_map(|call| {
                (0..call.pgcount).map(|page| (call.iova + page * call.pgsize, call.pgsize))
            });
            let unmapped = unmaps.iter().flat_map(|call| {
                (0..call.pgcount).map(|page| (call.iova + page * call.pgsize, call.pgsize))
            });
            prop_assert!(mapped.eq(unmapped));

            // The whole walk goes on where the step by step one stopped.
            let mut rest = plan.unmaps();
            let mut found: Vec<_> = rest.by_ref().take(taken).collect();
            rest.for_each(|call| found.push(call));
            prop_assert_eq!(found, unmaps);
        }
    }
}
