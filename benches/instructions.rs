//! One operation, so many times: for counting instructions, and for taking turns with another
//! program.
//!
//! ```text
//! instructions OPERATION WORKLOAD PAGES TURNS    does it TURNS times
//! instructions OPERATION WORKLOAD PAGES -        does it once for each line read, and answers each
//!                                                with its nanoseconds
//! ```
//!
//! The operations are `build_pages`, `build_pfns`, `fold`, `for`, `fold_frozen` and `for_frozen` of the
//! frozen list, `seek`, `equal`, `hash`, `plan`, `window`, `extend`, `join`, `to_bytes`, `from_bytes`, `from_chunks`, `from_prp`,
//! `from_sgl`, `orders`, `stats`, `read_pages`, `translate` and `translate_sorted` of as many positions as pages, `map_plan`, `map_columns` and `unmap`, each turn in a
//! new domain, `map_256`, `map_unmap_256`, `map_unmap_1` and `map_unmap_new`, which map a few pages beside a
//! list of so many pages, `tables`, which makes a
//! table of each format under limits that cut and writes none, and `fill_F` and `plain_F`, which write
//! the descriptors of format F (`sg`, `bvec`, `phys_vec`, `prp`, `sgl`, `mtt`) from a list and from an
//! array of pairs.
//! The answer ends with the number of operations' parts: pages for building, positions for seeking,
//! records for descriptors, entries for the rest. Anything else than four arguments is a smoke test:
//! all of them, once.

mod common;

use std::convert::Infallible;
use std::env;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::io;
use std::time::Instant;

use common::baselines::Sums;
use common::lists::from_pages;
use common::plain::{Format, formats, merge};
use common::workloads::Workload;
use phyr::desc::{
    self, ByteOrder, DescError, Fill, Limits, PageStructs, Place, Prp, SegmentList, Table,
    page_list,
};
use phyr::sim::{Columns, DomainOptions, Memory, SimDomain};
use phyr::{Builder, Chunk, Granule, List, MapCall, PageSizes, Phyr, Plan, Prot};

/// Positions a turn of seeking.
const SEEKS: usize = 1 << 10;

/// Where a window is: a multiple of 1 GiB.
const IOVA: u64 = 1 << 40;

const OPERATIONS: [&str; 31] = [
    "build_pages",
    "build_pfns",
    "fold",
    "for",
    "fold_frozen",
    "for_frozen",
    "seek",
    "equal",
    "hash",
    "plan",
    "window",
    "map_plan",
    "map_columns",
    "unmap",
    "map_256",
    "map_unmap_256",
    "map_unmap_1",
    "map_unmap_new",
    "tables",
    "extend",
    "join",
    "to_bytes",
    "from_bytes",
    "from_chunks",
    "from_prp",
    "from_sgl",
    "orders",
    "stats",
    "read_pages",
    "translate",
    "translate_sorted",
];

/// A turn, and the number of parts it has.
type Operation = (Box<dyn FnMut() -> u64>, u64);

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let Some((operation, workload, nr_pages, turns)) = parse(&arguments) else {
        for name in OPERATIONS {
            operation(name, Workload::Geo8, 1 << 10).0();
        }
        for format in ["sg", "bvec", "phys_vec", "prp", "sgl", "mtt"] {
            operation(&format!("fill_{format}"), Workload::Geo8, 1 << 10).0();
            operation(&format!("plain_{format}"), Workload::Geo8, 1 << 10).0();
        }
        return;
    };
    let (mut turn, parts) = self::operation(operation, workload, nr_pages);
    match turns.parse::<u64>() {
        Ok(turns) => {
            for _ in 0..turns {
                black_box(turn());
            }
        }
        Err(_) => {
            for line in io::stdin().lines() {
                line.expect("a line of standard input");
                println!("{}", turn());
            }
        }
    }
    println!("{parts}");
}

fn parse(arguments: &[String]) -> Option<(&str, Workload, usize, &str)> {
    let [operation, workload, nr_pages, turns] = arguments else { return None };
    let workload = Workload::ALL.into_iter().find(|known| known.name() == workload)?;
    Some((operation, workload, nr_pages.parse().ok()?, turns))
}

