//! Unmapping allocates nothing, nor does undoing a map that failed: an allocator counts.
#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "../benches/common/counting.rs"]
mod counting;
#[path = "../benches/common/workloads.rs"]
#[expect(dead_code, reason = "benches use the rest")]
mod workloads;

use counting::{Counting, Counts, counted};
use phyr::sim::{Attached, DomainOptions, Memory, SimDomain};
use phyr::{Builder, DmaBackend, Linear, MapCall, PageSizes, Phyr, Plan, Prot};
use workloads::Workload;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const K4: u64 = 4 << 10;
const M2: u64 = 2 << 20;
const G1: u64 = 1 << 30;

/// Page size, pages mapped, and the parts to unmap, in order: first page, and pages.
type Case = (u64, u64, &'static [(u64, u64)]);

/// Where windows are: a multiple of 1 GiB, so that their tables begin there.
const IOVA: u64 = 5 * G1;

fn machine() -> (Memory, SimDomain) {
    let mut memory = Memory::new(1 << 40).unwrap();
    let domain = SimDomain::new(&mut memory, &DomainOptions::default()).unwrap();
    (memory, domain)
}

fn list(workload: Workload, nr_pages: usize) -> Phyr {
    let mut builder = Builder::new();
    builder.extend_pages(&workload.pages(nr_pages)).unwrap();
    builder.finish()
}

fn sizes() -> PageSizes {
    PageSizes::new(K4 | M2 | G1).unwrap()
}

/// The requests of some work to the allocator: none but to free blocks.
fn assert_allocates_nothing<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (result, counts) = counted(work);
    assert_eq!((counts.allocations, counts.largest), (0, 0), "{what}: {counts:?}");
    result
}

#[test]
fn the_counter_counts() {
    assert_eq!(counted(|| Box::new(7)).1.allocations, 1);
}

#[test]
fn unmapping_pages_allocates_nothing_however_they_lie() {
    let cases: [Case; 8] = [
        (K4, 1, &[(0, 1)]),
        (K4, 512, &[(0, 512)]),
        (K4, 1 << 18, &[(0, 1 << 18)]),
        (K4, 1 << 15, &[(700, 20_000), (0, 700), (20_700, (1 << 15) - 20_700)]),
        (K4, 1 << 12, &[(512, 512), (0, 512), (3072, 1024), (1024, 2048)]),
        (M2, 3 << 9, &[(1, 1), (0, 1), (2, 1534)]),
        (G1, 3, &[(2, 1), (0, 2)]),
        (G1, 600, &[(100, 500), (0, 100)]),
    ];
    for (pgsize, pgcount, parts) in cases {
        let (mut memory, mut domain) = machine();
        let (free, resident) = (memory.free_bytes(), memory.resident());
        domain.map_pages(&mut memory, IOVA, 0, pgsize, pgcount, Prot::READ).unwrap();
        for &(first, count) in parts {
            let iova = IOVA + first * pgsize;
            assert_allocates_nothing(&format!("{count} pages of {pgsize:#x}"), || {
                domain.unmap_pages(&mut memory, iova, pgsize, count)
            })
            .unwrap();
            assert_eq!(domain.iova_to_phys(&memory, iova), None);
        }
        assert_eq!(domain.counters().table_pages, 1);
        assert_eq!((memory.free_bytes(), memory.resident()), (free, resident));
    }
}

#[test]
fn a_refused_unmap_allocates_nothing() {
    let (mut memory, mut domain) = machine();
    domain.map_pages(&mut memory, IOVA, 0, K4, 600, Prot::READ).unwrap();
    domain.map_pages(&mut memory, IOVA + G1, 0, M2, 1, Prot::READ).unwrap();
    for (iova, pgcount) in [(IOVA, 601), (IOVA - K4, 2), (IOVA + G1, 1), (0, 0), (1, 1)] {
        assert_allocates_nothing("refused", || {
            domain.unmap_pages(&mut memory, iova, K4, pgcount).unwrap_err()
        });
    }
}

#[test]
fn tables_given_back_page_by_page_in_any_order_allocate_nothing() {
    let (mut memory, mut domain) = machine();
    let (free, nr_tables) = (memory.free_bytes(), 1000);
    // One page in each of as many tables.
    for table in 0..nr_tables {
        domain.map_pages(&mut memory, table * M2, 0, K4, 1, Prot::READ).unwrap();
    }
    for turn in 0..nr_tables {
        // 389 has no factor in common with 1000.
        let (iova, before) = (turn * 389 % nr_tables * M2, memory.free_bytes());
        assert_allocates_nothing("a page", || domain.unmap_pages(&mut memory, iova, K4, 1))
            .unwrap();
        // Memory that was given back is free at once.
        assert!(memory.free_bytes() > before);
    }
    assert_eq!(memory.free_bytes(), free);
    // And can be had by others, all of it in one piece.
    let whole = memory.alloc(free, None, 1).unwrap();
    assert_eq!(whole.nr_chunks(), 1);
}

