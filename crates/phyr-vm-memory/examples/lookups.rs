//! Random lookups in four maps of 262,144 scattered pages, and the bytes each takes.
//!
//! `cargo run --release --example lookups`

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use phyr::{Builder, IovaMap};
use vm_memory::{GuestAddress, Iotlb, Permissions};

struct Counting;
static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const PAGES: u64 = 1 << 18;
const LOOKUPS: u64 = 1 << 20;
const BASE: u64 = 1 << 40;

/// One call of splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Builds a map and looks up random addresses; prints its bytes and the best of 5 rounds.
fn measure<M>(name: &str, build: impl Fn() -> M, find: impl Fn(&M, u64) -> u64) {
    let before = IN_USE.load(Relaxed);
    let map = build();
    let bytes = IN_USE.load(Relaxed) - before;
    let mut best = f64::MAX;
    let mut sum = 0;
    for _ in 0..5 {
        let mut state = 0x7365_656b_0000_0001;
        sum = 0_u64;
        let began = Instant::now();
        for _ in 0..LOOKUPS {
            sum ^= find(&map, BASE + next(&mut state) % (PAGES * 4096));
        }
        best = best.min(began.elapsed().as_secs_f64());
    }
    let ns = best * 1e9 / LOOKUPS as f64;
    println!(
        "{name:28} {:6.1} MiB {ns:6.0} ns   {:#x}",
        bytes as f64 / 1_048_576.0,
        black_box(sum)
    );
}

fn main() {
    let mut state = 0x7068_7972_0000_0001;
    let pfns: Vec<u64> = (0..PAGES).map(|_| (1 << 18) + (next(&mut state) & 0xfff_ffff)).collect();
    let list = || {
        let mut builder = Builder::new();
        builder.extend_pfns(&pfns).unwrap();
        builder.finish()
    };
    let translate = |map: &IovaMap, iova| map.translate(iova).unwrap();
    measure(
        "IovaMap, one list",
        || {
            let mut map = IovaMap::new();
            map.map(BASE, list(), ()).unwrap();
            map
        },
        translate,
    );
    measure(
        "IovaMap, 64 holes and filled",
        || {
            let mut map = IovaMap::new();
            let list = list();
            map.map(BASE, list.clone(), ()).unwrap();
            for hole in 0..64 {
                let at = (hole * 4096 + 100) * 4096;
                map.unmap(BASE + at, 4096);
                map.map(BASE + at, list.slice(at, at + 4096).unwrap(), ()).unwrap();
            }
            map
        },
        translate,
    );
    measure(
        "IovaMap, a list a page",
        || {
            let mut map = IovaMap::new();
            for (at, pfn) in (0..).zip(&pfns) {
                let mut builder = Builder::new();
                builder.extend_pfns(&[*pfn]).unwrap();
                map.map(BASE + at * 4096, builder.finish(), ()).unwrap();
            }
            map
        },
        translate,
    );
    measure(
        "BTreeMap of (address, length)",
        || -> BTreeMap<u64, (u64, u64)> {
            (0..).zip(&pfns).map(|(at, pfn)| (BASE + at * 4096, (pfn * 4096, 4096))).collect()
        },
        |map, iova| {
            let (start, (paddr, length)) = map.range(..=iova).next_back().unwrap();
            assert!(iova - start < *length);
            paddr + (iova - start)
        },
    );
    measure(
        "vm-memory's Iotlb",
        || {
            let mut map = Iotlb::new();
            for (at, pfn) in (0..).zip(&pfns) {
                let (iova, to) = (GuestAddress(BASE + at * 4096), GuestAddress(pfn * 4096));
                map.set_mapping(iova, to, 4096, Permissions::ReadWrite).unwrap();
            }
            map
        },
        |map, iova| {
            let found = Iotlb::lookup(map, GuestAddress(iova), 1, Permissions::Read).unwrap();
            found.map(|range| range.base.0).next().unwrap()
        },
    );
}
