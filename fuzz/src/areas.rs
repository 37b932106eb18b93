//! Many lists at I/O virtual addresses, against a map of pages.

use std::collections::BTreeMap;

use phyr::{Builder, Granule, IovaMap, Kind, Phyr};

use crate::source::{Said, Source};

const PAGE: u64 = 4096;
/// Pages of the window.
const PAGES: u64 = 1 << 12;

/// Maps and unmaps as the bytes say.
pub fn areas(bytes: &[u8]) {
    let mut source = Source(bytes);
    let base = source.edge() & !(PAGES * PAGE - 1);
    let mut map = IovaMap::new();
    // The area of a page, and the page's address.
    let (mut model, mut tag) = (BTreeMap::new(), 0_u64);
    while !source.is_empty() {
        match source.byte() % 4 {
            // Areas one after the other, with holes between them, from either end on.
            0 | 1 => {
                let (mut at, step) = (source.up_to(PAGES - 1), 1 + u64::from(source.byte() % 8));
                let (pages, backwards) = (1 + u64::from(source.byte() % 4), source.byte() % 2 == 1);
                for _ in 0..source.byte() {
                    let list = pages_from(at, pages);
                    let is_free =
                        at + pages <= PAGES && model.range(at..at + pages).next().is_none();
                    if at + pages <= PAGES {
                        let taken = map.map(base.wrapping_add(at * PAGE), list, tag).said();
                        assert_eq!(taken.is_some(), is_free);
                    }
                    if is_free {
                        model.extend((0..pages).map(|page| (at + page, (tag, address(at, page)))));
                        tag += 1;
                    }
                    let steps = step.max(pages);
                    at = if backwards { at.wrapping_sub(steps) } else { at + steps } % PAGES;
                }
            }
            2 => {
                let (at, pages) = (source.up_to(PAGES), u64::from(source.byte()));
                let pages = pages.min(PAGES - at);
                let (mut bytes, mut next) = (0, base.wrapping_add(at * PAGE));
                map.unmap_with(base.wrapping_add(at * PAGE), pages * PAGE, |mapped| {
                    assert!(mapped.iova >= next, "in the order of addresses");
                    next = mapped.iova + (mapped.phyr.length() - 1);
                    bytes += mapped.phyr.length();
                });
                let gone: Vec<u64> = model.range(at..at + pages).map(|(&page, _)| page).collect();
                assert_eq!(bytes, gone.len() as u64 * PAGE);
                for page in gone {
                    model.remove(&page);
                }
            }
            _ => {
                let (at, pages) = (source.up_to(PAGES), u64::from(source.byte()));
                let pages = pages.min(PAGES - at);
                let (iova, length) = (base.wrapping_add(at * PAGE), pages * PAGE);
                let found: u64 = map.range(iova, length).map(|part| part.phyr.length()).sum();
                assert_eq!(found, model.range(at..at + pages).count() as u64 * PAGE);
                // An edge splits an area if the pages on both sides of it are of one.
                let tag = |page: u64| model.get(&page).map(|&(tag, _)| tag);
                let splits =
                    |edge: u64| edge > 0 && tag(edge).is_some() && tag(edge - 1) == tag(edge);
                let is_whole = pages == 0 || !splits(at) && !splits(at + pages);
                assert_eq!(map.is_whole(iova, length), is_whole);
            }
        }
    }
    let mut bytes = 0;
    for area in map.areas() {
        bytes += area.phyr.length();
        for page in 0..area.phyr.length() / PAGE {
            let iova = area.iova + page * PAGE;
            let expected = model.get(&((iova - base) / PAGE)).map(|&(_, paddr)| paddr);
            assert_eq!(
                (area.phyr.translate(page * PAGE).ok(), map.translate(iova)),
                (expected, expected)
            );
        }
    }
    assert_eq!(bytes, model.len() as u64 * PAGE);
    assert!(map.areas().rev().map(|area| area.iova).is_sorted_by(|a, b| a > b));
    assert_eq!(map.areas().count(), map.nr_areas());
}

/// The address of a page of an area.
fn address(at: u64, page: u64) -> u64 {
    (at << 20) + page % 2 * (1 << 40) + page * PAGE
}

fn pages_from(at: u64, pages: u64) -> Phyr {
    let mut builder = Builder::with(Granule::default(), Kind::Ram);
    for page in 0..pages {
        builder.append(address(at, page), PAGE).expect("a page");
    }
    builder.finish()
}
