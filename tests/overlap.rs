//! The memory that two lists have in common, in all mixed forms, against sets of bytes.
#![expect(clippy::cast_possible_truncation, reason = "the lists are small")]
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod archives;
#[path = "oracle/long.rs"]
mod long;
mod oracle;

use std::collections::{BTreeMap, BTreeSet};

use long::{any_models, frozen_part};
use oracle::Model;
use phyr::{Builder, Chunk, Error, Granule, Kind, List, Phyr};
use proptest::prelude::*;
use proptest::sample::Index;

/// Each byte that a list has, once.
fn bytes(list: &impl List) -> BTreeSet<u64> {
    list.chunks().flat_map(|chunk| chunk.paddr..=chunk.last()).collect()
}

/// The pages that a list has, whole, and of the others how many bytes: for lists of whole pages.
fn pages(model: &Model) -> BTreeSet<u64> {
    model.pfns.iter().copied().collect()
}

/// Checks what two lists have in common in each form of both.
fn agree(a: &Phyr, b: &Phyr, expected: &Phyr) {
    let (c, d) = (a.freeze(), b.freeze());
    let found = [a.intersect(b), a.intersect(&d), c.intersect(b), c.intersect(&d), b.intersect(a)];
    for both in found {
        let both = both.unwrap();
        both.validate().unwrap();
        assert!(both.chunks().eq(expected.chunks()), "{a:?} and {b:?}: {both:?}, not {expected:?}");
        assert_eq!(both.kind(), a.kind());
    }
    let length = Ok(expected.length());
    for found in [a.overlap(b), a.overlap(&d), c.overlap(b), c.overlap(&d), d.overlap(a)] {
        assert_eq!(found, length);
    }
}

/// The list of single bytes, in order.
fn of_bytes(bytes: impl IntoIterator<Item = u64>) -> Phyr {
    let mut builder = Builder::with(Granule::new(1).unwrap(), Kind::Ram);
    bytes.into_iter().for_each(|byte| builder.append(byte, 1).unwrap());
    builder.finish()
}

/// Lists of few bytes in small granules, near each other, with ends anywhere.
fn near() -> impl Strategy<Value = (Phyr, Phyr)> {
    let list = (prop::collection::vec((0_u64..60, 1_u64..9), 0..90), any::<(Index, Index)>());
    (prop_oneof![Just(1_u64), Just(4), Just(16)], list.clone(), list).prop_map(|(granule, a, b)| {
        let [a, b] = [a, b].map(|(runs, (from, to))| {
            let mut builder = Builder::with(Granule::new(granule).unwrap(), Kind::Ram);
            for &(pfn, nr_pages) in &runs {
                builder.append_pfns(pfn, nr_pages).unwrap();
            }
            let whole = builder.finish();
            let size = whole.length() as usize + 1;
            let (from, to) =
                (from.index(size.min(40)) as u64, (size - 1 - to.index(size.min(40))) as u64);
            whole.slice(from.min(to), from.max(to)).unwrap()
        });
        (a, b)
    })
}

/// Whole pages of the granule and kind of a list.
fn whole(like: &Model, pfns: Vec<u64>) -> Model {
    Model { kind: like.kind, ..Model::whole(like.granule, pfns) }
}

/// Whole lists of one granule and kind, of which the second has some pages of the first.
fn pairs() -> impl Strategy<Value = (Model, Model)> {
    let shared = prop::collection::vec(any::<Index>(), 0..300);
    (any_models(), any_models(), shared).prop_map(|(a, b, shared)| {
        let limit = 1 << (64 - a.granule.max(4096).ilog2());
        let mut pfns: Vec<_> = b.pfns.iter().map(|pfn| pfn % limit).collect();
        if !a.pfns.is_empty() {
            pfns.extend(shared.iter().map(|at| a.pfns[at.index(a.pfns.len())]));
        }
        (whole(&a, a.pfns.clone()), whole(&a, pfns))
    })
}

