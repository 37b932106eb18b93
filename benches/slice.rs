//! The cost of taking a byte range of a list, and of using it for the first time.
//!
//! The range is the middle half of the list; the first use is its first chunk. A seek in the same
//! run gives the measure. `cargo bench --bench slice`; `PHYR_BENCH_N` sets the number of pages.

mod common;

use std::hint::black_box;

use common::baselines::{Baseline, BioVecs, Pairs, ScatterList, Sums};
use common::counting::{Counting, counted};
use common::harness::{Race, Settings, Table};
use common::lists::from_pages;
use common::workloads::{PAGE, Workload, middle};
use phyr::Phyr;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Slices a turn.
const SLICES: usize = 1 << 12;

fn main() {
    let settings = Settings::read();
    let nr_pages = settings.nr_pages;
    let (start, end) = middle(nr_pages);
    let mut counts = Table::new(format!("Allocations of a slice, {nr_pages} pages"));
    let mut times = Table::new(format!("Slice and look at the first chunk, ns, {nr_pages} pages"));
    for workload in Workload::ALL {
        let pages = workload.pages(nr_pages);
        let phyr = from_pages(&pages);
        let pairs = Pairs::build(&pages);
        let bvecs = BioVecs::build(&pages);
        let list = ScatterList::build(&pages);
        check(&phyr, &pairs, &list, start, end);

        let allocations = |name: &str, allocations| (name.to_owned(), format!("{allocations}"));
        counts.column(
            workload.name(),
            [
                allocations("phyr", counted(|| first(&phyr, start, end)).1.allocations),
                allocations(Pairs::NAME, counted(|| pairs.slice(start, end)).1.allocations),
                allocations(BioVecs::NAME, counted(|| bvecs.slice(start, end)).1.allocations),
                allocations(ScatterList::NAME, counted(|| list.slice(start, end)).1.allocations),
            ]
            .into_iter(),
        );

        let positions = workload.positions(nr_pages, SLICES);
        let mut race = Race::default();
        race.add("phyr, a seek", SLICES, || {
            let seek = |position| phyr.translate(position).expect("inside the list");
            positions.iter().fold(0, |all, &position| all ^ seek(position))
        });
        race.add("phyr, middle half", SLICES, || {
            (0..SLICES).fold(0, |all, _| all ^ first(&phyr, black_box(start), end))
        });
        race.add("phyr, random to end", SLICES, || {
            positions.iter().fold(0, |all, &position| all ^ first(&phyr, position, phyr.length()))
        });
        race.add("phyr, random page", SLICES, || {
            positions.iter().fold(0, |all, &position| {
                all ^ first(&phyr, position, phyr.length().min(position + PAGE))
            })
        });
        race.add(Pairs::NAME, 1, || pairs.slice(start, end));
        race.add(BioVecs::NAME, 1, || bvecs.slice(start, end));
        race.add(ScatterList::NAME, 1, || list.slice(start, end));
        times.times(workload.name(), &race.run(settings));
    }
    println!("{counts}\n{times}");
}

/// Slices, and gives the address of the slice's first chunk.
fn first(phyr: &Phyr, start: u64, end: u64) -> u64 {
    let slice = phyr.slice(start, end).expect("inside the list");
    slice.chunks().next().map_or(0, |chunk| chunk.paddr)
}

/// All slices hold the same bytes.
fn check(phyr: &Phyr, pairs: &Pairs, list: &ScatterList, start: u64, end: u64) {
    let slice = phyr.slice(start, end).expect("inside the list");
    let chunks = slice.chunks();
    let sums = chunks.fold(Sums::default(), |sums, chunk| sums.add(chunk.paddr, chunk.length));
    assert_eq!(sums, pairs.slice(start, end).sums());
    let copy = list.slice(start, end);
    assert_eq!(copy.seek(0), first(phyr, start, end));
}
