//! Frozen lists find what the Elias-Fano of `sux`, `rangemap` and a sorted vector find.

#[path = "../../../benches/common/workloads.rs"]
#[allow(dead_code, reason = "the benches use the rest")]
mod workloads;

use phyr::{Builder, Phyr};
use phyr_beside::{Ranges, Sorted, Sux};
use workloads::SplitMix64;

const PAGE: u64 = 4096;

/// A list of runs of some sizes: equal ones, short ones, a few very long ones.
fn some_list(random: &mut SplitMix64) -> Phyr {
    let count = 1 + random.draw() % [1, 2, 130, 1000, 5000][(random.draw() % 5) as usize];
    let most = [1, 1, 8, 512, 1 << 16][(random.draw() % 5) as usize];
    let mut builder = Builder::new();
    for _ in 0..count {
        let nr_pages = if random.draw() % 100 == 0 { 1 << 17 } else { 1 + random.draw() % most };
        builder.append_pfns(random.draw() >> 33, nr_pages).expect("whole pages");
    }
    builder.finish()
}

#[test]
fn a_frozen_list_finds_what_others_find() {
    let mut random = SplitMix64::new(13);
    for round in 0..150 {
        let phyr = some_list(&mut random);
        let frozen = phyr.freeze();
        let (sux, ranges, sorted) = (Sux::new(&phyr), Ranges::new(&phyr), Sorted::new(&phyr));
        let mut positions: Vec<u64> = (0..500).map(|_| random.draw() % phyr.length()).collect();
        // The first and last byte of chunks.
        let mut at = 0;
        for (number, chunk) in frozen.chunks().enumerate() {
            assert_eq!(sux.start(number), at / PAGE, "round {round}: chunk {number}");
            assert_eq!(sux.chunk_of(at / PAGE), Some((number, at / PAGE)));
            at += chunk.length;
            if number < 300 {
                positions.extend([at - chunk.length, at - 1]);
            }
        }
        for position in positions {
            let paddr = frozen.translate(position).expect("inside");
            assert_eq!(sux.translate(position), Some(paddr), "round {round}: {position:#x}");
            assert_eq!(ranges.translate(position), Some(paddr), "round {round}: {position:#x}");
            assert_eq!(sorted.translate(position), paddr, "round {round}: {position:#x}");
        }
    }
}