/// Nanoseconds that `work` takes. Its result is dropped after the clock stops.
fn timed<T>(work: impl FnOnce() -> T) -> u64 {
    let start = Instant::now();
    let result = black_box(work());
    let time = start.elapsed();
    drop(result);
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn operation(name: &str, workload: Workload, nr_pages: usize) -> Operation {
    let pages = workload.pages(nr_pages);
    let phyr = from_pages(&pages);
    let nr_chunks = phyr.nr_chunks();
    match name {
        "build_pages" => (Box::new(move || timed(|| from_pages(&pages))), nr_pages as u64),
        "build_pfns" => {
            let pfns: Vec<u64> = pages.iter().map(|page| page >> 12).collect();
            (Box::new(move || timed(|| from_pfns(&pfns))), nr_pages as u64)
        }
        "fold" => {
            let add = |sums: Sums, chunk: phyr::Chunk| sums.add(chunk.paddr, chunk.length);
            (Box::new(move || timed(|| phyr.chunks().fold(Sums::default(), add))), nr_chunks)
        }
        "for" => (Box::new(move || timed(|| each(&phyr))), nr_chunks),
        "fold_frozen" => {
            let frozen = phyr.freeze();
            let add = |sums: Sums, chunk: phyr::Chunk| sums.add(chunk.paddr, chunk.length);
            (Box::new(move || timed(|| frozen.chunks().fold(Sums::default(), add))), nr_chunks)
        }
        "for_frozen" => {
            let frozen = phyr.freeze();
            (Box::new(move || timed(|| each(&frozen))), nr_chunks)
        }
        "seek" => {
            let positions = workload.positions(nr_pages, SEEKS);
            (Box::new(move || timed(|| seek(&phyr, &positions))), SEEKS as u64)
        }
        "equal" => {
            let twin = from_pages(&pages);
            (Box::new(move || timed(|| phyr == twin)), nr_chunks)
        }
        "hash" => {
            let hasher = RandomState::new();
            (Box::new(move || timed(|| hasher.hash_one(&phyr))), nr_chunks)
        }
        "plan" => {
            let mix = |all, call: MapCall| all ^ call.iova ^ call.paddr ^ call.pgcount;
            (Box::new(move || timed(|| plan(&phyr).fold(0, mix))), nr_chunks)
        }
        "window" => (Box::new(move || timed(|| phyr.alignment(sizes()))), nr_chunks),
        "map_plan" | "map_columns" | "unmap" => {
            let mut memory = Memory::new(1 << 40).expect("a size of memory");
            let name = name.to_owned();
            let columns = columns(&phyr);
            let turn = move || map(&name, &mut memory, &phyr, &columns);
            (Box::new(turn), nr_chunks)
        }
        "map_256" | "map_unmap_256" | "map_unmap_1" | "map_unmap_new" => short_maps(name, &phyr),
        "from_prp" | "from_sgl" => read(name, &phyr),
        "tables" => {
            let lists = from_pages(&pages);
            (Box::new(move || timed(|| tables(&phyr, &lists).expect("tables"))), 1)
        }
        _ if OPERATIONS.contains(&name) => whole(name, workload, nr_pages, phyr),
        _ => describe(name, &pages, &phyr),
    }
}

/// Operations on a whole list, or on many positions.
fn whole(name: &str, workload: Workload, nr_pages: usize, phyr: Phyr) -> Operation {
    let nr_chunks = phyr.nr_chunks();
    match name {
        "extend" => (Box::new(move || timed(|| phyr.compact())), nr_chunks),
        "join" => {
            // Lists of eight pages each.
            let part = |start| phyr.slice(start, phyr.length().min(start + (8 << 12)));
            let parts: Result<Vec<Phyr>, _> =
                (0..phyr.length()).step_by(8 << 12).map(part).collect();
            let parts = parts.expect("inside the list");
            let count = parts.len() as u64;
            (Box::new(move || timed(|| Phyr::join(&parts).expect("parts of one list"))), count)
        }
        "to_bytes" => (Box::new(move || timed(|| phyr.to_bytes())), nr_chunks),
        "from_bytes" => {
            let bytes = phyr.to_bytes();
            (Box::new(move || timed(|| Phyr::from_bytes(&bytes).expect("a list"))), nr_chunks)
        }
        "from_chunks" => {
            let chunks: Vec<Chunk> = phyr.chunks().collect();
            let turn = move || Phyr::from_chunks(chunks.iter().copied()).expect("a list");
            (Box::new(move || timed(&turn)), nr_chunks)
        }
        "stats" => (Box::new(move || timed(|| phyr.stats())), nr_chunks),
        "orders" => (Box::new(move || timed(|| phyr.orders())), nr_chunks),
        "read_pages" => {
            let mut out = vec![0; nr_pages];
            let turn = move || timed(|| phyr.pages(4096).expect("pages").read(&mut out));
            (Box::new(turn), nr_pages as u64)
        }
        _ => {
            let mut positions = workload.positions(nr_pages, nr_pages);
            if name == "translate_sorted" {
                positions.sort_unstable();
            }
            let turn = move || {
                let mut positions = positions.clone();
                timed(|| phyr.translate_all(&mut positions).expect("inside the list"))
            };
            (Box::new(turn), nr_pages as u64)
        }
    }
}

/// Makes a table of each format, and writes none.
fn tables(phyr: &Phyr, lists: &Phyr) -> Result<[Box<dyn Fill>; 7], DescError> {
    let limits =
        Limits { max_segment_size: 0x3000, seg_boundary_mask: 0xf_ffff, virt_boundary_mask: 0xfff };
    let pages = PageStructs::new(0xffff_ea00_0000_0000, 4096)?;
    Ok([
        Box::new(Table::scatterlist(phyr, pages, 0xffff_8880_0000_0000, Some(1 << 40), limits)?),
        Box::new(Table::bio_vecs(phyr, pages, limits)?),
        Box::new(Table::iovecs(phyr, 0x7f00_0000_0000, limits)?),
        Box::new(Table::phys_vecs(phyr, limits)?),
        Box::new(Prp::new(phyr, lists, 4096)?.lists),
        Box::new(SegmentList::new(phyr, lists, 4096, Limits::default())?.segments),
        Box::new(page_list(phyr, 4096, 0, ByteOrder::Big)?),
    ])
}

/// Reads a list from what an NVMe command points to.
fn read(name: &str, phyr: &Phyr) -> Operation {
    const LISTS: u64 = 1 << 50;

    let (length, usual) = (phyr.length(), Granule::default());
    let lists = Phyr::from_chunks([Chunk { paddr: LISTS, length: length * 2 }]).expect("a chunk");
    let prp = Prp::new(phyr, &lists, 4096).expect("whole pages");
    let sgl = SegmentList::new(phyr, &lists, 4096, Limits::default()).expect("no limits");
    let table: &dyn Fill = if name == "from_prp" { &prp.lists } else { &sgl.segments };
    let parts = table.count().records;
    let mut bytes = vec![0; usize::try_from(parts).expect("memory") * table.record_size()];
    table.fill(&mut Place::default(), &mut bytes);
    let memory = move |at: u64, out: &mut [u8]| {
        let at = usize::try_from(at - LISTS).expect("memory");
        out.copy_from_slice(&bytes[at..at + out.len()]);
        Ok::<(), Infallible>(())
    };
    let (prp1, prp2, sgl1) = (prp.prp1, prp.prp2, sgl.sgl1.to_bytes());
    if name == "from_prp" {
        let turn = move || desc::from_prp(prp1, prp2, length, 4096, usual, &memory);
        return (Box::new(move || timed(|| turn().expect("a list"))), parts);
    }
    let turn = move || desc::from_sgl(&sgl1, u64::MAX, usual, &memory);
    (Box::new(move || timed(|| turn().expect("a list"))), parts)
}

/// Writes descriptors, ours or those of the plain loop.
fn describe(operation: &str, pages: &[u64], phyr: &Phyr) -> Operation {
    let (how, name) = operation.split_once('_').expect("an operation");
    let format = formats(phyr).into_iter().find(|format| format.name == name);
    let Format { table, plain, .. } = format.expect("a format");
    let parts = table.count().records;
    let mut out = vec![0; usize::try_from(parts).expect("memory") * table.record_size()];
    if how == "fill" {
        return (Box::new(move || timed(|| table.fill(&mut Place::default(), &mut out))), parts);
    }
    assert_eq!(how, "plain", "no operation is called {operation}");
    let pairs = merge(pages);
    (Box::new(move || timed(|| plain(&pairs, &mut out))), parts)
}

fn from_pfns(pfns: &[u64]) -> Phyr {
    let mut builder = Builder::new();
    builder.extend_pfns(pfns).expect("page numbers are in reach");
    builder.finish()
}

fn each(list: &impl List) -> Sums {
    let mut sums = Sums::default();
    for chunk in list.chunks() {
        sums = sums.add(chunk.paddr, chunk.length);
    }
    sums
}

fn sizes() -> PageSizes {
    PageSizes::new(1 << 12 | 1 << 21 | 1 << 30).expect("sizes")
}

fn plan(phyr: &Phyr) -> Plan<'_> {
    Plan::new(phyr, IOVA, sizes()).expect("a window below 2^64")
}

