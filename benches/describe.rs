//! The cost of writing descriptors.
//!
//! Each turn writes all descriptors of a list to the same memory. Beside phyr stands a plain loop
//! over `Vec<(u64, u64)>`, as C would have it, which writes the same bytes: over the merged ranges
//! that phyr stands for, and over one pair a page, as pinning hands them out, which the loop merges
//! on the way where the format has ranges. `cargo bench --bench describe`; `PHYR_BENCH_N` sets the
//! number of pages.

mod common;

use common::harness::{Race, Settings, Table};
use common::lists::from_pages;
use common::plain::{Format, Pair, formats, merge};
use common::workloads::{PAGE, Workload};
use phyr::desc::Place;

fn main() {
    let settings = Settings::read();
    let nr_pages = settings.nr_pages;
    let title = |format: Format| format!("{}: ns a record, {nr_pages} pages", format.title);
    let mut tables = formats(&from_pages(&[0, 2 * PAGE])).map(|format| Table::new(title(format)));
    for workload in Workload::ALL {
        let pages = workload.pages(nr_pages);
        let pairs = merge(&pages);
        let singles: Vec<Pair> = pages.iter().map(|&page| (page, PAGE)).collect();
        for (format, table) in formats(&from_pages(&pages)).iter().zip(&mut tables) {
            race(settings, workload, table, format, &pairs, &singles);
        }
    }
    for table in &tables {
        println!("{table}");
    }
}

/// All write the same bytes; then they race. The loop over single pages only where there is
/// something to merge.
fn race(
    settings: Settings,
    workload: Workload,
    times: &mut Table,
    format: &Format,
    pairs: &[Pair],
    singles: &[Pair],
) {
    let Format { table, plain, paged, .. } = format;
    let (name, size) = (workload.name(), format.size());
    let count = size / table.record_size();
    let [mut ours, mut theirs, mut singly] = [(); 3].map(|()| vec![0; size]);
    assert_eq!(table.fill(&mut Place::default(), &mut ours), size);
    assert_eq!(plain(pairs, &mut theirs), size);
    assert_eq!(paged(singles, &mut singly), size);
    assert!(ours == theirs && ours == singly, "{name}: the bytes differ");
    let mut race = Race::default();
    race.add("plain loop", count, || plain(pairs, &mut theirs));
    race.add("phyr", count, || table.fill(&mut Place::default(), &mut ours));
    let mut timings = race.run(settings);
    if matches!(workload, Workload::Huge2m | Workload::Contig) {
        // By itself: many pages would drive what the others read out of the caches.
        let mut race = Race::default();
        race.add("plain loop over pages", count, || paged(singles, &mut singly));
        timings.extend(race.run(settings));
    }
    times.times(name, &timings);
}
