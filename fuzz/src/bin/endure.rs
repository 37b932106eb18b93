//! The seeds of the repository, and then random input by a seed, for every check.
//!
//! `endure SECONDS [SEED [OPERATIONS [THREADS]]]` ends after the seconds, or earlier after so many operations.
//! Each thread has numbers of its own: of SEED, of SEED + 1 and so on. It prints how many operations and inputs
//! ran; a broken law is a panic.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, panic, process, thread};

use phyr::{Builder, Phyr};
use phyr_fuzz::{CHECKS, count_operations};

/// `xorshift64*`: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 56) as u8).collect()
    }
}

/// The bytes of a list, with some of them changed: what a damaged or forged file is.
fn forged(random: &mut Random) -> Vec<u8> {
    let mut builder = Builder::new();
    for _ in 0..random.below(6) {
        let (pfn, pages) = (random.next() >> (12 + random.below(40)), random.next() >> 52);
        let _ = builder.append_pfns(pfn, pages);
    }
    let phyr = builder.finish();
    let end = phyr.length();
    let phyr = if end > 2 { phyr.slice(random.next() % end, end).unwrap_or(phyr) } else { phyr };
    let mut bytes = Phyr::to_bytes(&phyr);
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}

/// The bytes of a frozen list, with some of them changed.
fn forged_frozen(random: &mut Random) -> Vec<u8> {
    let mut builder = Builder::new();
    let most = 1 << random.below(12);
    for _ in 0..100 + random.below(300) {
        let (pfn, pages) = (random.next() >> (12 + random.below(20)), random.next() % most);
        let _ = builder.append_pfns(pfn, 1 + pages);
    }
    let mut bytes = builder.finish().freeze().to_bytes().expect("a list of our own");
    for _ in 0..random.below(4) {
        // The header and the index are more worth than the data.
        let most = [64, 200, bytes.len()][random.below(3)].min(bytes.len());
        let at = random.below(most);
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}

/// Runs each check on its seeds; returns how many there are.
fn sow() -> usize {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut seeds = 0;
    for (name, check) in CHECKS {
        for seed in fs::read_dir(corpus.join(name)).expect("seeds of every check") {
            check(&fs::read(seed.expect("a seed").path()).expect("a file"));
            seeds += 1;
        }
    }
    seeds
}

/// Counts of all threads.
#[derive(Default)]
struct Count {
    operations: AtomicU64,
    inputs: AtomicU64,
}

impl Count {
    fn text(&self) -> String {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "{} operations, {} hostile inputs, no law broken",
            load(&self.operations),
            load(&self.inputs)
        )
    }
}

/// Some random inputs for each check: nearly a hundred times as many operations as other inputs.
fn round(random: &mut Random, count: &Count) {
    let (mut operations, mut inputs) = (0, 0);
    for _ in 0..3400 {
        let length = 8 + random.below(200);
        operations += count_operations(&random.bytes(length));
    }
    for (_, check) in &CHECKS[1..8] {
        for _ in 0..100 {
            let length = random.below(160);
            check(&random.bytes(length));
            inputs += 1;
        }
    }
    // These make thousands of chunks each.
    for _ in 0..2 {
        phyr_fuzz::long(&random.bytes(90));
        inputs += 1;
    }
    for _ in 0..10 {
        phyr_fuzz::frozen(&forged_frozen(random));
        inputs += 1;
    }
    for _ in 0..300 {
        phyr_fuzz::serial(&forged(random));
        inputs += 1;
    }
    count.operations.fetch_add(operations, Ordering::Relaxed);
    count.inputs.fetch_add(inputs, Ordering::Relaxed);
}

fn main() {
    let mut arguments = env::args().skip(1);
    let mut next =
        |other: u64| arguments.next().map_or(other, |text| text.parse().expect("a number"));
    let (seconds, seed, most, threads) = (next(10), next(1), next(u64::MAX), next(1));
    println!("{} seeds, no law broken", sow());
    // A law that is broken on one thread ends all.
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |broken| {
        report(broken);
        process::exit(101);
    }));
    let (began, count) = (Instant::now(), Count::default());
    let is_over = || {
        began.elapsed() >= Duration::from_secs(seconds)
            || count.operations.load(Ordering::Relaxed) >= most
    };
    thread::scope(|scope| {
        for number in 0..threads {
            let (count, is_over) = (&count, &is_over);
            let start = (seed + number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            scope.spawn(move || {
                let mut random = Random(start);
                while !is_over() {
                    round(&mut random, count);
                }
            });
        }
        let mut said = 0;
        while !is_over() {
            thread::sleep(Duration::from_millis(50));
            if began.elapsed().as_secs() / 60 > said {
                said += 1;
                println!("after {said} minutes: {}", count.text());
            }
        }
    });
    println!("seed {seed}: {}", count.text());
}
