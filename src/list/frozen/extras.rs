//! The runs of an index that are in none of its archives.
//!
//! They are sorted by address, and lie as a tree of intervals: the middle of a range of them is the
//! root, and knows the last page of all in the range. Most addresses have no such run near them, which
//! a bit for each piece of the addresses says before the tree is searched.

use alloc::vec::Vec;

use crate::error::{NoMemory, zeros};

/// A run of a list, and its number among the runs of all lists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) pfn: u64,
    pub(super) last: u64,
    pub(super) number: u64,
}

#[derive(Debug, Default)]
pub(super) struct Extras {
    items: Vec<Item>,
    /// Of each range of items that a search looks at, the last page; at the range's middle.
    furthest: Vec<u64>,
    pieces: Pieces,
}

/// The pieces of the addresses where some runs are.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// A bit for each `1 << lg2` pages: set if a run has some of them.
    bits: Vec<u64>,
    lg2: u32,
}

impl Extras {
    /// These runs, which are sorted by address.
    pub(super) fn new(items: Vec<Item>) -> Result<Self, NoMemory> {
        let mut furthest = zeros(items.len())?;
        fill_furthest(&items, &mut furthest);
        let pieces = Pieces::of(&items)?;
        Ok(Self { items, furthest, pieces })
    }

    /// Bytes of heap.
    pub(super) fn storage(&self) -> usize {
        size_of::<Item>() * self.items.capacity()
            + size_of::<u64>() * self.furthest.capacity()
            + self.pieces.storage()
    }

    /// Hands out the runs that have any of the pages `first` to `last`: the number and the first page of each.
    /// An error of `add` ends this.
    pub(super) fn each<E>(
        &self,
        first: u64,
        last: u64,
        add: &mut impl FnMut(u64, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.pieces.may_have((first, last)) {
            each(&self.items, &self.furthest, (first, last), add)?;
        }
        Ok(())
    }
}

impl Pieces {
    /// Bits for a run.
    const BITS: usize = 16;

    /// The pieces of these runs, which are sorted by address.
    pub(super) fn of(items: &[Item]) -> Result<Self, NoMemory> {
        let last = items.iter().fold(0, |last, item| item.last.max(last));
        let nr_words = (Self::BITS * items.len()).div_ceil(64);
        let fits = |lg2: &u32| (last >> lg2) < 64 * nr_words as u64;
        let lg2 = (0..64).find(fits).unwrap_or_default();
        let mut bits = zeros(nr_words)?;
        let mut next = 0;
        for item in items {
            // Only pieces that no item before has: each is set once.
            for piece in (item.pfn >> lg2).max(next)..=item.last >> lg2 {
                let (word, bit) = split(piece);
                // There is a word for the last piece, so for each.
                debug_assert!(word < nr_words, "piece {piece}, {nr_words} words");
                if let Some(word) = bits.get_mut(word) {
                    *word |= bit;
                }
                next = piece + 1;
            }
        }
        Ok(Self { bits, lg2 })
    }

    /// Bytes of heap.
    pub(super) fn storage(&self) -> usize {
        size_of::<u64>() * self.bits.capacity()
    }

    /// Returns false if no run has any of the pages `first` to `last`; true means look.
    pub(super) fn may_have(&self, (first, last): (u64, u64)) -> bool {
        let piece = first >> self.lg2;
        let (word, bit) = split(piece);
        match self.bits.get(word) {
            _ if piece != last >> self.lg2 => true,
            Some(pieces) => pieces & bit != 0,
            None => false,
        }
    }
}

/// The word and the bit of a piece.
fn split(piece: u64) -> (usize, u64) {
    (usize::try_from(piece / 64).unwrap_or(usize::MAX), 1 << (piece % 64))
}

/// The middle of a range of a tree.
fn middle(len: usize) -> usize {
    len / 2
}

/// Writes, for each range that a search looks at, the range's last page to its middle.
fn fill_furthest(items: &[Item], furthest: &mut [u64]) -> u64 {
    debug_assert_eq!(items.len(), furthest.len(), "runs, and last pages");
    let at = middle(items.len());
    let (Some((left, [item, right @ ..])), Some((left_furthest, [here, right_furthest @ ..]))) =
        (items.split_at_checked(at), furthest.split_at_mut_checked(at))
    else {
        return 0;
    };
    let below = fill_furthest(left, left_furthest);
    let above = fill_furthest(right, right_furthest);
    *here = item.last.max(below).max(above);
    *here
}

/// Hands out the runs that have any of these pages. As deep as the logarithm of their number.
fn each<E>(
    items: &[Item],
    furthest: &[u64],
    pages: (u64, u64),
    add: &mut impl FnMut(u64, u64) -> Result<(), E>,
) -> Result<(), E> {
    debug_assert_eq!(items.len(), furthest.len(), "runs, and last pages");
    let at = middle(items.len());
    let (Some((left, [item, right @ ..])), Some((left_furthest, [here, right_furthest @ ..]))) =
        (items.split_at_checked(at), furthest.split_at_checked(at))
    else {
        return Ok(());
    };
    if *here < pages.0 {
        return Ok(());
    }
    each(left, left_furthest, pages, add)?;
    if item.pfn <= pages.1 {
        if item.last >= pages.0 {
            add(item.number, item.pfn)?;
        }
        each(right, right_furthest, pages, add)?;
    }
    Ok(())
}