/// The columns of a plan: addresses, addresses, sizes, counts.
fn columns(phyr: &Phyr) -> [Vec<u64>; 4] {
    let column = |of: fn(MapCall) -> u64| plan(phyr).map(of).collect();
    [
        column(|call| call.iova),
        column(|call| call.paddr),
        column(|call| call.pgsize),
        column(|call| call.pgcount),
    ]
}

/// Maps and unmaps a list in a new domain, whose tables the last one had: the time of one of the two.
fn map(how: &str, memory: &mut Memory, phyr: &Phyr, columns: &[Vec<u64>; 4]) -> u64 {
    let mut domain = SimDomain::new(memory, &DomainOptions::default()).expect("room for a root");
    let [iovas, paddrs, pgsizes, pgcounts] = columns;
    let map = timed(|| {
        if how == "map_columns" {
            let columns = Columns::new(iovas, paddrs, pgsizes, pgcounts).expect("equally long");
            domain.map_columns(memory, columns, Prot::READ).expect("nothing is mapped");
        } else {
            domain.map_plan(memory, plan(phyr), Prot::READ).expect("nothing is mapped");
        }
    });
    if how != "unmap" {
        // The tables stay where they are.
        return map;
    }
    let pgcount = phyr.length() >> 12;
    timed(|| domain.unmap_pages(memory, IOVA, 1 << 12, pgcount).expect("all of it is mapped"))
}

