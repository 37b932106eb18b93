//! The memory that two lists have in common, beside sorting two vectors of ranges and merging them.
//!
//! `cargo bench --bench overlap` asks with 2^20 pages in each list, `PHYR_BENCH_N` with that many. The
//! second list follows the first in its workload, or has its pages in another order.

mod common;

use common::harness::{Race, Settings, Table};
use common::lists::from_pages;
use common::workloads::Workload;
use phyr::Phyr;

fn main() {
    let settings = Settings::read();
    let mut table = Table::new("Overlap of two lists, ns a chunk of both".to_owned());
    for workload in [Workload::Rand4k, Workload::Geo8, Workload::Folio] {
        let count = settings.nr_pages;
        let pages: Vec<u64> = workload.stream().take(2 * count).collect();
        let (first, second) = pages.split_at(count);
        race(&mut table, workload.name(), &from_pages(first), &from_pages(second), settings);
        if workload == Workload::Rand4k {
            let back: Vec<u64> = first.iter().rev().copied().collect();
            race(&mut table, "the same", &from_pages(first), &from_pages(&back), settings);
        }
    }
    println!("{table}");
}

fn race(table: &mut Table, name: &str, one: &Phyr, other: &Phyr, settings: Settings) {
    let parts = one.chunks().len() + other.chunks().len();
    assert_eq!(Ok(plain(one, other)), one.overlap(other));
    let (c, d) = (one.freeze(), other.freeze());
    let mut race = Race::default();
    race.add("overlap", parts, || one.overlap(other));
    race.add("intersect", parts, || one.intersect(other));
    race.add("overlap of frozen lists", parts, || c.overlap(&d));
    race.add("vectors, sorted and merged", parts, || plain(one, other));
    table.times(name, &race.run(settings));
}

/// Ranges of a list by address, joined where they touch or overlap.
fn ranges(phyr: &Phyr) -> Vec<(u64, u64)> {
    let mut all: Vec<_> = phyr.chunks().map(|chunk| (chunk.paddr, chunk.last())).collect();
    all.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(all.len());
    for (first, last) in all {
        match joined.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// Bytes of both, by two vectors.
fn plain(one: &Phyr, other: &Phyr) -> u64 {
    let (one, other) = (ranges(one), ranges(other));
    let (mut a, mut b, mut bytes) = (0, 0, 0);
    while let (Some(left), Some(right)) = (one.get(a), other.get(b)) {
        let (from, to) = (left.0.max(right.0), left.1.min(right.1));
        if from <= to {
            bytes += to - from + 1;
        }
        if left.1 <= right.1 {
            a += 1;
        } else {
            b += 1;
        }
    }
    bytes
}
