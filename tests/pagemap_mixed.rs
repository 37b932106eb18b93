//! Blocks of page-map records of all kinds, mixed: decoded as if they came one by one.

use phyr::Granule;
use phyr::pagemap::{Extent, PagemapDecoder};

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const GUARD: u64 = SWAPPED | 1 << 58;
const PAGE: u64 = 4096;

/// Random numbers, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn decoder(join: bool) -> PagemapDecoder {
    let ram = [(0x10 * PAGE, 0x800 * PAGE - 1), (0x900 * PAGE, 0xfff * PAGE - 1)];
    let zero = [(0x700 * PAGE, 0x701 * PAGE - 1)];
    let decoder = PagemapDecoder::new(0x7000_0000, Granule::default()).ram(ram).zero(zero);
    if join { decoder.join() } else { decoder }
}

/// Records of which each kind from `kinds` on is left out.
fn records(random: &mut Random, count: usize, kinds: u64) -> Vec<u64> {
    let mut next = 0x100;
    let mut record = || match random.below(kinds) {
        0 | 1 => 0,
        2 => GUARD,
        3 => {
            next = 0x10 + random.below(0x600);
            PRESENT | next
        }
        4 | 5 => {
            next += 1 + random.below(2);
            PRESENT | next.min(0x6ff)
        }
        6 => SWAPPED | random.below(1 << 20),
        7 => PRESENT | 0x700,
        _ => PRESENT | (0x800 + random.below(0x100)),
    };
    (0..count).map(|_| record()).collect()
}

fn decoded(join: bool, pieces: &[&[u64]]) -> Vec<Extent> {
    let mut decoder = decoder(join);
    for piece in pieces {
        decoder.feed(piece).expect("all page numbers are shown");
    }
    decoder.finish()
}

#[test]
fn blocks_are_decoded_as_one_by_one() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for round in 0..60 {
        let kinds = [6, 6, 7, 8, 9][round % 5];
        let count = usize::try_from(1 + random.below(3000)).unwrap();
        let records = records(&mut random, count, kinds);
        let single: Vec<_> = records.chunks(1).collect();
        for join in [false, true] {
            assert_eq!(decoded(join, &[&records]), decoded(join, &single), "round {round}");
        }
    }
}

#[test]
fn a_page_that_is_hidden_among_holes_is_an_error() {
    let mut records: Vec<u64> = (0..1024).map(|n| (n % 2) * (PRESENT | (0x100 + n / 2))).collect();
    records[777] = PRESENT;
    let mut decoder = decoder(true);
    decoder.feed(&records).unwrap_err();
    let extents = decoder.finish();
    assert_eq!(extents.iter().map(|e| e.length).sum::<u64>(), 777 * PAGE);
}
