//! Records of many pages from a file that has one for each page of physical memory: in the order of
//! the pages' numbers, neighbours in one read, and by several threads where there are many.

use alloc::vec::Vec;

use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::python::os::proc_records::Fetch;
use crate::python::os::together::{MOST_THREADS, together};

/// Pages looked up at a time: the more, the closer together they lie once sorted.
pub(super) const BATCH: u32 = 1 << 20;
/// Records that are read and not used, rather than asking the kernel once more: a question takes it
/// as long as some four records.
const GAP: u64 = 4;
/// Records read at a time, at most.
const MOST: u64 = 32 << 10;
/// Runs of pages from which on several threads read, and the parts that each takes: one that the
/// system lets wait takes fewer.
const MANY: usize = 32 << 10;
const PARTS: usize = 4;

/// Pages side by side, and where their records go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) pfn: u64,
    pub(super) count: u32,
    pub(super) at: u32,
}

impl Wanted {
    fn end(&self) -> u64 {
        self.pfn.saturating_add(self.count.into())
    }
}

/// Fills `out` with the records of pages; `absent` where the file has none. Sorts what is wanted.
pub(super) fn look_up<F: Fetch>(
    file: &File,
    wanted: &mut [Wanted],
    absent: u64,
    out: &mut [u64],
) -> io::Result<()> {
    if !wanted.is_sorted_by_key(|w| w.pfn) {
        wanted.sort_unstable_by_key(|w| w.pfn);
    }
    let out = Mutex::new(out);
    let lookup = Lookup { file, absent, out: &out };
    let threads = if wanted.len() < MANY { 1 } else { nr_processors() };
    if threads == 1 {
        return lookup.read(wanted, &mut F::default());
    }
    let parts = Mutex::new(wanted.chunks(wanted.len().div_ceil(threads * PARTS)));
    let failure = Mutex::new(Ok(()));
    together(threads, || {
        let mut fetch = F::default();
        loop {
            let part = parts.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(part) = part else { break };
            if let Err(error) = lookup.read(part, &mut fetch) {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
                break;
            }
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// How many threads may run at the same time, and read.
fn nr_processors() -> usize {
    thread::available_parallelism().map_or(1, |count| count.get().min(MOST_THREADS))
}

/// Where records come from, and where they go.
struct Lookup<'a> {
    file: &'a File,
    absent: u64,
    out: &'a Mutex<&'a mut [u64]>,
}

impl Lookup<'_> {
    /// Reads the records of sorted pages.
    fn read(&self, mut rest: &[Wanted], fetch: &mut impl Fetch) -> io::Result<()> {
        let mut records = Vec::new();
        while let Some((first, others)) = rest.split_first() {
            let mut end = first.end();
            let mut together = 1;
            for next in others {
                let reach = end.max(next.end());
                if next.pfn > end.saturating_add(GAP) || reach - first.pfn > MOST {
                    break;
                }
                end = reach;
                together += 1;
            }
            // More than one at a time only if none is longer than that.
            let mut start = first.pfn;
            while start < end {
                let stop = end.min(start + MOST);
                records.clear();
                fetch.fetch(self.file, start, stop - start, &mut records)?;
                let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
                for w in &rest[..together] {
                    let (from, to) = (w.pfn.max(start), w.end().min(stop));
                    let place = |pfn: u64| w.at as usize + index(pfn - w.pfn);
                    let mut records = records.iter().skip(index(from - start));
                    for item in &mut out[place(from)..place(to)] {
                        *item = records.next().copied().unwrap_or(self.absent);
                    }
                }
                drop(out);
                start = stop;
            }
            rest = &rest[together..];
        }
        Ok(())
    }
}

fn index(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
