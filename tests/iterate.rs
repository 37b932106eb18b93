//! Iterators of chunks over several nodes, against the chunks they were made of.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

use phyr::{Builder, Chunk, Granule, Kind, Phyr};
use proptest::prelude::*;

/// The shapes of a stretch of chunks: blocks of one size, chunks of all sizes, and with second words.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Blocks(u64),
    Mixed,
    Long,
}

/// Chunks in granules; a gap before each, so that none is merged.
fn runs(shapes: &[(Shape, usize)]) -> Vec<(u64, u64)> {
    let (mut pfn, mut runs) = (1 << 20, Vec::new());
    for &(shape, count) in shapes {
        for index in 0..count as u64 {
            let (align, nr_pages) = match shape {
                Shape::Blocks(pages) => (pages, pages),
                Shape::Mixed => (1 << (index % 5), 1 + index * 7 % 30),
                Shape::Long => (1, 2049 + 2 * (index % 3)),
            };
            pfn = (pfn + 1_u64).next_multiple_of(align);
            runs.push((pfn, nr_pages));
            pfn += nr_pages;
        }
    }
    runs
}

fn list(granule: u64, runs: &[(u64, u64)]) -> (Phyr, Vec<Chunk>) {
    let mut builder = Builder::with(Granule::new(granule).unwrap(), Kind::Ram);
    let mut chunks = Vec::new();
    for &(pfn, nr_pages) in runs {
        builder.append_pfns(pfn, nr_pages).unwrap();
        chunks.push(Chunk { paddr: pfn * granule, length: nr_pages * granule });
    }
    (builder.finish(), chunks)
}

fn shapes() -> impl Strategy<Value = Vec<(Shape, usize)>> {
    let shape = prop_oneof![
        Just(Shape::Blocks(1)),
        Just(Shape::Blocks(8)),
        Just(Shape::Mixed),
        Just(Shape::Long)
    ];
    prop::collection::vec((shape, prop_oneof![1_usize..8, 100_usize..700]), 1..5)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Next(usize),
    Back(usize),
    Nth(usize),
    NthBack(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let most = prop_oneof![0_usize..4, 0_usize..600];
    let step = (most, 0..4).prop_map(|(n, kind)| match kind {
        0 => Step::Next(n),
        1 => Step::Back(n),
        2 => Step::Nth(n),
        _ => Step::NthBack(n),
    });
    prop::collection::vec(step, 0..12)
}

/// An index node has 127 leaves of 510 words, so these lists have several.
#[test]
fn a_loop_goes_on_where_an_index_node_ends() {
    let shapes = [
        vec![(Shape::Mixed, 140_000)],
        vec![(Shape::Blocks(8), 140_000)],
        vec![(Shape::Long, 1), (Shape::Mixed, 64_768), (Shape::Long, 300), (Shape::Mixed, 3_000)],
        vec![(Shape::Mixed, 64_000), (Shape::Long, 40_000), (Shape::Blocks(1), 3_000)],
    ];
    for shapes in shapes {
        for granule in [1, 4096] {
            let (phyr, chunks) = list(granule, &runs(&shapes));
            assert!(phyr.chunks().eq(chunks.iter().copied()), "{shapes:?}");
            // The end is in each of the last leaves, and just before and behind it.
            for cut in [1, 2, 3, 509, 510, 511, 1020, 2000, 60_000] {
                let (kept, gone) = chunks.split_at(chunks.len() - cut);
                let bytes: u64 = gone.iter().map(|chunk| chunk.length).sum();
                let part = phyr.slice(0, phyr.length() - bytes).unwrap();
                assert!(part.chunks().eq(kept.iter().copied()), "{shapes:?} without {cut}");
                let mut both = part.chunks();
                let last: Vec<Chunk> = both.by_ref().rev().take(600).collect();
                assert!(both.eq(kept[..kept.len() - 600].iter().copied()), "{shapes:?}, {cut}");
                assert!(last.iter().rev().eq(&kept[kept.len() - 600..]));
            }
        }
    }
}

proptest! {
    #[test]
    fn an_iterator_visits_what_the_list_was_made_of(
        shapes in shapes(), steps in steps(), granule in prop_oneof![Just(1_u64), Just(4096), Just(65536)],
        trim in any::<bool>(),
    ) {
        let (whole, mut chunks) = list(granule, &runs(&shapes));
        let mut phyr = whole;
        if trim && granule > 1 && chunks.len() > 1 {
            phyr = phyr.slice(1, phyr.length() - 1).unwrap();
            chunks[0].paddr += 1;
            chunks[0].length -= 1;
            chunks.last_mut().unwrap().length -= 1;
        }
        let (mut given, mut plain) = (phyr.chunks(), chunks.iter().copied());
        for step in steps {
            match step {
                Step::Next(n) => for _ in 0..n { prop_assert_eq!(given.next(), plain.next()) },
                Step::Back(n) => for _ in 0..n { prop_assert_eq!(given.next_back(), plain.next_back()) },
                Step::Nth(n) => prop_assert_eq!(given.nth(n), plain.nth(n)),
                Step::NthBack(n) => prop_assert_eq!(given.nth_back(n), plain.nth_back(n)),
            }
            prop_assert_eq!(given.len(), plain.len());
            let mut rest = Vec::new();
            given.clone().extend(&mut rest, |chunk| chunk.paddr);
            prop_assert!(rest.into_iter().eq(plain.clone().map(|chunk| chunk.paddr)));
            prop_assert!(given.clone().rev().eq(plain.clone().rev()));
        }
        let folded = given.clone().fold(Vec::new(), |mut all, chunk| { all.push(chunk); all });
        prop_assert!(folded.into_iter().eq(plain.clone()));
        prop_assert!(given.eq(plain));
    }
}
