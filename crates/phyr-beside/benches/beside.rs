//! Finding a random byte, each after the one before: `Phyr`, its frozen form, and others, in one run.
//!
//! `cargo bench --manifest-path crates/phyr-beside/Cargo.toml` asks at 2^20 and 2^24 pages;
//! `PHYR_BENCH_N` asks at that many only.

#[path = "../../../benches/common/harness.rs"]
#[allow(dead_code, reason = "other benches use the rest")]
mod harness;
#[path = "../../../benches/common/workloads.rs"]
#[allow(dead_code, reason = "other benches use the rest")]
mod workloads;

use std::env;

use harness::{Race, Settings, Table};
use phyr::Builder;
use phyr_beside::{Ranges, Sorted, Sux};
use workloads::Workload;

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
        let title = format!("Find a random byte, one after another, ns, {nr_pages} pages");
        let mut table = Table::new(title);
        for workload in [Workload::Rand4k, Workload::Geo8, Workload::Folio] {
            let mut builder = Builder::new();
            let mut pages = workload.stream().take(nr_pages).peekable();
            while pages.peek().is_some() {
                let batch: Vec<u64> = pages.by_ref().take(1 << 12).collect();
                builder.extend_pages(&batch).expect("page addresses are aligned and in reach");
            }
            let phyr = builder.finish();
            let frozen = phyr.freeze();
            let (sorted, ranges, sux) = (Sorted::new(&phyr), Ranges::new(&phyr), Sux::new(&phyr));
            let positions = workload.positions(nr_pages, SEEKS);
            // The address found changes nothing, but the next search has to wait for it.
            let seek = |find: &dyn Fn(u64) -> u64| {
                positions.iter().fold(0, |last: u64, &position| find(position ^ (last >> 63)))
            };
            let mut race = Race::default();
            race.add("phyr", SEEKS, || seek(&|at| phyr.translate(at).expect("inside")));
            race.add("frozen", SEEKS, || seek(&|at| frozen.translate(at).expect("inside")));
            race.add("sorted vec", SEEKS, || seek(&|at| sorted.translate(at)));
            race.add("rangemap", SEEKS, || seek(&|at| ranges.translate(at).expect("inside")));
            race.add("sux", SEEKS, || seek(&|at| sux.translate(at).expect("inside")));
            table.times(workload.name(), &race.run(settings));
        }
        println!("{table}");
    }
}
