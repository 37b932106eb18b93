//! Where a linear window should lie, so that pages which are large in memory stay large in it.
//!
//! A page of `pgsize` bytes can be used if `iova` and `paddr` have the same offset inside it. All
//! chunks of a list share one window, so there is one number to choose: the residue, `iova` modulo
//! `pgsize`. Every chunk that holds whole pages of that size votes for the residue that can map
//! them.

use crate::list::chunks::Chunk;
use crate::list::frozen::Frozen;
use crate::list::phyr::Phyr;
use crate::list::reading::{List, Steps};
use crate::pgsize::PageSizes;

/// The recommended place of a window's first byte: `iova % align == residue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alignment {
    /// A power of two, in bytes.
    pub align: u64,
    /// Less than `align`.
    pub residue: u64,
}

impl Phyr {
    /// The best alignment of a window for this list, in a table with these page sizes.
    ///
    /// The first byte keeps its offset inside the granules of the list and of the table. Beyond
    /// that, for each page size from the smallest up, the result takes the residue with which pages
    /// of that size can map the most bytes. Walks the list once, and once more for each size of
    /// which some chunk holds a whole page. Needs no heap.
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::{Alignment, Builder, PageSizes};
    ///
    /// // One small page, then 4 MiB of huge ones: the window starts a page before 2 MiB.
    /// let mut builder = Builder::new();
    /// builder.append(0x7000, 0x1000)?;
    /// builder.append(0x20_0000, 0x40_0000)?;
    /// let sizes = PageSizes::new(1 << 12 | 1 << 21)?;
    /// assert_eq!(
    ///     builder.finish().alignment(sizes),
    ///     Alignment { align: 2 << 20, residue: (2 << 20) - 0x1000 }
    /// );
    /// # Ok::<(), phyr::Error>(())
    /// ```
    #[must_use]
    pub fn alignment(&self, sizes: PageSizes) -> Alignment {
        best(self, sizes)
    }
}

impl Frozen {
    /// As [`Phyr::alignment`].
    #[must_use]
    pub fn alignment(&self, sizes: PageSizes) -> Alignment {
        best(self, sizes)
    }
}

/// The best alignment of a window for a list in either form.
fn best(list: &impl List, sizes: PageSizes) -> Alignment {
    let align = sizes.granule().max(list.granule().bytes());
    let first = list.translate(0).unwrap_or(0);
    let mut best = Alignment { align, residue: first & (align - 1) };
    let mut size = sizes.granule();
    // First a quick test of all chunks: fragmented memory has no chunk that is long enough.
    if sizes.above(size).is_none_or(|next| list.walk_from(0).are_shorter(next)) {
        return best;
    }
    let largest = list.chunks().fold(0, |largest, chunk| chunk.length.max(largest));
    while let Some(next) = sizes.above(size).filter(|&next| next <= largest) {
        size = next;
        if size > best.align {
            let Some(residue) = elect(list, size, best) else { break };
            best = Alignment { align: size, residue };
        }
    }
    best
}

/// The residue modulo `size` with the most votes, among those that agree with `given`; `None`
/// if there is no page to vote.
fn elect(list: &impl List, size: u64, given: Alignment) -> Option<u64> {
    let low = size - 1;
    let mut votes = Votes::default();
    list.chunks().fold(0_u64, |position, chunk| {
        if chunk.length >= size {
            // The place of the window's first byte that keeps this chunk at its offset. Both
            // numbers wrap alike, and only the lower bits count.
            let residue = chunk.paddr.wrapping_sub(position) & low;
            if residue & (given.align - 1) == given.residue {
                votes.add(residue, whole_pages(chunk, size));
            }
        }
        position.wrapping_add(chunk.length)
    });
    votes.winner()
}

/// The number of aligned blocks of `size` bytes inside a chunk.
fn whole_pages(chunk: Chunk, size: u64) -> u64 {
    let lg2 = size.trailing_zeros();
    // `before` is the number of blocks that start before the chunk. A block that ends where the
    // chunk ends counts as inside, even the last one of the 64-bit space.
    let before = (u128::from(chunk.paddr) + u128::from(size - 1)) >> lg2;
    let behind = (u128::from(chunk.last_of_list()) + 1) >> lg2;
    u64::try_from(behind.saturating_sub(before)).unwrap_or(u64::MAX)
}

/// Counts votes in bounded space, by the method of Misra and Gries.
///
/// Exact for up to [`Votes::SLOTS`] different residues. With more, every residue with more than one
/// vote in `SLOTS + 1` is still kept.
#[derive(Debug, Default)]
struct Votes {
    slots: [(u64, u64); Self::SLOTS],
}

impl Votes {
    const SLOTS: usize = 32;

    fn add(&mut self, residue: u64, votes: u64) {
        if votes == 0 {
            return;
        }
        let known = |&&mut (of, count): &&mut (u64, u64)| count > 0 && of == residue;
        if let Some((_, count)) = self.slots.iter_mut().find(known) {
            *count = count.saturating_add(votes);
            return;
        }
        // Make room: all candidates lose as many votes as the weakest or the newcomer has,
        // whichever is fewer.
        let (_, weakest) =
            self.slots.iter().copied().min_by_key(|&(_, count)| count).unwrap_or((0, 0));
        let lost = weakest.min(votes);
        for (_, count) in &mut self.slots {
            *count -= lost;
        }
        if votes > lost {
            if let Some(slot) = self.slots.iter_mut().find(|(_, count)| *count == 0) {
                *slot = (residue, votes - lost);
            }
        }
    }

