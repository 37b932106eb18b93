//! Other ways to find a byte of a list: a sorted vector, `rangemap`, and the Elias-Fano of `sux`.
//!
//! ```text
//! sorted vec   (position, address)                       16 bytes a chunk
//! rangemap     B-tree of ranges of positions -> address - position
//! sux          Elias-Fano of starts, and page numbers of 32 bits
//! ```

use phyr::Phyr;
use rangemap::RangeMap;
use sux::dict::elias_fano::{EfSeqDict, EliasFanoBuilder};
use sux::traits::{IndexedSeq, Pred};

const PAGE: u64 = 4096;

/// A vector of where each chunk starts in the list, and its address.
#[derive(Debug)]
pub struct Sorted(Vec<(u64, u64)>);

impl Sorted {
    /// The same list.
    #[must_use]
    pub fn new(phyr: &Phyr) -> Self {
        let mut at = 0;
        let pair = |chunk: phyr::Chunk| {
            at += chunk.length;
            (at - chunk.length, chunk.paddr)
        };
        Self(phyr.chunks().map(pair).collect())
    }

    /// The address of byte `position`, which the list must have.
    #[must_use]
    pub fn translate(&self, position: u64) -> u64 {
        let (start, paddr) = self.0[self.0.partition_point(|pair| pair.0 <= position) - 1];
        paddr + (position - start)
    }
}

/// A map from ranges of positions to what is added to them.
#[derive(Debug)]
pub struct Ranges(RangeMap<u64, u64>);

impl Ranges {
    /// The same list.
    #[must_use]
    pub fn new(phyr: &Phyr) -> Self {
        let (mut at, mut map) = (0, RangeMap::new());
        for chunk in phyr.chunks() {
            map.insert(at..at + chunk.length, chunk.paddr.wrapping_sub(at));
            at += chunk.length;
        }
        Self(map)
    }

    /// The address of byte `position`; `None` if the list has no such byte.
    #[must_use]
    pub fn translate(&self, position: u64) -> Option<u64> {
        self.0.get(&position).map(|added| position.wrapping_add(*added))
    }
}

/// The starts of chunks, in pages, by Elias-Fano; and their page numbers, which have 32 bits.
#[derive(Debug)]
pub struct Sux {
    starts: EfSeqDict<u64>,
    pfns: Vec<u32>,
}

impl Sux {
    /// The same list, of whole pages below 16 TiB.
    ///
    /// # Panics
    ///
    /// Panics if the list is empty, or has higher addresses.
    #[must_use]
    pub fn new(phyr: &Phyr) -> Self {
        let count = phyr.chunks().len();
        let mut starts = EliasFanoBuilder::new(count, phyr.length() / PAGE);
        let mut pfns = Vec::with_capacity(count);
        let mut at = 0;
        for chunk in phyr.chunks() {
            starts.push(at / PAGE);
            pfns.push(u32::try_from(chunk.paddr / PAGE).expect("below 16 TiB"));
            at += chunk.length;
        }
        Self { starts: starts.build_with_seq_and_dict(), pfns }
    }

    /// Number and first page of the chunk that holds page `page`.
    #[must_use]
    pub fn chunk_of(&self, page: u64) -> Option<(usize, u64)> {
        self.starts.pred(page)
    }

    /// The first page of chunk `number`, which the list must have.
    #[must_use]
    pub fn start(&self, number: usize) -> u64 {
        self.starts.get(number)
    }

    /// The address of byte `position`, which the list must have.
    #[must_use]
    pub fn translate(&self, position: u64) -> Option<u64> {
        let (number, start) = self.starts.pred(position / PAGE)?;
        Some((u64::from(self.pfns[number]) + position / PAGE - start) * PAGE + position % PAGE)
    }
}
