//! A block of runs: how it is packed, and how one of its runs is found.
//!
//! Starts count pages from the block's first page, in units of `1 << unit_lg2` pages. Where each run
//! is one unit they are not stored. Else start `i` is cut in two: its lowest `low_bits` bits are a
//! field, and what is above, `u`, sets bit `u + i` of the *marks*. So the marks have a bit for each
//! run and about one more for each, in order: a search for `u` is a search for its u-th clear bit.
//!
//! ```text
//! data of a block   marks, whole words | low bits of each start | page number of each run | 0
//!
//! page number       lowest of the block + (field << pfn_lg2)
//! ```

use super::bits::{self, Words, field, mask};
use crate::storage::entry::Run;

/// Runs of a block, all but the last, in a file. See [`block_runs`].
pub(crate) const BLOCK: usize = 128;

/// Words of marks that a block of a file has at most: a bit for each run, two for what is above their low
/// bits.
pub(crate) const MARK_WORDS: usize = mark_words(BLOCK);

/// As [`MARK_WORDS`], of a block of so many runs.
const fn mark_words(nr_runs: usize) -> usize {
    (3 * nr_runs).div_ceil(64)
}

/// Words of an index entry: first page, packing, lowest page number. All entries of a file are such.
pub(crate) const ENTRY: usize = 3;

/// Words of an index entry without the lowest page number, which is taken as 0.
pub(crate) const SHORT_ENTRY: usize = 2;

/// Runs of a block, all but the last, in an archive whose index entries have so many words.
///
/// Archives with short entries are never unpacked by the block, so their blocks are longer: it saves a
/// twelfth of a byte a run.
pub(crate) const fn block_runs(entry: usize) -> usize {
    if entry == SHORT_ENTRY { MOST_RUNS } else { BLOCK }
}

/// Most runs of a block.
pub(crate) const MOST_RUNS: usize = 2 * BLOCK;

/// Words of data that a block of a file has at most.
pub(crate) const DATA_WORDS: usize = MARK_WORDS + 2 * BLOCK;

/// How a block is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packing {
    /// Lowest page number.
    pub(crate) lowest: u64,
    /// Bits of each page number, and its unit.
    pub(crate) pfn_bits: u32,
    pub(crate) pfn_lg2: u32,
    /// Unit of the starts.
    pub(crate) unit_lg2: u32,
    /// Bits of each start that are a field.
    pub(crate) low_bits: u32,
}

impl Packing {
    /// The smallest packing of these runs, of which there is one for index entries of `entry` words;
    /// and the pages they have.
    #[inline(always)]
    pub(crate) fn of(runs: &[Run], entry: usize) -> (Self, u64) {
        let most = if entry == SHORT_ENTRY { 0 } else { u64::MAX };
        let lowest = runs.iter().fold(most, |lowest, run| lowest.min(run.pfn));
        let (mut pages, mut lengths, mut above) = (0, 0, 0);
        for run in runs {
            pages += run.nr_pages;
            lengths |= run.nr_pages;
            above |= run.pfn - lowest;
        }
        let unit_lg2 = lengths.trailing_zeros() & 63;
        let (units, count) = (pages >> unit_lg2, runs.len().max(1) as u64);
        let pfn_lg2 = if above == 0 { 0 } else { above.trailing_zeros() };
        let pfn_bits = u64::BITS - (above >> pfn_lg2).leading_zeros();
        let low_bits = (units / count).max(1).ilog2();
        (Self { lowest, pfn_bits, pfn_lg2, unit_lg2, low_bits }, pages)
    }

    /// The packing of a block of `pages` pages, as the second word of its index entry, which also
    /// says where its data start.
    #[inline(always)]
    pub(crate) fn word(self, data: u64) -> u64 {
        let Self { pfn_bits, pfn_lg2, unit_lg2, low_bits, .. } = self;
        let bits = [pfn_bits, pfn_lg2, unit_lg2, low_bits];
        bits.into_iter().rev().fold(data, |word, bits| word << 6 | u64::from(bits))
    }
}

/// Most words of data that an index entry can point behind.
pub(crate) const MOST_DATA: u64 = 1 << 40;

