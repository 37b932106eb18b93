//! Packing ranges in a row: the loop under [`Writer::push_ranges`](super::writer::Writer::push_ranges).

use crate::storage::entry::{Entry, Run};

/// Ranges packed together.
pub(crate) const BLOCK_RANGES: usize = 64;

/// The words of `run` and of all ranges but the last; the last range; and the pages of all ranges.
pub(crate) type Packed = ([u64; BLOCK_RANGES], Run, u64);

/// Packs `run` and the ranges behind it, in bytes, whole units of `1 << lg2`. `None` if one of them
/// touches the one before, or has too many pages for one word. `run` has pages.
#[inline(always)]
pub(crate) fn pack(
    mut run: Run,
    paddrs: &[u64; BLOCK_RANGES],
    lengths: &[u64; BLOCK_RANGES],
    lg2: u32,
) -> Option<Packed> {
    let mut words = [0; BLOCK_RANGES];
    let (mut pages, mut counts, mut touch) = (0, 0, false);
    for ((word, paddr), length) in words.iter_mut().zip(paddrs).zip(lengths) {
        let (entry, count) = Entry::pack(run);
        *word = entry.word();
        counts |= count;
        let next = Run { pfn: paddr >> lg2, nr_pages: length >> lg2 };
        touch |= run.pfn + run.nr_pages == next.pfn;
        pages += next.nr_pages;
        run = next;
    }
    (!touch && counts <= Entry::MAX_COUNT).then_some((words, run, pages))
}
