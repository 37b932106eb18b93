//! Packing ranges in a row: the loop under [`Writer::push_ranges`](super::writer::Writer::push_ranges).

use crate::storage::entry::{Entry, Run};

/// Ranges packed together.
pub(crate) const BLOCK_RANGES: usize = 32;

/// The words of `run` and of all ranges but the last; the last range; and the pages of all ranges.
pub(crate) type Packed = ([u64; BLOCK_RANGES], Run, u64);

/// Packs `run` and the ranges behind it, in bytes, whole units of `1 << lg2`. `None` if one of them
/// touches the one before, or has too many pages for one word. `run` has pages.
#[inline(always)]
pub(crate) fn pack(
    run: Run,
    paddrs: &[u64; BLOCK_RANGES],
    lengths: &[u64; BLOCK_RANGES],
    lg2: u32,
) -> Option<Packed> {
    let range = |paddr: u64, length: u64| Run { pfn: paddr >> lg2, nr_pages: length >> lg2 };
    let mut words = [0; BLOCK_RANGES];
    let (first, mut counts) = Entry::pack(run);
    words[0] = first.word();
    // No step of a loop waits for the one before, so the compiler takes several at a time.
    let mut pages = 0;
    for ((word, &paddr), &length) in words[1..].iter_mut().zip(paddrs).zip(lengths) {
        let run = range(paddr, length);
        let (entry, count) = Entry::pack_in_row(run);
        *word = entry.word();
        counts |= count;
        pages += run.nr_pages;
    }
    let mut touch = u64::from(run.pfn + run.nr_pages == paddrs[0] >> lg2);
    for ((&paddr, &length), &next) in paddrs.iter().zip(lengths).zip(&paddrs[1..]) {
        let run = range(paddr, length);
        touch |= u64::from(run.pfn + run.nr_pages == next >> lg2);
    }
    let last = range(paddrs[BLOCK_RANGES - 1], lengths[BLOCK_RANGES - 1]);
    (touch == 0 && counts <= Entry::MAX_COUNT).then_some((words, last, pages + last.nr_pages))
}
