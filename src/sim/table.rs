//! The tables of one domain, in memory: filling, emptying, looking up.
//!
//! The tables are the only record of what is mapped, so nothing can contradict them. Code outside
//! may write to them, as to any memory. A walk then ends in an error or a hole, never in a panic,
//! because it is as deep as the number of levels.

use super::counters::Counters;
use super::error::{DomainError, MemoryError};
use super::leaf_table;
use super::memory::Memory;
use super::small::small;
use super::store::Page;
use super::vtd::{ENTRIES, INDEX_BITS, Pte, index, shift};

/// A root table, with the counters of its entries.
#[derive(Debug)]
pub(super) struct PageTable<'a> {
    pub(super) memory: &'a mut Memory,
    pub(super) counters: &'a mut Counters,
    pub(super) root: u64,
    pub(super) levels: u32,
}

/// Entry `at` of the table at `paddr`. The page of the table may never have been written.
pub(super) fn entry(memory: &Memory, paddr: u64, at: usize) -> Pte {
    memory.page(paddr).map_or(Pte::EMPTY, |page| Pte::from_bytes(page.words()[at]))
}

/// Returns true if there is memory for a table at `paddr`.
pub(super) fn is_memory(memory: &Memory, paddr: u64) -> bool {
    paddr < memory.size()
}

fn is_empty(page: Option<&Page>) -> bool {
    page.is_none_or(|page| leaf_table::are_empty(page.words()))
}

