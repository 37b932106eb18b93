//! The cost of building a list from page addresses, in bytes and in time.
//!
//! `cargo bench --bench build`; `PHYR_BENCH_N` sets the number of pages.

mod common;

use common::baselines::{Baseline, BioVecs, Pairs, ScatterList, breaks};
use common::counting::{Counting, Counts, counted};
use common::harness::{Race, Settings, Table};
use common::lists::from_pages;
use common::workloads::Workload;
use phyr::{Builder, Phyr};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let settings = Settings::read();
    let mut bytes = Table::new(format!(
        "Bytes an entry, {} pages: everything counted (allocations of the finished list; \
         all allocations made, largest)",
        settings.nr_pages
    ));
    let mut times =
        Table::new(format!("Build from page addresses, ns a page, {} pages", settings.nr_pages));
    for workload in Workload::ALL {
        let pages = workload.pages(settings.nr_pages);
        bytes.column(workload.name(), costs(&pages).into_iter());
        times.times(workload.name(), &race(&pages).run(settings));
    }
    println!("{bytes}\n{times}");
}

fn from_pfns(pfns: &[u64]) -> Phyr {
    let mut builder = Builder::new();
    builder.extend_pfns(pfns).expect("page numbers are in reach");
    builder.finish()
}

fn race(pages: &[u64]) -> Race<'_> {
    let count = pages.len();
    let pfns: Vec<u64> = pages.iter().map(|page| page >> 12).collect();
    let mut race = Race::default();
    race.add("phyr", count, || from_pages(pages));
    race.add("phyr, page numbers", count, move || from_pfns(&pfns));
    race.add(Pairs::NAME, count, || Pairs::build(pages));
    race.add(BioVecs::NAME, count, || BioVecs::build(pages));
    race.add(ScatterList::NAME, count, || ScatterList::build(pages));
    race.add("limit: find breaks", count, || breaks(pages));
    race
}

/// The bytes and allocations of each list; counts are exact, so once is enough.
fn costs(pages: &[u64]) -> Vec<(String, String)> {
    let (list, counts) = counted(|| from_pages(pages));
    let nr_chunks = list.nr_chunks();
    vec![
        cost::<Phyr>("phyr", nr_chunks, counts),
        baseline::<Pairs>(pages),
        baseline::<BioVecs>(pages),
        baseline::<ScatterList>(pages),
    ]
}

fn baseline<B: Baseline>(pages: &[u64]) -> (String, String) {
    let (list, counts) = counted(|| B::build(pages));
    cost::<B>(B::NAME, list.nr_entries() as u64, counts)
}

#[expect(clippy::cast_precision_loss, reason = "two decimals are wanted")]
fn cost<T>(name: &str, nr_entries: u64, counts: Counts) -> (String, String) {
    let bytes = (size_of::<T>() as f64 + counts.taken as f64) / nr_entries as f64;
    let Counts { blocks, allocations, largest, .. } = counts;
    (name.to_owned(), format!("{bytes:.2} ({blocks}; {allocations}, {largest})"))
}
