//! The runs of a block, all at once.

use core::hint::black_box;

use super::bits::{Words, mask};
use super::block::{BLOCK, Block, DATA_WORDS, MARK_WORDS, Packing};
use crate::granule::Granule;
use crate::wide::wide;

/// Fields that are read in a row. Together they are whole bytes, whatever their width.
const ROW: usize = 8;

/// Words that are read for a block: its data, and what a row may read behind them.
const READ_WORDS: usize = DATA_WORDS + ROW;

/// The runs of one block, unpacked.
#[derive(Clone, Debug)]
pub(crate) struct Unpacked {
    /// First page of each run, in pages of the block, and then the pages of the block.
    pub(crate) starts: [u64; BLOCK + 1],
    pub(crate) pfns: [u64; BLOCK],
}

impl Unpacked {
    pub(crate) const EMPTY: Self = Self { starts: [0; BLOCK + 1], pfns: [0; BLOCK] };

    /// Unpacks all runs of a block. Returns true if a list can hold each of them.
    #[inline(always)]
    pub(crate) fn read(
        &mut self,
        block: &Block,
        words: &(impl Words + ?Sized),
        granule: Granule,
    ) -> bool {
        if let Some(bytes) = words.bytes(block.data, READ_WORDS) {
            return unpack(self, block, bytes, granule);
        }
        // A copy does not change, and has zeros behind the last word.
        let mut copy = [[0; 8]; READ_WORDS];
        for (index, word) in copy[..block.words().min(DATA_WORDS)].iter_mut().enumerate() {
            *word = words.word(block.data.saturating_add(index)).to_le_bytes();
        }
        unpack(self, block, copy.as_flattened(), granule)
    }
}

/// Unpacks all runs of a block, whose data are in `bytes`.
#[inline(always)]
fn unpack(out: &mut Unpacked, block: &Block, bytes: &[u8], granule: Granule) -> bool {
    let Packing { lowest, pfn_bits, pfn_lg2, unit_lg2, low_bits } = block.packing;
    let count = block.count.min(BLOCK);
    let block = Block { data: 0, ..*block };
    let pfns = Fields { at: block.pfns(), width: pfn_bits, lg2: pfn_lg2, lowest };
    fields(bytes, pfns, &mut out.pfns, count);
    if block.is_even() {
        for (start, index) in out.starts.iter_mut().zip(0_u64..) {
            *start = index << unit_lg2;
        }
        return are_sound(out, &block, granule, (1 << unit_lg2) - 1);
    }
    let lows = Fields { at: block.fields(), width: low_bits, lg2: unit_lg2, lowest: 0 };
    if let Some(starts) = out.starts.first_chunk_mut() {
        fields(bytes, lows, starts, count);
    }
    let upper_lg2 = (low_bits + unit_lg2) & 63;
    for (start, upper) in out.starts.iter_mut().zip(uppers(bytes, block.marks)) {
        *start = start.wrapping_add(u64::from(upper) << upper_lg2);
    }
    out.starts[count] = block.nr_pages;
    let (starts, ends) = (&out.starts[..count], &out.starts[1..=count]);
    let more = starts
        .iter()
        .zip(ends)
        .fold(0, |more, (start, end)| more | end.wrapping_sub(*start).wrapping_sub(1));
    are_sound(out, &block, granule, more)
}

/// For each byte: which of its bits are set.
static SET_BITS: [[u8; 8]; 256] = set_bits();

const fn set_bits() -> [[u8; 8]; 256] {
    let mut table = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut bit, mut set) = (0, 0);
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                table[byte][set] = bit;
                set += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    table
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

/// The part of each start above its low bits: the clear bits below its mark. At most 255.
#[inline(always)]
fn uppers(bytes: &[u8], nr_words: usize) -> [u8; BLOCK] {
    // Any byte is the index of a place in it, and of eight behind.
    let mut marks = [0; 256 + 8];
    let mut set = 0;
    let (words, _) = crate::slices::arrays::<_, 8>(bytes);
    for (word, before) in words.iter().zip(&BITS_BEFORE).take(nr_words) {
        for (&byte, before) in word.iter().zip(before) {
            // Eight at a time: those that there are not are overwritten.
            let bits = u64::from_le_bytes(SET_BITS[usize::from(byte)]).wrapping_add(*before);
            let at = set & 0xff;
            marks[at..at + 8].copy_from_slice(&bits.to_le_bytes());
            set += byte.count_ones() as usize;
        }
    }
    let mut uppers = [0; BLOCK];
    for ((upper, mark), index) in uppers.iter_mut().zip(marks).zip(0..) {
        *upper = mark.wrapping_sub(index);
    }
    uppers
}

/// Returns true if a list can hold each run. None has more than `1 + more` pages.
#[inline(always)]
fn are_sound(runs: &Unpacked, block: &Block, granule: Granule, more: u64) -> bool {
    let Packing { lowest, pfn_bits, pfn_lg2, .. } = block.packing;
    let (reach, most) = (granule.reach(), granule.most());
    // A bound for all runs holds in nearly every block.
    let above = u128::from(mask(pfn_bits)) << pfn_lg2;
    if more < most && u128::from(lowest) + above + u128::from(more) < u128::from(reach) {
        return true;
    }
    let runs = runs.starts.windows(2).zip(&runs.pfns).take(block.count);
    runs.fold(true, |are_sound, (bounds, &pfn)| {
        let more = bounds[1].wrapping_sub(bounds[0]).wrapping_sub(1);
        are_sound && pfn < reach && more < (reach - pfn).min(most)
    })
}

