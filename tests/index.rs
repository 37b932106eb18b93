//! The way back from an address, against a walk over all chunks.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod archives;

use phyr::{Builder, Chunk, Error, Frozen, Granule, Holder, Index, Kind, Phyr};
use proptest::prelude::*;

/// Lists of short runs in little memory, so that much of it is held twice.
fn lists() -> impl Strategy<Value = Vec<Phyr>> {
    let run = (0_u64..3000, prop_oneof![Just(1_u64), 1_u64..9, 1_u64..300]);
    // All of one size, or of several.
    let size = prop_oneof![Just(None), prop_oneof![Just(1_u64), Just(3), Just(8)].prop_map(Some)];
    let list = (prop::collection::vec(run, 0..120), size, 0_u64..60_000, 0_u64..60_000);
    let list = list.prop_map(|(runs, size, a, b)| {
        let mut builder = Builder::new();
        let apart = size.map_or(0, |size| 2 * size);
        let mut before = 0;
        for &(pfn, count) in &runs {
            // Runs that touch would be one.
            if pfn.abs_diff(before) >= apart {
                builder.append_pfns(pfn, size.unwrap_or(count)).unwrap();
                before = pfn;
            }
        }
        let whole = builder.finish();
        let a = a.min(whole.length());
        let end = whole.length() - b.min(whole.length() - a);
        whole.slice(a, end).unwrap()
    });
    prop::collection::vec(list, 0..6)
}

/// The holders that a walk over all chunks finds.
fn walk(lists: &[Phyr], first: u64, last: u64) -> Vec<Holder> {
    let mut found = Vec::new();
    for (list, phyr) in lists.iter().enumerate() {
        let mut start = 0;
        for chunk in phyr.chunks() {
            let Chunk { paddr, length } = chunk;
            let (from, to) = (first.max(paddr), last.min(chunk.last()));
            if from <= to {
                let position = start + (from - paddr);
                found.push(Holder { paddr: from, length: to - from + 1, list, position });
            }
            start += length;
        }
    }
    found.sort_by_key(|holder| (holder.paddr, holder.list, holder.position));
    found
}

#[test]
fn many_of_the_lists_have_archives() {
    archives::demand(&lists(), |lists| lists.first().cloned().unwrap_or_default());
}

proptest! {
    #[test]
    fn every_place_that_holds_a_byte_is_found_and_no_other(
        lists in lists(),
        asked in prop::collection::vec((0_u64..14 << 20, prop_oneof![Just(0_u64), 0_u64..9000, 0_u64..2 << 20]), 1..20),
    ) {
        let index = Index::new(lists.iter().map(Phyr::freeze)).unwrap();
        for (first, more) in asked {
            let last = first + more;
            prop_assert_eq!(index.find_range(first, last), walk(&lists, first, last));
            prop_assert_eq!(index.find(first), walk(&lists, first, first));
            for place in index.find(first) {
                prop_assert_eq!(lists[place.list].translate(place.position), Ok(first));
            }
        }
        let all = walk(&lists, 0, u64::MAX);
        prop_assert_eq!(index.find_range(0, u64::MAX), all);
        prop_assert!(index.find_range(5, 4).is_empty());
        prop_assert_eq!(index.lists().len(), lists.len());
    }
}

/// A list of `(gap, count)` pages each: `count` of them, `gap` behind those before.
fn ascending(runs: &[(u64, u64)]) -> Phyr {
    let mut builder = Builder::new();
    runs.iter().fold(0, |end, &(gap, count)| {
        builder.append_pfns(end + gap, count).unwrap();
        end + gap + count
    });
    builder.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Neighbours in memory have numbers near each other, which an index keeps in fewer bits.
    #[test]
    fn lists_in_the_order_of_memory_are_found(
        runs in prop::collection::vec((1_u64..40, 1_u64..20), 300..900),
        others in prop::collection::vec((1_u64..2000, 1_u64..20), 0..9),
        asked in prop::collection::vec((0_u64..80 << 20, prop_oneof![Just(0_u64), 0_u64..2 << 20]), 1..40),
    ) {
        let lists = [ascending(&others), ascending(&runs)];
        let index = Index::new(lists.iter().map(Phyr::freeze)).unwrap();
        for (first, more) in asked {
            prop_assert_eq!(index.find_range(first, first + more), walk(&lists, first, first + more));
        }
        prop_assert_eq!(index.find_range(0, u64::MAX), walk(&lists, 0, u64::MAX));
    }
}

#[test]
fn the_ends_of_the_address_space_are_found() {
    let mut builder = Builder::new();
    builder.append(u64::MAX - 0xfff, 0x1000).unwrap();
    builder.append(0, 0x1800).unwrap();
    let index = Index::new([builder.finish().freeze()]).unwrap();
    let found = |paddr| index.find(paddr).first().map(|place| place.position);
    assert_eq!(found(u64::MAX), Some(0xfff));
    assert_eq!(found(0), Some(0x1000));
    assert_eq!(found(0x17ff), Some(0x27ff));
    assert_eq!(found(0x1800), None);
    assert_eq!(index.find_range(0, u64::MAX).len(), 2);
    let none = Index::new([]).unwrap();
    assert_eq!((none.find(0), none.storage()), (vec![], 0));
}

