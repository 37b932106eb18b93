//! The cost of planning a mapping, choosing its window, mapping and unmapping.
//!
//! Counts first: the calls of a plan, and what each kind of mapping allocates. The domain of most times
//! counts its calls and does nothing else; then one with page tables. Last, what the list of a window
//! costs, which does not depend on what is under it. `cargo bench --bench map`; `PHYR_BENCH_N` sets the number
//! of pages.

mod common;

use std::cell::RefCell;
use std::convert::Infallible;

use common::counting::{Counting, counted};
use common::harness::{Race, Settings, Table, Timing};
use common::lists::from_pages;
use common::workloads::Workload;
use phyr::sim::{Attached, DomainOptions, Memory, SimDomain};
use phyr::{Direct, DmaBackend, IommuDomain, Linear, PageSizes, Phyr, Plan, Prot};

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
    let mut calls = Table::new(format!("A window, ns a call to the domain, {nr_pages} pages"));
    let mut pages = Table::new(format!(
        "A window through SimDomain, map and unmap, ns a page, {nr_pages} pages"
    ));
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
        let offset = counted(|| phyr.shift(4096)).1;
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
        race.add("bus offset", chunks, || phyr.shift(4096));
        race.add("linear, map and unmap", chunks, || {
            let mut tally = Tally::default();
            both(&mut Linear::new(&mut tally, iova));
            tally.calls
        });
        times.times(workload.name(), &race.run(settings));

        let nr_calls = plan().count();
        let mut race = Race::default();
        race.add("plan, walked", nr_calls, || {
            plan().fold(0, |all, call| all ^ call.iova ^ call.paddr ^ call.pgcount)
        });
        race.add("plan, call by call", nr_calls, || {
            let mut all = 0;
            for call in plan() {
                all ^= call.iova ^ call.paddr ^ call.pgcount;
            }
            all
        });
        race.add("Linear, map, a domain that does nothing", nr_calls, || {
            let mut tally = Tally::default();
            Linear::new(&mut tally, iova).map(&phyr, Prot::READ).expect("a tally takes all")
        });
        calls.times(workload.name(), &race.run(settings));
        pages.times(workload.name(), &simulated(&phyr, iova, settings));
    }
    println!("{counts}\n{times}\n{calls}\n{pages}\n{}", bytes(settings));
}

/// Times of a window through page tables: by a call for each call of the plan, and by all of it.
fn simulated(phyr: &Phyr, iova: u64, settings: Settings) -> Vec<Timing> {
    let mut memory = Memory::new(1 << 40).expect("a size of memory");
    let mut domain = SimDomain::new(&mut memory, &DomainOptions::default()).expect("room");
    let (memory, domain) = (RefCell::new(&mut memory), RefCell::new(&mut domain));
    let nr_pages = usize::try_from(phyr.length() >> 12).expect("in memory");
    let mut race = Race::default();
    race.add("map_plan, and one unmap_pages", nr_pages, || {
        let (memory, domain) = (&mut **memory.borrow_mut(), &mut **domain.borrow_mut());
        let plan = Plan::new(phyr, iova, sizes()).expect("a window below 2^64");
        domain.map_plan(memory, plan, Prot::READ).expect("nothing is mapped");
        domain.unmap_pages(memory, iova, 1 << 12, phyr.length() >> 12).expect("all is mapped");
    });
    race.add("Linear, map and unmap", nr_pages, || {
        let (memory, domain) = (&mut **memory.borrow_mut(), &mut **domain.borrow_mut());
        let mut iommu = Attached { domain, memory };
        let mut linear = Linear::new(&mut iommu, iova);
        let dma = linear.map(phyr, Prot::READ).expect("nothing is mapped");
        linear.unmap(phyr, &dma).expect("all is mapped");
    });
    race.run(settings)
}

/// The bytes of the list that a linear map takes, which grow with it, and of the list that it returns,
/// which do not.
fn bytes(settings: Settings) -> Table {
    let lengths = if settings.is_bench { [10, 24] } else { [10, 12] };
    let mut table = Table::new("Bytes of a list, object and heap");
    for workload in Workload::ALL {
        let sizes = lengths.map(|lg2| {
            let phyr = from_pages(&workload.pages(1 << lg2));
            let mut tally = Tally::default();
            let mut linear = Linear::new(&mut tally, window(&phyr));
            let (dma, counts) = counted(|| linear.map(&phyr, Prot::READ).expect("takes all"));
            let heap = u64::try_from(counts.taken).expect("given, not taken back");
            let own = size_of_val(&dma) as u64;
            (own + phyr.stats().storage, own + heap)
        });
        // However long the list.
        assert_eq!(sizes[0].1, sizes[1].1);
        let cells = lengths.iter().zip(sizes).flat_map(|(lg2, (list, dma))| {
            [
                (format!("2^{lg2} pages: the list"), list.to_string()),
                (format!("2^{lg2} pages: its window"), dma.to_string()),
            ]
        });
        table.column(workload.name(), cells);
    }
    table
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
