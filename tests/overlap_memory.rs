//! The memory that comparing two lists takes, by an allocator that counts.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

#[path = "../benches/common/counting.rs"]
mod counting;

use counting::{Counting, counted};
use phyr::{Builder, Phyr};

#[global_allocator]
static COUNTING: Counting = Counting;

/// `count` runs of `nr_pages` pages, each at a place of its own number.
fn list(count: u64, nr_pages: u64, place: impl Fn(u64) -> u64) -> Phyr {
    let mut builder = Builder::new();
    (0..count).for_each(|index| builder.append_pfns(place(index), nr_pages).unwrap());
    builder.finish()
}

/// Some number below `1 << bits`, another one for each index.
fn scatter(index: u64, bits: u32) -> u64 {
    index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)
}

/// Pairs of lists: each way to compare them, and the worst of each.
fn pairs() -> Vec<(&'static str, Phyr, Phyr)> {
    let scattered = |count, pages, bits| list(count, pages, move |index| scatter(index, bits));
    // Parts count from the lowest page on. The other runs are at the ends of 32 parts, which cut each in
    // two; there are about as few as bitmaps are made for.
    let ends = |nr_pages, from: u64| {
        let end = move |index: u64| (index % 32 + 1) << 20;
        let place = move |index: u64| end(index) - 1 - (index / 32 * from) % (nr_pages - 1);
        list(9000, nr_pages, move |index| if index == 0 { 0 } else { place(index) })
    };
    vec![
        ("bits", scattered(1 << 17, 1, 24), scattered(1 << 17, 3, 24)),
        ("bits, in one part", scattered(1 << 17, 1, 18), scattered(1 << 17, 2, 17)),
        ("bits, just dense enough", scattered(1 << 14, 1, 25), scattered(1 << 10, 1, 25)),
        ("cut in two", ends(2, 1), ends(2, 3)),
        ("cut in two, longer", ends(600, 1), ends(600, 7)),
        ("cut in many", scattered(1 << 14, 1900, 22), scattered(1 << 14, 1900, 22)),
        ("sorted", scattered(1 << 16, 1, 40), scattered(1 << 16, 2, 40)),
        (
            "sorted, in one part",
            list(1 << 15, 1, |index| (index * 2) | ((index >> 14) << 51)),
            Phyr::default(),
        ),
        ("sorted, the same", scattered(1 << 16, 2047, 40), scattered(1 << 16, 2047, 40)),
        ("long", scattered(1 << 15, 2048, 40), scattered(1 << 15, 4096, 40)),
        ("long and the same", scattered(1 << 15, 2048, 40), scattered(1 << 15, 2048, 40)),
        ("few", scattered(3, 1, 20), scattered(5, 9, 20)),
    ]
}

#[test]
fn comparing_two_lists_takes_the_memory_that_is_stated() {
    for (name, one, other) in pairs() {
        let lists = [&one, &other].map(|list| list.chunks());
        let limit: i64 = lists
            .into_iter()
            .flatten()
            .map(|chunk| if chunk.length >> 12 > 2047 { 40 } else { 24 })
            .sum::<i64>()
            + (130 << 10);
        let (bytes, counts) = counted(|| one.overlap(&other).unwrap());
        assert!(counts.peak <= limit, "{name}: {counts:?}, not {limit}");
        assert_eq!(counts.blocks, 0, "{name}");
        let (both, counts) = counted(|| one.intersect(&other).unwrap());
        let limit = limit + (130 << 10) + 64 * i64::try_from(both.nr_chunks()).unwrap();
        assert!(counts.peak <= limit, "{name}, intersect: {counts:?}, not {limit}");
        assert_eq!(both.length(), bytes, "{name}");
        // From frozen lists no more.
        let (one, other) = (one.freeze(), other.freeze());
        let (_, counts) = counted(|| one.overlap(&other).unwrap());
        assert!(counts.peak <= limit, "{name}, frozen: {counts:?}, not {limit}");
    }
}
