//! The cost of visiting the chunks of a list.
//!
//! Each visit sums and exclusive-ors all addresses and lengths. `cargo bench --bench walk`;
//! `PHYR_BENCH_N` sets the number of pages.

mod common;

use std::hint::black_box;

use common::baselines::{Baseline, BioVecs, Pairs, ScatterList, Sums};
use common::harness::{Race, Settings, Table};
use common::lists::from_pages;
use common::workloads::{PAGE, Workload};
use phyr::Phyr;

fn main() {
    let settings = Settings::read();
    let nr_pages = settings.nr_pages;
    let mut table = Table::new(format!("Visit all chunks, ns an entry, {nr_pages} pages"));
    for workload in Workload::ALL {
        let pages = workload.pages(nr_pages);
        let whole = from_pages(&pages);
        // A view that begins and ends inside a chunk, so that both ends have to be trimmed.
        let phyr = whole.slice(100, whole.length() - 100).expect("longer than 200 bytes");
        let pairs = Pairs::build(&pages);
        let bvecs = BioVecs::build(&pages);
        let list = ScatterList::build(&pages);
        check(&whole, &phyr, &pairs, &bvecs, &list);

        let mut race = Race::default();
        race.add("phyr, fold", pairs.nr_entries(), || fold(&phyr));
        race.add("phyr, for", pairs.nr_entries(), || each(&phyr));
        race.add("phyr, for, backwards", pairs.nr_entries(), || backwards(&phyr));
        race.add("phyr, pages", nr_pages, || pages_of(&whole));
        race.add(Pairs::NAME, pairs.nr_entries(), || pairs.sums());
        race.add(BioVecs::NAME, bvecs.nr_entries(), || bvecs.sums());
        race.add(ScatterList::NAME, list.nr_entries(), || list.sums());
        let words = pages.get(..pairs.nr_entries()).unwrap_or_default();
        race.add("limit: sum of words", words.len(), || sum(words));
        table.times(workload.name(), &race.run(settings));
    }
    println!("{table}");
}

/// Internal iteration.
fn fold(phyr: &Phyr) -> Sums {
    phyr.chunks().fold(Sums::default(), |sums, chunk| sums.add(chunk.paddr, chunk.length))
}

/// External iteration.
fn each(phyr: &Phyr) -> Sums {
    let mut sums = Sums::default();
    for chunk in phyr.chunks() {
        sums = sums.add(chunk.paddr, chunk.length);
    }
    sums
}

/// External iteration from the end.
fn backwards(phyr: &Phyr) -> Sums {
    let mut sums = Sums::default();
    for chunk in phyr.chunks().rev() {
        sums = sums.add(chunk.paddr, chunk.length);
    }
    sums
}

/// Every page of the list, for a device that wants one size.
fn pages_of(phyr: &Phyr) -> u64 {
    let pages = phyr.pages(PAGE).expect("the list's own page size");
    pages.fold(0, |sum: u64, page| sum.wrapping_add(page))
}

/// The least that a visit can cost at eight bytes an entry.
fn sum(words: &[u64]) -> u64 {
    black_box(words).iter().fold(0, |sum: u64, word| sum.wrapping_add(*word))
}

/// All see the same bytes. Fields of 32 bits cut runs of 4 GiB in two, so sums may differ there.
fn check(whole: &Phyr, phyr: &Phyr, pairs: &Pairs, bvecs: &BioVecs, list: &ScatterList) {
    assert_eq!(fold(whole), pairs.sums());
    assert_eq!(fold(phyr), each(phyr));
    assert_eq!(each(phyr), backwards(phyr));
    assert_eq!(bvecs.sums(), list.sums());
    if bvecs.nr_entries() == pairs.nr_entries() {
        assert_eq!(bvecs.sums(), pairs.sums());
    }
}
