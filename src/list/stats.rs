//! What a list holds and what it costs.

use crate::granule::Granule;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::storage::entry::{Entry, Run};

/// What a list holds and what it costs; from [`Phyr::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes described.
    pub length: u64,
    /// Chunks, trimmed ones included.
    pub nr_chunks: u64,
    /// Packed words, the second word of a long odd chunk included.
    pub nr_entries: u64,
    /// Allocations that hold the storage; 0 for a list that needs no heap.
    pub nr_nodes: u64,
    /// Bytes of the largest chunk.
    pub largest: u64,
    /// Bytes of heap that the list keeps alive, all of which other views may share.
    pub storage: u64,
}

/// The granules that a chunk touches.
pub(crate) fn run_of(granule: Granule, chunk: Chunk) -> Run {
    let pfn = granule.floor(chunk.paddr);
    Run { pfn, nr_pages: granule.floor(chunk.last()) - pfn + 1 }
}

impl Phyr {
    /// Counts what the list holds and what it costs. O(n).
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (storage, nr_nodes) = self.chain().storage();
        let stats = Stats {
            length: self.length(),
            storage: storage as u64,
            nr_nodes: nr_nodes as u64,
            ..Stats::default()
        };
        self.chunks().fold(stats, |mut stats, chunk| {
            let (entry, _) = Entry::pack(run_of(self.granule(), chunk));
            stats.nr_chunks += 1;
            stats.nr_entries += if entry.is_escape() { 2 } else { 1 };
            stats.largest = stats.largest.max(chunk.length);
            stats
        })
    }

    /// Bytes of heap that the list keeps alive. O(nodes).
    #[must_use]
    pub fn storage(&self) -> usize {
        self.chain().storage().0
    }

    /// How many naturally aligned blocks of each order the list is made of.
    ///
    /// Element `k` counts blocks of 2^k granules, after every chunk is cut, front to back, into the
    /// largest blocks that are aligned to their own size; granules that the list touches in part
    /// count whole. Twice the order for each chunk at most.
    #[must_use]
    pub fn orders(&self) -> [u64; 53] {
        self.chunks().fold([0; 53], |mut orders, chunk| {
            let Run { mut pfn, mut nr_pages } = run_of(self.granule(), chunk);
            while nr_pages > 0 {
                let order = pfn.trailing_zeros().min(nr_pages.ilog2());
                orders[order as usize] += 1;
                pfn += 1 << order;
                nr_pages -= 1 << order;
            }
            orders
        })
    }
}
