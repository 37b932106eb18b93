//! The runs of a block, all at once.

use core::sync::atomic::{Ordering, compiler_fence};

use super::bits::{SET_BITS, Words, mask};
use super::block::{BLOCK, Block, DATA_WORDS, ENTRY, MARK_WORDS, Packing};
use crate::granule::Granule;
use crate::slices::{arrays, arrays_mut};
use crate::wide::wide;

/// Fields that are read in a row. Together they are whole bytes, whatever their width.
const ROW: usize = 8;

/// Words that are read for a block: its data, and what a row may read behind them.
const READ_WORDS: usize = DATA_WORDS + ROW;

/// The most units that a block has, if it is unpacked: so the difference of two starts has a sign.
const MOST_UNITS: u64 = u32::MAX as u64 >> 1;

/// The most low bits of its starts, none of which is then above [`MOST_UNITS`].
const MOST_LOW_BITS: u32 = 23;

/// The runs of one block, unpacked. Aligned, so that few wide reads and writes cross a cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Unpacked {
    pub(crate) pfns: [u64; BLOCK],
    /// Units of each run.
    pub(crate) lengths: [u32; BLOCK],
    /// First unit of each run, and then the units of the block.
    pub(crate) starts: [u32; BLOCK + 1],
    pub(crate) unit_lg2: u32,
    /// Place of each mark, modulo 256. Here, so that it is not cleared for each block.
    marks: [u8; MARKS],
}

impl Unpacked {
    pub(crate) const EMPTY: Self = Self {
        pfns: [0; BLOCK],
        lengths: [0; BLOCK],
        starts: [0; BLOCK + 1],
        unit_lg2: 0,
        marks: [0; MARKS],
    };

    /// Unpacks all runs of a block. Returns true if that was possible, and a list can hold each of
    /// them. Else the runs here are none of the block's, and each is to be searched by itself: those
    /// of words that are no archive, and those of a block with more than [`MOST_UNITS`] or
    /// [`MOST_LOW_BITS`].
    ///
    /// The block is that of so many runs which an index entry describes and the entry after it ends.
    #[inline(always)]
    pub(crate) fn read(
        &mut self,
        entry: [u64; ENTRY + 1],
        (data, count): (usize, usize),
        words: &(impl Words + ?Sized),
        granule: Granule,
    ) -> bool {
        if let Some(bytes) = words.bytes(data, READ_WORDS) {
            return unpack(self, entry, count, bytes, granule);
        }
        self.read_last(entry, (data, count), words, granule)
    }

    /// As [`Self::read`], near the end of the words, or of words that others may change.
    #[inline(never)]
    fn read_last(
        &mut self,
        entry: [u64; ENTRY + 1],
        (data, count): (usize, usize),
        words: &(impl Words + ?Sized),
        granule: Granule,
    ) -> bool {
        let nr_words = block(entry, count).words().min(DATA_WORDS);
        // The last row of a whole block ends where its data end.
        if count == BLOCK {
            if let Some(bytes) = words.bytes(data, nr_words + ROW) {
                return unpack(self, entry, count, bytes, granule);
            }
        }
        // A copy, which has zeros behind the last word, and does not change.
        let mut copy = [[0; 8]; READ_WORDS];
        for (index, word) in copy[..nr_words].iter_mut().enumerate() {
            *word = words.word(data.saturating_add(index)).to_le_bytes();
        }
        unpack(self, entry, count, copy.as_flattened(), granule)
    }
}

/// A block whose data start at the first word.
#[inline(always)]
fn block([first_page, word, lowest, end_page]: [u64; ENTRY + 1], count: usize) -> Block {
    Block { data: 0, ..Block::new([first_page, word, lowest], end_page, count, 0) }
}

