//! Reading files that have a record for each page of memory.
//!
//! Of the flags of pages side by side, the kernel is asked for a few in each large folio. All pages of a folio have the flags of its first one, but for head and tail, and a folio of
//! 2^n pages starts at a multiple of 2^n (`stable_page_flags()`, fs/proc/page.c, Linux). So one page's
//! flags and the folio's end tell those of all pages between.

use alloc::vec;
use alloc::vec::Vec;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::slices;

/// Bytes of a record.
pub(crate) const RECORD: u64 = 8;

const HEAD: u64 = 1 << 15;
const TAIL: u64 = 1 << 16;
const LARGE: u64 = 1 << 17 | 1 << 22; // KPF_HUGE, KPF_THP

/// Records read where a large folio may be near; as many single pages again make it twice as many.
const FEW: u64 = 8;
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

/// Appends `count` records from number `first` on, or as many as there are.
pub(super) fn read_all(
    file: &File,
    first: u64,
    count: u64,
    records: &mut Vec<u64>,
) -> io::Result<()> {
    let size = usize::try_from(count * RECORD).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size];
    let done = fill(file, first * RECORD, &mut bytes)?;
    let whole = slices::arrays(&bytes[..done]).0;
    records.extend(whole.iter().map(|record| u64::from_ne_bytes(*record)));
    Ok(())
}

/// Appends the flags of `count` pages from number `first` on, or of as many as there are.
pub(super) fn read_flags(
    file: &File,
    first: u64,
    count: u64,
    flags: &mut Vec<u64>,
) -> io::Result<()> {
    let end = first + count;
    let mut at = first;
    let mut step = FEW;
    let mut guess = 9;
    while at < end {
        let before = flags.len();
        read_all(file, at, step.min(end - at), flags)?;
        let new = &flags[before..];
        if new.is_empty() {
            break;
        }
        let is_large = |flags: &&u64| **flags & LARGE != 0 && **flags & (HEAD | TAIL) != 0;
        let Some((large, &kind)) = (0..).zip(new).find(|(_, flags)| is_large(flags)) else {
            at += new.len() as u64;
            step *= 2;
            continue;
        };
        let page = at + large as u64;
        let (order, folio_end) = folio_end(file, page, guess)?;
        guess = order;
        step = FEW;
        flags.truncate(before + large + 1);
        let inside = usize::try_from(folio_end.min(end) - page - 1).unwrap_or(0);
        flags.resize(flags.len() + inside, kind & !HEAD | TAIL);
        at = folio_end;
    }
    Ok(())
}

/// Finds the end of the folio of a page: its first multiple of a power of two that is no tail.
///
/// A multiple of 2^k after the page, the next one, is a tail only if the page's own folio goes on
/// there. These multiples ascend with k, so halving finds the first one outside.
///
/// Returns: the log2 of that power, and the number of the page.
fn folio_end(file: &File, page: u64, guess: u32) -> io::Result<(u32, u64)> {
    let next = |lg2: u32| ((page >> lg2) + 1) << lg2;
    let mut record = Vec::new();
    let mut goes_on = |lg2: u32| -> io::Result<bool> {
        record.clear();
        read_all(file, next(lg2), 1, &mut record)?;
        Ok(record.first().is_some_and(|flags| flags & TAIL != 0))
    };
    let (mut low, mut high) = (0, MOST);
    // Two questions confirm the order of the folio before.
    if goes_on(guess - 1)? {
        low = guess;
        if !goes_on(guess)? {
            high = guess;
        }
    } else {
        high = guess - 1;
    }
    while low < high {
        let middle = u32::midpoint(low, high);
        if goes_on(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok((low.max(1), next(low)))
}
