//! `IovaMap` against a map of single pages.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use std::collections::BTreeMap;

use phyr::{Builder, Error, IovaMap, Mapped, Phyr};
use proptest::prelude::*;

const PAGE: u64 = 4096;
/// The model's pages are counted from here, so that some cross the end of the address space.
const TOP: u64 = (1 << 52) - 64;

fn list(pfns: &[u64]) -> Phyr {
    let mut builder = Builder::new();
    builder.extend_pfns(pfns).unwrap();
    builder.finish()
}

#[derive(Clone, Debug)]
enum Step {
    Map { page: u64, pfns: Vec<u64> },
    Unmap { page: u64, pages: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let page = prop_oneof![0_u64..64, TOP..TOP + 64];
    let map = (page.clone(), prop::collection::vec(0_u64..40, 0..12))
        .prop_map(|(page, pfns)| Step::Map { page, pfns });
    let unmap = (page, 0_u64..20).prop_map(|(page, pages)| Step::Unmap { page, pages });
    prop::collection::vec(prop_oneof![map, unmap], 0..40)
}

/// For each mapped page, the physical page and the number of the step that mapped it.
type Model = BTreeMap<u64, (u64, usize)>;

/// The pages of an area or a part of one.
fn pages<'a>(mapped: impl Iterator<Item = Mapped<&'a usize>>) -> Model {
    let mut found = Model::new();
    for Mapped { iova, phyr, tag } in mapped {
        assert!(!phyr.is_empty());
        phyr.validate().unwrap();
        for at in (0..phyr.length()).step_by(4096) {
            let old = found.insert((iova + at) / PAGE, (phyr.translate(at).unwrap() / PAGE, *tag));
            assert_eq!(old, None);
        }
    }
    found
}

proptest! {
    #[test]
    fn every_step_does_what_it_does_to_a_map_of_pages(steps in steps()) {
        let mut map = IovaMap::new();
        let mut model = Model::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Map { page, pfns } => {
                    let (iova, length) = (page * PAGE, pfns.len() as u64 * PAGE);
                    let wanted = || (page..).zip(&pfns);
                    let done = map.map(iova, list(&pfns), number);
                    let taken = wanted().map(|(page, _)| page).find(|page| model.contains_key(page));
                    if page + pfns.len() as u64 > 1 << 52 {
                        prop_assert_eq!(done, Err(Error::Wraps { paddr: iova, length }));
                    } else if let Some(first) = taken {
                        let first = first * PAGE;
                        prop_assert_eq!(done, Err(Error::Mapped { iova, length, first }));
                    } else {
                        prop_assert_eq!(done, Ok(()));
                        model.extend(wanted().map(|(page, &pfn)| (page, (pfn, number))));
                    }
                }
                Step::Unmap { page, pages: count } => {
                    let (iova, length) = (page * PAGE, count * PAGE);
                    let inside = |at: &u64| (page..page + count).contains(at);
                    let cut = |at: u64| {
                        let owner = |at: u64| map.area(at * PAGE).map(|area| area.iova);
                        at > 0 && owner(at - 1).is_some() && owner(at - 1) == owner(at)
                    };
                    let end = page + count;
                    let whole = count == 0 || !(cut(page) || end < 1 << 52 && cut(end));
                    prop_assert_eq!(map.is_whole(iova, length), whole);
                    let ranged = pages(map.range(iova, length));
                    let expected: Model =
                        model.iter().filter(|(at, _)| inside(at)).map(|(&at, &to)| (at, to)).collect();
                    prop_assert_eq!(&ranged, &expected);
                    let mut removed = Vec::new();
                    map.unmap_with(iova, length, |mapped| removed.push(mapped));
                    let removed =
                        removed.iter().map(|Mapped { iova, phyr, tag }| Mapped { iova: *iova, phyr: phyr.clone(), tag });
                    prop_assert_eq!(pages(removed), expected);
                    model.retain(|at, _| !inside(at));
                }
            }
            prop_assert_eq!(&pages(map.areas()), &model);
            prop_assert_eq!(map.areas().count(), map.nr_areas());
            for page in (0..80).chain(TOP..TOP + 64) {
                let expected = model.get(&page).map(|(pfn, _)| pfn * PAGE + 7);
                prop_assert_eq!(map.translate(page * PAGE + 7), expected);
                let tag = map.area(page * PAGE + 7).map(|area| *area.tag);
                prop_assert_eq!(tag, model.get(&page).map(|&(_, tag)| tag));
            }
        }
    }
}

#[test]
fn parts_of_bytes_are_cut_where_they_are_asked_for() {
    let mut map = IovaMap::new();
    map.map(0x1_0000, list(&[5, 9, 7]), ()).unwrap();
    assert_eq!(map.unmap(0x1_0ff0, 0x20), 0x20);
    assert_eq!(map.nr_areas(), 2);
    assert_eq!((map.translate(0x1_0fef), map.translate(0x1_0ff0)), (Some(0x5fef), None));
    assert_eq!((map.translate(0x1_100f), map.translate(0x1_1010)), (None, Some(0x9010)));
    assert_eq!(map.unmap(0, u64::MAX), 0x2fe0);
    assert_eq!((map.nr_areas(), map.unmap(0, u64::MAX)), (0, 0));
}

#[test]
fn the_last_address_can_be_mapped_and_unmapped() {
    let mut map = IovaMap::new();
    map.map(u64::MAX - 0xfff, list(&[5]), 1).unwrap();
    assert_eq!(map.translate(u64::MAX), Some(0x5fff));
    assert_eq!(map.range(u64::MAX, 1).map(|mapped| mapped.iova).collect::<Vec<_>>(), [u64::MAX]);
    assert_eq!(map.unmap(u64::MAX, u64::MAX), 1);
    assert_eq!(map.translate(u64::MAX), None);
    assert!(map.map(u64::MAX, list(&[5]), 1).is_err());
}

#[test]
fn an_empty_list_or_range_changes_nothing() {
    let mut map = IovaMap::new();
    map.map(0x1000, Phyr::default(), ()).unwrap();
    map.map(u64::MAX, Phyr::default(), ()).unwrap();
    assert_eq!((map.nr_areas(), map.unmap(0x1000, 0), map.range(0, 0).count()), (0, 0, 0));
    assert!(map.is_whole(0x1000, 0) && map.is_whole(0, u64::MAX));
}