/// A block in its place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Block {
    /// Pages before it, and its own.
    pub(crate) first_page: u64,
    pub(crate) nr_pages: u64,
    /// Its runs.
    pub(crate) count: usize,
    /// Word of its marks, and words of marks.
    pub(crate) data: usize,
    pub(crate) marks: usize,
    pub(crate) packing: Packing,
}

impl Block {
    /// The block that two neighbouring index entries describe; `base` is where data start.
    #[inline(always)]
    pub(crate) fn new(entry: [u64; ENTRY], end_page: u64, count: usize, base: usize) -> Self {
        let [first_page, word, lowest] = entry;
        let bits = |index: u32| (word >> (6 * index) & 63) as u32;
        let [pfn_bits, pfn_lg2, unit_lg2, low_bits] = [bits(0), bits(1), bits(2), bits(3)];
        let packing = Packing { lowest, pfn_bits, pfn_lg2, unit_lg2, low_bits };
        let nr_pages = end_page.wrapping_sub(first_page);
        let mut block = Self { first_page, nr_pages, count, data: 0, marks: 0, packing };
        let marks = (block.units().saturating_sub(1) >> low_bits).saturating_add(count as u64);
        // No block has more marks than fit, but what is read may be no block.
        let most = mark_words(count);
        let marks = usize::try_from(marks.div_ceil(64)).unwrap_or(most).min(most);
        block.marks = if block.is_even() { 0 } else { marks };
        block.data = Self::data(word, base);
        block
    }

    /// Word where the data of a block start, by the second word of its entry.
    #[inline(always)]
    pub(crate) fn data(word: u64, base: usize) -> usize {
        sum(word >> 24, base as u64, usize::MAX)
    }

    /// Words of its data.
    pub(crate) fn words(&self) -> usize {
        let Packing { pfn_bits, low_bits, .. } = self.packing;
        let low_bits = if self.is_even() { 0 } else { low_bits };
        self.marks + (self.count * (low_bits + pfn_bits) as usize).div_ceil(64)
    }

    /// Units of all runs.
    #[inline(always)]
    pub(super) fn units(&self) -> u64 {
        self.nr_pages >> self.packing.unit_lg2
    }

    /// The lowest page number, and one that no run passes.
    pub(super) fn span(&self) -> (u64, u64) {
        let Packing { lowest, pfn_bits, pfn_lg2, unit_lg2, .. } = self.packing;
        // Each run has a unit, so none has more than what the others leave.
        let longest = (self.units().saturating_sub(self.count as u64 - 1)) << unit_lg2;
        let above = mask(pfn_bits) << pfn_lg2;
        (lowest, lowest.saturating_add(above).saturating_add(longest.saturating_sub(1)))
    }

    /// Returns true if each run is one unit.
    #[inline(always)]
    pub(crate) fn is_even(&self) -> bool {
        self.units() == self.count as u64
    }

    /// Bit of the first field.
    #[inline(always)]
    pub(super) fn fields(&self) -> usize {
        self.data.saturating_add(self.marks).saturating_mul(64)
    }

    /// Bit of the first page number.
    #[inline(always)]
    pub(super) fn pfns(&self) -> usize {
        let low_bits = if self.is_even() { 0 } else { self.packing.low_bits };
        self.fields().saturating_add(self.count * low_bits as usize)
    }

    /// Page number of run `index`.
    #[inline(always)]
    pub(crate) fn pfn<W: Words + ?Sized>(&self, words: &W, index: usize) -> u64 {
        let Packing { lowest, pfn_bits, pfn_lg2, .. } = self.packing;
        let at = self.pfns().saturating_add(index * pfn_bits as usize);
        lowest.wrapping_add(field(words, at, pfn_bits) << pfn_lg2)
    }

    /// Start of run `index` in units, whose mark is bit `mark`.
    #[inline(always)]
    fn start<W: Words + ?Sized>(&self, words: &W, index: usize, mark: usize) -> u64 {
        let low_bits = self.packing.low_bits;
        let at = self.fields().saturating_add(index * low_bits as usize);
        (mark.saturating_sub(index) as u64) << low_bits | field(words, at, low_bits)
    }

    /// The mark of the first run from bit `at` on.
    #[inline(always)]
    fn next_mark<W: Words + ?Sized>(&self, words: &W, at: usize) -> Option<usize> {
        let mut index = at / 64;
        let mut word = words.word(self.data.saturating_add(index)) & u64::MAX << (at % 64);
        while word == 0 {
            index += 1;
            if index >= self.marks {
                return None;
            }
            word = words.word(self.data.saturating_add(index));
        }
        Some(index * 64 + word.trailing_zeros() as usize)
    }

