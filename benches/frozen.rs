//! The cost of a frozen list: bytes, making it and back, walking it, finding a byte.
//!
//! `cargo bench --bench frozen` asks at 2^20 and 2^24 pages; `PHYR_BENCH_N` asks at that many only.

mod common;

use std::env;

use common::harness::{Race, Settings, Table, Timing};
use common::workloads::Workload;
use phyr::{Builder, Chunk, Frozen, Index, Phyr};

/// Positions a turn. So many that the caches hold what a long series of searches leaves there, and not
/// what the contender before has left.
const SEEKS: usize = 1 << 20;

fn main() {
    let settings = Settings::read();
    let mut sizes = vec![settings.nr_pages];
    if settings.is_bench && env::var_os("PHYR_BENCH_N").is_none() {
        sizes.push(1 << 24);
    }
    for nr_pages in sizes {
        let title = |what: &str| format!("{what}, {nr_pages} pages");
        let mut bytes = Table::new(title("Bytes a chunk, all counted"));
        let mut makes = Table::new(title("Freeze and thaw, ns a chunk"));
        let mut walks = Table::new(title("Walk, ns a chunk"));
        let mut seeks = Table::new(title("Find a random byte, one after another, ns"));
        for workload in Workload::ALL {
            if workload == Workload::Contig {
                continue;
            }
            let phyr = list(workload, nr_pages);
            let frozen = phyr.freeze();
            bytes.column(workload.name(), sizes_of(&phyr, &frozen).into_iter());
            makes.times(workload.name(), &make(&phyr, &frozen, settings));
            walks.times(workload.name(), &walk(&phyr, &frozen, settings));
            let count = if settings.is_bench { SEEKS } else { 1 << 10 };
            let positions = workload.positions(nr_pages, count);
            seeks.times(workload.name(), &seek(&phyr, &frozen, &positions, settings));
        }
        println!("{bytes}\n{makes}\n{walks}\n{seeks}");
    }
}

/// The list of a workload, built without an array of all its pages.
fn list(workload: Workload, nr_pages: usize) -> Phyr {
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

/// Bytes a chunk of each form: the object, its heap, and a sorted vector of 16 bytes a chunk.
#[expect(clippy::cast_precision_loss, reason = "a few digits are wanted")]
fn sizes_of(phyr: &Phyr, frozen: &Frozen) -> Vec<(String, String)> {
    let each = |bytes: usize| format!("{:.2}", bytes as f64 / phyr.nr_chunks() as f64);
    vec![
        ("phyr".to_owned(), each(size_of::<Phyr>() + phyr.storage())),
        ("frozen".to_owned(), each(size_of::<Frozen>() + frozen.storage())),
        (
            "index, beside the list".to_owned(),
            each(Index::new([frozen.clone()]).map_or(0, |index| index.storage())),
        ),
        ("frozen file".to_owned(), each(frozen.to_bytes().map_or(0, |bytes| bytes.len()))),
    ]
}

fn make(phyr: &Phyr, frozen: &Frozen, settings: Settings) -> Vec<Timing> {
    let nr_chunks = phyr.chunks().len();
    let bytes = frozen.to_bytes().expect("a list of our own");
    let mut race = Race::default();
    race.add("phyr, compact copy", nr_chunks, || phyr.compact());
    race.add("freeze", nr_chunks, || phyr.freeze());
    race.add("thaw", nr_chunks, || frozen.thaw());
    race.add("check", nr_chunks, || frozen.check());
    race.add("from_bytes", nr_chunks, || Frozen::from_bytes(&bytes));
    race.run(settings)
}

fn sum(all: u64, chunk: Chunk) -> u64 {
    all.wrapping_add(chunk.paddr ^ chunk.length)
}

fn walk(phyr: &Phyr, frozen: &Frozen, settings: Settings) -> Vec<Timing> {
    let nr_chunks = phyr.chunks().len();
    let pairs: Vec<Chunk> = phyr.chunks().collect();
    let mut race = Race::default();
    race.add("phyr, fold", nr_chunks, || phyr.chunks().fold(0, sum));
    race.add("frozen, fold", nr_chunks, || frozen.chunks().fold(0, sum));
    race.add("vec, fold", nr_chunks, || pairs.iter().copied().fold(0, sum));
    race.add("phyr, for", nr_chunks, || each(phyr.chunks()));
    race.add("frozen, for", nr_chunks, || each(frozen.chunks()));
    race.run(settings)
}

fn each(chunks: impl Iterator<Item = Chunk>) -> u64 {
    let mut all = 0;
    for chunk in chunks {
        all = sum(all, chunk);
    }
    all
}

/// Each position waits for the address before it, so that searches cannot overlap.
fn one_by_one(positions: &[u64], seek: impl Fn(u64) -> u64) -> u64 {
    positions.iter().fold(0, |last: u64, &position| seek(position ^ (last >> 63)))
}

fn seek(phyr: &Phyr, frozen: &Frozen, positions: &[u64], settings: Settings) -> Vec<Timing> {
    let mut at = 0;
    let sorted: Vec<(u64, u64)> = phyr
        .chunks()
        .map(|chunk| {
            at += chunk.length;
            (at - chunk.length, chunk.paddr)
        })
        .collect();
    let index = Index::new([frozen.clone()]).expect("one list");
    let paddrs: Vec<u64> =
        positions.iter().map(|&at| phyr.translate(at).expect("inside")).collect();
    // The least that any search costs: a load from memory of the size of the frozen list.
    let words: Vec<u64> = (0..frozen.storage() as u64 / 8).collect();
    let bytes_a_word = phyr.length() / words.len() as u64 + 1;
    let mut race = Race::default();
    race.add("phyr", positions.len(), || {
        one_by_one(positions, |position| phyr.translate(position).expect("inside"))
    });
    race.add("frozen", positions.len(), || {
        one_by_one(positions, |position| frozen.translate(position).expect("inside"))
    });
    race.add("index: whose", positions.len(), || {
        one_by_one(&paddrs, |paddr| index.find(paddr).first().map_or(0, |place| place.position))
    });
    race.add("one load", positions.len(), || {
        let at = |position| usize::try_from(position / bytes_a_word).expect("in memory");
        one_by_one(positions, |position| words[at(position)])
    });
    race.add("sorted vec", positions.len(), || {
        one_by_one(positions, |position| {
            let (start, paddr) = sorted[sorted.partition_point(|pair| pair.0 <= position) - 1];
            paddr + (position - start)
        })
    });
    race.run(settings)
}
