//! What does it cost to write descriptors?
//!
//! Each turn writes all descriptors of a list to the same memory. Beside phyr stands a plain loop
//! over `Vec<(u64, u64)>`, as C would have it, which writes the same bytes: over the merged ranges
//! that phyr stands for, and over one pair a page, as pinning hands them out, which the loop merges
//! on the way where the format has ranges. `cargo bench --bench describe`; `PHYR_BENCH_N` sets the
//! number of pages.

mod common;

use std::iter;

use common::harness::{Race, Settings, Table};
use common::workloads::{PAGE, Workload};
use phyr::desc::{self, ByteOrder, Fill, Limits, PageStructs, Place, Prp, SegmentList};
use phyr::{Builder, Phyr};

const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
/// Longest segment of 32 bits, in whole pages.
const MOST: u64 = 0xffff_f000;

fn main() {
    let settings = Settings::read();
    let nr_pages = settings.nr_pages;
    let mut tables = [
        "scatterlist, 32 bytes",
        "bio_vec, 16 bytes",
        "phys_vec, 16 bytes",
        "PRP list, 8 bytes a page",
        "SGL, 16 bytes",
        "page list, big-endian, 8 bytes a page",
    ]
    .map(|name| Table::new(format!("{name}: ns a record, {nr_pages} pages")));
    for workload in Workload::ALL {
        let pages = workload.pages(nr_pages);
        let mut builder = Builder::new();
        builder.extend_pages(&pages).expect("page addresses are aligned and in reach");
        let phyr = builder.finish();
        let pairs = merge(&pages);
        // Blocks for descriptors, far from the data: one a descriptor and more.
        let mut builder = Builder::new();
        builder.append(1 << 50, nr_pages as u64 * 16 + (1 << 20)).expect("one chunk");
        let lists = builder.finish();

        let singles: Vec<(u64, u64)> = pages.iter().map(|&page| (page, PAGE)).collect();
        let (ranges, each) = (|| pairs.iter().copied(), || singles.iter().copied());
        let joined = || join(&singles);

        let [sg, bvec, pvec, prp, sgl, mtt] = &mut tables;
        let run = Run { workload, settings };
        let table = scatterlist(&phyr);
        run.race(sg, &table, |out| write_sg(ranges(), out), |out| write_sg(joined(), out));
        let table = bio_vecs(&phyr);
        run.race(bvec, &table, |out| write_bvecs(ranges(), out), |out| write_bvecs(joined(), out));
        let table = desc::Table::phys_vecs(&phyr, Limits::default()).expect("no limits");
        run.race(
            pvec,
            &table,
            |out| write_phys_vecs(ranges(), out),
            |out| write_phys_vecs(joined(), out),
        );
        let table = Prp::new(&phyr, &lists, PAGE).expect("whole pages").lists;
        run.race(prp, &table, |out| write_prps(ranges(), out), |out| write_prps(each(), out));
        let table = SegmentList::new(&phyr, &lists, PAGE, Limits::default());
        let table = table.expect("no limits").segments;
        run.race(sgl, &table, |out| write_sgl(ranges(), out), |out| write_sgl(joined(), out));
        let table = desc::page_list(&phyr, PAGE, 3, ByteOrder::Big).expect("whole pages");
        run.race(mtt, &table, |out| write_mtt(ranges(), out), |out| write_mtt(each(), out));
    }
    for table in &tables {
        println!("{table}");
    }
}

fn scatterlist(phyr: &Phyr) -> impl Fill {
    let pages = PageStructs::new(VMEMMAP, PAGE).expect("a page size");
    desc::Table::scatterlist(phyr, pages, 0, None, Limits::default()).expect("no limits")
}

fn bio_vecs(phyr: &Phyr) -> impl Fill {
    let pages = PageStructs::new(VMEMMAP, PAGE).expect("a page size");
    desc::Table::bio_vecs(phyr, pages, Limits::default()).expect("no limits")
}

/// A workload, and how often to run it.
#[derive(Clone, Copy)]
struct Run {
    workload: Workload,
    settings: Settings,
}

impl Run {
    /// All write the same bytes; then they race. The loop over single pages only where there is
    /// something to merge.
    fn race(
        self,
        times: &mut Table,
        table: &impl Fill,
        plain: impl Fn(&mut [u8]) -> usize,
        paged: impl Fn(&mut [u8]) -> usize,
    ) {
        let name = self.workload.name();
        let count = usize::try_from(table.nr_records()).expect("as many as pages, at most");
        let size = count * table.record_size();
        let [mut ours, mut theirs, mut singly] = [(); 3].map(|()| vec![0; size]);
        assert_eq!(table.fill(&mut Place::default(), &mut ours), size);
        assert_eq!(plain(&mut theirs), size);
        assert_eq!(paged(&mut singly), size);
        assert!(ours == theirs && ours == singly, "{name}: the bytes differ");
        let mut race = Race::default();
        race.add("plain loop", count, || plain(&mut theirs));
        race.add("phyr", count, || table.fill(&mut Place::default(), &mut ours));
        let mut timings = race.run(self.settings);
        if matches!(self.workload, Workload::Huge2m | Workload::Contig) {
            // By itself: many pages would drive what the others read out of the caches.
            let mut race = Race::default();
            race.add("plain loop over pages", count, || paged(&mut singly));
            timings.extend(race.run(self.settings));
        }
        times.times(name, &timings);
    }
}

