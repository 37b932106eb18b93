//! The cost of comparing two equal lists, and of hashing one.
//!
//! A visit of all chunks in the same run gives the measure. `cargo bench --bench compare`;
//! `PHYR_BENCH_N` sets the number of pages.

mod common;

use std::hash::{BuildHasher, RandomState};

use common::baselines::{Baseline, BioVecs, Pairs, ScatterList, Sums};
use common::harness::{Race, Settings, Table};
use common::lists::from_pages;
use common::workloads::{PAGE, Workload};
use phyr::Phyr;

fn main() {
    let settings = Settings::read();
    let nr_pages = settings.nr_pages;
    let mut table = Table::new(format!("Compare and hash, ns an entry, {nr_pages} pages"));
    let hasher = RandomState::new();
    for workload in Workload::ALL {
        let pages = workload.pages(nr_pages);
        let (phyr, twin) = (from_pages(&pages), from_pages(&pages));
        let (pairs, pairs_twin) = (Pairs::build(&pages), Pairs::build(&pages));
        let (bvecs, bvecs_twin) = (BioVecs::build(&pages), BioVecs::build(&pages));
        let (sg, sg_twin) = (ScatterList::build(&pages), ScatterList::build(&pages));
        // Equal lists whose nodes are filled differently: one lacks what the other's view hides.
        let view = phyr.slice(PAGE, phyr.length()).expect("longer than a page");
        let compact = from_pages(&pages[1..]);
        assert!(view == compact && hasher.hash_one(&view) == hasher.hash_one(&compact));

        let count = pairs.nr_entries();
        let mut race = Race::default();
        race.add("phyr, visit", count, || visit(&phyr));
        race.add("phyr, equal", count, || phyr == twin);
        race.add("phyr, equal, shifted", count, || view == compact);
        race.add("phyr, hash", count, || hasher.hash_one(&phyr));
        race.add("phyr, hash of a view", count, || hasher.hash_one(&view));
        race.add("Vec, equal", count, || pairs == pairs_twin);
        race.add("Vec, hash", count, || hasher.hash_one(&pairs));
        race.add("bvec, equal", bvecs.nr_entries(), || bvecs == bvecs_twin);
        race.add("bvec, hash", bvecs.nr_entries(), || hasher.hash_one(&bvecs));
        race.add("scatterlist, equal", sg.nr_entries(), || sg == sg_twin);
        race.add("scatterlist, hash", sg.nr_entries(), || hasher.hash_one(&sg));
        table.times(workload.name(), &race.run(settings));
    }
    println!("{table}");
}

fn visit(phyr: &Phyr) -> Sums {
    phyr.chunks().fold(Sums::default(), |sums, chunk| sums.add(chunk.paddr, chunk.length))
}
