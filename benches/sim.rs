//! The cost of mapping a list in a simulated IOMMU, unmapping it, and moving its bytes.
//!
//! `cargo bench --bench sim`; `PHYR_BENCH_N` sets the number of pages (a quarter of it moves bytes).
//! Counts of table entries come first: they do not vary.

mod common;

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
    println!("{}", bytes(settings));
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
        let shared = std::cell::RefCell::new((&mut memory, &mut domain, &mut data));
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