#[test]
fn places_of_one_address_come_by_list_and_position_however_long_they_are() {
    let of = |ranges: &[(u64, u64)]| {
        let mut builder = Builder::new();
        for &(paddr, length) in ranges {
            builder.append(paddr, length).unwrap();
        }
        builder.finish().freeze()
    };
    let lists =
        [of(&[(0x5000, 0x3000), (0x1_0000, 0x1000), (0x5000, 0x2000)]), of(&[(0x5000, 0x1000)])];
    let found = Index::new(lists).unwrap().find_range(0x5800, 0xffff);
    let places = found.iter().map(|place| (place.paddr, place.list, place.position));
    assert_eq!(
        places.collect::<Vec<_>>(),
        [(0x5800, 0, 0x800), (0x5800, 0, 0x4800), (0x5800, 1, 0x800)]
    );
}

#[test]
fn lists_that_do_not_go_together_are_refused() {
    let list = |granule: u64, kind, nr_pages| {
        let mut builder = Builder::with(Granule::new(granule).unwrap(), kind);
        builder.append_pfns(0, nr_pages).unwrap();
        builder.finish().freeze()
    };
    let plain = list(4096, Kind::Ram, 1);
    let with = |other: Frozen| Index::new([plain.clone(), other]).map(|_| ());
    assert_eq!(with(list(512, Kind::Ram, 1)), Err(Error::Granules { left: 4096, right: 512 }));
    let kind = Kind::Mmio { provider: 0 };
    assert_eq!(with(list(4096, kind, 1)), Err(Error::Kinds { left: Kind::Ram, right: kind }));
    // Two lists may have more pages than one list can.
    assert_eq!(with(list(4096, Kind::Ram, (1 << 52) - 1)), Ok(()));
}

#[test]
fn the_way_back_takes_at_most_four_bytes_a_run() {
    let mut state = 5_u64;
    let pages: Vec<u64> = (0..1 << 18)
        .map(|_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 36) & !1
        })
        .collect();
    let mut builder = Builder::new();
    builder.extend_pfns(&pages).unwrap();
    let frozen = builder.finish().freeze();
    let index = Index::new([frozen.clone()]).unwrap();
    for (page, position) in pages.iter().zip((0..).step_by(4096)).step_by(997) {
        let places = index.find(page << 12 | 7);
        assert!(places.iter().any(|place| place.position == position + 7), "{page:#x}");
    }
    let limit = usize::try_from(frozen.nr_chunks()).unwrap() * 4;
    assert!(index.storage() <= limit, "{} bytes, not {limit}", index.storage());
}

#[test]
fn memory_that_a_thousand_lists_hold_is_found_in_each() {
    // More than an index has layers, so some runs are in its tree.
    let pages: Vec<u64> = (0..60).map(|page| 100 + page * 37 % 61 * 3).collect();
    let mut builder = Builder::new();
    builder.extend_pfns(&pages).unwrap();
    let phyr = builder.finish();
    let lists: Vec<Phyr> =
        (0..1100).map(|from| phyr.slice((from % 7) << 12, phyr.length()).unwrap()).collect();
    let index = Index::new(lists.iter().map(Phyr::freeze)).unwrap();
    for first in [0, 100 << 12, 0x7_0123, 150 << 12] {
        for last in [first, first + 0x5fff, u64::MAX] {
            assert_eq!(index.find_range(first, last), walk(&lists, first, last), "{first:#x}");
        }
    }
}

#[test]
fn runs_over_all_memory_leave_the_others_where_they_are() {
    let mut builder = Builder::new();
    builder.append(0, 1 << 30).unwrap();
    let long = builder.finish();
    let mut builder = Builder::new();
    let pages: Vec<u64> = (0..3000).map(|page| page * 37 % 3001 * 3).collect();
    builder.extend_pfns(&pages).unwrap();
    let short = builder.finish();
    for count in [1, 300, 1100] {
        let mut lists = vec![long.clone(); count];
        lists.push(short.clone());
        let index = Index::new(lists.iter().map(Phyr::freeze)).unwrap();
        // The tree has the long ones; its runs take 34 bytes, and a list 48.
        let most = 4 * 3000 + (34 + 48) * count + 2000;
        let is_deep = count > 1023;
        assert!(is_deep || index.storage() < most, "{count} lists: {} bytes", index.storage());
        for first in [0, 36 << 12, 5 << 14] {
            assert_eq!(index.find(first), walk(&lists, first, first), "{count} {first:#x}");
        }
    }
}