/// Numbers of equally many bits, one after the other.
#[derive(Clone, Copy, Debug)]
struct Fields {
    /// Bit where they start.
    at: usize,
    /// Bits of each.
    width: u32,
    /// Each counts units of `1 << lg2`, from `lowest` on.
    lg2: u32,
    lowest: u64,
}

wide! {
    /// Reads fields of so many bits from a bit on; at least `count`. No field of a block has more than
    /// 52 bits.
    fn fields(bytes: &[u8], fields: Fields, out: &mut [u64; BLOCK], count: usize) {
        let Fields { at, width, lg2, lowest } = fields;
        let Some(from) = bytes.get(at / 8..) else {
            // No block has fields behind what is read for it, whatever its words say: the marks and
            // the bits of a field are bounded.
            debug_assert!(false, "bit {at} of {} bytes", bytes.len());
            *out = [0; BLOCK];
            return;
        };
        /// Calls a function that is compiled for each width.
        macro_rules! for_width {
            ($($width:literal)*) => {
                match width {
                    $($width if at % 8 == 0 => rows::<$width>(from, fields, out, count),)*
                    // Only of the last block, or of what is no block.
                    _ => for (index, out) in out.iter_mut().take(count).enumerate() {
                        let at = at + index * width as usize;
                        let bytes = bytes.get(at / 8..at / 8 + 8).and_then(<[u8]>::first_chunk);
                        let word = bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
                        *out = lowest.wrapping_add((word >> (at % 8) & mask(width)) << lg2);
                    }
                }
            };
        }
        for_width!(
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34
            35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52
        );
    }
}

/// Fields of a row that are read at once: as many as lie in a word of any eight bytes.
const fn together(width: usize) -> usize {
    let mut together = ROW;
    while together > 1 {
        let bits = together * width;
        // The most bits of its first byte that a group leaves to the one before.
        let before = if bits % 8 == 0 { 0 } else { 8 - (1 << bits.trailing_zeros()) };
        if before + bits <= 64 {
            break;
        }
        together /= 2;
    }
    together
}

/// Reads fields of `WIDTH` bits in rows.
#[inline(always)]
fn rows<const WIDTH: usize>(
    bytes: &[u8],
    Fields { lg2, lowest, .. }: Fields,
    out: &mut [u64; BLOCK],
    count: usize,
) {
    let together = const { together(WIDTH) };
    // Words that the last row of a full block reads.
    let Some(bytes) = bytes.get(..(BLOCK / ROW - 1) * WIDTH + 8 * ROW) else {
        debug_assert!(false, "{} bytes for fields of {WIDTH} bits", bytes.len());
        return;
    };
    for row in 0..count.div_ceil(ROW).min(BLOCK / ROW) {
        let (bytes, out) = (&bytes[row * WIDTH..], &mut out[row * ROW..(row + 1) * ROW]);
        for (group, out) in out.chunks_exact_mut(together).enumerate() {
            let at = group * together * WIDTH;
            let word = bytes[at / 8..].first_chunk();
            let word = word.map_or(0, |word| u64::from_le_bytes(*word));
            // Else the compiler takes a field of each of four rows at a time, and sorts them after.
            let word = if group == 0 { black_box(word) } else { word };
            for (index, out) in out.iter_mut().enumerate() {
                let field = word >> (at % 8 + index * WIDTH) & ((1 << WIDTH) - 1);
                *out = lowest.wrapping_add(field << lg2);
            }
        }
    }
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
            for (at, count, lg2) in [(0, 128, 0), (64, 127, 3), (104, 9, 40), (77, 50, 1)] {
                let mut out = [0; BLOCK];
                fields(bytes, Fields { at, width, lg2, lowest: 5 }, &mut out, count);
                for (index, out) in out[..count].iter().enumerate() {
                    let field = field(&words[..], at + index * width as usize, width);
                    assert_eq!(*out, 5_u64.wrapping_add(field << lg2), "{width} {at} {index}");
                }
            }
        }
    }

    #[test]
    fn uppers_count_the_clear_bits_below_each_mark() {
        for words in [words(), [0xff00_ffff_0000_0001, u64::MAX, 0x8000_0000_0000_0000].to_vec()] {
            let bytes = words[..].bytes(0, words.len().min(6)).unwrap();
            let nr_words = bytes.len() / 8;
            let bits = (0..64 * nr_words).filter(|bit| words[bit / 64] >> (bit % 64) & 1 == 1);
            let clear: Vec<usize> = (0..BLOCK).zip(bits).map(|(index, bit)| bit - index).collect();
            let uppers = uppers(bytes, nr_words);
            assert!(clear.len() > 80);
            assert!(clear.iter().zip(uppers).all(|(&clear, upper)| clear == usize::from(upper)));
        }
    }
}
