//! One table of leaf entries in the making: the innermost loops of filling page tables.

use super::vtd::{ENTRIES, Pte};
use crate::dma::plan::MapCall;
use crate::wide::wide;

/// A table that is being filled. All addresses that it covers may be mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeafTable {
    /// First address that the table covers.
    pub(super) first: u64,
    /// Bytes that an entry covers, and their log2.
    pub(super) pgsize: u64,
    pub(super) lg2: u32,
    /// Bits that must be 0 in the address of an entry.
    pub(super) unfit: u64,
    /// The bits of an entry besides its address.
    pub(super) bits: u64,
}

impl LeafTable {
    /// Last address that the table covers.
    pub(super) fn last(self) -> u64 {
        self.first + (self.pgsize * ENTRIES - 1)
    }

    /// The entries of this table for pages of a size, from an address on; none if the address is in
    /// another table.
    #[inline(always)]
    fn slots(self, words: &mut [[u8; 8]], iova: u64, pgsize: u64) -> &mut [[u8; 8]] {
        // If the address is outside this table, or is not a multiple of the page size, the rotated
        // number is not a valid index.
        let into = iova.wrapping_sub(self.first).rotate_right(self.lg2);
        let slots = usize::try_from(into).ok().and_then(|at| words.get_mut(at..));
        slots.filter(|_| pgsize == self.pgsize).unwrap_or_default()
    }

    /// Fills the entries of a call whose pages are all in this table, if no entry is in use.
    /// Returns true if it did.
    #[inline(always)]
    pub(super) fn fill(self, words: &mut [[u8; 8]], call: MapCall) -> bool {
        let MapCall { iova, paddr, pgsize, pgcount } = call;
        let slots = self.slots(words, iova, pgsize);
        let slots = usize::try_from(pgcount).ok().and_then(|count| slots.get_mut(..count));
        let Some(slots @ [_, ..]) = slots else { return false };
        // An address that fits is below 2^52. The last page is less than 2^40 bytes further on, so
        // the sum cannot wrap.
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

    /// Fills the entries of single pages up to the end of the table, if none of the entries is in
    /// use. Returns the number of entries filled.
    pub(super) fn fill_pages(
        self,
        words: &mut [[u8; 8]],
        iova: u64,
        pgsize: u64,
        pages: &[u64],
    ) -> usize {
        let slots = self.slots(words, iova, pgsize);
        let count = slots.len().min(pages.len());
        fill_pages(self, &mut slots[..count], &pages[..count])
    }
}

wide! {
    /// Fills as many entries as there are pages, if no entry is in use and all addresses fit. Returns
    /// their number, or 0.
    fn fill_pages(table: LeafTable, slots: &mut [[u8; 8]], pages: &[u64]) -> usize {
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

wide! {
    /// Returns true if none of the entries of a table is in use.
    pub(super) fn are_empty(words: &[[u8; 8]]) -> bool {
        // An entry in use ends the search early.
        words.chunks(64).all(|words| !is_any_present(words))
    }
}

wide! {
    /// Returns true if every entry is in use.
    pub(super) fn are_present(words: &[[u8; 8]]) -> bool {
        // Read is bit 0, write bit 1.
        let all = words.iter().map(|&word| Pte::from_bytes(word).0);
        all.fold(1, |all, word| all & (word | word >> 1)) == 1
    }
}

wide! {
    /// Empties entries. Returns how many were in use.
    pub(super) fn empty(words: &mut [[u8; 8]]) -> u64 {
        let mut present = 0;
        for word in words {
            let pte = core::mem::take(word);
            let pte = Pte::from_bytes(pte).0;
            present += (pte | pte >> 1) & 1;
        }
        present
    }
}

wide! {
    /// Fills entries with pages that follow each other, if none of the entries is in use. Returns
    /// true if it did. `first` is the first entry.
    pub(super) fn fill_run(words: &mut [[u8; 8]], first: u64, pgsize: u64) -> bool {
        if is_any_present(words) {
            return false;
        }
        let mut next = first;
        for word in words {
            *word = Pte(next).to_bytes();
            next = next.wrapping_add(pgsize);
        }
        true
    }
}

#[inline(always)]
fn is_any_present(words: &[[u8; 8]]) -> bool {
    Pte(words.iter().fold(0, |any, &word| any | Pte::from_bytes(word).0)).is_present()
}
