//! The cost of mapping a list in a simulated IOMMU, unmapping it, and moving its bytes.
//!
//! `cargo bench --bench sim`; `PHYR_BENCH_N` sets the number of pages (a quarter of it moves bytes).
//! Counts of table entries come first: they do not vary.

mod common;

use std::cell::RefCell;
use std::hint::black_box;

use common::harness::{Race, Settings, Table};
use common::lists::from_pages;
use common::workloads::{PAGE, Workload};
use phyr::sim::{DomainOptions, Memory, ScatterOptions, SimDomain, dma_read_with, span};
use phyr::{Phyr, Plan, Prot};

/// Where the window is: a multiple of 1 GiB.
const IOVA: u64 = 1 << 40;

fn main() {
    let settings = Settings::read();
    let nr_pages = settings.nr_pages;
    let mut counts = Table::new(format!("Mapped by a plan, {nr_pages} pages"));
    let mut times = Table::new(format!("Map and unmap a window, ns a page, {nr_pages} pages"));
    for workload in Workload::ALL {
        let phyr = from_pages(&workload.pages(nr_pages));
        let mut memory = Memory::new(1 << 40).expect("a size of memory");
        let counters = map_and_unmap(&mut memory, &phyr);
        let cells = [("leaves and pointers", counters.0), ("table pages", counters.1)];
        counts.column(workload.name(), cells.into_iter().map(|(n, c)| (n.into(), c.to_string())));

        let mut race = Race::default();
        race.add("plan, map, unmap", nr_pages, || map_and_unmap(&mut memory, &phyr));
        race.add("plan alone", nr_pages, || plan(&phyr).map(|call| call.pgcount).sum::<u64>());
        times.times(workload.name(), &race.run(settings));
    }
    println!("{counts}\n{times}");
    println!("{}\n{}", short_maps(settings), bytes(settings));
}

fn plan(phyr: &Phyr) -> Plan<'_> {
    let sizes = phyr::PageSizes::new(1 << 12 | 1 << 21 | 1 << 30).expect("sizes");
    Plan::new(phyr, IOVA, sizes).expect("a window below 2^64")
}

/// Table entries written, and table pages in use at the most.
fn map_and_unmap(memory: &mut Memory, phyr: &Phyr) -> (u64, u64) {
    let mut domain = SimDomain::new(memory, &DomainOptions::default()).expect("room for a root");
    domain.map_batch(memory, plan(phyr), Prot::READ).expect("nothing is mapped");
    let counters = domain.counters();
    let pgcount = phyr.length() / PAGE;
    domain.unmap_pages(memory, IOVA, PAGE, pgcount).expect("all of it is mapped");
    domain.destroy(memory);
    (counters.ptes_written, counters.table_pages)
}

