//! A small model of the IOTLB. It is set-associative and replaces the least recently used entry.

use alloc::vec::Vec;

use super::error::{DomainError, MemoryError};
use super::small::small;
use super::vtd::shift;
use crate::error::NoMemory;

/// Most entries for each page size.
const MOST: u64 = 65536;

/// Page sizes: those of levels 1, 2 and 3.
const LEVELS: u32 = 3;

/// A translation that was read from the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cached {
    /// I/O virtual page number, in pages of the level's size.
    pub(super) page: u64,
    pub(super) level: u32,
    /// First byte of the page.
    pub(super) paddr: u64,
    pub(super) reads: bool,
    pub(super) writes: bool,
    /// True if the leaf has its dirty bit. If not, a write must go to the tables to set it.
    pub(super) dirty: bool,
}

/// Entries, each with the time of its last use.
#[derive(Clone, Debug)]
pub(super) struct Iotlb {
    sets: u32,
    ways: u32,
    /// The sets of each level; the ways of each set.
    slots: Vec<Option<(u64, Cached)>>,
    /// Number of entries of each level that are in use.
    used: [usize; LEVELS as usize],
    now: u64,
}

impl Iotlb {
    pub(super) fn new(sets: u32, ways: u32) -> Result<Self, DomainError> {
        let entries = u64::from(sets) * u64::from(ways);
        if !sets.is_power_of_two() || ways == 0 || entries > MOST {
            return Err(DomainError::Iotlb { sets, ways });
        }
        // At most three times 65536.
        let count = small(entries * u64::from(LEVELS));
        let mut slots = Vec::new();
        let room = slots.try_reserve_exact(count);
        room.map_err(|_| MemoryError::from(NoMemory::of::<Option<(u64, Cached)>>(count)))?;
        slots.resize(count, None);
        Ok(Self { sets, ways, slots, used: [0; LEVELS as usize], now: 0 })
    }

    /// The ways that may hold a page of a level.
    fn set(&mut self, page: u64, level: u32) -> &mut [Option<(u64, Cached)>] {
        let set = page & (u64::from(self.sets) - 1);
        let first = (u64::from(level - 1) * u64::from(self.sets) + set) * u64::from(self.ways);
        // It is below the length of the vector.
        let first = small(first);
        &mut self.slots[first..first + self.ways as usize]
    }

    /// The translation of an address, if it is in the IOTLB.
    pub(super) fn lookup(&mut self, iova: u64) -> Option<Cached> {
        self.now += 1;
        let now = self.now;
        (1..=LEVELS).find_map(|level| {
            let page = iova >> shift(level);
            let mut known = self.set(page, level).iter_mut().flatten();
            let (used, cached) = known.find(|(_, cached)| cached.page == page)?;
            *used = now;
            Some(*cached)
        })
    }

    /// Stores a translation. It replaces an older one of the same page, or the least recently used.
    pub(super) fn insert(&mut self, cached: Cached) {
        let now = self.now;
        let set = self.set(cached.page, cached.level);
        let same =
            |slot: &Option<(u64, Cached)>| slot.is_some_and(|(_, old)| old.page == cached.page);
        let at = set.iter().position(same).or_else(|| {
            let age = |slot: &Option<(u64, Cached)>| slot.map_or(0, |(used, _)| used);
            (0..set.len()).min_by_key(|&way| age(&set[way]))
        });
        if let Some(at) = at {
            let before = set[at].replace((now, cached));
            if before.is_none() {
                self.used[cached.level as usize - 1] += 1;
            }
        }
    }

    /// Removes the translations of pages that overlap `iova..=last`. Looks only at the sets that may
    /// hold such a page.
    pub(super) fn invalidate(&mut self, iova: u64, last: u64) {
        for level in 1..=LEVELS {
            if self.used[level as usize - 1] == 0 {
                continue;
            }
            let (first, last) = (iova >> shift(level), last >> shift(level));
            // Pages that follow each other are in sets that follow each other.
            let count = (last - first).min(u64::from(self.sets) - 1);
            let mut removed = 0;
            for page in first..=first + count {
                for slot in self.set(page, level) {
                    if slot.is_some_and(|(_, cached)| (first..=last).contains(&cached.page)) {
                        *slot = None;
                        removed += 1;
                    }
                }
            }
            self.used[level as usize - 1] -= removed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(page: u64, level: u32) -> Cached {
        Cached { page, level, paddr: page << 30, reads: true, writes: true, dirty: false }
    }

    #[test]
    fn the_least_recently_used_way_of_the_set_leaves() {
        let mut tlb = Iotlb::new(4, 2).unwrap();
        for number in [0, 4, 1] {
            assert_eq!(tlb.lookup(number << 12), None);
            tlb.insert(page(number, 1));
        }
        assert!(tlb.lookup(0).is_some());
        assert_eq!(tlb.lookup(8 << 12), None);
        tlb.insert(page(8, 1));
        assert_eq!(tlb.lookup(4 << 12), None);
        assert_eq!([0, 1, 8].map(|number| tlb.lookup(number << 12).is_some()), [true; 3]);
    }

    #[test]
    fn invalidation_takes_what_it_touches_of_any_size() {
        let mut tlb = Iotlb::new(4, 2).unwrap();
        for cached in [page(1, 3), page(1, 2), page(1, 1), page(2, 1)] {
            tlb.insert(cached);
        }
        tlb.invalidate(0x1fff, 0x1fff);
        assert_eq!(tlb.lookup(0x1000), None);
        assert!(tlb.lookup(0x2000).is_some());
        tlb.invalidate(0x3f_ffff, 0x4000_0000);
        assert_eq!([0x20_0000, 0x4000_0000].map(|iova| tlb.lookup(iova)), [None; 2]);
    }

    #[test]
    fn invalidation_agrees_with_a_look_at_every_entry() {
        let mut tlb = Iotlb::new(8, 2).unwrap();
        let mut state = 3_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let level = u32::try_from(state >> 20 & 3).unwrap().clamp(1, LEVELS);
            tlb.insert(page(state >> 33 & 0x1f, level));
            if state & 0x7000 == 0 {
                let (iova, length) = (state >> 40 & 0xf_ffff, 1 << (state >> 60 << 1));
                let last = iova + (length - 1);
                let is_left = |&(_, Cached { page, level, .. }): &(u64, Cached)| {
                    let first = page << shift(level);
                    first > last || first + ((1 << shift(level)) - 1) < iova
                };
                let left: Vec<_> = tlb.slots.iter().flatten().copied().filter(is_left).collect();
                tlb.invalidate(iova, last);
                assert!(tlb.slots.iter().flatten().copied().eq(left));
            }
            for (level, used) in (1..=LEVELS).zip(tlb.used) {
                let of_level = tlb.slots.iter().flatten().filter(|slot| slot.1.level == level);
                assert_eq!(of_level.count(), used);
            }
        }
    }

    #[test]
    fn shapes_that_are_none_are_refused() {
        for (sets, ways) in [(0, 1), (3, 1), (4, 0), (1 << 16, 2), (1 << 31, u32::MAX)] {
            assert_eq!(Iotlb::new(sets, ways).unwrap_err(), DomainError::Iotlb { sets, ways });
        }
    }
}
