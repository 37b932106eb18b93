//! Mapping and unmapping. Each call does all of its work, or nothing.

use core::cell::RefCell;

use super::domain::SimDomain;
use super::error::{DomainError, MemoryError};
use super::leaf_table::{self, LeafTable};
use super::memory::Memory;
use super::plan::{Columns, Runs};
use super::small::small;
use super::store::Page;
use super::vtd::{ENTRIES, INDEX_BITS, Pte, index, is_prot, shift};
use crate::dma::backend::Prot;
use crate::dma::plan::{MapCall, Part, Plan};
use crate::error::NoMemory;
use crate::list::reading::List;

impl SimDomain {
    /// Maps `pgcount` pages of `pgsize` bytes from `iova` on to memory from `paddr` on.
    ///
    /// The physical addresses need not be in the memory: a device may be there.
    ///
    /// # Errors
    ///
    /// [`DomainError::Prot`], [`DomainError::PageSize`], [`DomainError::Unaligned`],
    /// [`DomainError::Count`], [`DomainError::Aperture`], [`DomainError::Reserved`], [`DomainError::Paddr`] for arguments;
    /// [`DomainError::Mapped`] if any of the range is mapped; [`DomainError::Memory`] without pages
    /// for tables. Nothing is mapped then.
    pub fn map_pages(
        &mut self,
        memory: &mut Memory,
        iova: u64,
        paddr: u64,
        pgsize: u64,
        pgcount: u64,
        prot: Prot,
    ) -> Result<(), DomainError> {
        self.counters.map_calls += 1;
        check_prot(prot)?;
        let before = self.counters;
        let call = MapCall { iova, paddr, pgsize, pgcount };
        // A single call fills one table or a few, so it keeps none of them open.
        let mut done = Done { calls: 0, pages: 0 };
        let outcome = self.fill(memory, call, prot, &mut done).map(drop);
        if outcome.is_err() {
            self.undo(memory, core::iter::once(call), done);
            self.counters = before;
        }
        outcome
    }

    /// Maps every call of a plan, or nothing.
    ///
    /// The plan is walked with `for_each`, and a second time to undo it if a call fails.
    ///
    /// # Errors
    ///
    /// Those of [`Self::map_pages`], for the first call that fails.
    pub fn map_batch(
        &mut self,
        memory: &mut Memory,
        calls: impl Iterator<Item = MapCall> + Clone,
        prot: Prot,
    ) -> Result<(), DomainError> {
        self.counters.batch_calls += 1;
        let walk = calls.clone();
        let fill = |filler: &mut Filler<'_>| walk.for_each(|call| filler.push(call));
        self.map_with(memory, prot, fill, || calls)
    }