/// Maps of a few pages in a domain that has many others: a run of memory, and scattered pages. The
/// tables stay, because other pages are in them, or come and go with the map.
fn short_maps(settings: Settings) -> Table {
    /// Maps in a turn, each at addresses of its own.
    const WINDOWS: u64 = 32;
    const STEP: u64 = 4 << 20;
    let mut table = Table::new(format!("Short maps beside {} pages, ns a map", settings.nr_pages));
    for nr_pages in [1, 4, 16, 64, 256, 512] {
        let mut memory = Memory::new(1 << 40).expect("a size of memory");
        let mut domain = SimDomain::new(&mut memory, &DomainOptions::default()).expect("room");
        let others = from_pages(&Workload::Rand4k.pages(settings.nr_pages));
        domain.map_plan(&mut memory, plan(&others), Prot::READ).expect("nothing is mapped");
        // Windows that end a page before the end of a table, whose last page is mapped.
        let kept = (0..WINDOWS).map(|number| number * STEP + STEP - PAGE);
        kept.for_each(|last| {
            domain.map_pages(&mut memory, last, 0, PAGE, 1, Prot::READ).expect("is free");
        });
        let length = nr_pages * PAGE;
        let pages = Workload::Rand4k.pages(small(nr_pages));
        let scattered = from_pages(&pages);
        let sizes = phyr::PageSizes::new(1 << 12).expect("a size");
        let shared = RefCell::new((&mut memory, &mut domain));
        let turn = |start: u64, is_run: bool| {
            let (scattered, shared) = (&scattered, &shared);
            let map = move || {
                let (memory, domain) = &mut *shared.borrow_mut();
                for number in 0..WINDOWS {
                    let iova = number * STEP + start;
                    if is_run {
                        domain.map_pages(memory, iova, 1 << 30, PAGE, nr_pages, Prot::READ)
                    } else {
                        let plan = Plan::new(scattered, iova, sizes).expect("below 2^64");
                        domain.map_plan(memory, plan, Prot::READ)
                    }
                    .expect("nothing is mapped");
                }
            };
            let unmap = move || {
                let (memory, domain) = &mut *shared.borrow_mut();
                for number in 0..WINDOWS {
                    let iova = number * STEP + start;
                    domain.unmap_pages(memory, iova, PAGE, nr_pages).expect("is mapped");
                }
            };
            (map, unmap)
        };
        let mut race = Race::default();
        let count = small(WINDOWS);
        if nr_pages < 512 {
            // Tables of the second half of each step.
            let start = STEP - PAGE - length;
            let (map, unmap) = turn(start, true);
            race.add("map_pages", count, map).add("unmap_pages", count, unmap);
            let (map, unmap) = turn(start, false);
            race.add("map_plan, scattered", count, map);
            race.add("unmap_pages, scattered", count, unmap);
        }
        // Tables of the first half.
        let (map, unmap) = turn(0, true);
        race.add("map_pages, a new table", count, map);
        race.add("unmap_pages, all of a table", count, unmap);
        table.times(&format!("{} KiB", length >> 10), &race.run(settings));
    }
    table
}

/// A number below 2^16 as an index.
fn small(number: u64) -> usize {
    usize::from(u16::try_from(number).expect("a small number"))
}

/// Bytes through a list and through a device, beside a copy of as many.
fn bytes(settings: Settings) -> Table {
    let nr_pages = (settings.nr_pages / 4).max(1);
    let length = nr_pages as u64 * PAGE;
    let mut table = Table::new(format!("Move bytes, ns a page, {nr_pages} pages"));
    let mut memory = Memory::new((8 * length).max(1 << 30)).expect("a size of memory");
    let mut data = vec![1; nr_pages * 4096];
    for (name, order) in [("4 KiB pages", 0), ("2 MiB pages", 9)] {
        let layout = ScatterOptions { orders: &[order], ..ScatterOptions::default() };
        let phyr = memory.scatter(length, &layout).expect("eight times as much memory");
        memory.write(&phyr, &data).expect("inside the memory");
        let mut domain = SimDomain::new(&mut memory, &DomainOptions::default()).expect("room");
        domain.map_batch(&mut memory, plan(&phyr), Prot::READ).expect("nothing is mapped");
        let window = span(IOVA, length).expect("below 2^64");
        let source = data.clone();
        // One memory, several contenders: each borrows it in its turn.
        let shared = RefCell::new((&mut memory, &mut domain, &mut data));
        let mut race = Race::default();
        race.add("memory, read", nr_pages, || {
            let (memory, _, data) = &mut *shared.borrow_mut();
            memory.read(&phyr, data)
        });
        race.add("memory, write", nr_pages, || {
            let (memory, _, data) = &mut *shared.borrow_mut();
            memory.write(&phyr, data)
        });
        race.add("device, read", nr_pages, || {
            let (memory, domain, data) = &mut *shared.borrow_mut();
            let mut at = 0;
            dma_read_with(memory, *domain, &window, |bytes| {
                data[at..at + bytes.len()].copy_from_slice(bytes);
                at += bytes.len();
            })
        });
        race.add("copy of a slice", nr_pages, || {
            let (_, _, data) = &mut *shared.borrow_mut();
            data.copy_from_slice(black_box(&source));
        });
        table.times(name, &race.run(settings));
        drop(race);
        let (memory, _, _) = shared.into_inner();
        memory.free(&phyr).expect("allocated above");
    }
    table
}
