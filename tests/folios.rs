//! Folios counted by the tally, against a count page by page by the words of `thpmaps --help`.

use std::collections::BTreeMap;

use phyr::pagemap::{Blocks, FolioTally, Folios, Large, Origin, Shape, Sort};
use proptest::prelude::*;

const ANON: u64 = 1 << 12;
const HEAD: u64 = 1 << 15;
const TAIL: u64 = 1 << 16;
const HUGETLB: u64 = 1 << 17;
const KSM: u64 = 1 << 21;
const THP: u64 = 1 << 22;
const ZERO: u64 = 1 << 24;
const NOPAGE: u64 = 1 << 20;

/// A machine's memory: flags of each page, and the folio that it belongs to (first page, order).
#[derive(Clone, Debug)]
struct Machine {
    flags: Vec<u64>,
    folios: Vec<Option<(usize, u8)>>,
}

/// One piece of memory: a folio of an order, or (order 0) a page by itself, with its sort.
fn memory() -> impl Strategy<Value = Machine> {
    let block = (0_u8..6, 0_usize..7);
    prop::collection::vec(block, 1..24).prop_map(|blocks| {
        let mut machine = Machine { flags: Vec::new(), folios: Vec::new() };
        for (order, sort) in blocks {
            let small = [ANON, 0, ANON | KSM, ZERO, NOPAGE, ANON, 0][sort];
            let large = [THP | ANON, THP, HUGETLB, HUGETLB | ANON][sort % 4];
            // Folios are aligned to their size in physical memory.
            while order > 0 && machine.flags.len() % (1 << order) != 0 {
                machine.flags.push(small);
                machine.folios.push(None);
            }
            let first = machine.flags.len();
            for at in 0..1 << order {
                let place = if at == 0 { HEAD } else { TAIL };
                machine.flags.push(if order == 0 { small } else { large | place });
                machine.folios.push((order > 0).then_some((first, order)));
            }
        }
        machine.flags.push(0);
        machine.folios.push(None);
        machine
    })
}

/// Virtual pages and the physical ones behind them, as stretches that may leave pages out.
fn mapped(pages: usize) -> impl Strategy<Value = Vec<(u64, usize)>> {
    let stretch = (0_u64..5, 0..pages, 1..40_usize);
    prop::collection::vec(stretch, 0..8).prop_map(move |stretches| {
        let mut vfn = 64;
        let mut found = Vec::new();
        for (gap, first, count) in stretches {
            vfn += gap;
            for pfn in first..(first + count).min(pages) {
                found.push((vfn, pfn));
                vfn += 1;
            }
        }
        found
    })
}

fn sort(flags: u64) -> Sort {
    if flags & ANON == 0 { Sort::File } else { Sort::Anon }
}

/// Counts by looking at each page by itself, and at all pages of its folio.
fn plain(machine: &Machine, pages: &[(u64, usize)], orders: &[u8]) -> Folios {
    let mut folios = Folios::default();
    let mut large: BTreeMap<(u8, u8, u8, u8), (Large, u64)> = BTreeMap::new();
    let pfn_at: BTreeMap<u64, usize> = pages.iter().copied().collect();
    for &(vfn, pfn) in pages {
        let flags = machine.flags[pfn];
        let Some((first, order)) = machine.folios[pfn] else {
            *match flags {
                ZERO => &mut folios.zero,
                NOPAGE => &mut folios.device,
                f if f & KSM != 0 => &mut folios.ksm,
                ANON => &mut folios.anon,
                _ => &mut folios.file,
            } += 1;
            continue;
        };
        // Virtual page of the folio's first page, were it mapped whole and in order here.
        let start = vfn.wrapping_sub((pfn - first) as u64);
        let whole = (0..1 << order)
            .all(|at| pfn_at.get(&start.wrapping_add(at as u64)) == Some(&(first + at)));
        let (shape, order) = match whole {
            false => (Shape::Part, 0),
            true if start % (1 << order) == 0 => (Shape::Aligned, order),
            true => (Shape::Unaligned, order),
        };
        let origin = if flags & THP == 0 { Origin::Hugetlb } else { Origin::Thp };
        let item = Large { origin, sort: sort(flags), shape, order, nr_pages: 0 };
        let key = (origin as u8, item.sort as u8, shape as u8, order);
        large.entry(key).or_insert((item, 0)).1 += 1;
    }
    folios.large = large.into_values().map(|(item, nr_pages)| Large { nr_pages, ..item }).collect();
    for &order in orders {
        let mut blocks = Blocks { order, anon: 0, file: 0 };
        for &(vfn, pfn) in pages.iter().filter(|(vfn, _)| vfn % (1 << order) == 0) {
            let folio = machine.folios[pfn].filter(|_| machine.flags[pfn] & THP != 0);
            let inside = folio.is_some()
                && pfn % (1 << order) == 0
                && (0..1_usize << order).all(|at| {
                    pfn_at.get(&(vfn + at as u64)) == Some(&(pfn + at))
                        && machine.folios[pfn + at] == folio
                });
            if inside {
                *match sort(machine.flags[pfn]) {
                    Sort::Anon => &mut blocks.anon,
                    Sort::File => &mut blocks.file,
                } += 1 << order;
            }
        }
        folios.blocks.push(blocks);
    }
    folios
}

/// Counts by the tally, fed with runs that are cut where `cut` says.
fn tallied(machine: &Machine, pages: &[(u64, usize)], orders: &[u8], cut: usize) -> Folios {
    let mut tally = FolioTally::new(orders.iter().copied());
    let mut rest = pages;
    while let Some(&(vfn, pfn)) = rest.first() {
        let continues = |&(at, &(v, p)): &(usize, &(u64, usize))| {
            v == vfn + at as u64 && p == pfn + at && at < cut
        };
        let count = rest.iter().enumerate().take_while(continues).count();
        tally.add(vfn, pfn as u64, &machine.flags[pfn..=pfn + count]);
        rest = &rest[count..];
    }
    let mut folios = tally.finish();
    folios.large.sort_by_key(|l| (l.origin as u8, l.sort as u8, l.shape as u8, l.order));
    folios
}

proptest! {
    #[test]
    fn the_tally_counts_as_a_walk_page_by_page(
        (machine, pages) in memory().prop_flat_map(|machine| {
            let pages = machine.flags.len() - 1;
            (Just(machine), mapped(pages))
        }),
        cut in 1_usize..50,
    ) {
        let orders = [1, 2, 4];
        prop_assert_eq!(tallied(&machine, &pages, &orders, cut), plain(&machine, &pages, &orders));
    }
}

#[test]
fn a_folio_dropped_in_half_is_a_part() {
    let mut flags = vec![THP | ANON | TAIL; 513];
    flags[0] = THP | ANON | HEAD;
    flags[512] = 0;
    let mut tally = FolioTally::new([4]);
    tally.add(0x200, 0x400, &flags[..=256]);
    let folios = tally.finish();
    let part = Large {
        origin: Origin::Thp,
        sort: Sort::Anon,
        shape: Shape::Part,
        order: 0,
        nr_pages: 256,
    };
    assert_eq!(folios.large, [part]);
    assert_eq!(folios.blocks, [Blocks { order: 4, anon: 256, file: 0 }]);
}

#[test]
fn no_pages_count_nothing() {
    let mut tally = FolioTally::default();
    tally.add(1, 2, &[]);
    tally.add(1, 2, &[THP | TAIL]);
    assert_eq!(tally.finish(), Folios::default());
}
