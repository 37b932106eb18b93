//! Bounds that hold for every chunk of a list, found without a walk.
//!
//! A chain keeps the bitwise or of all its inner words. A bound computed from that word holds for
//! every chunk. The tests are conservative: true is certain; false means walk.

use crate::list::phyr::Phyr;
use crate::storage::entry::Entry;

impl Phyr {
    /// An upper bound on the addresses of the list: no byte has a higher address. O(log n).
    pub(crate) fn upper_bound(&self) -> u64 {
        let Some((first, last)) = self.ends() else { return 0 };
        let granule = self.granule();
        let ends = [first, last].map(|place| place.run()).map(|run| run.pfn + (run.nr_pages - 1));
        // An inner chunk has at most as many pages as the whole list.
        let inner = Entry::bounds(self.chain().inner());
        let inner = inner.map_or(0, |(_, pfn)| pfn.saturating_add(self.granules().1 - 1));
        let pfn = inner.max(ends[0]).max(ends[1]).min(granule.reach() - 1);
        granule.to_bytes(pfn) | granule.mask()
    }

    /// Returns true if every boundary inside the list is known to be a multiple of `mask + 1`, a
    /// power of two. True is certain; false means walk. O(log n).
    pub(crate) fn is_aligned(&self, mask: u64) -> bool {
        let granule = self.granule();
        let Some((first, last)) = self.ends() else { return true };
        if granule.bytes() > mask || first.number == last.number {
            return true;
        }
        // The start and the end of the list need not be aligned.
        let (first, last) = (first.run(), last.run());
        let ends = granule.to_bytes(first.pfn + first.nr_pages) | granule.to_bytes(last.pfn);
        let inner = Entry::bounds(self.chain().inner());
        let is_inner = inner.is_none_or(|(order, _)| (mask >> granule.lg2()) >> order == 0);
        ends & mask == 0 && is_inner
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use crate::granule::Granule;
    use crate::kind::Kind;
    use crate::list::builder::Builder;
    use crate::list::chunks::Chunk;
    use crate::list::phyr::Phyr;
    use crate::list::reading::Inner;

    /// Lists of one node and of several, with long runs, odd ones and second words.
    fn lists() -> impl Strategy<Value = (Phyr, u64)> {
        let unit = prop_oneof![Just(0_u32), Just(4), Just(9)];
        let pages = prop_oneof![1_u64..5, Just(2047), Just(2049), 1_u64..1 << 20];
        let chunks = prop::collection::vec((0_u64..1 << 30, pages, unit), 1..8);
        let granule = prop_oneof![Just(1_u64), Just(4096), Just(65536)];
        (chunks, granule, 1_usize..200, 0_u32..34).prop_map(|(chunks, granule, repeat, lg2)| {
            let granule = Granule::new(granule).unwrap();
            let mut builder = Builder::with(granule, Kind::Ram);
            for _ in 0..repeat {
                for &(pfn, nr_pages, order) in &chunks {
                    builder.append_pfns(pfn << order, nr_pages << order).unwrap();
                }
            }
            (builder.finish(), (1 << lg2) - 1)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn what_is_said_holds_for_every_chunk(
            (phyr, mask) in lists(),
            ends in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let length = usize::try_from(phyr.length()).unwrap() + 1;
            let [a, b] = [ends.0.index(length) as u64, ends.1.index(length) as u64];
            let all = phyr.freeze();
            for part in [phyr.slice(a.min(b), a.max(b)).unwrap(), phyr] {
                let chunks: Vec<_> = part.chunks().collect();
                prop_assert!(chunks.iter().all(|chunk| chunk.last() <= part.upper_bound()));
                for frozen in [part.freeze(), all.slice(a.min(b), a.max(b)).unwrap()] {
                    let (lowest, last) = frozen.span();
                    let lies = |chunk: Chunk| lowest <= chunk.paddr && chunk.last() <= last;
                    prop_assert!(frozen.chunks().all(lies));
                }
                let inner = chunks.windows(2).flat_map(|two| {
                    [two[0].last().wrapping_add(1), two[1].paddr]
                });
                prop_assert!(!part.is_aligned(mask) || inner.into_iter().all(|at| at & mask == 0));
            }
        }
    }

    #[test]
    fn only_inner_boundaries_count() {
        for repeat in [1, 1000] {
            let mut builder = Builder::new();
            builder.append_pfns(0x1ff, 1).unwrap();
            for _ in 0..repeat {
                builder.append_pfns(0x1000, 0x200).unwrap();
                builder.append_pfns(0x8000, 0x400).unwrap();
            }
            builder.append_pfns(0x400, 1).unwrap();
            let phyr = builder.finish();
            assert!(phyr.is_aligned((2 << 20) - 1) && !phyr.is_aligned((4 << 20) - 1));
            // An inner word has no address bits above 0x8000 pages; a chunk may be all of the list.
            assert!(
                (0x083f_ffff..1 << 33).contains(&phyr.upper_bound()),
                "{:#x}",
                phyr.upper_bound()
            );
        }
    }

    #[test]
    fn more_granules_than_a_sum_can_hold_are_no_low_reach() {
        // All but 2^64 bytes, one by one.
        let mut builder = Builder::with(Granule::new(1).unwrap(), Kind::Ram);
        builder.append(1, 1).unwrap();
        for _ in 0..4095 {
            builder.append(0, (1 << 52) - 2).unwrap();
        }
        builder.append(1 << 51, 1 << 51).unwrap();
        builder.append(5, 1).unwrap();
        let phyr = builder.finish();
        assert_eq!(phyr.upper_bound(), (1 << 52) - 1);
        assert!(phyr.first_beyond(1 << 51).is_some());
    }

    #[test]
    fn the_top_of_the_address_space_is_reached_and_not_passed() {
        let mut builder = Builder::new();
        builder.append_pfns((1 << 52) - 1, 1).unwrap();
        assert_eq!(builder.finish().upper_bound(), u64::MAX);
        assert_eq!(Phyr::default().upper_bound(), 0);
        assert!(Phyr::default().is_aligned(u64::MAX));
    }
}