#[test]
fn many_of_the_lists_have_archives() {
    archives::demand(&any_models(), Model::build);
    archives::demand(&near(), |(a, _)| a.clone());
    archives::demand(&pairs(), |(a, _)| a.build());
    archives::demand(&pairs(), |(_, b)| b.build());
}

proptest! {
    #[test]
    fn bytes_that_both_have_are_those_of_both_sets((a, b) in near()) {
        let both: Vec<_> = bytes(&a).intersection(&bytes(&b)).copied().collect();
        agree(&a, &b, &of_bytes(both));
    }

    #[test]
    fn pages_that_both_have_are_those_of_both_sets((a, b) in pairs()) {
        let both = pages(&a).intersection(&pages(&b)).copied().collect();
        agree(&a.build(), &b.build(), &whole(&a, both).build());
    }

    #[test]
    fn a_list_has_all_of_itself_and_of_its_parts(model in any_models(), at in any::<(Index, Index)>()) {
        let phyr = model.build();
        let size = model.length() as usize + 1;
        let ends = [at.0.index(size) as u64, at.1.index(size) as u64];
        let part = phyr.slice(ends[0].min(ends[1]), ends[0].max(ends[1])).unwrap();
        // A part may end inside a granule, and a smaller one may not reach so far.
        let itself = part.intersect(&part);
        prop_assume!(!matches!(itself, Err(Error::Reach { .. })));
        let itself = itself.unwrap();
        prop_assert_eq!(itself.length(), part.overlap(&phyr).unwrap());
        let frozen = frozen_part(&model);
        let view = frozen.slice(ends[0].min(ends[1]), ends[0].max(ends[1])).unwrap();
        for part in [part.freeze(), view] {
            prop_assert_eq!(part.overlap(&part), Ok(itself.length()));
            prop_assert_eq!(phyr.intersect(&part).unwrap(), itself.clone());
            prop_assert_eq!(part.intersect(&frozen).unwrap(), itself.clone());
        }
        // By address, each byte once: the same again.
        let chunks: Vec<_> = itself.chunks().collect();
        prop_assert!(chunks.windows(2).all(|two| two[0].last() + 1 < two[1].paddr));
        prop_assert_eq!(itself.intersect(&itself), Ok(itself.clone()));
    }

    #[test]
    fn what_is_within_a_range_is_what_looking_finds(
        model in any_models(), at in any::<Index>(), length in 1_u64..1 << 20, near in any::<bool>(),
    ) {
        let phyr = model.build();
        let chunks = model.chunks();
        let base = if near && !chunks.is_empty() { at.index(chunks.len()) } else { 0 };
        let first = chunks.get(base).map_or(7, |chunk| chunk.paddr + chunk.length / 2);
        let last = first.saturating_add(length - 1);
        let (mut expected, mut position) = (Vec::new(), 0);
        for chunk in chunks {
            let (from, to) = (chunk.paddr.max(first), chunk.last().min(last));
            if from <= to {
                expected.push((position + (from - chunk.paddr), Chunk { paddr: from, length: to - from + 1 }));
            }
            position += chunk.length;
        }
        for (place, part) in &expected {
            prop_assert_eq!(phyr.translate(*place), Ok(part.paddr));
            prop_assert_eq!(model.paddr(*place), part.paddr);
        }
        prop_assert_eq!(phyr.freeze().within(first, last).unwrap(), expected.clone());
        prop_assert_eq!(frozen_part(&model).within(first, last).unwrap(), expected.clone());
        prop_assert_eq!(phyr.within(first, last).unwrap(), expected);
        prop_assert!(phyr.within(last.max(1), 0).unwrap().is_empty());
    }
}

fn list(chunks: &[(u64, u64)]) -> Phyr {
    let mut builder = Builder::new();
    for &(paddr, length) in chunks {
        builder.append(paddr, length).unwrap();
    }
    builder.finish()
}

