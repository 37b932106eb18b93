//! The data of operations, and how they are counted.

use std::cell::Cell;
use std::convert::Infallible;
use std::hint::black_box;
use std::process;

use phyr::desc::{Fill, Limits, PageStructs, Place};
use phyr::sim::{DomainOptions, Memory, ScatterOptions, SimDomain};
use phyr::{Builder, Chunk, Frozen, Granule, IovaMap, PageSizes, Phyr, Plan, Prot};

pub(crate) const PAGE: u64 = 4096;
pub(crate) const IOVA: u64 = 1 << 40;
/// Where descriptors lie in memory.
const LISTS: u64 = 1 << 50;

thread_local! {
    /// Calls of [`measured`].
    static MEASURED: Cell<u64> = const { Cell::new(0) };
}

/// How often [`measured`] was called.
pub(crate) fn calls() -> u64 {
    MEASURED.get()
}

/// Does the work that is counted. Its result is dropped afterwards.
pub(crate) fn measured<T>(work: impl FnOnce() -> T) -> T {
    MEASURED.set(MEASURED.get() + 1);
    // For all the compiler knows, the calls read what the work changes: so it stays between them.
    let work = black_box(work);
    black_box(process::id());
    let result = black_box(work());
    black_box(process::id());
    result
}

/// The data of operations on `n` chunks of one to eight pages, none of which touches the next.
pub(crate) struct Data {
    pub(crate) n: u64,
    pub(crate) chunks: Vec<Chunk>,
    /// Addresses and numbers of single pages that do not touch.
    pub(crate) pages: Vec<u64>,
    pub(crate) pfns: Vec<u64>,
    pub(crate) phyr: Phyr,
    pub(crate) twin: Phyr,
    pub(crate) frozen: Frozen,
    pub(crate) twin_frozen: Frozen,
    /// Parts of the list, as many as it has chunks.
    pub(crate) parts: Vec<Phyr>,
    pub(crate) frozen_parts: Vec<Frozen>,
    pub(crate) positions: Vec<u64>,
    /// Pages for descriptors.
    pub(crate) lists: Phyr,
}

impl Data {
    pub(crate) fn new(n: u64) -> Self {
        let chunk =
            |at: u64| Chunk { paddr: (256 + at * 16) * PAGE, length: (1 + at * 7 % 8) * PAGE };
        let chunks: Vec<Chunk> = (0..n).map(chunk).collect();
        let list = || Phyr::from_chunks(chunks.iter().copied()).expect("chunks");
        let phyr = list();
        let part = phyr.length() / n / PAGE * PAGE;
        let parts: Vec<Phyr> =
            (0..n).map(|at| phyr.slice(at * part, (at + 1) * part).expect("inside")).collect();
        let room = Chunk { paddr: LISTS, length: (phyr.length() + (1 << 20)) / PAGE * PAGE };
        Self {
            n,
            pages: (0..n).map(|at| (256 + at * 3) * PAGE).collect(),
            pfns: (0..n).map(|at| 256 + at * 3).collect(),
            twin: list(),
            frozen: phyr.freeze(),
            twin_frozen: list().freeze(),
            frozen_parts: parts.iter().map(Phyr::freeze).collect(),
            positions: (0..n).map(|at| at * 0x9e37_79b9 % phyr.length()).collect(),
            lists: Phyr::from_chunks([room]).expect("a chunk"),
            parts,
            chunks,
            phyr,
        }
    }

    pub(crate) fn full(&self) -> Builder {
        let mut builder = Builder::new();
        builder.extend_chunks(self.chunks.iter().copied()).expect("chunks");
        builder
    }

    pub(crate) fn singles(&self) -> Phyr {
        let mut builder = Builder::new();
        builder.extend_pages(&self.pages).expect("pages");
        builder.finish()
    }

    pub(crate) fn map(&self) -> IovaMap<u64> {
        let mut map = IovaMap::new();
        for (at, part) in (0..).zip(&self.parts) {
            map.map(at << 20, part.clone(), at).expect("free");
        }
        map
    }

    /// Records of a page map: each of a page that is present.
    pub(crate) fn records(&self) -> Vec<u64> {
        self.pfns.iter().map(|pfn| 1 << 63 | pfn).collect()
    }

    pub(crate) fn plan(&self) -> Plan<'_> {
        Plan::new(&self.phyr, IOVA, sizes()).expect("aligned")
    }

    pub(crate) fn columns(&self) -> [Vec<u64>; 4] {
        [
            self.plan().map(|call| call.iova).collect(),
            self.plan().map(|call| call.paddr).collect(),
            self.plan().map(|call| call.pgsize).collect(),
            self.plan().map(|call| call.pgcount).collect(),
        ]
    }

    /// A domain that maps the list, and its memory.
    pub(crate) fn mapped(&self) -> (Memory, SimDomain) {
        let (mut memory, mut domain) = empty();
        domain.map_plan(&mut memory, self.plan(), Prot::READ | Prot::WRITE).expect("free");
        (memory, domain)
    }

    /// Runs `work` for the number of each part.
    pub(crate) fn each<T>(&self, mut work: impl FnMut(u64) -> T) {
        measured(|| (0..self.n).for_each(|at| done(black_box(work(at)))));
    }

    /// Runs `work` for each position.
    pub(crate) fn each_position<T>(&self, mut work: impl FnMut(u64) -> T) {
        measured(|| self.positions.iter().for_each(|&at| done(black_box(work(at)))));
    }
}

pub(crate) fn sizes() -> PageSizes {
    PageSizes::new(1 << 12 | 1 << 21 | 1 << 30).expect("sizes")
}

pub(crate) fn structs() -> PageStructs {
    PageStructs::new(0xffff_ea00_0000_0000, PAGE).expect("a page size")
}

pub(crate) fn usual() -> Granule {
    Granule::default()
}

pub(crate) fn none() -> Limits {
    Limits::default()
}

/// A memory with room for every list, and a domain.
pub(crate) fn empty() -> (Memory, SimDomain) {
    let mut memory = Memory::new(1 << 40).expect("a size");
    let domain = SimDomain::new(&mut memory, &DomainOptions::default()).expect("room");
    (memory, domain)
}

/// A memory, and as many of its pages as a list has chunks.
pub(crate) fn scattered(d: &Data) -> (Memory, Phyr, Vec<u8>) {
    let mut memory = Memory::new(1 << 40).expect("a size");
    let phyr = memory.scatter(d.n * PAGE, &ScatterOptions::default()).expect("room");
    let bytes = vec![7; usize::try_from(d.n * PAGE).expect("memory")];
    memory.write(&phyr, &bytes).expect("inside");
    (memory, phyr, bytes)
}

/// The bytes of a table.
pub(crate) fn filled(table: &impl Fill) -> Vec<u8> {
    let mut out =
        vec![0; usize::try_from(table.count().records).expect("memory") * table.record_size()];
    table.fill(&mut Place::default(), &mut out);
    out
}

/// Reads the memory where descriptors lie; it is zeros behind them.
pub(crate) fn reader(bytes: &[u8]) -> impl FnMut(u64, &mut [u8]) -> Result<(), Infallible> {
    |at, out| {
        let rest = &bytes[usize::try_from(at - LISTS).expect("memory").min(bytes.len())..];
        let len = out.len().min(rest.len());
        out.fill(0);
        out[..len].copy_from_slice(&rest[..len]);
        Ok(())
    }
}

/// Drops a result, of whatever type.
pub(crate) fn done<T>(_result: T) {}
