//! The leaf that a writer fills, and the loops that fill it.

use alloc::vec::Vec;

use crate::slices;
use crate::storage::entry::{Entry, Run};
use crate::storage::pack::{BLOCK_RANGES, pack};
use crate::wide::wide;

/// The leaf that is being written.
#[derive(Debug, Default)]
pub(crate) struct OpenLeaf {
    /// Its capacity is that of a full leaf, or 0 before the first entry.
    pub(crate) words: Vec<u64>,
    pub(crate) nr_pages: u64,
    /// Number of entries with two words.
    pub(crate) nr_escapes: usize,
}

impl OpenLeaf {
    /// Words that still fit.
    #[inline(always)]
    pub(crate) fn room(&self) -> usize {
        self.words.capacity() - self.words.len()
    }

    /// Writes a run that can be encoded. Returns `false` if it does not fit.
    #[inline(always)]
    pub(crate) fn push(&mut self, run: Run) -> bool {
        let (entry, count) = Entry::pack(run);
        // The two words of an entry are always in the same node.
        if self.room() <= usize::from(entry.is_escape()) {
            return false;
        }
        self.words.push(entry.word());
        self.nr_pages += run.nr_pages;
        if entry.is_escape() {
            self.words.push(count);
            self.nr_escapes += 1;
        }
        true
    }

    /// Writes words that fit and have so many pages together.
    #[inline]
    pub(crate) fn append(&mut self, words: &[u64], nr_pages: u64) {
        for few in words.chunks(slices::COPIED / size_of::<u64>()) {
            self.words.extend_from_slice(few);
        }
        self.nr_pages += nr_pages;
    }

    /// Writes runs of one page each, which must fit.
    #[inline(always)]
    fn push_ones(&mut self, pfns: impl ExactSizeIterator<Item = u64>) {
        self.nr_pages += pfns.len() as u64;
        self.words.extend(pfns.map(Entry::one_page));
    }
}

wide! {
    /// Appends to a run one page for each item, page number `item >> shift`, until the leaf is full. It
    /// owns the leaf, so that the compiler can keep its fields in registers.
    ///
    /// Returns the leaf; the last run, which may continue or does not fit in the leaf; the items that
    /// remain.
    pub(crate) fn push_pages(
        open: OpenLeaf,
        run: Run,
        items: &[u64],
        shift: u32,
    ) -> (OpenLeaf, Run, &[u64]) {
        let (mut open, Run { mut pfn, nr_pages }) = (open, run);
        let mut next = pfn + nr_pages;
        let blocks = slices::arrays::<_, BLOCK_ITEMS>(items).0;
        for (number, block) in blocks.iter().enumerate() {
            let mut breaks = breaks(next, block, shift);
            if breaks == u32::MAX && next - pfn == 1 && open.room() >= BLOCK_ITEMS {
                let (last, ones) = (block[BLOCK_ITEMS - 1] >> shift, &block[..BLOCK_ITEMS - 1]);
                open.push_ones([pfn].into_iter());
                open.push_ones(ones.iter().map(|item| item >> shift));
                (pfn, next) = (last, last + 1);
                continue;
            }
            let mut from = 0;
            while breaks != 0 {
                let to = breaks.trailing_zeros() as usize % BLOCK_ITEMS;
                breaks &= breaks - 1;
                next += (to - from) as u64;
                let run = Run { pfn, nr_pages: next - pfn };
                if !open.push(run) {
                    let rest = items.get(number * BLOCK_ITEMS + to..).unwrap_or_default();
                    return (open, run, rest);
                }
                pfn = block[to] >> shift;
                (next, from) = (pfn, to);
            }
            next += (BLOCK_ITEMS - from) as u64;
        }
        let done = blocks.len() * BLOCK_ITEMS;
        for (index, &item) in items.iter().enumerate().skip(done) {
            let page = item >> shift;
            if page != next {
                let run = Run { pfn, nr_pages: next - pfn };
                if !open.push(run) {
                    return (open, run, items.get(index..).unwrap_or_default());
                }
                pfn = page;
            }
            next = page + 1;
        }
        (open, Run { pfn, nr_pages: next - pfn }, &[])
    }
}

wide! {
    /// Appends to a run ranges of whole pages, in units of `1 << lg2`, until the leaf is full. `run` has
    /// no pages before the first range of all.
    ///
    /// Returns the leaf, the run that did not end or has no room in it, the ranges taken, and their pages.
    pub(crate) fn push_ranges(
        open: OpenLeaf,
        run: Run,
        paddrs: &[u64],
        lengths: &[u64],
        lg2: u32,
    ) -> (OpenLeaf, Run, usize, u64) {
        /// Ranges written one by one where some are joined.
        const FEW: usize = 2 * BLOCK_RANGES;

        let (mut open, mut run) = (open, run);
        let (mut taken, mut pages) = (0, 0);
        while taken < paddrs.len() {
            let fits = run.nr_pages > 0 && open.room() >= BLOCK_RANGES;
            let rest = paddrs.get(taken..).zip(lengths.get(taken..));
            let block = rest.and_then(|(paddrs, lengths)| paddrs.first_chunk().zip(lengths.first_chunk()));
            let packed = block
                .filter(|_| fits)
                .and_then(|(paddrs, lengths)| pack(run, paddrs, lengths, lg2));
            if let Some((words, last, more)) = packed {
                // The last range is not written yet, but the run before the first is.
                open.words.extend_from_slice(&words);
                open.nr_pages += run.nr_pages + more - last.nr_pages;
                (run, pages, taken) = (last, pages + more, taken + BLOCK_RANGES);
                continue;
            }
            let end = paddrs.len().min(taken + FEW);
            let few = paddrs.get(taken..end).zip(lengths.get(taken..end)).unwrap_or_default();
            for (&paddr, &length) in few.0.iter().zip(few.1) {
                let (pfn, nr_pages) = (paddr >> lg2, length >> lg2);
                if run.nr_pages > 0 && run.pfn + run.nr_pages == pfn {
                    run.nr_pages += nr_pages;
                } else {
                    if run.nr_pages > 0 && !open.push(run) {
                        return (open, run, taken, pages);
                    }
                    run = Run { pfn, nr_pages };
                }
                pages += nr_pages;
                taken += 1;
            }
        }
        (open, run, taken, pages)
    }
}

/// Items compared at a time: one for each bit of the mask of breaks.
const BLOCK_ITEMS: usize = 32;

/// A bit mask: bit i is set if item i does not continue the item before it. The item before item 0
/// is page `next - 1`.
///
/// This compares page numbers, not addresses: page 0 does not follow the last page of the address
/// space.
#[inline(always)]
fn breaks(next: u64, block: &[u64; BLOCK_ITEMS], shift: u32) -> u32 {
    let mut breaks = u32::from(block[0] >> shift != next);
    for index in 1..BLOCK_ITEMS {
        let follows = block[index] >> shift == (block[index - 1] >> shift) + 1;
        breaks |= u32::from(!follows) << index;
    }
    breaks
}