#[test]
fn long_runs_and_the_top_of_the_address_space() {
    let top = u64::MAX - 0xfff;
    let long = list(&[(0, 1 << 40), (top - 0x1000, 0x2000), (1 << 41, 1 << 32)]);
    agree(
        &long,
        &list(&[(top, 0x1000), (0x5000, 0x3000)]),
        &list(&[(0x5000, 0x3000), (top, 0x1000)]),
    );
    agree(&long, &list(&[]), &list(&[]));
    agree(&long, &long, &list(&[(0, 1 << 40), (1 << 41, 1 << 32), (top - 0x1000, 0x2000)]));
    // Twice the last byte of all.
    let last = list(&[(top, 0x1000), (0, 0x1000), (top, 0x1000)]);
    agree(&last, &last, &list(&[(0, 0x1000), (top, 0x1000)]));
}

#[test]
fn many_runs_in_the_order_of_no_address() {
    let place = |index: u64, key: u64| (index.wrapping_mul(key) >> 7) % 6000;
    let lists = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03_u64].map(|key| {
        let pfns: Vec<_> = (0..5000).map(|index| 1_000_000 + place(index, key)).collect();
        Model::whole(4096, pfns)
    });
    let both: Vec<_> = pages(&lists[0]).intersection(&pages(&lists[1])).copied().collect();
    assert!((1000..5000).contains(&both.len()));
    let [a, b] = lists.map(|model| model.build());
    agree(&a, &b, &Model::whole(4096, both).build());
}

#[test]
fn boundaries_inside_a_granule_make_it_smaller() {
    // The ends of the second list lie inside the first.
    let first = list(&[(0x1000, 0x1000), (0x8000, 0x4000)]);
    let second = list(&[(0x9800, 0x800), (0x1000, 0x900)]);
    let both = first.intersect(&second).unwrap();
    assert_eq!(both.granule().bytes(), 0x100);
    assert!(
        both.chunks()
            .eq([(0x1000, 0x900), (0x9800, 0x800)].map(|(paddr, length)| Chunk { paddr, length }))
    );
    // But where they are the ends of what is found, it stays.
    let second = list(&[(0x1800, 0x800), (0x9000, 0x900)]);
    assert_eq!(first.intersect(&second).unwrap().granule().bytes(), 4096);
    // Of such a granule no list reaches so far.
    let far = [0x1000_u64, 1 << 62].map(|paddr| (paddr, 0x1000));
    let odd = list(&far[..1]).slice(0, 1).unwrap();
    let part = list(&[(1 << 62, 0x1000), (0x1000, 1)]);
    assert_eq!(part.overlap(&list(&far)), Ok(0x1001));
    assert!(matches!(part.intersect(&list(&far)), Err(Error::Reach { .. })));
    assert_eq!(odd.overlap(&part), Ok(1));
}

#[test]
fn lists_of_other_granules_and_kinds_are_refused() {
    let other = |granule, kind| Builder::with(Granule::new(granule).unwrap(), kind).finish();
    let phyr = list(&[(0x1000, 0x1000)]);
    let refused = phyr.overlap(&other(512, Kind::Ram));
    assert_eq!(refused, Err(Error::Granules { left: 4096, right: 512 }));
    let provider = Kind::Mmio { provider: 1 };
    let refused = phyr.freeze().intersect(&other(4096, provider));
    assert_eq!(refused, Err(Error::Kinds { left: Kind::Ram, right: provider }));
}

#[test]
fn counts_of_a_byte_are_one_however_often_it_is_listed() {
    let often = list(&[(0x1000, 0x3000), (0x2000, 0x1000), (0x1000, 0x1000), (0x2000, 0x4000)]);
    let mut counts = BTreeMap::new();
    often.chunks().for_each(|chunk| *counts.entry(chunk.paddr).or_insert(0) += 1);
    assert!(counts.values().any(|&count| count > 1));
    agree(&often, &list(&[(0, 0x10_0000)]), &list(&[(0x1000, 0x5000)]));
}
