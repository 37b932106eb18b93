//! The memory that two lists have in common, and the part of a list in a range of addresses.
//!
//! Many runs that lie close together are compared as bitmaps (`bitmaps.rs`). All others are sorted
//! together, by address. One sweep then keeps how far either list reaches:
//!
//! ```text
//! list a   |-----------|      |---------|
//! list b         |----------|    |--|
//! both           |-----|         |--|
//! ```
//!
//! A run is sorted as one word: its first granule, and in the lower 12 bits its list and its length.
//! A run too long for that, or that starts or ends inside a granule, has a number of its list there
//! and its bytes in a table beside.

use alloc::vec::Vec;

use crate::error::{Error, NoMemory, reserve};
use crate::granule::{Granule, check_alike};
use crate::list::bitmaps::{Bitmaps, Bounds};
use crate::list::builder::Builder;
use crate::list::chunks::Chunk;
use crate::list::partition::{LOW, Parts};
use crate::list::phyr::Phyr;
use crate::list::ranges::Ranges;
use crate::list::reading::List;

impl Phyr {
    /// How many bytes of memory this list and another have in common. A byte counts once, however
    /// often it is listed. O(n), and at most 24 bytes for each chunk of both, 40 for each of more than 2047
    /// granules, and 130 KiB.
    ///
    /// # Errors
    ///
    /// [`Error::Granules`] or [`Error::Kinds`] if the lists differ in these; [`Error::NoMemory`].
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::{Builder, Chunk};
    ///
    /// let mut one = Builder::new();
    /// one.append(0x3000, 0x2000)?;
    /// one.append(0x9000, 0x1000)?;
    /// let mut other = Builder::new();
    /// other.append(0x9800, 0x800)?;
    /// other.append(0x2000, 0x2000)?;
    /// let (one, other) = (one.finish(), other.finish());
    /// assert_eq!(one.overlap(&other)?, 0x1800);
    /// assert!(one.intersect(&other)?.chunks().eq([
    ///     Chunk { paddr: 0x3000, length: 0x1000 },
    ///     Chunk { paddr: 0x9800, length: 0x800 },
    /// ]));
    /// # Ok::<(), phyr::Error>(())
    /// ```
    pub fn overlap(&self, other: &impl List) -> Result<u64, Error> {
        overlap(self, other)
    }

    /// The memory that this list and another have in common: by address, each byte once, however
    /// often it is listed. O(n), and the memory that [`Self::overlap`] takes, beside 130 KiB and at most 64
    /// bytes for each chunk of the result.
    ///
    /// The result has the granule of the lists, or a smaller one if it has a boundary inside a
    /// granule that is not at its own ends.
    ///
    /// # Errors
    ///
    /// As for [`Self::overlap`]; [`Error::Reach`] if an address is out of the smaller granule's reach.
    pub fn intersect(&self, other: &impl List) -> Result<Self, Error> {
        intersect(self, other)
    }

    /// The parts of this list that lie at the addresses `first` to `last`, the latter included: each
    /// chunk that has bytes there, as far as it has, and its position in the list. In the list's
    /// order, and as often as it is listed. O(n).
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::{Builder, Chunk};
    ///
    /// let mut builder = Builder::new();
    /// builder.extend_pfns(&[7, 3, 8])?;
    /// let found = builder.finish().within(0x7800, 0x80ff)?;
    /// assert_eq!(found, [
    ///     (0x800, Chunk { paddr: 0x7800, length: 0x800 }),
    ///     (0x2000, Chunk { paddr: 0x8000, length: 0x100 }),
    /// ]);
    /// # Ok::<(), phyr::Error>(())
    /// ```
    pub fn within(&self, first: u64, last: u64) -> Result<Vec<(u64, Chunk)>, Error> {
        within(self, first, last)
    }
}

/// As [`Phyr::overlap`], of lists in any form.
pub(crate) fn overlap(a: &impl List, b: &impl List) -> Result<u64, Error> {
    check_alike((a.granule(), a.kind()), (b.granule(), b.kind()))?;
    let (bitmaps, bounds) = Bitmaps::or_bounds(a, b)?;
    if let Some(bitmaps) = bitmaps {
        return Ok(bitmaps.bytes()?);
    }
    let mut bytes = 0;
    Runs::of(a, b, bounds)?.sweep(|first, last| {
        // A byte counts once, and no list has 2^64.
        bytes += last - first + 1;
        Ok(())
    })?;
    Ok(bytes)
}

/// As [`Phyr::intersect`], of lists in any form.
pub(crate) fn intersect(a: &impl List, b: &impl List) -> Result<Phyr, Error> {
    check_alike((a.granule(), a.kind()), (b.granule(), b.kind()))?;
    let (bitmaps, bounds) = Bitmaps::or_bounds(a, b)?;
    if let Some(bitmaps) = bitmaps {
        let mut builder = Builder::with(a.granule(), a.kind());
        let mut ranges = Ranges::new(&mut builder);
        bitmaps.pieces(|paddr, length| ranges.push(paddr, length).map_err(|(_, why)| why))?;
        ranges.flush().map_err(|(_, why)| why)?;
        return builder.try_finish();
    }
    let runs = Runs::of(a, b, bounds)?;
    let mut pieces: Vec<(u64, u64)> = Vec::new();
    runs.sweep(|first, last| {
        match pieces.last_mut() {
            // Pieces may touch where the runs of a list do.
            Some(before) if before.1 + 1 == first => before.1 = last,
            _ => {
                reserve(&mut pieces, 1)?;
                pieces.push((first, last));
            }
        }
        Ok(())
    })?;
    let pairs = pieces.iter().zip(pieces.iter().skip(1));
    let inner = pairs.fold(0, |low, (one, next)| low | one.1.wrapping_add(1) | next.0);
    let align = 1 << inner.trailing_zeros().min(a.granule().lg2());
    let mut builder = Builder::with(Granule::new(align)?, a.kind());
    for (first, last) in pieces {
        builder.append(first, last - first + 1)?;
    }
    builder.try_finish()
}

