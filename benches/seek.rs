//! The cost of finding the physical address of one byte of a long list.
//!
//! `cargo bench --bench seek` asks at 2^20 and 2^24 pages; `PHYR_BENCH_N` asks at that many only.

mod common;

use std::env;

use common::baselines::{Baseline, BioVecs, Pairs, ScatterList};
use common::harness::{Race, Settings, Table};
use common::workloads::Workload;
use phyr::{Builder, Phyr};

/// Positions a turn: enough of them that most lie in cold cache lines.
const SEEKS: usize = 1 << 14;
/// Positions a turn of a list that has to be walked.
const WALKS: usize = 8;

fn main() {
    let settings = Settings::read();
    let mut sizes = vec![settings.nr_pages];
    if settings.is_bench && env::var_os("PHYR_BENCH_N").is_none() {
        sizes.push(1 << 24);
    }
    for nr_pages in sizes {
        let mut table = Table::new(format!("Find a random byte, ns, {nr_pages} pages"));
        for workload in Workload::ALL {
            // Lists that have to be walked take long and say little at the larger size, so there
            // one workload stands for all.
            let is_walked = nr_pages <= 1 << 20 || workload == Workload::Rand4k;
            let timings = if is_walked {
                beside_walked(workload, nr_pages, settings)
            } else {
                let phyr = stream(workload, nr_pages);
                let positions = workload.positions(nr_pages, SEEKS);
                race(&phyr, &positions).run(settings)
            };
            table.times(workload.name(), &timings);
        }
        println!("{table}");
    }
    many(settings);
}

/// Many positions in one call, as many as pages.
fn many(settings: Settings) {
    let nr_pages = settings.nr_pages;
    let mut table = Table::new(format!("Translate {nr_pages} positions, ns each"));
    for workload in Workload::ALL {
        let phyr = stream(workload, nr_pages);
        let random = workload.positions(nr_pages, nr_pages);
        let mut ascending = random.clone();
        ascending.sort_unstable();
        let translate = |positions: &[u64]| {
            let mut positions = positions.to_vec();
            phyr.translate_all(&mut positions).expect("inside the list");
            positions
        };
        assert!(translate(&random).iter().zip(&random).all(|(&a, &at)| a == seek(&phyr, at)));
        // Copying the positions is a part of the time, but no memory is new.
        let (mut out, mut sorted) = (random.clone(), ascending.clone());
        let mut race = Race::default();
        race.add("one by one", nr_pages, || -> Vec<u64> {
            random.iter().map(|&position| seek(&phyr, position)).collect()
        });
        race.add("translate_all", nr_pages, || {
            out.copy_from_slice(&random);
            phyr.translate_all(&mut out)
        });
        race.add("one by one, ascending", nr_pages, || -> Vec<u64> {
            ascending.iter().map(|&position| seek(&phyr, position)).collect()
        });
        race.add("translate_all, ascending", nr_pages, || {
            sorted.copy_from_slice(&ascending);
            phyr.translate_all(&mut sorted)
        });
        table.times(workload.name(), &race.run(settings));
    }
    println!("{table}");
}

/// The list of a workload, built without an array of all its pages.
fn stream(workload: Workload, nr_pages: usize) -> Phyr {
    let mut builder = Builder::new();
    let mut pages = workload.stream().take(nr_pages);
    loop {
        let batch: Vec<u64> = pages.by_ref().take(1 << 12).collect();
        if batch.is_empty() {
            return builder.finish();
        }
        builder.extend_pages(&batch).expect("page addresses are aligned and in reach");
    }
}

fn seek(phyr: &Phyr, position: u64) -> u64 {
    phyr.translate(position).expect("inside the list")
}

fn race<'a>(phyr: &'a Phyr, positions: &'a [u64]) -> Race<'a> {
    let mut race = Race::default();
    race.add("phyr", positions.len(), || {
        positions.iter().fold(0, |all, &position| all ^ seek(phyr, position))
    });
    // Each position waits for the address before it, so that searches cannot overlap.
    race.add("phyr, one after another", positions.len(), || {
        positions.iter().fold(0, |last: u64, &position| seek(phyr, position ^ (last >> 63)))
    });
    race.add("phyr, chunk number", positions.len(), || {
        positions.iter().fold(0, |all, &position| all ^ phyr.find(position).expect("inside"))
    });
    race
}

fn beside_walked(
    workload: Workload,
    nr_pages: usize,
    settings: Settings,
) -> Vec<common::harness::Timing> {
    let pages = workload.pages(nr_pages);
    let phyr = stream(workload, nr_pages);
    let pairs = Pairs::build(&pages);
    let bvecs = BioVecs::build(&pages);
    let list = ScatterList::build(&pages);
    let positions = workload.positions(nr_pages, SEEKS);
    for &position in &positions[..WALKS] {
        let paddr = seek(&phyr, position);
        assert_eq!(paddr, pairs.seek(position));
        assert_eq!(paddr, bvecs.seek(position));
        assert_eq!(paddr, list.seek(position));
    }
    let mut race = race(&phyr, &positions);
    walk(&mut race, &pairs, &positions);
    walk(&mut race, &bvecs, &positions);
    walk(&mut race, &list, &positions);
    race.run(settings)
}

fn walk<'a, B: Baseline>(race: &mut Race<'a>, list: &'a B, positions: &'a [u64]) {
    race.add(B::NAME, WALKS, || {
        positions[..WALKS].iter().fold(0, |all, &position| all ^ list.seek(position))
    });
}
