//! Counts of what a list holds and of the memory that it uses.

use crate::granule::Granule;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::storage::entry::{Entry, Run};

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
    Run { pfn, nr_pages: granule.floor(chunk.last()) - pfn + 1 }
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

    /// Counts the naturally aligned blocks of each order in the list.
    ///
    /// Element `k` is the number of blocks of 2^k granules, after every chunk is cut, front to
    /// back, into the largest blocks that are aligned to their own size. A granule that the list
    /// touches in part counts as whole. A chunk is cut into at most twice as many blocks as its
    /// order.
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