fn merge(pages: &[u64]) -> Vec<(u64, u64)> {
    let mut pairs: Vec<(u64, u64)> = Vec::new();
    for &page in pages {
        match pairs.last_mut() {
            Some((paddr, length)) if *paddr + *length == page => *length += PAGE,
            _ => pairs.push((page, PAGE)),
        }
    }
    pairs
}

/// Ranges, found while walking over single pages.
fn join(singles: &[(u64, u64)]) -> impl Iterator<Item = (u64, u64)> {
    let mut left = singles.iter().copied().peekable();
    iter::from_fn(move || {
        let (paddr, mut length) = left.next()?;
        while left.next_if(|&(next, _)| next == paddr + length).is_some() {
            length += PAGE;
        }
        Some((paddr, length))
    })
}

/// Records written one after the other, as through a C pointer.
struct Out<'a, const N: usize> {
    slots: &'a mut [[u8; N]],
    at: usize,
}

impl<'a, const N: usize> Out<'a, N> {
    fn new(out: &'a mut [u8]) -> Self {
        Self { slots: out.as_chunks_mut().0, at: 0 }
    }

    #[inline]
    fn put(&mut self, words: &[u64]) {
        for (slot, word) in self.slots[self.at].chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        self.at += 1;
    }

    fn bytes(&self) -> usize {
        self.at * N
    }
}

fn to_page(paddr: u64) -> u64 {
    VMEMMAP + paddr / PAGE * 64
}

fn write_sg(pairs: impl Iterator<Item = (u64, u64)>, out: &mut [u8]) -> usize {
    let mut out = Out::<32>::new(out);
    let last = out.slots.len() - 1;
    for (mut paddr, mut length) in pairs {
        while length > 0 {
            if out.at % 128 == 127 && out.at != last {
                out.put(&[((out.at as u64 + 1) * 32) | 1, 0, 0, 0]);
            }
            let part = length.min(MOST);
            let end = if out.at == last { 2 } else { 0 };
            out.put(&[to_page(paddr) | end, (paddr % PAGE) | (part << 32), 0, 0]);
            paddr += part;
            length -= part;
        }
    }
    out.bytes()
}

fn write_bvecs(pairs: impl Iterator<Item = (u64, u64)>, out: &mut [u8]) -> usize {
    let mut out = Out::<16>::new(out);
    for (mut paddr, mut length) in pairs {
        while length > 0 {
            let part = length.min(MOST);
            out.put(&[to_page(paddr), part | ((paddr % PAGE) << 32)]);
            paddr += part;
            length -= part;
        }
    }
    out.bytes()
}

fn write_phys_vecs(pairs: impl Iterator<Item = (u64, u64)>, out: &mut [u8]) -> usize {
    let mut out = Out::<16>::new(out);
    for (paddr, length) in pairs {
        out.put(&[paddr, length]);
    }
    out.bytes()
}

fn write_prps(pairs: impl Iterator<Item = (u64, u64)>, out: &mut [u8]) -> usize {
    let mut out = Out::<8>::new(out);
    let last = out.slots.len() - 1;
    let mut is_first = true;
    for (mut paddr, mut length) in pairs {
        while length > 0 {
            if is_first {
                is_first = false;
            } else {
                if out.at % 512 == 511 && out.at != last {
                    out.put(&[(1 << 50) + (out.at as u64 + 1) * 8]);
                }
                out.put(&[paddr]);
            }
            paddr += PAGE;
            length -= PAGE;
        }
    }
    out.bytes()
}

fn write_sgl(pairs: impl Iterator<Item = (u64, u64)>, out: &mut [u8]) -> usize {
    let mut out = Out::<16>::new(out);
    let count = out.slots.len();
    for (mut paddr, mut length) in pairs {
        while length > 0 && count > 0 {
            if out.at % 256 == 255 && out.at + 1 != count {
                let next = out.at + 1;
                let records = (count - next).min(256) as u64;
                let kind = if next + 256 >= count { 0x30 } else { 0x20 };
                out.put(&[(1 << 50) + next as u64 * 16, (records * 16) | (kind << 56)]);
            }
            let part = length.min(MOST);
            out.put(&[paddr, part]);
            paddr += part;
            length -= part;
        }
    }
    out.bytes()
}

fn write_mtt(pairs: impl Iterator<Item = (u64, u64)>, out: &mut [u8]) -> usize {
    let mut out = Out::<8>::new(out);
    for (mut paddr, mut length) in pairs {
        while length > 0 {
            out.put(&[(paddr | 3).swap_bytes()]);
            paddr += PAGE;
            length -= PAGE;
        }
    }
    out.bytes()
}
