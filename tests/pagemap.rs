//! The decoder of page-map records against a walk record by record.

#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

use phyr::pagemap::{Extent, Hidden, PagemapDecoder, State};
use phyr::{Builder, Granule, Kind};
use proptest::prelude::*;

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const GUARD: u64 = 1 << 58;
/// Bits that say nothing of the page's place: soft-dirty, exclusive, file.
const NOISE: u64 = 1 << 55 | 1 << 56 | 1 << 61;

const RAM: [(u64, u64); 3] =
    [(0x1000, 0x9f_ffff), (0x80_0000, 0xff_ffff), (0x200_0000, 0x2ff_ffff)];
const ZERO: [(u64, u64); 2] = [(0x5000, 0x5fff), (0xa0_0000, 0xbf_ffff)];

/// The meaning of one record, by the text of the kernel's documentation.
fn state(record: u64) -> State {
    let paddr = (record & ((1 << 55) - 1)) << 12;
    let within = |ranges: &[(u64, u64)]| ranges.iter().any(|r| (r.0..=r.1).contains(&paddr));
    match record {
        r if r & PRESENT != 0 && within(&ZERO) => State::Zero,
        r if r & PRESENT != 0 && within(&RAM) => State::Ram,
        r if r & PRESENT != 0 => State::Device,
        r if r & GUARD != 0 => State::Hole,
        r if r & SWAPPED != 0 => State::Swap,
        _ => State::Hole,
    }
}

/// Extents of the records, one page at a time.
fn plain(uaddr: u64, records: &[u64]) -> Vec<Extent> {
    let mut groups: Vec<(u64, State, Vec<u64>)> = Vec::new();
    for (record, page) in records.iter().zip(0..) {
        let pfn = record & ((1 << 55) - 1);
        match groups.last_mut() {
            Some((_, last, pfns)) if *last == state(*record) => pfns.push(pfn),
            _ => groups.push((uaddr + page * 4096, state(*record), vec![pfn])),
        }
    }
    let extent = |(uaddr, state, pfns): (u64, State, Vec<u64>)| {
        let kind = match state {
            State::Ram => Some(Kind::Ram),
            State::Device => Some(Kind::Mmio { provider: 0 }),
            _ => None,
        };
        let phyr = kind.map(|kind| {
            let mut builder = Builder::with(Granule::default(), kind);
            builder.extend_pfns(&pfns).unwrap();
            builder.finish()
        });
        Extent { uaddr, length: 4096 * pfns.len() as u64, state, phyr }
    };
    groups.into_iter().map(extent).collect()
}

fn stretch() -> impl Strategy<Value = Vec<u64>> {
    // Around a block of the decoder, and two.
    let length = prop_oneof![1_usize..20, 500_usize..530, 1020_usize..1030];
    let noise = prop_oneof![Just(0), Just(NOISE), Just(1 << 55)];
    length.prop_flat_map(move |len| {
        let absent = prop_oneof![Just(0), Just(SWAPPED | 0x77), Just(SWAPPED | GUARD)];
        let scattered = |pfns: core::ops::Range<u64>| {
            prop::collection::vec(pfns.prop_map(|pfn| PRESENT | pfn), len)
        };
        prop_oneof![
            (1_u64..0x4000, noise.clone()).prop_map(move |(first, noise)| (first..)
                .take(len)
                .map(|p| PRESENT | noise | p)
                .collect()),
            scattered(1..0x4000),
            // All in one range of RAM, so that whole blocks are.
            scattered(0x2000..0x3000),
            absent.prop_map(move |record| vec![record; len]),
        ]
    })
}

proptest! {
    #[test]
    fn extents_are_what_the_records_say_one_by_one(
        stretches in prop::collection::vec(stretch(), 0..6), cut in 1_usize..1500,
    ) {
        let records = stretches.concat();
        let mut decoder = PagemapDecoder::new(0x7f00_0000, Granule::default()).ram(RAM).zero(ZERO);
        for part in records.chunks(cut) {
            decoder.feed(part).unwrap();
        }
        let extents = decoder.finish();
        for phyr in extents.iter().filter_map(|extent| extent.phyr.as_ref()) {
            phyr.validate().unwrap();
        }
        prop_assert_eq!(extents, plain(0x7f00_0000, &records));
    }
}

#[test]
fn a_hidden_page_number_is_an_error_wherever_it_stands() {
    for place in [0, 1, 511, 512, 513, 1100] {
        let mut records: Vec<u64> = (1..1200).map(|pfn| PRESENT | (pfn * 2)).collect();
        records[place] = PRESENT;
        let mut decoder = PagemapDecoder::new(0x1000, Granule::default());
        let uaddr = 0x1000 + 4096 * place as u64;
        assert_eq!(decoder.feed(&records), Err(Hidden::Pfn { uaddr }));
    }
}

#[test]
fn a_page_that_no_list_can_hold_is_an_error() {
    let mut decoder = PagemapDecoder::new(0x1000, Granule::default());
    let records = [PRESENT | 5, PRESENT | 1 << 52];
    assert!(matches!(decoder.feed(&records), Err(Hidden::Page { uaddr: 0x2000, .. })));
}

#[test]
fn of_a_run_that_leaves_the_reach_the_first_page_out_of_it_is_named() {
    let mut decoder = PagemapDecoder::new(0x1000, Granule::default());
    let records: Vec<u64> = (0..6).map(|page| PRESENT | ((1 << 52) - 3 + page)).collect();
    let why = phyr::Error::Pfn { pfn: 1 << 52, granule: 4096 };
    assert_eq!(decoder.feed(&records), Err(Hidden::Page { uaddr: 0x4000, why }));
    let extents = decoder.finish();
    assert_eq!((extents.len(), extents[0].length), (1, 0x3000));
}
