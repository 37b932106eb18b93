//! One table of leaf entries in the making: the innermost loops of filling page tables.

use super::vtd::{ENTRIES, Pte};
use crate::dma::plan::MapCall;
use crate::wide::{self, Wide};

/// One table in the making, all of whose addresses may be mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeafTable {
    /// First address that the table covers.
    pub(super) first: u64,
    /// Bytes that an entry covers, and log2 of them.
    pub(super) pgsize: u64,
    pub(super) lg2: u32,
    /// Bits that no address of an entry has.
    pub(super) unfit: u64,
    /// What the entries have besides their addresses.
    pub(super) bits: u64,
}

impl LeafTable {
    /// Last address that the table covers.
    pub(super) fn last(self) -> u64 {
        self.first + (self.pgsize * ENTRIES - 1)
    }

    /// The entries of this table for pages of a size from an address on: none if it is another's.
    #[inline(always)]
    fn slots(self, words: &mut [[u8; 8]], iova: u64, pgsize: u64) -> &mut [[u8; 8]] {
        // Neither beyond the entries of a table, nor where low bits end up on top, is there a slot.
        let into = iova.wrapping_sub(self.first).rotate_right(self.lg2);
        let slots = usize::try_from(into).ok().and_then(|at| words.get_mut(at..));
        slots.filter(|_| pgsize == self.pgsize).unwrap_or_default()
    }

    /// Fills the entries of a call that has all its pages in this table and nothing in its way:
    /// whether it is one.
    #[inline(always)]
    pub(super) fn fill(self, words: &mut [[u8; 8]], call: MapCall) -> bool {
        let MapCall { iova, paddr, pgsize, pgcount } = call;
        let slots = self.slots(words, iova, pgsize);
        let slots = usize::try_from(pgcount).ok().and_then(|count| slots.get_mut(..count));
        let Some(slots @ [_, ..]) = slots else { return false };
        // Below 2^52, as what is less than 2^40 bytes on has to be.
        let fits = |paddr: u64| paddr & self.unfit == 0;
        if !fits(paddr) || !fits(paddr + (slots.len() as u64 - 1) * pgsize) || is_any_present(slots)
        {
            return false;
        }
        for (slot, number) in slots.iter_mut().zip(0..) {
            *slot = Pte((paddr + number * pgsize) | self.bits).to_bytes();
        }
        true
    }

    /// Fills the entries of single pages, as far as the table goes, if nothing is in the way of any:
    /// how many.
    pub(super) fn fill_pages(
        self,
        words: &mut [[u8; 8]],
        iova: u64,
        pgsize: u64,
        pages: &[u64],
    ) -> usize {
        let slots = self.slots(words, iova, pgsize);
        let count = slots.len().min(pages.len());
        wide::run(FillPages { table: self, slots: &mut slots[..count], pages: &pages[..count] })
    }
}

/// As many entries as pages: filled, if none is in the way and all addresses fit.
struct FillPages<'a> {
    table: LeafTable,
    slots: &'a mut [[u8; 8]],
    pages: &'a [u64],
}

impl Wide for FillPages<'_> {
    type Output = usize;

    #[inline(always)]
    fn run(self) -> usize {
        let Self { table, slots, pages } = self;
        let any = pages.iter().fold(0, |any, page| any | page);
        if any & table.unfit != 0 || is_any_present(slots) {
            return 0;
        }
        for (slot, page) in slots.iter_mut().zip(pages) {
            *slot = Pte(page | table.bits).to_bytes();
        }
        pages.len()
    }
}

#[inline(always)]
fn is_any_present(words: &[[u8; 8]]) -> bool {
    Pte(words.iter().fold(0, |any, &word| any | Pte::from_bytes(word).0)).is_present()
}