/// As [`Phyr::within`], of a list in either form.
pub(crate) fn within(phyr: &impl List, first: u64, last: u64) -> Result<Vec<(u64, Chunk)>, Error> {
    let (mut found, mut position, mut outcome) = (Vec::new(), 0_u64, Ok(()));
    phyr.chunks().for_each(|chunk| {
        let (from, to) = (chunk.paddr.max(first), chunk.last_of_list().min(last));
        if from <= to && outcome.is_ok() {
            outcome = reserve(&mut found, 1);
            let part = Chunk { paddr: from, length: to - from + 1 };
            if outcome.is_ok() {
                found.push((position.wrapping_add(from - chunk.paddr), part));
            }
        }
        position = position.wrapping_add(chunk.length);
    });
    outcome?;
    Ok(found)
}

/// Lower bits of a word: the list, and the length.
const LIST: u64 = 1 << (LOW - 1);
const LENGTH: u64 = LIST - 1;

/// A run whose length is not in its word: its first byte, its list, its last byte.
type Odd = (u64, u64, u64);

/// The runs of two lists, by address.
struct Runs {
    words: Parts,
    /// The runs whose length is 0 in their word, in the order of the words.
    odd: Vec<Odd>,
    granule: Granule,
}

impl Runs {
    fn of(a: &impl List, b: &impl List, bounds: Bounds) -> Result<Self, Error> {
        let granule = a.granule();
        let (mut odd, mut late) = (Vec::new(), Vec::new());
        let mut words = Parts::new(bounds.nr_runs, granule.floor(bounds.differ()) << LOW)?;
        let mut nr_odd = 0;
        let count = |chunk: Chunk| {
            words.count(granule.floor(chunk.paddr) << LOW);
            nr_odd += usize::from(granule.floor(chunk.length) > LENGTH);
        };
        a.chunks().chain(b.chunks()).for_each(count);
        words.open()?;
        if nr_odd > 0 {
            // And the ends of both lists.
            reserve(&mut odd, nr_odd.saturating_add(4))?;
        }
        gather(a, 0, &mut words, &mut odd, &mut late)?;
        gather(b, LIST, &mut words, &mut odd, &mut late)?;
        // Behind all others of the same granule: sorting keeps the order of equals.
        late.sort_unstable_by_key(|&(_, run)| run);
        for (word, run) in late {
            reserve(&mut odd, 1)?;
            words.push(word);
            odd.push(run);
        }
        odd.sort_unstable();
        Ok(Self { words, odd, granule })
    }

    /// Hands out the first and the last byte of each piece that both lists have, by address. Pieces do
    /// not overlap.
    fn sweep(self, mut emit: impl FnMut(u64, u64) -> Result<(), NoMemory>) -> Result<(), Error> {
        let mut odd = self.odd.iter();
        // How far each list reaches, and what was handed out, if anything.
        let mut reach = [None::<u64>; 2];
        let mut done = None::<u64>;
        self.words.each(|word| {
            let number = usize::from(word & LIST != 0);
            let (first, last) = match word & LENGTH {
                0 => odd.next().map_or((0, 0), |&(first, _, last)| (first, last)),
                pages => {
                    let first = self.granule.to_bytes(word >> LOW);
                    (first, first + (self.granule.to_bytes(pages) - 1))
                }
            };
            // The other list has a run that starts at or before this one, and reaches so far.
            if let Some(to) = reach[1 - number].map(|other| other.min(last)) {
                let from = done.map_or(first, |done| first.max(done.saturating_add(1)));
                if from <= to && done != Some(u64::MAX) {
                    emit(from, to)?;
                    done = Some(to);
                }
            }
            reach[number] = reach[number].max(Some(last));
            Ok(())
        })?;
        Ok(())
    }
}

/// Takes the words of a list, and the bytes of odd runs; those that start inside a granule to `late`.
fn gather(
    list: &impl List,
    tag: u64,
    words: &mut Parts,
    odd: &mut Vec<Odd>,
    late: &mut Vec<(u64, Odd)>,
) -> Result<(), NoMemory> {
    let (granule, mut outcome) = (list.granule(), Ok(()));
    // A walk by `for_each` is fast, but cannot stop early.
    list.chunks().for_each(|chunk| {
        let pages = granule.floor(chunk.length);
        let word = granule.floor(chunk.paddr) << LOW | tag;
        if (chunk.paddr | chunk.length) & granule.mask() == 0 && pages <= LENGTH {
            words.push(word | pages);
            return;
        }
        let run = (chunk.paddr, tag, chunk.last_of_list());
        if outcome.is_err() {
        } else if chunk.paddr & granule.mask() != 0 {
            outcome = reserve(late, 1).map(|()| late.push((word, run)));
        } else {
            outcome = reserve(odd, 1).map(|()| odd.push(run));
            words.push(word);
        }
    });
    outcome
}