wide! {
    /// Unpacks all runs of a block, whose data are in `bytes`.
    fn unpack(
        out: &mut Unpacked,
        entry: [u64; ENTRY + 1],
        count: usize,
        bytes: &[u8],
        granule: Granule,
    ) -> bool {
        let count = count.min(BLOCK);
        let block = block(entry, count);
        let Packing { lowest, pfn_bits, pfn_lg2, unit_lg2, low_bits } = block.packing;
        out.unit_lg2 = unit_lg2;
        let (is_even, units) = (block.is_even(), block.units());
        if !is_even && (low_bits > MOST_LOW_BITS || units > MOST_UNITS) {
            return false;
        }
        // In an order in which no step waits for the writes of the step before.
        if !is_even {
            if read_marks(bytes, block.marks, &mut out.marks) < count {
                return false;
            }
            let lows = Fields { at: 64 * block.marks, width: low_bits };
            if let Some(starts) = out.starts.first_chunk_mut() {
                short_fields(bytes, lows, starts);
            }
        }
        // There are no marks, either, if each run is one unit.
        let at = 64 * block.marks + if is_even { 0 } else { count * low_bits as usize };
        let pfns = Fields { at, width: pfn_bits };
        if pfn_bits <= 32 {
            // The lengths are not known yet.
            short_fields(bytes, pfns, &mut out.lengths);
        } else {
            long_fields(bytes, pfns, &mut out.pfns);
        }
        if !is_even {
            // The bits above the low ones are the clear marks below a mark, at most 255.
            let starts = out.starts[..BLOCK].iter_mut();
            for ((start, mark), index) in starts.zip(&out.marks).zip(0..) {
                *start += u32::from(mark.wrapping_sub(index)) << low_bits;
            }
            // Behind the last run, too: runs of one unit.
            #[expect(clippy::cast_possible_truncation, reason = "MOST_UNITS")]
            for (start, index) in out.starts[count..].iter_mut().zip(0..) {
                *start = units as u32 + index;
            }
        }
        if pfn_bits <= 32 {
            for (pfn, field) in out.pfns.iter_mut().zip(&out.lengths) {
                *pfn = lowest.wrapping_add(u64::from(*field) << pfn_lg2);
            }
        } else {
            for pfn in &mut out.pfns {
                *pfn = lowest.wrapping_add(*pfn << pfn_lg2);
            }
        }
        let mut more = 0;
        if is_even {
            for (start, index) in out.starts.iter_mut().zip(0..) {
                *start = index;
            }
            out.lengths = [1; BLOCK];
        } else {
            let (starts, ends) = (&out.starts[..BLOCK], &out.starts[1..]);
            for ((length, start), end) in out.lengths.iter_mut().zip(starts).zip(ends) {
                *length = end.wrapping_sub(*start);
                more |= length.wrapping_sub(1);
            }
        }
        are_sound(out, &block, granule, more)
    }
}

/// For each byte of each word of marks: the bits before it, in each byte of a word.
static BITS_BEFORE: [[u64; 8]; MARK_WORDS] = {
    let mut before = [[0; 8]; MARK_WORDS];
    let mut byte = 0;
    while byte < 8 * MARK_WORDS {
        before[byte / 8][byte % 8] = (8 * byte as u64 % 256) * 0x0101_0101_0101_0101;
        byte += 1;
    }
    before
};

/// Any byte is the index of a place in it, and of eight behind.
const MARKS: usize = 256 + 8;

/// Reads the place of each mark, modulo 256, from so many words. Returns how many marks there are.
#[inline(always)]
fn read_marks(bytes: &[u8], nr_words: usize, marks: &mut [u8; MARKS]) -> usize {
    let mut set = 0;
    let (words, _) = arrays::<_, 8>(bytes);
    for (word, before) in words.iter().zip(&BITS_BEFORE[..nr_words.min(MARK_WORDS)]) {
        for (&byte, before) in word.iter().zip(before) {
            // Eight at a time: those that there are not are overwritten.
            let bits = u64::from_le_bytes(SET_BITS[usize::from(byte)]).wrapping_add(*before);
            let at = set & 0xff;
            marks[at..at + 8].copy_from_slice(&bits.to_le_bytes());
            set += byte.count_ones() as usize;
        }
    }
    set
}

