//! Words sorted by their upper bits: first into parts, then each part by itself, in a cache.
//!
//! The parts are counted before they are filled, so the words are moved once in memory, and no second
//! copy of them is needed.

use alloc::vec::Vec;

use crate::error::{NoMemory, zeros};

/// Lower bits that do not count in the order.
pub(crate) const LOW: u32 = 12;

/// Parts at most; a store of each is open while they are filled.
const MOST_PARTS: u32 = 11;

/// Words that a part should have, as a power of two: it and a copy fit in a cache.
const PART_LG2: u32 = 10;

/// Bits of a digit, at most.
const DIGIT: u32 = 10;

/// Values of a digit.
const NR_DIGITS: usize = 1 << DIGIT;

/// Fewer words are inserted one by one.
const FEW: usize = 32;

/// Words in parts, while they are counted and filled.
#[derive(Debug)]
pub(crate) struct Parts {
    words: Vec<u64>,
    /// Where the next word of each part goes, and before that, how many it has.
    next: Vec<usize>,
    shift: u32,
    /// Bits in which words differ below the part.
    differ: u64,
}

impl Parts {
    /// Parts for about `count` words that differ in the bits of `differ`, those below [`LOW`] aside.
    pub(crate) fn new(count: usize, differ: u64) -> Result<Self, NoMemory> {
        let differ = differ >> LOW << LOW;
        let top = u64::BITS - differ.leading_zeros();
        let parts_lg2 = (count >> PART_LG2).checked_ilog2().map_or(0, |lg2| lg2 + 1);
        let shift = top.saturating_sub(parts_lg2.min(MOST_PARTS)).clamp(LOW, 63);
        let nr_parts = 1 << top.saturating_sub(shift);
        let next = zeros(nr_parts)?;
        let differ = differ & ((1_u64 << shift) - 1);
        Ok(Self { words: Vec::new(), next, shift, differ })
    }

    #[inline(always)]
    fn part(&self, word: u64) -> usize {
        // Words differ in no bit above the parts. There is a power of two of them.
        #[expect(clippy::cast_possible_truncation, reason = "the lower bits are wanted")]
        let part = (word >> self.shift) as usize;
        part & (self.next.len() - 1)
    }

    /// Counts a word that will come.
    #[inline(always)]
    pub(crate) fn count(&mut self, word: u64) {
        let part = self.part(word);
        // There is a part of each such number.
        debug_assert!(part < self.next.len(), "part {part} of {}", self.next.len());
        if let Some(next) = self.next.get_mut(part) {
            *next += 1;
        }
    }

    /// Makes room for all words that were counted.
    pub(crate) fn open(&mut self) -> Result<(), NoMemory> {
        let mut start = 0;
        for next in &mut self.next {
            start += core::mem::replace(next, start);
        }
        self.words = zeros(start)?;
        Ok(())
    }

    /// Takes a word that was counted. Words whose upper bits are equal stay in the order in which they
    /// come. If others come than were counted, the order is wrong.
    #[inline(always)]
    pub(crate) fn push(&mut self, word: u64) {
        let part = self.part(word);
        debug_assert!(part < self.next.len(), "part {part} of {}", self.next.len());
        let Some(slot) = self.next.get_mut(part) else { return };
        // No assertion: a mapped list that changes may have other words now than were counted.
        if let Some(place) = self.words.get_mut(*slot) {
            *place = word;
            *slot += 1;
        }
    }

    /// Hands out all words in order. They must have been pushed.
    pub(crate) fn each(
        mut self,
        mut each: impl FnMut(u64) -> Result<(), NoMemory>,
    ) -> Result<(), NoMemory> {
        // Filled parts end where the next one starts.
        let ends = core::mem::take(&mut self.next);
        let starts = || [0].into_iter().chain(ends.iter().copied());
        let largest = starts().zip(&ends).map(|(start, end)| end.saturating_sub(start)).max();
        let largest = largest.unwrap_or_default();
        let mut other = zeros(largest)?;
        for (start, &end) in starts().zip(&ends) {
            // No assertion: where other words came than were counted, a part may end before it starts.
            let part = self.words.get_mut(start..end).unwrap_or_default();
            debug_assert!(part.len() <= largest, "a part of {} words, not {largest}", part.len());
            let copy = other.get_mut(..part.len());
            let copy = copy.ok_or(NoMemory::of::<u64>(part.len()))?;
            for &word in sort(part, copy, self.differ) {
                each(word)?;
            }
        }
        Ok(())
    }
}

/// Sorts words by the bits of `differ`, with a second slice of the same length; returns the one that has
/// them in the end. Equal ones stay in order.
fn sort<'a>(mut words: &'a mut [u64], mut other: &'a mut [u64], differ: u64) -> &'a [u64] {
    if words.len() < FEW || differ == 0 {
        for end in 1..words.len() {
            let at = words[..end].partition_point(|word| word >> LOW <= words[end] >> LOW);
            let moved = words.get_mut(at..=end).unwrap_or_default();
            debug_assert!(!moved.is_empty(), "no words {at} to {end}");
            if !moved.is_empty() {
                moved.rotate_right(1);
            }
        }
        return words;
    }
    let low = differ.trailing_zeros();
    let bits = u64::BITS - differ.leading_zeros() - low;
    let nr_digits = bits.div_ceil(DIGIT);
    // Digits of one width.
    let width = bits.div_ceil(nr_digits.max(1)).clamp(1, DIGIT);
    for shift in (low..).step_by(width as usize).take(nr_digits as usize) {
        #[expect(clippy::cast_possible_truncation, reason = "the lower bits are wanted")]
        let digit = |word: u64| (word >> shift) as usize & ((1 << width) - 1) & (NR_DIGITS - 1);
        let mut starts = [0_usize; NR_DIGITS];
        for &word in &*words {
            starts[digit(word)] += 1;
        }
        let mut start = 0;
        for slot in starts.iter_mut().take(1 << width) {
            start += core::mem::replace(slot, start);
        }
        for &word in &*words {
            let slot = &mut starts[digit(word)];
            // As many words were counted as the other slice has.
            debug_assert!(*slot < other.len(), "word {slot} of {}", other.len());
            if let Some(place) = other.get_mut(*slot) {
                *place = word;
            }
            *slot += 1;
        }
        core::mem::swap(&mut words, &mut other);
    }
    words
}
