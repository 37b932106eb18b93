//! Fields of any width in a slice of words, and the search for set bits.

#[cfg(target_has_atomic = "64")]
use core::sync::atomic::{AtomicU64, Ordering};

use crate::slices;

/// Words of an archive: in memory of our own, or in memory that others may change.
pub(crate) trait Words {
    /// The word; 0 outside.
    fn word(&self, index: usize) -> u64;

    /// Four words from word `from` on; 0 outside.
    #[inline(always)]
    fn four(&self, from: usize) -> [u64; 4] {
        core::array::from_fn(|index| self.word(from.saturating_add(index)))
    }

    /// Asks for the cache line of a word, which will probably be read. Any index will do.
    fn fetch(&self, index: usize);

    /// How many there are.
    fn count(&self) -> usize;

    /// The bytes of `count` words from word `from` on, if they lie there and nobody changes them.
    fn bytes(&self, from: usize, count: usize) -> Option<&[u8]>;
}

impl Words for [u64] {
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        self.get(index).map_or(0, |word| u64::from_le(*word))
    }

    #[inline(always)]
    fn four(&self, from: usize) -> [u64; 4] {
        let words = self.get(from..).and_then(<[u64]>::first_chunk::<4>);
        words.map_or([0; 4], |words| words.map(u64::from_le))
    }

    #[inline(always)]
    fn fetch(&self, index: usize) {
        slices::fetch(self, index);
    }

    #[inline(always)]
    fn count(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn bytes(&self, from: usize, count: usize) -> Option<&[u8]> {
        self.get(from..from.checked_add(count)?).map(slices::bytes)
    }
}

#[cfg(target_has_atomic = "64")]
impl Words for [AtomicU64] {
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        self.get(index).map_or(0, |word| u64::from_le(word.load(Ordering::Relaxed)))
    }

    #[inline(always)]
    fn fetch(&self, index: usize) {
        slices::fetch(self, index);
    }

    #[inline(always)]
    fn count(&self) -> usize {
        self.len()
    }

    fn bytes(&self, _from: usize, _count: usize) -> Option<&[u8]> {
        None
    }
}

/// The lowest `width` bits, at most 63.
#[inline(always)]
pub(crate) const fn mask(width: u32) -> u64 {
    (1 << (width & 63)) - 1
}

/// `width` bits, at most 63, from bit `at` on.
#[inline(always)]
pub(crate) fn field<W: Words + ?Sized>(words: &W, at: usize, width: u32) -> u64 {
    let (index, shift) = (at / 64, at % 64);
    let low = words.word(index) >> shift;
    // Two shifts, since one by 64 would shift nothing.
    let high = words.word(index + 1) << 1 << (63 - shift);
    (low | high) & mask(width)
}

/// For each byte: which of its bits are set.
pub(crate) static SET_BITS: [[u8; 8]; 256] = set_bits();

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

/// Place of the set bit with `before` set bits below it, which `word` must have.
#[inline(always)]
pub(crate) fn select(mut word: u64, mut before: u32) -> u32 {
    let mut at = 0;
    for half in [32, 16, 8] {
        let below = (word & mask(half)).count_ones();
        let is_above = below <= before;
        before -= if is_above { below } else { 0 };
        let step = if is_above { half } else { 0 };
        word >>= step;
        at += step;
    }
    at + u32::from(SET_BITS[(word & 0xff) as usize][(before & 7) as usize])
}

/// Writes fields one after the other.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    words: &'a mut [u64],
    word: usize,
    /// Bits that wait for their word to be full, and how many there are.
    open: u64,
    used: u32,
}

impl<'a> Writer<'a> {
    /// Writes to `words` from word `word` on. If they have no room for all that comes, the index that
    /// [`Self::finish`] returns is behind their end.
    pub(crate) fn new(words: &'a mut [u64], word: usize) -> Self {
        Self { words, word, open: 0, used: 0 }
    }

    /// Writes the lowest `width` bits, at most 63, of `value`, whose other bits are 0.
    #[inline(always)]
    pub(crate) fn push(&mut self, value: u64, width: u32) {
        self.open |= value << self.used;
        self.used += width;
        if self.used >= 64 {
            self.close();
            self.used -= 64;
            // Keep the bits that did not fit. Two shifts, since one by 64 would shift nothing.
            self.open = value >> 1 >> (width - self.used - 1).min(63);
            self.open &= mask(self.used);
        }
    }

    /// Writes the open word, its other bits 0. Returns the index of the word after it.
    pub(crate) fn finish(mut self) -> usize {
        if self.used > 0 {
            self.close();
        }
        self.word
    }

    /// Writes the open word. If there is no room for it, only the index says so in the end.
    #[inline(always)]
    fn close(&mut self) {
        if let Some(word) = self.words.get_mut(self.word) {
            *word = self.open.to_le();
        }
        self.word += 1;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn select_finds_every_set_bit() {
        let mut word = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..200 {
            word = word.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (word >> 29);
            for word in [word, !word, word & (word << 7), u64::MAX, 1 << (word & 63)] {
                let set = (0..64).filter(|at| word >> at & 1 == 1);
                for (before, at) in (0..).zip(set) {
                    assert_eq!(select(word, before), at, "{word:#x} {before}");
                }
            }
        }
    }

    #[test]
    fn fields_read_as_they_were_written() {
        for width in 0..64 {
            let values: Vec<u64> =
                (1..150_u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask(width)).collect();
            let mut words = vec![u64::MAX; 150];
            let mut writer = Writer::new(&mut words, 1);
            for &value in &values {
                writer.push(value, width);
            }
            let end = writer.finish();
            assert_eq!(end, 1 + (149 * width as usize).div_ceil(64));
            words.truncate(end);
            for (index, &value) in values.iter().enumerate() {
                let at = 64 + index * width as usize;
                assert_eq!(field(&words[..], at, width), value, "{width} {index}");
            }
        }
    }
}