/// Returns true if a list can hold each run. None has more than `1 + more` units.
#[inline(always)]
fn are_sound(runs: &Unpacked, block: &Block, granule: Granule, more: u32) -> bool {
    let Packing { lowest, pfn_bits, pfn_lg2, unit_lg2, .. } = block.packing;
    let (reach, most) = (granule.reach(), granule.most());
    // A run that ends before it starts, or has no unit.
    if u64::from(more) > MOST_UNITS {
        return false;
    }
    // A bound for all runs holds in nearly every block. No sum here passes 2^64.
    if unit_lg2 < 32 && pfn_bits + pfn_lg2 < 63 && lowest < reach {
        let more = ((u64::from(more) + 1) << unit_lg2) - 1;
        if more < most && lowest + (mask(pfn_bits) << pfn_lg2) + more < reach {
            return true;
        }
    }
    are_sound_each(runs, block.count, granule)
}

/// Returns true if a list can hold each run.
#[cold]
fn are_sound_each(runs: &Unpacked, count: usize, granule: Granule) -> bool {
    let (reach, most) = (granule.reach(), granule.most());
    runs.pfns.iter().zip(&runs.lengths).take(count).all(|(&pfn, &length)| {
        let nr_pages = u128::from(length) << runs.unit_lg2;
        pfn < reach && nr_pages <= u128::from((reach - pfn).min(most))
    })
}

/// Numbers of equally many bits, one after the other.
#[derive(Clone, Copy, Debug)]
struct Fields {
    /// Bit where they start.
    at: usize,
    /// Bits of each.
    width: u32,
}

impl Fields {
    /// Field `index`, read by itself.
    #[inline(always)]
    fn one(self, bytes: &[u8], index: usize) -> u64 {
        let at = self.at + index * self.width as usize;
        let word = bytes.get(at / 8..).and_then(<[u8]>::first_chunk);
        word.map_or(0, |word| u64::from_le_bytes(*word)) >> (at % 8) & mask(self.width)
    }
}

/// Calls a function that is compiled for each width of fields that start at whole bytes. Others are
/// only of the last block, or of what is no block.
macro_rules! for_width {
    ($rows:ident($bytes:ident, $fields:ident, $out:ident), $($width:literal)*) => {
        match $fields.width {
            $($width if $fields.at % 8 == 0 => $rows::<$width>($bytes, $fields.at / 8, $out),)*
            _ => for (index, out) in $out.iter_mut().enumerate() {
                #[allow(clippy::cast_possible_truncation, reason = "as many bits as `out` has")]
                {
                    *out = $fields.one($bytes, index) as _;
                }
            }
        }
    };
}

wide! {
    /// Reads a block's fields of at most 32 bits.
    fn short_fields(bytes: &[u8], fields: Fields, out: &mut [u32; BLOCK]) {
        for_width!(
            short_rows(bytes, fields, out),
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
        );
    }
}

wide! {
    /// Reads a block's fields of more. No field of a block has more than 52 bits.
    fn long_fields(bytes: &[u8], fields: Fields, out: &mut [u64; BLOCK]) {
        for_width!(
            long_rows(bytes, fields, out),
            33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52
        );
    }
}

/// Bits `at` and behind of a row: 57 of them, or more.
#[inline(always)]
fn bits(row: &[u8; 8 * ROW], at: usize) -> u64 {
    let word = row[at / 8..].first_chunk();
    word.map_or(0, |word| u64::from_le_bytes(*word)) >> (at % 8)
}

/// Calls `read` for each row of fields of `WIDTH` bits: with its bytes, and some behind.
#[inline(always)]
fn each_row<const WIDTH: usize, T>(
    bytes: &[u8],
    from: usize,
    out: &mut [T; BLOCK],
    read: impl Fn(&[u8; 8 * ROW], &mut [T; ROW]),
) {
    let bytes =
        bytes.get(from..).and_then(|bytes| bytes.get(..(BLOCK / ROW - 1) * WIDTH + 8 * ROW));
    let Some(bytes) = bytes else {
        // No block has fields behind what is read for it, whatever its words say: the marks and the
        // bits of a field are bounded.
        debug_assert!(false, "fields of {WIDTH} bits from byte {from} on");
        return;
    };
    let (pairs, _) = arrays_mut::<_, { 2 * ROW }>(out);
    for (pair, out) in pairs.iter_mut().enumerate() {
        let (rows, _) = arrays_mut::<_, ROW>(out);
        for (row, out) in rows.iter_mut().enumerate() {
            // Keeps the compiler from reading a field of each of eight rows at once, which it would
            // have to sort after. Those of one row are in order.
            compiler_fence(Ordering::SeqCst);
            if let Some(row) = bytes[(2 * pair + row) * WIDTH..].first_chunk() {
                read(row, out);
            }
        }
    }
}

