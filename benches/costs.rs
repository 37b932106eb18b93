//! The cost of each operation: how its time grows, nanoseconds, allocations.
//!
//! `cargo bench --bench costs`; `PHYR_BENCH_N` sets the number of pages. Each row is of the workload
//! `geo8`, its time the lowest of all turns, for a call or for each chunk, page or
//! position of one: a machine that others use, too, has slow moments, and here is no ratio that evens them out.

mod common;

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;

use common::baselines::Sums;
use common::counting::{Counting, counted};
use common::harness::{Race, Settings, Timing};
use common::lists::from_pages;
use common::workloads::Workload;
use phyr::{Chunk, Direct, DmaBackend, PageSizes, Phyr, Plan, Prot};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls of a short operation in a turn.
const CALLS: usize = 1 << 10;

/// A list, and how much to do with it.
struct Costs<'a> {
    settings: Settings,
    phyr: &'a Phyr,
}

impl Costs<'_> {
    /// Prints a row of an operation that is done once in a turn; its time is for each of `count`.
    fn whole<T>(&self, name: &str, order: &str, count: usize, mut work: impl FnMut() -> T) {
        let (result, counts) = counted(&mut work);
        drop(result);
        let mut race = Race::default();
        race.add("", count, work);
        let times = race.run(self.settings);
        let time = times.first().map_or(0.0, Timing::lowest);
        println!("| {name} | {order} | {time:.2} | {} |", counts.allocations);
    }

    /// As [`Self::whole`], of calls that each take a position.
    fn call<T>(&self, name: &str, order: &str, mut work: impl FnMut(u64) -> T) {
        let positions = Workload::Geo8.positions(self.settings.nr_pages, CALLS);
        let ((), counts) = counted(|| drop(work(positions[0])));
        let mut race = Race::default();
        race.add("", CALLS, || positions.iter().for_each(|&at| drop(black_box(work(at)))));
        let times = race.run(self.settings);
        let time = times.first().map_or(0.0, Timing::lowest);
        println!("| {name} | {order} | {time:.1} | {} |", counts.allocations);
    }

    /// Number of chunks, as a count.
    fn nr_chunks(&self) -> usize {
        self.phyr.chunks().len()
    }
}

fn main() {
    let settings = Settings::read();
    let pages = Workload::Geo8.pages(settings.nr_pages);
    let phyr = from_pages(&pages);
    let costs = Costs { settings, phyr: &phyr };
    println!("### Cost of each operation, geo8, {} pages\n", settings.nr_pages);
    println!("| a call | grows as | ns | allocations |\n| --- | --- | --- | --- |");
    calls(&costs, &phyr);
    println!("\n| a whole list | grows as | ns each | allocations |\n| --- | --- | --- | --- |");
    lists(&costs, &phyr, &pages);
}

fn calls(costs: &Costs<'_>, phyr: &Phyr) {
    let length = phyr.length();
    let number = |at: u64| at % phyr.nr_chunks();
    costs.call("`clone`", "O(1)", |_| phyr.clone());
    costs.call("`slice`, `split_at`", "O(1)", |at| phyr.slice(at, length));
    costs.call("`slice`, and its first chunk", "O(log n)", |at| {
        phyr.slice(at, length).expect("inside").chunks().next()
    });
    costs.call("`translate`", "O(log n)", |at| phyr.translate(at));
    costs.call("`find`", "O(log n)", |at| phyr.find(at));
    costs.call("`chunk`", "O(log n)", |at| phyr.chunk(number(at)));
    costs.call("`nr_chunks`", "O(log n)", |_| phyr.nr_chunks());
    costs.call("`Direct::map`", "O(1)", |_| Direct.map(phyr, Prot::READ));
    costs.call("`Plan::new`", "O(1)", |_| Plan::new(phyr, 0, sizes()).is_ok());
    costs.call("`alignment`", "O(log n)", |_| {
        phyr.slice(0, 1 << 20).map(|list| list.alignment(sizes()))
    });
}

fn sizes() -> PageSizes {
    PageSizes::new(1 << 12 | 1 << 21 | 1 << 30).expect("sizes")
}

fn lists(costs: &Costs<'_>, phyr: &Phyr, pages: &[u64]) {
    let (nr_pages, nr_chunks) = (pages.len(), costs.nr_chunks());
    costs.whole("`extend_pages`, a page", "O(n)", nr_pages, || from_pages(pages));
    let chunks: Vec<Chunk> = phyr.chunks().collect();
    costs.whole("`from_chunks`", "O(n)", nr_chunks, || Phyr::from_chunks(chunks.iter().copied()));
    let add = |sums: Sums, chunk: Chunk| sums.add(chunk.paddr, chunk.length);
    costs.whole("`chunks`, `fold`", "O(n)", nr_chunks, || phyr.chunks().fold(Sums::default(), add));
    costs.whole("`chunks`, `for`", "O(n)", nr_chunks, || {
        let mut sums = Sums::default();
        for chunk in phyr.chunks() {
            sums = add(sums, chunk);
        }
        sums
    });
    costs.whole("`pages(4096)`, `fold`, a page", "O(n)", nr_pages, || {
        phyr.pages(4096).expect("pages").fold(0, |all: u64, page| all ^ page)
    });
    let twin = from_pages(pages);
    costs.whole("`==`", "O(n)", nr_chunks, || *phyr == twin);
    let hasher = RandomState::new();
    costs.whole("`hash`", "O(n)", nr_chunks, || hasher.hash_one(phyr));
    costs.whole("`stats`", "O(n)", nr_chunks, || phyr.stats());
    costs.whole("`orders`", "O(n)", nr_chunks, || phyr.orders());
    costs.whole("`validate`", "O(n)", nr_chunks, || phyr.validate().is_ok());
    costs.whole("`join` of two", "O(n)", 2 * nr_chunks, || Phyr::join([phyr, &twin]));
    costs.whole("`compact`", "O(n)", nr_chunks, || phyr.compact());
    costs.whole("`shift`", "O(n)", nr_chunks, || phyr.shift(4096));
    costs.whole("`to_bytes`", "O(n)", nr_chunks, || phyr.to_bytes());
    let bytes = phyr.to_bytes();
    costs.whole("`from_bytes`", "O(n)", nr_chunks, || Phyr::from_bytes(&bytes));
    costs.whole("`freeze`", "O(n)", nr_chunks, || phyr.freeze());
    let frozen = phyr.freeze();
    costs.whole("`thaw`", "O(n)", nr_chunks, || frozen.thaw());
    costs.whole("`overlap` of two", "O(n)", 2 * nr_chunks, || phyr.overlap(&twin));
    costs.whole("`Plan`, `fold`", "O(n)", nr_chunks, || {
        let plan = Plan::new(phyr, 0, sizes()).expect("a window");
        plan.fold(0, |all, call| all ^ call.iova ^ call.paddr ^ call.pgcount)
    });
    let mut positions = Workload::Geo8.positions(nr_pages, nr_pages);
    costs.whole("`translate_all`, a random position", "O(n)", nr_pages, || {
        let mut positions = positions.clone();
        phyr.translate_all(&mut positions).map(|()| positions)
    });
    positions.sort_unstable();
    costs.whole("`translate_all`, an ascending position", "O(n)", nr_pages, || {
        let mut positions = positions.clone();
        phyr.translate_all(&mut positions).map(|()| positions)
    });
}
