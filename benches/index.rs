//! The cost of an index of memory that several lists hold: bytes, making it, finding an address.
//!
//! `cargo bench --bench index` asks with 2^20 pages, in all lists together where all hold the same;
//! `PHYR_BENCH_N` asks with that many. The bench `frozen` tells the cost of an index of one list.

mod common;

use common::harness::{Race, Settings, Table};
use common::lists::from_pages;
use common::workloads::Workload;
use phyr::{Builder, Frozen, Index};

fn main() {
    let settings = Settings::read();
    let nr_pages = settings.nr_pages;

    let mut table = Table::new("Lists of the same pages, each in an order of its own");
    for nr_lists in [1, 2, 3, 4, 8, 16, 80] {
        let pages: Vec<u64> = Workload::Rand4k.pages((nr_pages / nr_lists.max(4)).max(1));
        let lists: Vec<_> = (0..nr_lists as u64).map(|number| mixed(&pages, number)).collect();
        column(&mut table, &format!("{nr_lists} lists"), &lists, &pages, settings);
    }
    println!("{table}");

    let mut table = Table::new("Runs over all memory, and a list of pages");
    let pages = Workload::Rand4k.pages(nr_pages);
    for nr_runs in [1, 2, 3, 300] {
        let mut lists = vec![everything(); nr_runs];
        lists.push(from_pages(&pages).freeze());
        let asked = &pages[..pages.len() / nr_runs];
        column(&mut table, &format!("{nr_runs} runs"), &lists, asked, settings);
    }
    println!("{table}");

    let mut table = Table::new("Lists of every eighth page of the first: pages of that one alone");
    let pages = Workload::Rand4k.pages((nr_pages >> 6).max(64));
    let eighths: Vec<u64> = pages.iter().copied().step_by(8).collect();
    let others = pages.iter().enumerate().filter(|(at, _)| at % 8 != 0);
    let alone: Vec<u64> = others.map(|(_, &page)| page).collect();
    for nr_lists in [2, 16, 64, 255] {
        let mut lists = vec![from_pages(&pages).freeze()];
        lists.extend((1..nr_lists).map(|number| mixed(&eighths, number)));
        column(&mut table, &format!("{nr_lists} lists"), &lists, &alone, settings);
    }
    println!("{table}");
}

/// Pages as a frozen list, in an order that differs for each number.
fn mixed(pages: &[u64], number: u64) -> Frozen {
    let mut pages = pages.to_vec();
    pages.sort_by_key(|page| page.wrapping_mul(0x9e37_79b9_7f4a_7c15 + 2 * number));
    from_pages(&pages).freeze()
}

/// A list of one run, over all memory of the workloads.
fn everything() -> Frozen {
    let mut builder = Builder::new();
    builder.append(0, 1 << 41).expect("one run");
    builder.finish().freeze()
}

/// Adds a column: what the index of some lists costs, and the search for some addresses.
#[expect(clippy::cast_precision_loss, reason = "a few digits are wanted")]
fn column(table: &mut Table, name: &str, lists: &[Frozen], paddrs: &[u64], settings: Settings) {
    let nr_runs: u64 = lists.iter().map(Frozen::nr_chunks).sum();
    let index = Index::new(lists.to_vec()).expect("lists of one granule and kind");
    let places: usize = paddrs.iter().map(|&paddr| index.find(paddr).len()).sum();
    let mut race = Race::default();
    race.add("make, ns a run", usize::try_from(nr_runs).expect("in memory"), || {
        Index::new(lists.to_vec())
    });
    race.add("find, ns a search", paddrs.len(), || {
        paddrs.iter().map(|&paddr| index.find(paddr).len()).sum::<usize>()
    });
    let bytes = index.storage() as f64 / nr_runs as f64;
    let cells = [
        ("bytes a run", format!("{bytes:.2}")),
        ("places a search", format!("{:.2}", places as f64 / paddrs.len() as f64)),
    ];
    let times = race.run(settings);
    let times = times.iter().map(|timing| {
        let (row, nanoseconds) = timing.median();
        (row, format!("{nanoseconds:.1}"))
    });
    let cells = cells.into_iter().chain(times);
    table.column(name, cells.map(|(row, cell)| (row.to_owned(), cell)));
}
