//! Counts of what a list holds and of the memory that it uses.

use crate::granule::Granule;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::list::reading::List;
use crate::storage::entry::{Entry, Run};
use crate::storage::words;

/// Counts of what a list holds and of the memory that it uses; from [`Phyr::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes described.
    pub length: u64,
    /// Chunks, including trimmed ones.
    pub nr_chunks: u64,
    /// Packed words. A long odd chunk has two.
    pub nr_entries: u64,
    /// Allocations that hold the storage; 0 for a list that needs no heap.
    pub nr_nodes: u64,
    /// Bytes of the largest chunk.
    pub largest: u64,
    /// Bytes of heap that the list keeps alive. Other lists may share them.
    pub storage: u64,
}

/// The run of granules that a chunk touches.
pub(crate) fn run_of(granule: Granule, chunk: Chunk) -> Run {
    let pfn = granule.floor(chunk.paddr);
    Run { pfn, nr_pages: granule.floor(chunk.last_of_list()) - pfn + 1 }
}

impl Phyr {
    /// Counts what the list holds and the memory that it uses. O(n).
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (storage, nr_nodes) = self.chain().storage();
        let stats = Stats {
            length: self.length(),
            storage: storage as u64,
            nr_nodes: nr_nodes as u64,
            ..Stats::default()
        };
        let (granule, mut stats) = (self.granule(), stats);
        let mut walk = self.walk();
        // Only the first and the last chunk are trimmed.
        for chunk in [walk.next(), walk.next_back()].into_iter().flatten() {
            let (entry, _) = Entry::pack(run_of(granule, chunk));
            stats.nr_chunks += 1;
            stats.nr_entries += if entry.is_escape() { 2 } else { 1 };
            stats.largest = stats.largest.max(chunk.length);
        }
        walk.for_each_slice(|words| {
            let (nr_chunks, nr_pages) = words::longest(words);
            stats.nr_chunks += nr_chunks;
            stats.nr_entries += words.len() as u64;
            stats.largest = stats.largest.max(granule.to_bytes(nr_pages));
        });
        stats
    }

    /// Bytes of heap that the list keeps alive. O(nodes).
    #[must_use]
    pub fn storage(&self) -> usize {
        self.chain().storage().0
    }

    /// Counts the naturally aligned blocks of each order in the list.
    ///
    /// Element `k` is the number of blocks of 2^k granules, after every chunk is cut, front to
    /// back, into the largest blocks that are aligned to their own size. A granule that the list
    /// touches in part counts as whole. A chunk is cut into at most twice as many blocks as its
    /// order.
    #[must_use]
    pub fn orders(&self) -> [u64; 53] {
        let granule = self.granule();
        let mut tally = Tally { gathered: [0; 8], count: 0, planes: [0; 3], eights: [0; 53] };
        let mut cut = |run| tally.cut(run);
        let mut walk = self.walk();
        let ends = [walk.next(), walk.next_back()];
        ends.into_iter().flatten().for_each(|chunk| cut(run_of(granule, chunk)));
        let mut whole = [0; 53];
        walk.for_each_slice(|words| {
            // Often a node has blocks of one size only.
            let first = words.first().map_or(0, |&word| Entry::stored(word).nr_pages());
            let order = first.checked_ilog2().unwrap_or_default();
            if words.iter().all(|&word| Entry::stored(word).as_block(order).1 == 0) {
                whole[order as usize] += words.len() as u64;
                return;
            }
            // Or one block for each chunk.
            if words::are_blocks(words) {
                for &word in words {
                    whole[Entry::stored(word).order() as usize] += 1;
                }
                return;
            }
            let mut at = 0;
            while at < words.len() {
                let (run, len) = words::decode(words, at);
                cut(run);
                at += len;
            }
        });
        let cut = tally.finish();
        core::array::from_fn(|order| whole[order] + cut[order])
    }
}

/// Adds what a walk over a list in either form counts.
pub(crate) fn count(list: &impl List, stats: Stats) -> Stats {
    let granule = list.granule();
    list.chunks().fold(stats, |mut stats, chunk| {
        let (entry, _) = Entry::pack(run_of(granule, chunk));
        stats.nr_chunks += 1;
        stats.nr_entries += if entry.is_escape() { 2 } else { 1 };
        stats.largest = stats.largest.max(chunk.length);
        stats
    })
}

/// As [`Phyr::orders`], of a list in either form.
pub(crate) fn orders(list: &impl List) -> [u64; 53] {
    let granule = list.granule();
    let mut tally = Tally { gathered: [0; 8], count: 0, planes: [0; 3], eights: [0; 53] };
    list.chunks().for_each(|chunk| tally.cut(run_of(granule, chunk)));
    tally.finish()
}

/// Counts, for each bit, the words that have it set.
///
/// Words are gathered eight at a time and added bit by bit in parallel: `planes[k]` has bit `k` of each
/// count.
///
/// Source: carry-save adders as in W. Muła, N. Kurz, D. Lemire, "Faster population counts using AVX2
/// instructions", section 3.
struct Tally {
    gathered: [u64; 8],
    count: usize,
    planes: [u64; 3],
    /// Counts of what left the planes, in eights.
    eights: [u64; 53],
}

impl Tally {
    /// Adds the blocks of a run.
    #[inline(always)]
    fn cut(&mut self, Run { pfn, nr_pages }: Run) {
        // Page numbers are below 2^52. Up to the last multiple of the largest power of two, blocks
        // grow; behind it they shrink. So either part has a block for each bit of its length.
        let end = pfn + nr_pages;
        let middle = end & (u64::MAX << (pfn ^ end).ilog2());
        self.add(middle - pfn);
        self.add(end - middle);
    }

    #[inline(always)]
    fn add(&mut self, word: u64) {
        self.gathered[self.count % 8] = word;
        self.count += 1;
        if self.count % 8 == 0 {
            self.sum();
        }
    }

    /// Adds the gathered words to the planes.
    #[inline(always)]
    fn sum(&mut self) {
        let [w0, w1, w2, w3, w4, w5, w6, w7] = self.gathered;
        let [ones, twos, fours] = self.planes;
        let (twos_a, ones) = carry(ones, w0, w1);
        let (twos_b, ones) = carry(ones, w2, w3);
        let (fours_a, twos) = carry(twos, twos_a, twos_b);
        let (twos_a, ones) = carry(ones, w4, w5);
        let (twos_b, ones) = carry(ones, w6, w7);
        let (fours_b, twos) = carry(twos, twos_a, twos_b);
        let (mut eights, fours) = carry(fours, fours_a, fours_b);
        self.planes = [ones, twos, fours];
        while eights != 0 {
            self.eights[eights.trailing_zeros() as usize] += 1;
            eights &= eights - 1;
        }
    }

    fn finish(mut self) -> [u64; 53] {
        while self.count % 8 != 0 {
            self.add(0);
        }
        let [ones, twos, fours] = self.planes;
        core::array::from_fn(|bit| {
            let of = |plane: u64, weight: u64| (plane >> bit & 1) * weight;
            8 * self.eights[bit] + of(ones, 1) + of(twos, 2) + of(fours, 4)
        })
    }
}

/// Adds three words bit by bit: the carries, and the sums.
#[inline(always)]
fn carry(a: u64, b: u64, c: u64) -> (u64, u64) {
    (a & b | (a ^ b) & c, a ^ b ^ c)
}