    fn winner(&self) -> Option<u64> {
        // Among equals, take the first, which was met first.
        let mut winner = (0, 0);
        for &(residue, count) in &self.slots {
            if count > winner.1 {
                winner = (residue, count);
            }
        }
        (winner.1 > 0).then_some(winner.0)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::dma::plan::Plan;
    use crate::granule::Granule;
    use crate::kind::Kind;
    use crate::list::builder::Builder;

    const MIB: u64 = 1 << 20;

    fn list(granule: u64, chunks: &[(u64, u64)]) -> Phyr {
        let mut builder = Builder::with(Granule::new(granule).unwrap(), Kind::Ram);
        for &(paddr, length) in chunks {
            builder.append(paddr, length).unwrap();
        }
        builder.finish()
    }

    /// Bytes that pages of at least `size` map, with the window at some address.
    fn large(phyr: &Phyr, iova: u64, sizes: PageSizes, size: u64) -> u64 {
        let plan = Plan::new(phyr, iova, sizes).unwrap();
        plan.filter(|call| call.pgsize >= size).map(|call| call.pgsize * call.pgcount).sum()
    }

    #[test]
    fn the_granules_of_list_and_table_are_kept() {
        let sizes = PageSizes::new(1 << 12).unwrap();
        let alignment = list(65536, &[(0x1_2345, 0x10)]).alignment(sizes);
        assert_eq!(alignment, Alignment { align: 0x1_0000, residue: 0x2345 });
        let alignment = list(512, &[(0x1_2345, 0x10)]).alignment(sizes);
        assert_eq!(alignment, Alignment { align: 0x1000, residue: 0x345 });
        let none = Phyr::default().alignment(sizes);
        assert_eq!(none, Alignment { align: 0x1000, residue: 0 });
    }

    #[test]
    fn chunks_of_2_mib_and_1_gib_keep_their_size() {
        let sizes = PageSizes::new(1 << 12 | 1 << 21 | 1 << 30).unwrap();
        let phyr = list(
            4096,
            &[(0x9000, 0x3000), (7 << 21, 2 * MIB), (3 << 30, 2 << 30), (9 << 21, 4 * MIB)],
        );
        let Alignment { align, residue } = phyr.alignment(sizes);
        assert_eq!(align, 1 << 30);
        assert_eq!(large(&phyr, residue, sizes, 2 * MIB), (2 << 30) + 6 * MIB);
        assert_eq!(large(&phyr, residue, sizes, 1 << 30), 2 << 30);
    }

    #[test]
    fn pages_at_the_top_of_the_address_space_are_counted() {
        let top = Chunk { paddr: u64::MAX - 0x2fff, length: 0x3000 };
        assert_eq!(whole_pages(top, 0x1000), 3);
        assert_eq!(whole_pages(top, 0x2000), 1);
        assert_eq!(whole_pages(Chunk { paddr: 1, length: 0x1fff }, 0x1000), 1);
        assert_eq!(whole_pages(Chunk { paddr: 1, length: 0xffe }, 0x1000), 0);
    }

    #[test]
    fn a_majority_wins_among_many_residues() {
        let mut votes = Votes::default();
        for stranger in 0..1000 {
            votes.add(stranger + 7, 1);
            votes.add(3, 1);
        }
        assert_eq!(votes.winner(), Some(3));
        assert_eq!(Votes::default().winner(), None);
    }

    #[test]
    fn more_votes_than_slots_make_room_for_the_newcomer() {
        let mut votes = Votes::default();
        (0..Votes::SLOTS as u64).for_each(|residue| votes.add(residue, 2));
        votes.add(99, 5);
        assert_eq!(votes.winner(), Some(99));
    }

    #[test]
    fn what_is_shorter_is_so_wherever_the_longest_chunk_lies() {
        // Long lists: a chunk of two words, or of one, among pages of their own, or none.
        for nr_chunks in [1, 2, 3, 509, 510, 511, 5000, 70_000] {
            for (at, nr_pages) in [(0, 1), (0, 2049), (1, 511), (1, 512), (2, 513), (3, 4097)] {
                let at = at * nr_chunks / 3;
                let mut builder = Builder::new();
                for number in 0..nr_chunks {
                    let pages = if number == at { nr_pages } else { 1 };
                    builder.append((number << 30) + 0x1000, pages << 12).unwrap();
                }
                let phyr = builder.finish();
                let longest = phyr.chunks().map(|chunk| chunk.length).max().unwrap();
                for limit in [1 << 12, 1 << 21, 1 << 30] {
                    let shorter = phyr.walk().are_shorter(limit);
                    assert!(!shorter || longest < limit, "{nr_chunks} chunks, {nr_pages} at {at}");
                    // And it is seen, where pages of their own are all there is.
                    assert!(shorter || limit < 1 << 21 || longest > 1 << 12);
                    let part = phyr.slice(0x800, phyr.length() - 0x800).unwrap();
                    let longest = part.chunks().map(|chunk| chunk.length).max().unwrap_or(0);
                    assert!(!part.walk().are_shorter(limit) || longest < limit);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_other_residue_maps_more_by_pages_of_the_second_size(
            pieces in proptest::collection::vec((0_u64..64, 1_u64..12), 1..5),
        ) {
            let pieces: Vec<_> = pieces.iter().map(|&(pfn, n)| (pfn << 12, n << 12)).collect();
            let phyr = list(4096, &pieces);
            let sizes = PageSizes::new(1 << 12 | 1 << 14).unwrap();
            let Alignment { align, residue } = phyr.alignment(sizes);
            let found = large(&phyr, residue, sizes, 1 << 14);
            for other in 0..4 {
                prop_assert!(large(&phyr, other << 12, sizes, 1 << 14) <= found);
            }
            prop_assert_eq!(align, if found > 0 { 1 << 14 } else { 1 << 12 });
        }
    }
}