/// Maps a run of pages beside a list, in a table that other pages keep, or in a new one.
fn short_maps(how: &str, phyr: &Phyr) -> Operation {
    const TABLE: u64 = 2 << 20;
    let mut memory = Memory::new(1 << 40).expect("a size of memory");
    let mut domain =
        SimDomain::new(&mut memory, &DomainOptions::default()).expect("room for a root");
    domain.map_plan(&mut memory, plan(phyr), Prot::READ).expect("nothing is mapped");
    // The last page of each of the first tables.
    for end in (1..=16).map(|number| number * TABLE) {
        domain.map_pages(&mut memory, end - 4096, 0, 4096, 1, Prot::READ).expect("is free");
    }
    let pgcount = if how.ends_with("256") { 256 } else { 1 };
    let unmaps = how.starts_with("map_unmap");
    let mut iova = if how == "map_unmap_new" { 16 * TABLE } else { 0 };
    let turn = move || {
        timed(|| {
            domain
                .map_pages(&mut memory, iova, 1 << 30, 4096, pgcount, Prot::READ)
                .expect("is free");
            if unmaps {
                domain.unmap_pages(&mut memory, iova, 4096, pgcount).expect("was mapped");
            } else {
                iova += TABLE;
            }
        })
    };
    (Box::new(turn), pgcount)
}

fn seek(phyr: &Phyr, positions: &[u64]) -> u64 {
    let seek = |position| phyr.translate(position).expect("inside the list");
    positions.iter().fold(0, |all, &position| all ^ seek(position))
}
