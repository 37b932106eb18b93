//! The seeds of the repository, and then random input by a seed, for every check.
//!
//! `endure SECONDS [SEED]` prints how many operations and inputs ran; a broken law is a panic.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs};

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

fn main() {
    let mut arguments = env::args().skip(1);
    let mut next =
        |other: u64| arguments.next().map_or(other, |text| text.parse().expect("a number"));
    let (seconds, seed) = (next(10), next(1));
    println!("{} seeds, no law broken", sow());
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut operations, mut inputs) = (0_u64, 0_u64);
    while Instant::now() < until {
        for _ in 0..100 {
            let length = 8 + random.below(200);
            operations += count_operations(&random.bytes(length));
        }
        for (_, check) in &CHECKS[1..6] {
            for _ in 0..100 {
                let length = random.below(160);
                check(&random.bytes(length));
                inputs += 1;
            }
        }
        for _ in 0..10 {
            phyr_fuzz::frozen(&forged_frozen(&mut random));
            inputs += 1;
        }
        for _ in 0..300 {
            phyr_fuzz::serial(&forged(&mut random));
            inputs += 1;
        }
    }
    println!("seed {seed}: {operations} operations, {inputs} hostile inputs, no law broken");
}
