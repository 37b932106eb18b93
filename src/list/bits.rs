//! Bits of a bitmap by the piece: some bits in a row, as one word.
//!
//! ```text
//! piece    31          20 19               0
//!         | how many bits | place of the first |
//! ```
//!
//! A piece that has few bits has all of them in the eight bytes from that of its first on, whatever its
//! place. So it is one read and one write, and no branch depends on where it lies.

use alloc::vec::Vec;
use core::ops::Range;

use crate::error::{NoMemory, zeros};
use crate::slices::arrays_mut;
use crate::wide::wide;

/// Bits of a bitmap at most, as a power of two: 128 KiB.
pub(crate) const PART: u32 = 20;

/// Places in a bitmap.
pub(crate) const IN_PART: u64 = (1 << PART) - 1;

/// The most bits of a piece.
pub(crate) const LONGEST: u64 = (1 << (u32::BITS - PART)) - 1;

/// The most bits of a piece that has them in eight bytes: the first may be the highest of its byte.
const SHORT: u32 = 57;

/// Bytes read and written together.
const EIGHT: usize = 8;

/// Bits that a mark stands for.
const MARKED: usize = 8 * EIGHT;

/// Bytes that are cleared, if all of them are, in the time that clearing one piece takes.
const CLEAR: usize = 64;

/// A piece of so many bits, both numbers below their limits.
#[inline(always)]
pub(crate) fn piece(first: u64, count: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "both have their bits of the word")]
    let piece = (first & IN_PART | count << PART) as u32;
    piece
}

/// The byte that has a piece's first bit, that bit in it, and the bits of the piece.
#[inline(always)]
fn unpack(piece: u32) -> (usize, u32, u32) {
    ((piece as usize % (1 << PART)) / 8, piece % 8, piece >> PART)
}

/// The bits of a piece that has few.
#[inline(always)]
fn ones(bit: u32, count: u32) -> u64 {
    // The higher bits of the count do not count, so the compiler need not look at them.
    !(u64::MAX << (count % 64)) << bit
}

/// The eight bytes from a byte on. A bitmap has so many behind each piece.
#[inline(always)]
fn eight(bits: &mut [u8], at: usize) -> Option<&mut [u8; EIGHT]> {
    bits.get_mut(at..at + EIGHT)?.try_into().ok()
}

/// The whole bytes of a piece with many bits; and of the bytes at either side, which may be one byte of the
/// bitmap, the bits that are the piece's.
#[inline(always)]
fn long(at: usize, bit: u32, count: u32) -> ([(usize, u8); 2], Range<usize>) {
    let end = bit + count;
    let last = at + (end / 8) as usize;
    let sides = [(at, u8::MAX << bit), (last, !(u8::MAX << (end % 8)))];
    (sides, at + 1..last)
}

/// A bitmap of at most `1 << PART` bits.
#[derive(Debug)]
pub(crate) struct Bits(Vec<u8>);

impl Bits {
    /// So many bits, all clear.
    pub(crate) fn new(count: u64) -> Result<Self, NoMemory> {
        let nr_bytes = usize::try_from(count.div_ceil(8)).unwrap_or(usize::MAX);
        // Pieces are read eight bytes at a time.
        let nr_bytes = nr_bytes.next_multiple_of(EIGHT).saturating_add(EIGHT);
        Ok(Self(zeros(nr_bytes)?))
    }

    /// Sets the bits of pieces.
    pub(crate) fn set(&mut self, pieces: &[u32]) {
        set_all(&mut self.0, pieces);
    }

    /// Clears the bits of pieces, and returns how many of them were set.
    pub(crate) fn take(&mut self, pieces: &[u32]) -> u64 {
        take_all(&mut self.0, pieces)
    }

    /// Returns true if a bitmap is cleared sooner by its pieces, of which it has so many.
    pub(crate) fn has_few(&self, nr_pieces: usize) -> bool {
        nr_pieces < self.0.len() / CLEAR
    }

    /// Clears the bits of pieces, and maybe others.
    pub(crate) fn clear(&mut self, pieces: &[u32]) {
        clear_all(&mut self.0, pieces);
    }

