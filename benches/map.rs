//! What does it cost to plan a mapping, to choose its window, and to map and unmap?
//!
//! Counts first: the calls of a plan, and what each kind of mapping allocates. The domain of the times
//! counts its calls and does nothing else. `cargo bench --bench map`; `PHYR_BENCH_N` sets the number
//! of pages.

mod common;

use std::convert::Infallible;

use common::counting::{Counting, counted};
use common::harness::{Race, Settings, Table};
use common::lists::from_pages;
use common::workloads::Workload;
use phyr::{BusOffset, Direct, DmaBackend, IommuDomain, Linear, PageSizes, Phyr, Plan, Prot};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SIZES: u64 = 1 << 12 | 1 << 21 | 1 << 30;
const FIRST: u64 = 1 << 40;

/// A domain that adds up what it is asked for.
#[derive(Default)]
struct Tally {
    calls: u64,
    pages: u64,
}

impl IommuDomain for Tally {
    type Error = Infallible;

    fn page_sizes(&self) -> PageSizes {
        sizes()
    }

    fn map_pages(
        &mut self,
        iova: u64,
        paddr: u64,
        _pgsize: u64,
        pgcount: u64,
        _prot: Prot,
    ) -> Result<(), Infallible> {
        self.calls += 1;
        self.pages ^= iova ^ paddr ^ pgcount;
        Ok(())
    }

    fn unmap_pages(&mut self, iova: u64, _pgsize: u64, pgcount: u64) -> Result<(), Infallible> {
        self.calls += 1;
        self.pages ^= iova ^ pgcount;
        Ok(())
    }

    fn iova_to_phys(&self, _iova: u64) -> Option<u64> {
        None
    }
}

fn sizes() -> PageSizes {
    PageSizes::new(SIZES).expect("there are three")
}

/// Where the window lies.
fn window(phyr: &Phyr) -> u64 {
    FIRST + phyr.alignment(sizes()).residue
}

fn main() {
    let settings = Settings::read();
    let nr_pages = settings.nr_pages;
    let mut counts = Table::new(format!("Calls, and allocations of a mapping, {nr_pages} pages"));
    let mut times = Table::new(format!("Mapping, ns a chunk, {nr_pages} pages"));
    for workload in Workload::ALL {
        let phyr = from_pages(&workload.pages(nr_pages));
        let iova = window(&phyr);
        let plan = || Plan::new(&phyr, iova, sizes()).expect("a window below 2^64");
        check(&phyr, iova);

        let both = |backend: &mut Linear<'_, Tally>| {
            let dma = backend.map(&phyr, Prot::READ).expect("a tally takes all");
            backend.unmap(&phyr, &dma).expect("a tally takes all");
        };
        let mut tally = Tally::default();
        let linear = counted(|| both(&mut Linear::new(&mut tally, iova))).1.allocations;
        let direct = counted(|| Direct.map(&phyr, Prot::READ)).1.allocations;
        let offset = counted(|| BusOffset { offset: 4096 }.map(&phyr, Prot::READ)).1;
        // One entry or the same list: no heap, however many pages.
        assert_eq!((linear, direct), (0, 0));
        assert!(offset.largest <= 4096);
        let cell = |name: &str, count: u64| (name.to_owned(), format!("{count}"));
        counts.column(
            workload.name(),
            [
                cell("chunks", phyr.nr_chunks()),
                cell("calls to map", plan().count() as u64),
                cell("calls to unmap", plan().unmaps().count() as u64),
                cell("allocations, direct", direct),
                cell("allocations, linear", linear),
                cell("allocations, bus offset", offset.allocations),
            ]
            .into_iter(),
        );

        let chunks = usize::try_from(phyr.nr_chunks()).expect("in memory");
        let mut race = Race::default();
        race.add("walk the chunks", chunks, || {
            phyr.chunks().fold(0, |all, chunk| all ^ chunk.paddr ^ chunk.length)
        });
        race.add("plan", chunks, || {
            plan().fold(0, |all, call| all ^ call.iova ^ call.paddr ^ call.pgcount)
        });
        race.add("plan, call by call", chunks, || {
            let mut all = 0;
            for call in plan() {
                all ^= call.iova ^ call.paddr ^ call.pgcount;
            }
            all
        });
        race.add("choose the window", chunks, || window(&phyr));
        race.add("direct", chunks, || Direct.map(&phyr, Prot::READ));
        race.add("bus offset", chunks, || BusOffset { offset: 4096 }.map(&phyr, Prot::READ));
        race.add("linear, map and unmap", chunks, || {
            let mut tally = Tally::default();
            both(&mut Linear::new(&mut tally, iova));
            tally.calls
        });
        times.times(workload.name(), &race.run(settings));
    }
    println!("{counts}\n{times}");
}

/// The plan maps the whole list, each byte where it should be.
fn check(phyr: &Phyr, iova: u64) {
    let mut at = iova;
    for call in Plan::new(phyr, iova, sizes()).expect("a window below 2^64") {
        assert_eq!(call.iova, at);
        assert_eq!(phyr.translate(at - iova), Ok(call.paddr));
        at += call.length();
    }
    assert_eq!(at - iova, phyr.length());
}
