//! Lists from descriptors and ranges, and counts of blocks, beside the same loop over plain words. That
//! loop makes a `Vec`, joins neighbours, and refuses what a list refuses.
//!
//! `cargo bench --bench parse`; `PHYR_BENCH_N` sets the number of pages.

mod common;

use std::convert::Infallible;

use common::checked as plain;
use common::harness::{Race, Settings, Table};
use common::lists::from_pages;
use common::workloads::{PAGE, Workload};
use phyr::desc::{self, Fill, Limits, PageStructs, Place, Prp, SegmentList};
use phyr::{Builder, Chunk, Granule, Phyr};

/// Where the kernel's array of `struct page` starts.
const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
/// Where descriptors lie in memory.
const LISTS: u64 = 1 << 50;

fn main() {
    let settings = Settings::read();
    let nr_pages = settings.nr_pages;
    let mut table =
        Table::new(format!("Lists from descriptors, ns a record or chunk, {nr_pages} pages"));
    for workload in Workload::ALL {
        let phyr = from_pages(&workload.pages(nr_pages));
        let count = usize::try_from(phyr.nr_chunks()).expect("memory");
        let pages = PageStructs::new(VMEMMAP, PAGE).expect("a page size");
        let none = Limits::default();
        let usual = Granule::default();
        let mut builder = Builder::new();
        builder.append(LISTS, phyr.length() / PAGE * 16 + (1 << 20)).expect("one chunk");
        let lists = builder.finish();
        let sg = filled(&desc::Table::scatterlist(&phyr, pages, 0, None, none).expect("no limits"));
        let prp = Prp::new(&phyr, &lists, PAGE).expect("whole pages");
        let entries = filled(&prp.lists);
        let sgl = SegmentList::new(&phyr, &lists, PAGE, none).expect("no limits");
        let segments = filled(&sgl.segments);
        let sgl1 = sgl.sgl1.to_bytes();
        let vecs = filled(&desc::Table::phys_vecs(&phyr, none).expect("no limits"));
        let pairs: Vec<(u64, u64)> = phyr.chunks().map(|c| (c.paddr, c.length)).collect();

        let mut race = Race::default();
        race.add("scatterlist, plain", count, || plain::scatterlist(&sg, VMEMMAP).expect("ranges"));
        race.add("from_scatterlist", count, || {
            desc::from_scatterlist(&sg, pages, 0, false, usual).expect("a list")
        });
        race.add("SGL, plain", count, || plain::sgl(sgl1, reader(&segments)).expect("ranges"));
        race.add("from_sgl", count, || {
            desc::from_sgl(&sgl1, u64::MAX, usual, reader(&segments)).expect("a list")
        });
        race.add("PRP, plain", nr_pages, || {
            plain::prp(prp.prp1, prp.prp2, phyr.length(), reader(&entries)).expect("ranges")
        });
        race.add("from_prp", nr_pages, || {
            let length = phyr.length();
            desc::from_prp(prp.prp1, prp.prp2, length, PAGE, usual, reader(&entries))
                .expect("a list")
        });
        race.add("phys_vec, plain", count, || plain::phys_vecs(&vecs).expect("ranges"));
        race.add("from_phys_vecs", count, || desc::from_phys_vecs(&vecs, usual).expect("a list"));
        race.add("chunks, plain", count, || plain::merge(pairs.iter().copied()).expect("ranges"));
        race.add("from_chunks", count, || {
            let chunk = |&(paddr, length): &(u64, u64)| Chunk { paddr, length };
            Phyr::from_chunks(pairs.iter().map(chunk)).expect("a list")
        });
        race.add("orders, plain", count, || orders(&pairs));
        race.add("orders", count, || phyr.orders());
        assert_eq!(orders(&pairs), phyr.orders());
        assert!(desc::from_sgl(&sgl1, u64::MAX, usual, reader(&segments)).expect("a list") == phyr);
        assert_eq!(plain::sgl(sgl1, reader(&segments)).as_ref(), Some(&pairs));
        assert_eq!(plain::scatterlist(&sg, VMEMMAP).as_ref(), Some(&pairs));
        let read = plain::prp(prp.prp1, prp.prp2, phyr.length(), reader(&entries));
        assert_eq!(read.as_ref(), Some(&pairs));
        table.times(workload.name(), &race.run(settings));
    }
    println!("{table}");
}

/// The bytes of a table.
fn filled(table: &dyn Fill) -> Vec<u8> {
    let records = usize::try_from(table.count().records).expect("memory");
    let mut out = vec![0; records * table.record_size()];
    table.fill(&mut Place::default(), &mut out);
    out
}

/// Reads the memory where descriptors lie.
fn reader(bytes: &[u8]) -> impl FnMut(u64, &mut [u8]) -> Result<(), Infallible> {
    |at, out| {
        let at = usize::try_from(at - LISTS).expect("memory");
        out.copy_from_slice(&bytes[at..at + out.len()]);
        Ok(())
    }
}

/// The plain loop: the largest aligned block that fits, again and again.
fn orders(pairs: &[(u64, u64)]) -> [u64; 53] {
    let mut counts = [0; 53];
    for &(paddr, length) in pairs {
        let (mut pfn, mut left) = (paddr / PAGE, length / PAGE);
        while left > 0 {
            let order = pfn.trailing_zeros().min(left.ilog2());
            counts[order as usize] += 1;
            pfn += 1 << order;
            left -= 1 << order;
        }
    }
    counts
}
