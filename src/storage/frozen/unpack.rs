//! The runs of a block, all at once.

use super::bits::{Words, mask};
use super::block::{BLOCK, Block, DATA_WORDS, Packing};
use crate::granule::Granule;
use crate::wide::wide;

/// Fields that are read in a row. Together they are whole bytes, whatever their width.
const ROW: usize = 8;

/// Words that are read for a block: its data, and what a row may read behind them.
const READ_WORDS: usize = DATA_WORDS + ROW;

/// Marks that are found in a row, of which the last may be none.
const STEP: usize = 8;

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

wide! {
    /// Unpacks all runs of a block, whose data are in `bytes`.
    fn unpack(out: &mut Unpacked, block: &Block, bytes: &[u8], granule: Granule) -> bool {
        let Packing { lowest, pfn_bits, pfn_lg2, unit_lg2, low_bits } = block.packing;
        let count = block.count.min(BLOCK);
        let block = Block { data: 0, ..*block };
        fields(bytes, block.pfns(), pfn_bits, &mut out.pfns, count);
        for pfn in &mut out.pfns {
            *pfn = lowest.wrapping_add(*pfn << pfn_lg2);
        }
        if block.is_even() {
            for (start, index) in out.starts.iter_mut().zip(0_u64..) {
                *start = index << unit_lg2;
            }
            return are_sound(out, &block, granule, (1 << unit_lg2) - 1);
        }
        let marks = marks(bytes, block.marks, count);
        let mut lows = [0; BLOCK];
        fields(bytes, block.fields(), low_bits, &mut lows, count);
        for (index, (start, low)) in out.starts[..BLOCK].iter_mut().zip(&lows).enumerate() {
            let upper = u64::from(marks[index]).wrapping_sub(index as u64);
            *start = (upper << low_bits | low) << unit_lg2;
        }
        out.starts[count] = block.nr_pages;
        let more = out.starts[..=count].windows(2).fold(0, |more, bounds| {
            more | bounds[1].wrapping_sub(bounds[0]).wrapping_sub(1)
        });
        are_sound(out, &block, granule, more)
    }
}

/// Bits of the first `count` marks; too high a bit for those that are not there.
#[inline(always)]
fn marks(bytes: &[u8], nr_words: usize, count: usize) -> [u16; BLOCK + STEP] {
    let mut found = [u16::MAX >> 1; BLOCK + STEP];
    let mut done = 0;
    let (words, _) = crate::slices::arrays(bytes);
    for (word, first) in words.iter().take(nr_words).zip((0_u16..).step_by(64)) {
        let mut word = u64::from_le_bytes(*word);
        let end = done + word.count_ones() as usize;
        while done < end.min(count) {
            // Some more than there are cost less than to count them.
            for found in &mut found[done..done + STEP] {
                *found = first + (word.trailing_zeros() & 0xff) as u16;
                word &= word.wrapping_sub(1);
            }
            done += STEP;
        }
        done = end.min(count);
    }
    found
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

wide! {
    /// Reads fields of so many bits from a bit on; at least `count`. No field of a block has more than
    /// 52 bits.
    fn fields(bytes: &[u8], at: usize, width: u32, out: &mut [u64; BLOCK], count: usize) {
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
                    $($width if at % 8 == 0 => rows::<$width>(from, out, count),)*
                    // Only of the last block, or of what is no block.
                    _ => for (index, out) in out.iter_mut().take(count).enumerate() {
                        let at = at + index * width as usize;
                        let bytes = bytes.get(at / 8..at / 8 + 8).and_then(<[u8]>::first_chunk);
                        let word = bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
                        *out = word >> (at % 8) & mask(width);
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

/// Reads fields of `WIDTH` bits in rows.
#[inline(always)]
fn rows<const WIDTH: usize>(bytes: &[u8], out: &mut [u64; BLOCK], count: usize) {
    let rows = bytes.windows(8 * ROW).step_by(WIDTH.max(1));
    for (row, out) in rows.zip(out.chunks_exact_mut(ROW)).take(count.div_ceil(ROW)) {
        for (index, out) in out.iter_mut().enumerate() {
            let at = index * WIDTH;
            let bytes = row[at / 8..].first_chunk();
            let word = bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
            *out = word >> (at % 8) & ((1 << WIDTH) - 1);
        }
    }
}
