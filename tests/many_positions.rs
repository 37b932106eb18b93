//! Many positions at once, against one by one.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

use phyr::{Builder, Error, Granule, Kind, Phyr};
use proptest::prelude::*;

/// A list of several nodes: single pages, then chunks of other sizes, some with second words.
fn list(granule: u64, singles: u64, others: u64, seed: u64) -> Phyr {
    let mut builder = Builder::with(Granule::new(granule).unwrap(), Kind::Ram);
    let mut pfn = 1;
    for _ in 0..singles {
        pfn += 2;
        builder.append_pfns(pfn, 1).unwrap();
    }
    for index in 0..others {
        let nr_pages = match (index ^ seed) % 97 {
            0 => 2049 + 2 * (seed % 7),
            n => 1 + n % 40,
        };
        pfn += 1;
        builder.append_pfns(pfn, nr_pages).unwrap();
        pfn += nr_pages;
    }
    builder.finish()
}

/// Spread over the whole list, or dense in a part of it.
fn positions(length: u64, count: usize, span: u64, seed: u64) -> Vec<u64> {
    let (start, mut state) = (seed % length, seed | 1);
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        state >> 11
    };
    (0..count).map(|_| (start + next() % span) % length).collect()
}

proptest! {
    #[test]
    fn many_positions_translate_as_each_does(
        granule in prop_oneof![Just(1_u64), Just(4096), Just(65536)],
        singles in prop_oneof![Just(0_u64), 1_u64..3000], others in 1_u64..4000, seed in any::<u64>(),
        count in prop_oneof![0_usize..100, 1000_usize..6000], is_dense in any::<bool>(),
        is_sorted in any::<bool>(), cut in 0_u64..9000,
    ) {
        let whole = list(granule, singles, others, seed);
        let cut = cut.min((whole.length() - 1) / 2);
        let phyr = whole.slice(cut, whole.length() - cut).unwrap();
        let span = if is_dense { phyr.length().min(granule * 300) } else { phyr.length() };
        let mut positions = positions(phyr.length(), count, span, seed);
        if is_sorted {
            positions.sort_unstable();
        }
        let expected: Vec<u64> =
            positions.iter().map(|&position| phyr.translate(position).unwrap()).collect();
        let mut frozen = positions.clone();
        phyr.translate_all(&mut positions).unwrap();
        prop_assert_eq!(positions, &expected[..]);
        phyr.freeze().translate_all(&mut frozen).unwrap();
        prop_assert_eq!(frozen, &expected[..]);
    }
}

#[test]
fn more_positions_than_are_sorted_at_a_time() {
    let phyr = list(4096, 600, 6000, 5);
    let mut given = positions(phyr.length(), (1 << 18) + 1000, phyr.length(), 9);
    let expected: Vec<u64> = given.iter().map(|&at| phyr.translate(at).unwrap()).collect();
    phyr.translate_all(&mut given).unwrap();
    assert!(given == expected);
}

#[test]
fn a_bad_position_changes_none() {
    let phyr = list(4096, 3, 2000, 1);
    for length in [phyr.length(), u64::MAX] {
        let mut given = positions(phyr.length(), 500, phyr.length(), 2);
        given[250] = length;
        let before = given.clone();
        let why = Error::Position { position: length, length: phyr.length() };
        assert_eq!(phyr.translate_all(&mut given), Err(why));
        assert_eq!(phyr.freeze().translate_all(&mut given), Err(why));
        assert_eq!(given, before);
    }
    assert_eq!(Phyr::default().translate_all(&mut []), Ok(()));
    assert_eq!(phyr.freeze().translate_all(&mut []), Ok(()));
}
