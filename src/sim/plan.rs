//! Plans as columns.

use alloc::vec::Vec;

use super::error::DomainError;
use crate::dma::plan::MapCall;
use crate::error::NoMemory;
use crate::wide::wide;

/// Number of calls handled together: as many as a table has entries.
const PART: usize = 512;

/// A plan as four columns, with one row for each call.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    iovas: &'a [u64],
    paddrs: &'a [u64],
    pgsizes: &'a [u64],
    pgcounts: &'a [u64],
}

impl<'a> Columns<'a> {
    /// Takes the columns together.
    ///
    /// # Errors
    ///
    /// [`DomainError::Columns`] unless all have the same length.
    pub fn new(
        iovas: &'a [u64],
        paddrs: &'a [u64],
        pgsizes: &'a [u64],
        pgcounts: &'a [u64],
    ) -> Result<Self, DomainError> {
        for other in [paddrs.len(), pgsizes.len(), pgcounts.len()] {
            if other != iovas.len() {
                let (iovas, other) = (iovas.len() as u64, other as u64);
                return Err(DomainError::Columns { iovas, other });
            }
        }
        Ok(Self { iovas, paddrs, pgsizes, pgcounts })
    }

    /// The calls, in order.
    pub fn calls(self) -> impl Iterator<Item = MapCall> + Clone + use<'a> {
        let rows = self.iovas.iter().zip(self.paddrs).zip(self.pgsizes.iter().zip(self.pgcounts));
        rows.map(|((&iova, &paddr), (&pgsize, &pgcount))| MapCall { iova, paddr, pgsize, pgcount })
    }

    /// The same rows, in parts.
    pub(super) fn parts(self) -> impl Iterator<Item = Self> + use<'a> {
        let addresses = self.iovas.chunks(PART).zip(self.paddrs.chunks(PART));
        let rest = self.pgsizes.chunks(PART).zip(self.pgcounts.chunks(PART));
        addresses.zip(rest).map(|((iovas, paddrs), (pgsizes, pgcounts))| Self {
            iovas,
            paddrs,
            pgsizes,
            pgcounts,
        })
    }

    /// If every call is for one page, all have one size, and each page comes right after the one
    /// before: the first I/O virtual address, the size, and the physical addresses.
    pub(super) fn pages(self) -> Option<(u64, u64, &'a [u64])> {
        let (&iova, &pgsize) = (self.iovas.first()?, self.pgsizes.first()?);
        are_pages(self, iova, pgsize).then_some((iova, pgsize, self.paddrs))
    }
}

/// Calls without their physical addresses. Consecutive calls of one shape are stored as one run.
#[derive(Debug, Default)]
pub(super) struct Runs(Vec<(usize, MapCall)>);

impl Runs {
    /// Adds `count` calls, each as long as the first and right after the one before.
    ///
    /// # Errors
    ///
    /// There is no memory; nothing was added.
    pub(super) fn push(&mut self, (count, call): (usize, MapCall)) -> Result<(), NoMemory> {
        match self.0.last_mut() {
            Some((known, first))
                if (first.pgsize, first.pgcount) == (call.pgsize, call.pgcount)
                    && nth(*first, *known).iova == call.iova =>
            {
                *known += count;
            }
            _ => {
                let room = self.0.try_reserve(1);
                room.map_err(|_| NoMemory::of::<(usize, MapCall)>(self.0.len() + 1))?;
                self.0.push((count, call));
            }
        }
        Ok(())
    }

    /// The calls in order. Their physical addresses are arbitrary.
    pub(super) fn calls(self) -> impl Iterator<Item = MapCall> {
        self.0.into_iter().flat_map(|(count, first)| (0..count).map(move |at| nth(first, at)))
    }
}

/// Call number `at` after `first`. The numbers are not checked yet, so the sum may wrap.
fn nth(first: MapCall, at: usize) -> MapCall {
    let length = first.pgsize.wrapping_mul(first.pgcount);
    MapCall { iova: first.iova.wrapping_add(length.wrapping_mul(at as u64)), ..first }
}

wide! {
    /// Returns true if the columns are single pages of one size, one after the other from an address on.
    fn are_pages(columns: Columns<'_>, iova: u64, pgsize: u64) -> bool {
        let Columns { iovas, pgsizes, pgcounts, .. } = columns;
        let mut wanted = iova;
        let mut odd = 0;
        for (&iova, (&size, &count)) in iovas.iter().zip(pgsizes.iter().zip(pgcounts)) {
            odd |= (iova ^ wanted) | (size ^ pgsize) | (count ^ 1);
            wanted = wanted.wrapping_add(pgsize);
        }
        odd == 0
    }
}

/// The calls of a plan that is given as four columns.
///
/// # Errors
///
/// [`DomainError::Columns`] unless all have the same length.
pub fn calls<'a>(
    iovas: &'a [u64],
    paddrs: &'a [u64],
    pgsizes: &'a [u64],
    pgcounts: &'a [u64],
) -> Result<impl Iterator<Item = MapCall> + Clone + use<'a>, DomainError> {
    Columns::new(iovas, paddrs, pgsizes, pgcounts).map(Columns::calls)
}
