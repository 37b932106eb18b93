//! Holes that the decoder is told of, against the records that say the same.

use phyr::Granule;
use phyr::pagemap::{PagemapDecoder, State};
use proptest::prelude::*;

/// Records of neighbouring pages, all there or none.
fn stretch() -> impl Strategy<Value = (u64, usize)> {
    let first = prop_oneof![Just(0), 1_u64..5000];
    (first, prop_oneof![1_usize..5, Just(512), 500_usize..1100])
}

fn records(first: u64, count: usize) -> Vec<u64> {
    let present = |n| if first == 0 { 0 } else { 1 << 63 | (first + n) };
    (0..count as u64).map(present).collect()
}

proptest! {
    #[test]
    fn a_hole_that_is_skipped_is_one_that_was_read(
        stretches in prop::collection::vec(stretch(), 0..8),
        join in any::<bool>(),
    ) {
        let new = || {
            let decoder = PagemapDecoder::new(0x10_0000, Granule::default());
            if join { decoder.join() } else { decoder }
        };
        let (mut read, mut skipped) = (new(), new());
        for (first, count) in stretches {
            read.feed(&records(first, count)).unwrap();
            if first == 0 {
                skipped.skip(count as u64).unwrap();
            } else {
                skipped.feed(&records(first, count)).unwrap();
            }
        }
        prop_assert_eq!(read.finish(), skipped.finish());
    }
}

#[test]
fn nothing_skipped_is_nothing() {
    let mut decoder = PagemapDecoder::new(0, Granule::default());
    decoder.skip(0).unwrap();
    assert!(decoder.finish().is_empty());
}

#[test]
fn more_than_there_are_addresses_ends_with_them() {
    let mut decoder = PagemapDecoder::new(0x1000, Granule::default());
    for _ in 0..3 {
        decoder.skip(u64::MAX).unwrap();
    }
    decoder.feed(&[1 << 63 | 5]).unwrap();
    let extents = decoder.finish();
    assert_eq!((extents[0].uaddr, extents[0].length), (0x1000, !0xfff));
    assert_eq!(extents[0].state, State::Hole);
    assert_eq!(extents[1].uaddr, u64::MAX);
}
