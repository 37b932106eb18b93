//! A 64-bit digest of a sequence of words, for hashing lists and for noticing damaged bytes.
//!
//! ```text
//! lane[i % 8] = step(lane[i % 8] ^ word[i])        step(x) = y ^ y >> 32, y = x * odd
//! digest = step(... step(step(count) ^ lane 0) ... ^ lane 7)
//! ```
//!
//! Every step is a bijection of the lane and of the word, so any change inside one word changes the
//! digest. Eight lanes let the processor work on eight multiplications at a time. The digest finds
//! damage by accident; it does not protect against forgery.

use crate::slices;
use crate::wide::wide;

/// Odd, with its bits well spread: 2^64 divided by the golden ratio.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

const LANES: usize = 8;

const fn step(x: u64) -> u64 {
    let y = x.wrapping_mul(ODD);
    y ^ (y >> 32)
}

/// A digest of the words so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Digest {
    lanes: [u64; LANES],
    count: usize,
}

impl Digest {
    /// Adds words. The digest depends on the words only, not on how many come in one call.
    pub(crate) fn write(&mut self, mut words: &[u64]) {
        // Bring the count to a multiple of eight, so that blocks of eight words start at lane 0.
        let ahead = self.count.wrapping_neg() % LANES;
        let (first, rest) = words.split_at(ahead.min(words.len()));
        for &word in first {
            self.write_one(word);
        }
        words = rest;

        let (eights, rest) = slices::arrays(words);
        self.lanes = eights_after(self.lanes, eights);
        self.count += eights.len() * LANES;
        for &word in rest {
            self.write_one(word);
        }
    }

    /// Adds one word.
    pub(crate) fn write_one(&mut self, word: u64) {
        let lane = &mut self.lanes[self.count % LANES];
        *lane = step(*lane ^ word);
        self.count += 1;
    }

    /// The digest of all words so far.
    pub(crate) fn finish(&self) -> u64 {
        self.lanes.iter().fold(step(self.count as u64), |digest, lane| step(digest ^ lane))
    }
}

wide! {
    /// The lanes after blocks of eight words.
    fn eights_after(lanes: [u64; LANES], eights: &[[u64; LANES]]) -> [u64; LANES] {
        let mut lanes = lanes;
        for eight in eights {
            for (lane, word) in lanes.iter_mut().zip(eight) {
                *lane = step(*lane ^ word);
            }
        }
        lanes
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn digest(words: &[u64]) -> u64 {
        let mut digest = Digest::default();
        digest.write(words);
        digest.finish()
    }

    #[test]
    fn the_digest_does_not_depend_on_how_the_words_are_cut() {
        let words: Vec<u64> = (0..23).map(|i| i * i * 0x1234_5678_9abc).collect();
        for first in 0..23 {
            for second in first..23 {
                let mut cut = Digest::default();
                cut.write(&words[..first]);
                cut.write(&words[first..second]);
                words[second..].iter().for_each(|&word| cut.write_one(word));
                assert_eq!(cut.finish(), digest(&words), "{first} {second}");
            }
        }
    }

    #[test]
    fn any_bit_flipped_changes_the_digest() {
        let words: Vec<u64> = (0..9).collect();
        for index in 0..9 {
            for bit in 0..64 {
                let mut flipped = words.clone();
                flipped[index] ^= 1 << bit;
                assert_ne!(digest(&flipped), digest(&words), "{index} {bit}");
            }
        }
        assert_ne!(digest(&[0]), digest(&[]));
        assert_ne!(digest(&[0, 0]), digest(&[0]));
    }
}
