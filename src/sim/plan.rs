//! Plans as columns.

use alloc::vec::Vec;

use super::error::DomainError;
use crate::dma::plan::MapCall;
use crate::wide::{self, Wide};

/// Calls looked at together: as many as a table has entries.
const PART: usize = 512;

/// A plan that is given as four columns, one row a call.
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
    /// [`DomainError::Columns`] unless they are equally long.
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

    /// The same rows in parts.
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

    /// If every call is for one page, of one size, and each page lies behind the one before: the first
    /// address, the size, and where the pages are.
    pub(super) fn pages(self) -> Option<(u64, u64, &'a [u64])> {
        let (&iova, &pgsize) = (self.iovas.first()?, self.pgsizes.first()?);
        wide::run(ArePages(self, iova, pgsize)).then_some((iova, pgsize, self.paddrs))
    }
}

/// Calls without their physical addresses. Calls that are alike and follow each other are one run.
#[derive(Debug, Default)]
pub(super) struct Runs(Vec<(usize, MapCall)>);

impl Runs {
    /// Adds so many calls, each as long as the first and behind the one before.
    pub(super) fn push(&mut self, (count, call): (usize, MapCall)) {
        if let Some((known, first)) = self.0.last_mut()
            && (first.pgsize, first.pgcount) == (call.pgsize, call.pgcount)
            && nth(*first, *known).iova == call.iova
        {
            *known += count;
        } else {
            self.0.push((count, call));
        }
    }

    /// The calls, in order, with any physical address.
    pub(super) fn calls(self) -> impl Iterator<Item = MapCall> {
        self.0.into_iter().flat_map(|(count, first)| (0..count).map(move |at| nth(first, at)))
    }
}

/// The call that is so many calls behind another. Wraps, as what is there was not looked at yet.
fn nth(first: MapCall, at: usize) -> MapCall {
    let length = first.pgsize.wrapping_mul(first.pgcount);
    MapCall { iova: first.iova.wrapping_add(length.wrapping_mul(at as u64)), ..first }
}

/// Whether columns are single pages of a size, one after the other from an address on.
struct ArePages<'a>(Columns<'a>, u64, u64);

impl Wide for ArePages<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Self(Columns { iovas, pgsizes, pgcounts, .. }, mut wanted, pgsize) = self;
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
/// [`DomainError::Columns`] unless they are equally long.
pub fn calls<'a>(
    iovas: &'a [u64],
    paddrs: &'a [u64],
    pgsizes: &'a [u64],
    pgcounts: &'a [u64],
) -> Result<impl Iterator<Item = MapCall> + Clone + use<'a>, DomainError> {
    Columns::new(iovas, paddrs, pgsizes, pgcounts).map(Columns::calls)
}