impl PageTable<'_> {
    /// The table of a level that covers `iova`. It is made if it is missing.
    ///
    /// # Errors
    ///
    /// [`DomainError::Mapped`] if a larger page covers the address; [`DomainError::Memory`],
    /// [`DomainError::Table`]. Tables that were made on the way stay; [`Self::prune`] removes them.
    pub(super) fn descend(&mut self, iova: u64, level: u32) -> Result<u64, DomainError> {
        let mut table = self.root;
        for above in (level + 1..=self.levels).rev() {
            let at = index(iova, above);
            let pte = entry(self.memory, table, at);
            if pte.is_present() {
                if pte.is_leaf(above) {
                    return Err(DomainError::Mapped { iova });
                }
                if !is_memory(self.memory, pte.address()) {
                    return Err(DomainError::Table { paddr: pte.address() });
                }
                table = pte.address();
            } else {
                let next = self.memory.take_table()?;
                if let Err(why) = self.set(table, at, Pte::table(next)) {
                    self.memory.drop_table(next);
                    return Err(why.into());
                }
                self.counters.ptes_written += 1;
                self.counters.table_pages += 1;
                table = next;
            }
        }
        Ok(table)
    }

    /// The first mapped address at or after `iova`, under one table.
    ///
    /// `iova` must be where an entry of the table starts.
    pub(super) fn first(&self, table: u64, level: u32, iova: u64) -> Option<u64> {
        let start = iova >> (shift(level) + INDEX_BITS) << (shift(level) + INDEX_BITS);
        (index(iova, level)..small(ENTRIES)).find_map(|at| {
            let pte = entry(self.memory, table, at);
            let iova = start + ((at as u64) << shift(level));
            match pte.is_present() {
                false => None,
                true if pte.is_leaf(level) => Some(iova),
                true => self.first(pte.address(), level - 1, iova),
            }
        })
    }

    fn set(&mut self, table: u64, at: usize, pte: Pte) -> Result<(), MemoryError> {
        self.memory.page_mut(table)?.words_mut()[at] = pte.to_bytes();
        Ok(())
    }

    /// Checks that every page of `iova..=last` can be unmapped. The range is covered by one entry
    /// of the level above.
    ///
    /// # Errors
    ///
    /// [`DomainError::NotMapped`], [`DomainError::Split`], [`DomainError::Table`].
    pub(super) fn check(
        &self,
        table: u64,
        level: u32,
        iova: u64,
        last: u64,
    ) -> Result<(), DomainError> {
        if level == 1 {
            // Check all entries of a table at a time, because most are of this level.
            let words = self.memory.page(table).map_or(&[][..], Page::words);
            let words = words.get(index(iova, 1)..=index(last, 1)).unwrap_or_default();
            if !words.is_empty() && leaf_table::are_present(words) {
                return Ok(());
            }
            let present = |word: &&[u8; 8]| Pte::from_bytes(**word).is_present();
            let mapped = words.iter().take_while(present).count() as u64;
            return Err(DomainError::NotMapped { iova: iova + (mapped << shift(1)) });
        }
        each(level, iova, last, |at, first, end| {
            let pte = entry(self.memory, table, at);
            if !pte.is_present() {
                return Err(DomainError::NotMapped { iova: first });
            }
            if pte.is_leaf(level) {
                let pgsize = 1 << shift(level);
                if end - first < pgsize - 1 {
                    return Err(DomainError::Split { iova: first & !(pgsize - 1), pgsize });
                }
                return Ok(());
            }
            if !is_memory(self.memory, pte.address()) {
                return Err(DomainError::Table { paddr: pte.address() });
            }
            self.check(pte.address(), level - 1, first, end)
        })
    }

    /// Empties an entry. Allocates nothing.
    fn empty(&mut self, table: u64, at: usize) {
        // If other code wrote to the tables, it may have freed this table. Then there is nothing to
        // empty.
        if let Some(page) = self.memory.present_mut(table) {
            page.words_mut()[at] = Pte::EMPTY.to_bytes();
        }
    }

    /// Empties the entries for `iova..=last` under one table, and gives back the tables that are
    /// then empty. Allocates nothing. Returns true if an entry of the table itself was emptied: else
    /// nobody needs to look if the table is empty now.
    pub(super) fn clear(&mut self, table: u64, level: u32, iova: u64, last: u64) -> bool {
        if level == 1 {
            let (from, to) = (index(iova, 1), index(last, 1));
            let Some(page) = self.memory.present_mut(table) else { return true };
            self.counters.ptes_cleared += leaf_table::empty(&mut page.words_mut()[from..=to]);
            return true;
        }
        let mut emptied = false;
        let cleared = each(level, iova, last, |at, first, end| {
            let pte = entry(self.memory, table, at);
            if !pte.is_present() {
                return Ok::<(), ()>(());
            }
            if !pte.is_leaf(level) {
                let next = pte.address();
                if is_memory(self.memory, next) {
                    let emptied = self.clear(next, level - 1, first, end);
                    if !emptied || !is_empty(self.memory.page(next)) {
                        return Ok(());
                    }
                    self.memory.drop_table(next);
                    self.counters.table_pages = self.counters.table_pages.saturating_sub(1);
                }
            }
            self.empty(table, at);
            emptied = true;
            self.counters.ptes_cleared += 1;
            Ok(())
        });
        debug_assert_eq!(cleared, Ok(()), "clearing {iova:#x} to {last:#x}");
        emptied
    }

    /// Gives back the empty tables for `iova`, which a failed map made. Allocates nothing.
    pub(super) fn prune(&mut self, iova: u64, table: u64, level: u32) {
        let at = index(iova, level);
        let pte = entry(self.memory, table, at);
        if level == 1 || !pte.is_present() || pte.is_leaf(level) {
            return;
        }
        let next = pte.address();
        if !is_memory(self.memory, next) {
            return;
        }
        self.prune(iova, next, level - 1);
        if is_empty(self.memory.page(next)) {
            self.memory.drop_table(next);
            self.empty(table, at);
        }
    }
}

/// Cuts `iova..=last` at the entries of a level. Passes the number of each entry, and its first and
/// last address, to `f`.
fn each<E>(
    level: u32,
    iova: u64,
    last: u64,
    mut f: impl FnMut(usize, u64, u64) -> Result<(), E>,
) -> Result<(), E> {
    let below = (1 << shift(level)) - 1;
    let mut first = iova;
    // At most the entries of one table, because the caller cut the range at the entries of the
    // level above.
    for _ in 0..ENTRIES {
        let end = (first | below).min(last);
        f(index(first, level), first, end)?;
        if end == last {
            break;
        }
        first = end + 1;
    }
    Ok(())
}