    /// Start of run `index`, whose mark is known, and of the one after it, in pages of the block.
    #[inline(always)]
    fn bounds<W: Words + ?Sized>(&self, words: &W, index: usize, mark: usize) -> (u64, u64) {
        let unit_lg2 = self.packing.unit_lg2;
        let start = self.start(words, index, mark) << unit_lg2;
        let next = if index + 1 < self.count { self.next_mark(words, mark + 1) } else { None };
        let end = next.map(|mark| self.start(words, index + 1, mark) << unit_lg2);
        (start, end.unwrap_or(self.nr_pages))
    }

    /// First page of run `index`, and the first page after it, in pages of the block.
    #[inline(always)]
    pub(crate) fn pages<W: Words + ?Sized>(&self, words: &W, index: usize) -> (u64, u64) {
        if self.is_even() {
            let unit_lg2 = self.packing.unit_lg2;
            return ((index as u64) << unit_lg2, (index as u64 + 1) << unit_lg2);
        }
        // The search for the mark comes first.
        let low_bits = self.packing.low_bits as usize;
        words.fetch(self.fields().saturating_add(index * low_bits) / 64);
        let (mut before, mut word) = (index, 0);
        while word < self.marks {
            let marks = words.word(self.data.saturating_add(word));
            let here = marks.count_ones() as usize;
            if before < here {
                #[expect(clippy::cast_possible_truncation, reason = "less than 64")]
                let mark = word * 64 + bits::select(marks, before as u32) as usize;
                return self.bounds(words, index, mark);
            }
            before -= here;
            word += 1;
        }
        (0, self.nr_pages)
    }

    /// The run that holds page `page` of the block: its number, and its pages as [`Self::pages`]
    /// gives them.
    #[inline(always)]
    pub(crate) fn find<W: Words + ?Sized>(&self, words: &W, page: u64) -> (usize, (u64, u64)) {
        if self.is_even() {
            let index = self.even(page);
            return (index, self.pages(words, index));
        }
        let (index, mark) = self.find_mark(words, page);
        (index, self.bounds(words, index, mark))
    }

    /// The run that holds page `page` of the block: its number, and its first page.
    #[inline(always)]
    pub(crate) fn find_start<W: Words + ?Sized>(&self, words: &W, page: u64) -> (usize, u64) {
        let unit_lg2 = self.packing.unit_lg2;
        if self.is_even() {
            let index = self.even(page);
            return (index, (index as u64) << unit_lg2);
        }
        let (index, mark) = self.find_mark(words, page);
        (index, self.start(words, index, mark) << unit_lg2)
    }

    /// The run that holds page `page`, if each run is one unit.
    #[inline(always)]
    fn even(&self, page: u64) -> usize {
        let unit = page >> self.packing.unit_lg2;
        usize::try_from(unit).unwrap_or(usize::MAX).min(self.count - 1)
    }

    /// The run that holds page `page` of the block, and its mark. Not each run is one unit.
    #[inline(always)]
    fn find_mark<W: Words + ?Sized>(&self, words: &W, page: u64) -> (usize, usize) {
        let Packing { unit_lg2, low_bits, .. } = self.packing;
        let unit = page >> unit_lg2;
        self.fetch(words, unit);
        // The runs whose start has the same upper bits lie behind as many clear marks.
        let upper = usize::try_from(unit >> low_bits).unwrap_or(usize::MAX);
        let mut mark = self.behind_clear(words, upper);
        let mut index = mark.saturating_sub(upper);
        let low = unit & mask(low_bits);
        let is_set = |at: usize| {
            at / 64 < self.marks
                && words.word(self.data.saturating_add(at / 64)) >> (at % 64) & 1 == 1
        };
        let at = self.fields();
        while index < self.count
            && is_set(mark)
            && field(words, at.saturating_add(index * low_bits as usize), low_bits) <= low
        {
            index += 1;
            mark += 1;
        }
        // One too far: the mark before, which may lie some clear bits back.
        index = index.saturating_sub(1).min(self.count - 1);
        while mark > 0 {
            mark -= 1;
            let (word, below) = (mark / 64, mark % 64);
            let marks = words.word(self.data.saturating_add(word)) << (63 - below);
            if marks != 0 {
                mark -= marks.leading_zeros() as usize;
                break;
            }
            mark = word * 64;
        }
        (index, mark)
    }

