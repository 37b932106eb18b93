//! Reading files that have a record for each page of memory.
//!
//! Of the flags of pages side by side, the kernel is asked for a few in each large folio. All pages of
//! a folio have the flags of its first one, but for head and tail, and a folio of 2^n pages starts at a
//! multiple of 2^n (`stable_page_flags()`, fs/proc/page.c, Linux). So one page's flags and the folio's
//! end tell those of all pages between.

use alloc::vec::Vec;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::slices;

/// Bytes of a record.
pub(crate) const RECORD: u64 = 8;

const TAIL: u64 = 1 << 16;
const LARGE: u64 = 1 << 17 | 1 << 22; // KPF_HUGE, KPF_THP

/// Records read at the start of what may be a large folio; without one, twice as many are read next.
const FEW: u64 = 8;
/// Records read at a time where no large folio was seen, at most.
const MOST_SINGLES: u64 = 4 << 10;
/// Folios have at most `1 << MOST` pages here; a larger one counts as several reads, not wrongly.
const MOST: u32 = 18;

/// Fills `bytes` from a place in a file; returns how many there were up to its end.
pub(crate) fn fill(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Reads the records of so many pages from a number on: all of them, or fewer at the file's end.
pub(super) trait Fetch: Default {
    /// Appends the records of `count` pages from number `first` on.
    fn fetch(
        &mut self,
        file: &File,
        first: u64,
        count: u64,
        records: &mut Vec<u64>,
    ) -> io::Result<()>;
}

/// Reads each record.
#[derive(Default)]
pub(super) struct Records {
    /// Kept from read to read.
    bytes: Vec<u8>,
}

impl Fetch for Records {
    fn fetch(
        &mut self,
        file: &File,
        first: u64,
        count: u64,
        records: &mut Vec<u64>,
    ) -> io::Result<()> {
        let size = usize::try_from(count * RECORD).unwrap_or(usize::MAX);
        self.bytes.resize(size.max(self.bytes.len()), 0);
        let done = fill(file, first * RECORD, &mut self.bytes[..size])?;
        let whole = slices::arrays(&self.bytes[..done]).0;
        records.extend(whole.iter().map(|record| u64::from_ne_bytes(*record)));
        Ok(())
    }
}

/// Reads flags: of a large folio, those of a few pages.
pub(super) struct Flags {
    records: Records,
    /// Records to read next.
    step: u64,
    /// log2 of the pages of the last folio.
    guess: u32,
    /// The flags of one page.
    one: Vec<u64>,
}

impl Default for Flags {
    fn default() -> Self {
        Self { records: Records::default(), step: FEW, guess: 9, one: Vec::new() }
    }
}

impl Fetch for Flags {
    fn fetch(
        &mut self,
        file: &File,
        first: u64,
        count: u64,
        flags: &mut Vec<u64>,
    ) -> io::Result<()> {
        let end = first + count;
        let mut at = first;
        while at < end {
            let before = flags.len();
            self.records.fetch(file, at, self.step.min(end - at), flags)?;
            let new = &flags[before..];
            let Some(&kind) = new.last() else { break };
            at += new.len() as u64;
            // Pages at the end that belong to one large folio, its first one left out.
            let is_tail = |flags: &&u64| **flags & LARGE != 0 && **flags & TAIL != 0;
            let tails = new.iter().rev().take_while(is_tail).count() as u64;
            if tails < FEW - 1 || at >= end {
                self.step = (2 * self.step).min(MOST_SINGLES);
                continue;
            }
            let folio_end = self.folio_end(file, at - 1)?;
            let inside = usize::try_from(folio_end.min(end) - at).unwrap_or(0);
            flags.resize(flags.len() + inside, kind);
            at = folio_end;
            self.step = FEW;
        }
        Ok(())
    }
}

impl Flags {
    /// Finds the end of the folio of a page: its first multiple of a power of two that is no tail.
    ///
    /// A multiple of 2^k after the page, the next one, is a tail only if the page's own folio goes on
    /// there. These multiples ascend with k, so halving finds the first one outside.
    fn folio_end(&mut self, file: &File, page: u64) -> io::Result<u64> {
        let next = |lg2: u32| ((page >> lg2) + 1) << lg2;
        let Self { records, one, guess, .. } = self;
        let mut goes_on = |lg2: u32| -> io::Result<bool> {
            one.clear();
            records.fetch(file, next(lg2), 1, one)?;
            Ok(one.first().is_some_and(|flags| flags & TAIL != 0))
        };
        let (mut low, mut high) = (0, MOST);
        // Two questions confirm the order of the folio before.
        if goes_on(*guess - 1)? {
            low = *guess;
            if !goes_on(*guess)? {
                high = *guess;
            }
        } else {
            high = *guess - 1;
        }
        while low < high {
            let middle = u32::midpoint(low, high);
            if goes_on(middle)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        *guess = low.max(1);
        Ok(next(*guess))
    }
}
