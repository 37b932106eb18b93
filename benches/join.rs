//! The cost of making lists of lists, of chunks and of bytes.
//!
//! `cargo bench --bench join`; `PHYR_BENCH_N` sets the number of pages.

mod common;

use common::harness::{Race, Settings, Table};
use common::lists::from_pages;
use common::workloads::{PAGE, Workload};
use phyr::desc::from_phys_vecs;
use phyr::{Builder, Chunk, Granule, Phyr};

fn main() {
    let settings = Settings::read();
    let nr_pages = settings.nr_pages;
    let mut table =
        Table::new(format!("Lists from lists, chunks and bytes, ns a chunk, {nr_pages} pages"));
    for workload in Workload::ALL {
        let phyr = from_pages(&workload.pages(nr_pages));
        let count = usize::try_from(phyr.nr_chunks()).expect("memory");
        let chunks: Vec<Chunk> = phyr.chunks().collect();
        let records: Vec<u8> = chunks
            .iter()
            .flat_map(|chunk| [chunk.paddr.to_le_bytes(), chunk.length.to_le_bytes()].concat())
            .collect();
        let bytes = phyr.to_bytes();
        let pieces = pieces(&phyr);

        let mut race = Race::default();
        race.add("phyr, Builder::extend", count, || phyr.compact());
        race.add("phyr, join of 8 pages each", count, || {
            Phyr::join(&pieces).expect("pieces of one list")
        });
        race.add("phyr, to_bytes", count, || phyr.to_bytes());
        race.add("phyr, from_bytes", count, || Phyr::from_bytes(&bytes).expect("a list"));
        race.add("phyr, from_chunks", count, || {
            Phyr::from_chunks(chunks.iter().copied()).expect("a list")
        });
        race.add("phyr, append each", count, || append(&chunks));
        race.add("phyr, from phys_vec", count, || {
            from_phys_vecs(&records, Granule::default()).expect("a list")
        });
        race.add("phyr, orders", count, || phyr.orders());
        race.add("Vec, copied", count, || chunks.clone());
        race.add("Vec, of ranges that may touch", count, || merge(&chunks));
        table.times(workload.name(), &race.run(settings));
    }
    println!("{table}");
}

/// The list in pieces of eight pages.
fn pieces(phyr: &Phyr) -> Vec<Phyr> {
    let step = usize::try_from(8 * PAGE).expect("32 KiB");
    let part =
        |start| phyr.slice(start, phyr.length().min(start + 8 * PAGE)).expect("inside").compact();
    (0..phyr.length()).step_by(step).map(part).collect()
}

fn append(chunks: &[Chunk]) -> Phyr {
    let mut builder = Builder::new();
    for chunk in chunks {
        builder.append(chunk.paddr, chunk.length).expect("whole pages");
    }
    builder.finish()
}

/// The plain loop: ranges joined where they touch.
fn merge(chunks: &[Chunk]) -> Vec<(u64, u64)> {
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for chunk in chunks {
        match merged.last_mut() {
            Some((paddr, length)) if *paddr + *length == chunk.paddr => *length += chunk.length,
            _ => merged.push((chunk.paddr, chunk.length)),
        }
    }
    merged
}