    /// Asks for the words that the run of a unit probably has, before it is known which run that is.
    ///
    /// The search would else wait for the marks and then, once more, for the page number.
    #[inline(always)]
    fn fetch<W: Words + ?Sized>(&self, words: &W, unit: u64) {
        let Packing { low_bits, pfn_bits, .. } = self.packing;
        // As far in the block as the unit is.
        let index = unit.wrapping_mul(self.count as u64).checked_div(self.units()).unwrap_or(0);
        let index = usize::try_from(index).unwrap_or(usize::MAX).min(self.count - 1);
        let at = self.fields().saturating_add(index * low_bits as usize);
        words.fetch(at / 64);
        let at = self.pfns().saturating_add(index * pfn_bits as usize);
        words.fetch(at / 64);
    }

    /// The bit behind the first `clear` clear marks.
    #[inline(always)]
    fn behind_clear<W: Words + ?Sized>(&self, words: &W, clear: usize) -> usize {
        let Some(mut before) = clear.checked_sub(1) else { return 0 };
        for word in 0..self.marks {
            let marks = !words.word(self.data.saturating_add(word));
            let here = marks.count_ones() as usize;
            if before < here {
                #[expect(clippy::cast_possible_truncation, reason = "less than 64")]
                return word * 64 + bits::select(marks, before as u32) as usize + 1;
            }
            before -= here;
        }
        self.marks * 64
    }
}

/// The sum of a place that is read, below 2^40, and the word that it counts from. `beyond` if `T`, the
/// type of places in memory, cannot say the sum.
#[inline(always)]
fn sum<T: TryFrom<u64>>(read: u64, base: u64, beyond: T) -> T {
    // Memory has fewer than 2^61 words, so the sum fits in 64 bits.
    T::try_from(read + base).unwrap_or(beyond)
}

/// Writes the data of a block to `words` from word `at` on; returns the word after, which is behind
/// the end if `words` have no room.
#[inline(always)]
pub(crate) fn write(words: &mut [u64], at: usize, runs: &[Run], block: &Block) -> usize {
    let Packing { lowest, pfn_bits, pfn_lg2, unit_lg2, low_bits } = block.packing;
    let mut marks = [0_u64; mark_words(MOST_RUNS)];
    let mut writer = bits::Writer::new(words, at + block.marks);
    if !block.is_even() {
        let mut start = 0;
        for (index, run) in runs.iter().enumerate() {
            #[expect(clippy::cast_possible_truncation, reason = "at most three marks a run")]
            let mark = (start >> low_bits) as usize + index;
            // The low bits were chosen so that no mark is further, for any runs that a list can hold.
            debug_assert!(
                mark / 64 < mark_words(runs.len()),
                "mark {mark} of run {index}, {low_bits} low bits"
            );
            if let Some(marks) = marks.get_mut(mark / 64) {
                *marks |= 1 << (mark % 64);
            }
            writer.push(start & mask(low_bits), low_bits);
            start += run.nr_pages >> unit_lg2;
        }
    }
    for run in runs {
        writer.push((run.pfn - lowest) >> pfn_lg2, pfn_bits);
    }
    let end = writer.finish();
    let words = words.get_mut(at..).unwrap_or_default();
    for (word, marks) in words.iter_mut().zip(marks).take(block.marks) {
        *word = marks.to_le();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_no_memory_has_is_the_last_of_all() {
        // As on machines of 32 bits: the place fits, and the sum does not.
        let most = u64::from(u32::MAX);
        for (read, base) in [(most, 1), (most - 3, 5), (1, most), ((1 << 40) - 1, 0)] {
            assert_eq!(sum(read, base, u32::MAX), u32::MAX, "{read} {base}");
        }
        assert_eq!(sum(most - 5, 5, u32::MAX), u32::MAX);
        assert_eq!(sum(most - 6, 5, u32::MAX), u32::MAX - 1);
        assert_eq!(sum(7, 5, u32::MAX), 12);
    }
}