/// Reads fields of `WIDTH` bits, at most 32.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "to the fields of a word")]
fn short_rows<const WIDTH: usize>(bytes: &[u8], from: usize, out: &mut [u32; BLOCK]) {
    let mask = const { (1_u64 << WIDTH) - 1 };
    each_row::<WIDTH, _>(bytes, from, out, |row, out| {
        if WIDTH * ROW <= 32 {
            let word = bits(row, 0) as u32;
            for (index, out) in out.iter_mut().enumerate() {
                *out = word >> (index * WIDTH) & mask as u32;
            }
            return;
        }
        // Two at a time, each in its half of a word.
        let pairs: [u64; ROW / 2] = core::array::from_fn(|pair| {
            let at = 2 * pair * WIDTH;
            let first = bits(row, at);
            // Both are in one word, whatever bit of a byte the first starts at: that is an even one.
            let second = if WIDTH <= 30 { first >> WIDTH } else { bits(row, at + WIDTH) };
            (first & mask) | (second & mask) << 32
        });
        for (out, pair) in out.chunks_exact_mut(2).zip(pairs) {
            (out[0], out[1]) = (pair as u32, (pair >> 32) as u32);
        }
    });
}

/// Reads fields of `WIDTH` bits, at most 57.
#[inline(always)]
fn long_rows<const WIDTH: usize>(bytes: &[u8], from: usize, out: &mut [u64; BLOCK]) {
    each_row::<WIDTH, _>(bytes, from, out, |row, out| {
        for (index, out) in out.iter_mut().enumerate() {
            *out = bits(row, index * WIDTH) & ((1 << WIDTH) - 1);
        }
    });
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::storage::frozen::bits::field;

    /// Words of no pattern.
    fn words() -> Vec<u64> {
        (1..=READ_WORDS as u64)
            .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23))
            .collect()
    }

    #[test]
    fn fields_of_each_width_are_those_that_lie_there() {
        let words = words();
        let bytes = words[..].bytes(0, READ_WORDS).unwrap();
        for width in 0..=52 {
            for at in [0, 64, 104, 77] {
                let fields = Fields { at, width };
                let mut out = [0; BLOCK];
                if width <= 32 {
                    let mut short = [0; BLOCK];
                    short_fields(bytes, fields, &mut short);
                    out = short.map(u64::from);
                } else {
                    long_fields(bytes, fields, &mut out);
                }
                for (index, out) in out.iter().enumerate() {
                    let field = field(&words[..], at + index * width as usize, width);
                    assert_eq!(*out, field, "{width} {at} {index}");
                }
            }
        }
    }

    #[test]
    fn marks_are_the_set_bits() {
        for words in [words(), [0xff00_ffff_0000_0001, u64::MAX, 0x8000_0000_0000_0000].to_vec()] {
            let bytes = words[..].bytes(0, words.len().min(MARK_WORDS)).unwrap();
            let nr_words = bytes.len() / 8;
            let bits = (0..64 * nr_words).filter(|bit| words[bit / 64] >> (bit % 64) & 1 == 1);
            let bits: Vec<usize> = bits.take(BLOCK).collect();
            let mut marks = [0; MARKS];
            let set = read_marks(bytes, nr_words, &mut marks);
            assert!(bits.len() > 80 && bits.len() == set.min(BLOCK));
            assert!(bits.iter().zip(marks).all(|(&bit, mark)| bit % 256 == usize::from(mark)));
        }
    }
}