#[test]
fn a_linear_window_is_unmapped_without_an_allocation() {
    for workload in Workload::ALL {
        let (mut memory, mut domain) = machine();
        let phyr = list(workload, 1 << 14);
        let iova = IOVA + phyr.alignment(sizes()).residue;
        let mut iommu = Attached { domain: &mut domain, memory: &mut memory };
        let mut linear = Linear::new(&mut iommu, iova);
        let dma = linear.map(&phyr, Prot::READ).unwrap();
        assert_allocates_nothing(workload.name(), || linear.unmap(&phyr, &dma).unwrap());
        assert_eq!(domain.counters().table_pages, 1);
    }
}

#[test]
fn walking_a_plan_and_what_undoes_it_allocates_nothing() {
    for workload in Workload::ALL {
        let phyr = list(workload, 1 << 14);
        let iova = IOVA + phyr.alignment(sizes()).residue;
        let plan = assert_allocates_nothing("plan", || Plan::new(&phyr, iova, sizes())).unwrap();
        let mix = |all: u64, call: MapCall| all ^ call.paddr;
        let walks: [(&str, &dyn Fn() -> u64); 4] = [
            ("fold", &|| plan.clone().fold(0, mix)),
            ("next", &|| {
                let mut all = 0;
                for call in plan.clone() {
                    all = mix(all, call);
                }
                all
            }),
            ("unmaps, fold", &|| plan.clone().unmaps().fold(0, |all, run| all ^ run.iova)),
            ("unmaps, next", &|| {
                let mut all = 0;
                for run in plan.clone().unmaps() {
                    all ^= run.iova;
                }
                all
            }),
        ];
        for (name, walk) in walks {
            assert_allocates_nothing(&format!("{name} of {workload:?}"), walk);
        }
    }
}

/// The requests to the allocator of mapping a plan in a new domain.
fn batch(calls: &[MapCall]) -> (bool, Counts) {
    let (mut memory, mut domain) = machine();
    let (free, resident) = (memory.free_bytes(), memory.resident());
    let (outcome, counts) =
        counted(|| domain.map_batch(&mut memory, calls.iter().copied(), Prot::READ));
    if outcome.is_err() {
        assert_eq!((memory.free_bytes(), memory.resident()), (free, resident));
        assert_eq!(domain.counters().table_pages, 1);
    }
    (outcome.is_ok(), counts)
}

#[test]
fn undoing_a_failed_batch_allocates_nothing() {
    let phyr = list(Workload::Folio, 1 << 13);
    let calls: Vec<_> = Plan::new(&phyr, IOVA, sizes()).unwrap().collect();
    // No address of the format.
    let wrong = MapCall { iova: IOVA - K4, paddr: 1 << 52, pgsize: K4, pgcount: 1 };
    for k in [0, 1, 2, 3, 10, 100, calls.len() / 2, calls.len()] {
        let before = &calls[..k];
        let (done, mapped) = batch(before);
        assert!(done);
        let (done, undone) = batch(&[before, &[wrong]].concat());
        assert!(!done);
        // As many as mapping alone.
        assert_eq!(undone.allocations, mapped.allocations, "call {k}");
    }
}

#[test]
fn a_map_that_finds_no_page_for_a_table_is_undone_without_an_allocation() {
    // Room for the root and these many tables, of which there must be three to map a page.
    for nr_tables in 0..6 {
        let mut memory = Memory::new((2 + nr_tables) * K4).unwrap();
        let mut domain = SimDomain::new(&mut memory, &DomainOptions::default()).unwrap();
        let free = memory.free_bytes();
        // Everything a map needs is there the second time.
        for turn in 0..2 {
            let (outcome, counts) =
                counted(|| domain.map_pages(&mut memory, 0, 0, K4, 5 << 9, Prot::READ));
            outcome.unwrap_err();
            assert_eq!(memory.free_bytes(), free);
            assert!(turn == 0 || counts.allocations <= 1, "{nr_tables} tables: {counts:?}");
        }
    }
}

#[test]
fn what_an_unmap_needs_was_set_aside_even_among_other_owners_of_memory() {
    // Pages of the memory come and go between maps and unmaps, so that runs of free pages are many.
    let (mut memory, mut domain) = machine();
    let mut held = Vec::new();
    for round in 0..40 {
        for table in 0..20 {
            let iova = (round * 20 + table) * M2;
            domain.map_pages(&mut memory, iova, 0, K4, 1, Prot::READ).unwrap();
            // The highest free page becomes somebody's: tables do not lie side by side.
            let mut builder = Builder::new();
            builder.append(memory.free_bytes(), K4).unwrap();
            let page = builder.finish();
            if memory.reserve(&page).is_ok() {
                held.push(page);
            }
        }
        for table in (0..20).filter(|table| (table + round) % 3 != 0) {
            let iova = (round * 20 + table) * M2;
            assert_allocates_nothing("a page", || domain.unmap_pages(&mut memory, iova, K4, 1))
                .unwrap();
        }
    }
    assert!(!held.is_empty());
    for page in held {
        memory.free(&page).unwrap();
    }
}