    /// Maps every call of a plan, or nothing. As [`Self::map_batch`], but faster for single pages.
    ///
    /// # Errors
    ///
    /// Those of [`Self::map_pages`], for the first call that fails.
    pub fn map_plan(
        &mut self,
        memory: &mut Memory,
        plan: Plan<'_, impl List>,
        prot: Prot,
    ) -> Result<(), DomainError> {
        self.counters.batch_calls += 1;
        let pgsize = plan.sizes().granule();
        let mut walk = plan.clone();
        let fill = |filler: &mut Filler<'_>| {
            walk.fold_parts((), |(), part| match part {
                Part::Call(call) => filler.push(call),
                Part::Pages(iova, pages) => filler.push_pages(iova, pgsize, pages),
            });
        };
        self.map_with(memory, prot, fill, || plan)
    }

    /// Maps every call of a plan that is given as four columns, or nothing. As [`Self::map_batch`],
    /// but faster for single pages.
    ///
    /// # Errors
    ///
    /// Those of [`Self::map_pages`], for the first call that fails.
    pub fn map_columns(
        &mut self,
        memory: &mut Memory,
        columns: Columns<'_>,
        prot: Prot,
    ) -> Result<(), DomainError> {
        self.counters.batch_calls += 1;
        let fill = |filler: &mut Filler<'_>| {
            columns.parts().for_each(|part| filler.push_rows(part, |_| Ok(())));
        };
        self.map_with(memory, prot, fill, || columns.calls())
    }

    /// Maps every call of a plan whose columns come in pieces, or nothing. As
    /// [`Self::map_columns`].
    ///
    /// `feed` passes the pieces on in order. A piece is used only during its own call.
    ///
    /// # Errors
    ///
    /// Those of [`Self::map_pages`], for the first call that fails.
    pub fn map_pieces(
        &mut self,
        memory: &mut Memory,
        feed: impl FnOnce(&mut dyn FnMut(Columns<'_>)),
        prot: Prot,
    ) -> Result<(), DomainError> {
        self.counters.batch_calls += 1;
        // The calls so far, in case they have to be undone. Pages that follow each other take a few
        // words.
        let runs = RefCell::new(Runs::default());
        let fill = |filler: &mut Filler<'_>| {
            feed(&mut |columns| {
                for part in columns.parts() {
                    filler.push_rows(part, |run| runs.borrow_mut().push(run));
                }
            });
        };
        self.map_with(memory, prot, fill, || runs.take().calls())
    }

    /// Runs `fill`, which pushes every call. If a call fails, undoes the calls before it, as
    /// `calls` lists them.
    fn map_with<I: Iterator<Item = MapCall>>(
        &mut self,
        memory: &mut Memory,
        prot: Prot,
        fill: impl FnOnce(&mut Filler<'_>),
        calls: impl FnOnce() -> I,
    ) -> Result<(), DomainError> {
        check_prot(prot)?;
        let before = self.counters;
        let mut filler = Filler {
            domain: &mut *self,
            memory: &mut *memory,
            prot,
            done: Done { calls: 0, pages: 0 },
            outcome: Ok(()),
            open: None,
            blank: None,
        };
        fill(&mut filler);
        filler.close();
        let Filler { outcome, done, .. } = filler;
        if outcome.is_err() {
            self.undo(memory, calls(), done);
            self.counters = before;
        }
        outcome
    }

    /// Maps one call. `done` says how far it has come. Returns the last table, also as a `LeafTable`.
    fn fill(
        &mut self,
        memory: &mut Memory,
        call: MapCall,
        prot: Prot,
        done: &mut Done,
    ) -> Result<(u64, LeafTable), DomainError> {
        self.check_call(call)?;
        let level = (call.pgsize.trailing_zeros() - 12) / INDEX_BITS + 1;
        // At best every existing table is one of those needed. If there is too little room even
        // then, nothing is begun.
        let span = shift(level) + INDEX_BITS;
        let last = call.iova + (call.pgcount * call.pgsize - 1);
        let nr_tables = (last >> span) - (call.iova >> span) + 1;
        memory.check_room(nr_tables.saturating_sub(self.counters.table_pages))?;
        let bits = Pte::leaf_bits(level, prot);
        loop {
            let iova = call.iova + done.pages * call.pgsize;
            let paddr = call.paddr + done.pages * call.pgsize;
            let table = self.table(memory).descend(iova, level)?;
            let words = memory.page_mut(table)?.words_mut();
            let at = index(iova, level);
            let count = (ENTRIES - at as u64).min(call.pgcount - done.pages);
            // At most the number of entries in a table.
            let slots = &mut words[at..at + small(count)];
            if !leaf_table::fill_run(slots, paddr | bits, call.pgsize) {
                let used = slots.iter().position(|&word| Pte::from_bytes(word).is_present());
                let from = iova + used.unwrap_or_default() as u64 * call.pgsize;
                let iova = self.table(memory).first(table, level, from).unwrap_or(from);
                return Err(DomainError::Mapped { iova });
            }
            self.counters.ptes_written += count;
            done.pages += count;
            if done.pages == call.pgcount {
                *done = Done { calls: done.calls + 1, pages: 0 };
                let span = 1 << (shift(level) + INDEX_BITS);
                let first = iova & !(span - 1);
                let (pgsize, lg2) = (call.pgsize, shift(level));
                let unfit = (pgsize - 1) | !((1 << 52) - 1);
                let leaf = LeafTable { first, pgsize, lg2, unfit, bits };
                return Ok((table, leaf));
            }
        }
    }

    /// Undoes a failed map. Allocates nothing, unless walking the calls does.
    fn undo(&mut self, memory: &mut Memory, calls: impl Iterator<Item = MapCall>, done: Done) {
        let (root, levels, width) = (self.root, self.levels, self.width());
        let mut table = self.table(memory);
        for (call, at) in calls.take(done.calls + 1).zip(0..) {
            let MapCall { iova, pgsize, .. } = call;
            let pages = if at < done.calls { call.pgcount } else { done.pages };
            if pages > 0 {
                table.clear(root, levels, iova, iova + (pages * pgsize - 1));
            }
            // The call that failed may have left tables without an entry.
            if at == done.calls && iova >> width == 0 {
                table.prune(iova.saturating_add(pages.saturating_mul(pgsize)), root, levels);
            }
        }
    }

    /// Returns true if a range is inside the aperture and overlaps no reserved range.
    fn is_allowed(&self, first: u64, last: u64) -> bool {
        self.aperture.0 <= first
            && last <= self.aperture.1
            && self.reserved.iter().all(|range| last < range.0 || first > range.1)
    }

    fn check_pgsize(&self, pgsize: u64) -> Result<(), DomainError> {
        let pgsize_bitmap = self.sizes.bitmap();
        if pgsize.is_power_of_two() && pgsize_bitmap & pgsize != 0 {
            return Ok(());
        }
        Err(DomainError::PageSize { pgsize, pgsize_bitmap })
    }

    fn check_call(&self, call: MapCall) -> Result<(), DomainError> {
        let MapCall { iova, paddr, pgsize, pgcount } = call;
        self.check_pgsize(pgsize)?;
        if (iova | paddr) & (pgsize - 1) != 0 {
            return Err(DomainError::Unaligned { iova, paddr, align: pgsize });
        }
        let length = length(iova, pgsize, pgcount)?;
        // The length is not 0, and at most 2^63, so the subtraction cannot wrap.
        if iova > self.aperture.1 || length - 1 > self.aperture.1 - iova || iova < self.aperture.0 {
            return Err(DomainError::Aperture { iova, length, last: self.aperture.1 });
        }
        let last = iova + (length - 1);
        let touched = |range: &&(u64, u64)| iova <= range.1 && last >= range.0;
        if let Some(&(first, _)) = self.reserved.iter().find(touched) {
            return Err(DomainError::Reserved { iova, length, first });
        }
        if paddr >= 1 << 52 || length > (1 << 52) - paddr {
            return Err(DomainError::Paddr { paddr, length });
        }
        Ok(())
    }

    /// Unmaps `pgcount` pages of `pgsize` bytes from `iova` on, and removes them from the IOTLB.
    ///
    /// The pages may have been mapped in other sizes and by other calls, as long as each page lies
    /// inside the range and the whole range is mapped. Allocates nothing: the memory needed to give
    /// back a table was reserved when the table was taken.
    ///
    /// # Errors
    ///
    /// [`DomainError::Split`] if the range holds only a part of a larger page,
    /// [`DomainError::NotMapped`] if an address of the range is not mapped;
    /// [`DomainError::PageSize`], [`DomainError::Misplaced`], [`DomainError::Count`] for bad
    /// arguments. Nothing is unmapped then.
    pub fn unmap_pages(
        &mut self,
        memory: &mut Memory,
        iova: u64,
        pgsize: u64,
        pgcount: u64,
    ) -> Result<(), DomainError> {
        self.counters.unmap_calls += 1;
        self.check_pgsize(pgsize)?;
        if iova & (pgsize - 1) != 0 {
            return Err(DomainError::Misplaced { iova, align: pgsize });
        }
        let last = iova + (length(iova, pgsize, pgcount)? - 1);
        if last >> self.width() != 0 {
            return Err(DomainError::NotMapped { iova: iova.max(1 << self.width()) });
        }
        let (root, levels) = (self.root, self.levels);
        let mut table = self.table(memory);
        table.check(root, levels, iova, last)?;
        table.clear(root, levels, iova, last);
        self.iotlb.invalidate(iova, last);
        Ok(())
    }
}

/// Takes the calls of a plan and maps them.
///
/// The walk of a list is a tight loop around `push`. So the table that was filled last stays open:
/// it is moved out of the memory, and a call that continues in it costs a few instructions.
struct Filler<'a> {
    domain: &'a mut SimDomain,
    memory: &'a mut Memory,
    prot: Prot,
    done: Done,
    outcome: Result<(), DomainError>,
    open: Option<Open>,
    /// The page that takes the place of the open table in the memory; here while no table is open.
    blank: Option<Page>,
}

