//! The memory that two long lists have in common, against sorted ranges.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

use phyr::{Builder, Phyr};

/// `count` runs of up to `longest` pages, at page numbers below `1 << bits`, or in two places far from
/// each other.
fn list(seed: u64, count: usize, longest: u64, bits: u32, is_apart: bool) -> Phyr {
    let mut state = seed;
    let mut builder = Builder::new();
    for _ in 0..count {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let apart = if is_apart { state >> 63 << 45 } else { 0 };
        let pfn = apart + (state >> 11 & ((1 << bits) - 1));
        builder.append_pfns(pfn, 1 + (state >> 3) % longest).unwrap();
    }
    builder.finish()
}

/// The ranges of a list by address, joined where they touch or overlap.
fn ranges(phyr: &Phyr) -> Vec<(u64, u64)> {
    let mut all: Vec<_> = phyr.chunks().map(|chunk| (chunk.paddr, chunk.last())).collect();
    all.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (first, last) in all {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// The bytes in ranges of both.
fn common(one: &[(u64, u64)], other: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let (mut a, mut b, mut found) = (0, 0, Vec::new());
    while let (Some(left), Some(right)) = (one.get(a), other.get(b)) {
        let (from, to) = (left.0.max(right.0), left.1.min(right.1));
        if from <= to {
            found.push((from, to));
        }
        if left.1 <= right.1 {
            a += 1;
        } else {
            b += 1;
        }
    }
    found
}

#[test]
fn long_lists_have_in_common_what_sorted_ranges_have() {
    for (count, longest) in [(9000, 1), (9000, 7), (40_000, 3), (20_000, 5000), (31, 9)] {
        for (bits, is_apart) in
            [(10, false), (17, false), (21, false), (28, false), (44, false), (16, true)]
        {
            let one = list(1, count, longest, bits, is_apart);
            let other = list(2, count / 2, longest, bits, is_apart);
            let expected = common(&ranges(&one), &ranges(&other));
            let bytes: u64 = expected.iter().map(|(from, to)| to - from + 1).sum();
            let (frozen, end) = (other.freeze(), other.length() - 4096);
            assert_eq!(one.overlap(&other), Ok(bytes));
            assert_eq!(one.freeze().overlap(&frozen), Ok(bytes));
            assert_eq!(ranges(&one.intersect(&frozen).unwrap()), expected);
            // The ends inside a page: one byte in front and one behind are missing.
            let part = one.slice(1, one.length() - 1).unwrap();
            let expected = common(&ranges(&part), &ranges(&other.slice(0, end).unwrap()));
            assert_eq!(
                part.overlap(&frozen.slice(0, end).unwrap()),
                Ok(expected.iter().map(|(from, to)| to - from + 1).sum())
            );
        }
    }
}

/// Runs that are cut where a part of 2^20 pages ends, and where a piece of 4095 pages does.
#[test]
fn long_runs_among_many_short_ones_are_found_whole() {
    for base in [0, 77, (1 << 52) - (1 << 21)] {
        let [one, other] = [3_u64, 5].map(|seed| {
            let mut builder = Builder::new();
            for at in 0..40 {
                // The longest ends with the address space.
                let (first, count) = ((at + seed) << 15, 1 << 14 << (at % 2));
                builder.append_pfns(base + first, count + 13 * seed).unwrap();
            }
            for at in 0..7000_u64 {
                builder
                    .append_pfns(base + at.wrapping_mul(seed << 40 | 0x9e37_79b9) % (1 << 21), 1)
                    .unwrap();
            }
            builder.append_pfns(base + (1 << 21) - 9000 * seed, 9000 * seed).unwrap();
            builder.finish()
        });
        let expected = common(&ranges(&one), &ranges(&other));
        let bytes: u64 = expected.iter().map(|(from, to)| to - from + 1).sum();
        assert!(expected.len() > 30);
        assert_eq!(one.overlap(&other), Ok(bytes));
        assert_eq!(ranges(&one.intersect(&other).unwrap()), expected);
        one.intersect(&other).unwrap().validate().unwrap();
    }
}