    /// Clears all bits.
    pub(crate) fn clear_all(&mut self) {
        self.0.fill(0);
    }
}

/// The bits that two lists have.
#[derive(Debug)]
pub(crate) struct Both {
    bits: Bits,
    /// A mark for each [`MARKED`] bits of which some may be set.
    marks: Vec<u64>,
}

impl Both {
    /// For bitmaps of so many bits.
    pub(crate) fn new(count: u64) -> Result<Self, NoMemory> {
        let bits = Bits::new(count)?;
        let nr_marks = bits.0.len() / EIGHT;
        Ok(Self { bits, marks: zeros(nr_marks.div_ceil(64))? })
    }

    /// Sets the bits of pieces that `with` has, too.
    pub(crate) fn set(&mut self, pieces: &[u32], with: &Bits) {
        both_all(&mut self.bits.0, &mut self.marks, &with.0, pieces);
    }

    /// Hands out and clears the bits that are set, in order: the place of the first, and how many there are
    /// in a row. One row may touch the next.
    pub(crate) fn each<E>(
        &mut self,
        mut emit: impl FnMut(u64, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        for (marks, first) in self.marks.iter_mut().zip((0_usize..).step_by(64)) {
            let mut left = core::mem::take(marks);
            while left != 0 {
                let at = first + left.trailing_zeros() as usize;
                left &= left - 1;
                let Some(bytes) = eight(&mut self.bits.0, EIGHT * at) else { break };
                let mut word = u64::from_le_bytes(core::mem::take(bytes));
                while word != 0 {
                    let zeros = word.trailing_zeros();
                    let ones = (word >> zeros).trailing_ones();
                    emit((MARKED * at) as u64 + u64::from(zeros), ones.into())?;
                    // Without its lowest ones.
                    word &= word.wrapping_add(1 << zeros);
                }
            }
        }
        Ok(())
    }
}

wide! {
    fn set_all(bits: &mut [u8], pieces: &[u32]) {
        for &piece in pieces {
            let (at, bit, count) = unpack(piece);
            if count > SHORT {
                let (sides, whole) = long(at, bit, count);
                bits.get_mut(whole).unwrap_or_default().fill(u8::MAX);
                for (at, ones) in sides {
                    if let Some(byte) = bits.get_mut(at) {
                        *byte |= ones;
                    }
                }
                continue;
            }
            if let Some(bytes) = eight(bits, at) {
                *bytes = (u64::from_le_bytes(*bytes) | ones(bit, count)).to_le_bytes();
            }
        }
    }
}

wide! {
    fn take_all(bits: &mut [u8], pieces: &[u32]) -> u64 {
        let mut taken = 0;
        for &piece in pieces {
            let (at, bit, count) = unpack(piece);
            if count > SHORT {
                let (sides, whole) = long(at, bit, count);
                let (eights, rest) = arrays_mut(bits.get_mut(whole).unwrap_or_default());
                for eight in eights {
                    let word: [u8; EIGHT] = core::mem::take(eight);
                    taken += u64::from(u64::from_le_bytes(word).count_ones());
                }
                for byte in rest {
                    taken += u64::from(core::mem::take(byte).count_ones());
                }
                for (at, ones) in sides {
                    if let Some(byte) = bits.get_mut(at) {
                        taken += u64::from((*byte & ones).count_ones());
                        *byte &= !ones;
                    }
                }
                continue;
            }
            if let Some(bytes) = eight(bits, at) {
                let (word, ones) = (u64::from_le_bytes(*bytes), ones(bit, count));
                taken += u64::from((word & ones).count_ones());
                *bytes = (word & !ones).to_le_bytes();
            }
        }
        taken
    }
}

wide! {
    fn clear_all(bits: &mut [u8], pieces: &[u32]) {
        for &piece in pieces {
            let (at, bit, count) = unpack(piece);
            if count > SHORT {
                let (_, whole) = long(at, bit, count);
                bits.get_mut(whole.start - 1..whole.end + 1).unwrap_or_default().fill(0);
            } else if let Some(bytes) = eight(bits, at) {
                *bytes = [0; EIGHT];
            }
        }
    }
}

wide! {
    fn both_all(both: &mut [u8], marks: &mut [u64], bits: &[u8], pieces: &[u32]) {
        let mut mark = |at: usize| {
            if let Some(marks) = marks.get_mut(at / 64) {
                *marks |= 1 << (at % 64);
            }
        };
        for &piece in pieces {
            let (at, bit, count) = unpack(piece);
            let place = 8 * at + bit as usize;
            if count > SHORT {
                let (sides, whole) = long(at, bit, count);
                let bytes = both.get_mut(whole.clone()).unwrap_or_default();
                for (to, from) in bytes.iter_mut().zip(bits.get(whole).unwrap_or_default()) {
                    *to |= from;
                }
                for (at, ones) in sides {
                    if let (Some(to), Some(from)) = (both.get_mut(at), bits.get(at)) {
                        *to |= from & ones;
                    }
                }
                (place / MARKED..=(place + count as usize - 1) / MARKED).for_each(&mut mark);
                continue;
            }
            let from = bits.get(at..at + EIGHT).and_then(|bytes| bytes.try_into().ok());
            if let (Some(to), Some(from)) = (eight(both, at), from) {
                let word = u64::from_le_bytes(from) & ones(bit, count);
                if word != 0 {
                    *to = (u64::from_le_bytes(*to) | word).to_le_bytes();
                    mark(place / MARKED);
                    mark((place + count as usize - 1) / MARKED);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::{Bits, Both, piece};

    /// Bits of a bitmap here.
    const COUNT: usize = 3000;

    /// Pieces of few bits and of many, each inside a bitmap.
    fn pieces() -> impl Strategy<Value = Vec<(usize, usize)>> {
        let count = prop_oneof![1_usize..70, Just(1), 56_usize..66, 1_usize..2000];
        let pair = (0..COUNT, count).prop_map(|(first, count)| (first, count.min(COUNT - first)));
        prop::collection::vec(pair, 0..40)
    }

    fn packed(pieces: &[(usize, usize)]) -> Vec<u32> {
        pieces.iter().map(|&(first, count)| piece(first as u64, count as u64)).collect()
    }

    /// The same, a truth a bit.
    fn plain(pieces: &[(usize, usize)]) -> Vec<bool> {
        let mut bits = vec![false; COUNT];
        for &(first, count) in pieces {
            bits[first..first + count].fill(true);
        }
        bits
    }

    /// Counts what two lists of pieces have in common, and lists it.
    fn compare(a: &[(usize, usize)], b: &[(usize, usize)], is_few: bool) {
        let (pieces, others) = (packed(a), packed(b));
        let (one, other) = (plain(a), plain(b));
        let common: Vec<_> = one.iter().zip(&other).map(|(a, b)| *a && *b).collect();
        let mut bits = Bits::new(COUNT as u64).unwrap();
        let mut both = Both::new(COUNT as u64).unwrap();
        // Twice: all must be clear after the first time.
        for _ in 0..2 {
            bits.set(&pieces);
            let (first, second) = others.split_at(others.len() / 2);
            both.set(first, &bits);
            both.set(second, &bits);
            let (mut found, mut end) = (vec![false; COUNT], 0);
            both.each(|first, count| {
                let [first, count] = [first, count].map(|bits| usize::try_from(bits).unwrap());
                assert!(first >= end, "{first} is not behind {end}");
                end = first + count;
                found[first..end].fill(true);
                Ok::<(), ()>(())
            })
            .unwrap();
            assert_eq!(found, common);
            let taken = bits.take(first) + bits.take(second);
            assert_eq!(taken, common.iter().filter(|both| **both).count() as u64);
            if is_few {
                bits.clear(&pieces);
            } else {
                bits.clear_all();
            }
            assert_eq!(bits.take(&[piece(0, COUNT as u64)]), 0);
        }
    }

    proptest! {
        #[test]
        fn bitmaps_have_the_bits_that_truths_have(
            a in pieces(), b in pieces(), is_few: bool,
        ) {
            compare(&a, &b, is_few);
            #[cfg(feature = "std")]
            crate::wide::plainly(|| compare(&a, &b, is_few));
        }
    }
}