/// The open table.
struct Open {
    page: Page,
    /// Physical address of the table.
    table: u64,
    leaf: LeafTable,
    /// Number of calls that continued in this table, and their pages.
    calls: usize,
    pages: u64,
}

impl Filler<'_> {
    #[inline(always)]
    fn push(&mut self, call: MapCall) {
        if let Some(open) = &mut self.open {
            if open.leaf.fill(open.page.words_mut(), call) {
                open.calls += 1;
                open.pages += call.pgcount;
                return;
            }
        }
        let MapCall { iova, paddr, pgsize, pgcount } = call;
        self.search(iova, paddr, pgsize, pgcount);
    }

    /// Maps the calls of a few rows. Before that, passes their number and the first call to `note`.
    fn push_rows(
        &mut self,
        rows: Columns<'_>,
        mut note: impl FnMut((usize, MapCall)) -> Result<(), NoMemory>,
    ) {
        if let Some((iova, pgsize, paddrs)) = rows.pages() {
            let first = MapCall { iova, paddr: 0, pgsize, pgcount: 1 };
            if self.goes_on(|| note((paddrs.len(), first))) {
                self.push_pages(iova, pgsize, paddrs);
            }
        } else {
            rows.calls().for_each(|call| {
                if self.goes_on(|| note((1, call))) {
                    self.push(call);
                }
            });
        }
    }

    /// Returns true if no call failed before and `note` has memory.
    fn goes_on(&mut self, note: impl FnOnce() -> Result<(), NoMemory>) -> bool {
        if self.outcome.is_ok() {
            if let Err(why) = note() {
                self.close();
                self.outcome = Err(MemoryError::from(why).into());
            }
        }
        self.outcome.is_ok()
    }

    /// Maps single pages that follow each other.
    fn push_pages(&mut self, mut iova: u64, pgsize: u64, mut pages: &[u64]) {
        while let [paddr, rest @ ..] = pages {
            let mut count = 0;
            if let Some(open) = &mut self.open {
                count = open.leaf.fill_pages(open.page.words_mut(), iova, pgsize, pages);
                open.calls += count;
                open.pages += count as u64;
            }
            if count == 0 {
                self.search(iova, *paddr, pgsize, 1);
                (count, pages) = (1, rest);
            } else {
                pages = &pages[count..];
            }
            iova = iova.wrapping_add(pgsize * count as u64);
        }
    }

    /// Maps a call in the general way, unless a call failed before: a walk cannot stop early. Then
    /// opens the table in which the call ended, if all its addresses may be mapped.
    ///
    /// Takes the numbers of the call one by one, so that the compiler keeps them in registers.
    #[cold]
    #[inline(never)]
    fn search(&mut self, iova: u64, paddr: u64, pgsize: u64, pgcount: u64) {
        self.close();
        if self.outcome.is_err() {
            return;
        }
        let call = MapCall { iova, paddr, pgsize, pgcount };
        match self.domain.fill(self.memory, call, self.prot, &mut self.done) {
            Ok((table, leaf)) if self.domain.is_allowed(leaf.first, leaf.last()) => {
                // If there is no memory for a blank page, the table stays in the memory.
                let blank = self.blank.take().or_else(Page::zeroed);
                if let (Some(page), Some(blank)) = (self.memory.present_mut(table), blank) {
                    let page = core::mem::replace(page, blank);
                    self.open = Some(Open { page, table, leaf, calls: 0, pages: 0 });
                }
            }
            outcome => self.outcome = outcome.map(drop),
        }
    }

    /// Moves the open table back into the memory.
    fn close(&mut self) {
        if let Some(Open { page, table, calls, pages, .. }) = self.open.take() {
            if let Some(blank) = self.memory.present_mut(table) {
                self.blank = Some(core::mem::replace(blank, page));
            }
            self.done.calls += calls;
            self.domain.counters.ptes_written += pages;
        }
    }
}

/// How far a map has come: whole calls, and pages of the next call.
#[derive(Clone, Copy, Debug)]
struct Done {
    calls: usize,
    pages: u64,
}

fn check_prot(prot: Prot) -> Result<(), DomainError> {
    if is_prot(prot) { Ok(()) } else { Err(DomainError::Prot { prot: prot.bits().into() }) }
}

/// Bytes of a run of pages.
fn length(iova: u64, pgsize: u64, pgcount: u64) -> Result<u64, DomainError> {
    let length = pgcount.checked_mul(pgsize).filter(|&length| length > 0);
    length.filter(|&length| iova.checked_add(length - 1).is_some()).ok_or(DomainError::Count {
        iova,
        pgsize,
        pgcount,
    })
}
