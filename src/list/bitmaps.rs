//! The memory that two lists have in common, by bitmaps: for many runs that lie close together.
//!
//! The addresses are cut into parts, so small that a bitmap of one, a bit a granule, fits in a cache.
//! First the runs of both lists are put into the parts where they lie. Then, part by part, each list
//! sets its bits, and the words of both bitmaps are compared:
//!
//! ```text
//! part           0                1                2
//! runs of a      |--| |-|         |-----------|         |---|
//! runs of b        |----|                       |-|   |-----|
//! bits of a      11110111 ...
//! bits of b      00111111 ...
//! both           00110111 ...
//! ```
//!
//! A run takes four bytes: where it starts in its part, and its length. It is cut where its part ends.

use alloc::vec::Vec;

use crate::error::{NoMemory, reserve};
use crate::granule::Granule;
use crate::list::chunks::Chunk;
use crate::list::reading::{List, Steps};
use crate::wide::wide;

/// Granules of a part, as a power of two: two bitmaps of 64 KiB.
const PART: u32 = 19;

/// The bits below a part.
const IN_PART: u64 = (1 << PART) - 1;

/// The most parts: a block of each list is open in each of them.
const MOST_PARTS: u64 = 1 << 11;

/// The most granules of a piece of a run: its length has the bits of its word above [`PART`].
const LONGEST: u64 = (1 << (u32::BITS - PART)) - 1;

/// The most granules for each run: of the addresses from the lowest to the highest, and of all runs
/// together. With more, reading the bits takes longer than sorting.
const SPARSE: u64 = 512;

/// Pieces of a block.
const BLOCK: usize = 256;

/// Fewer runs than this are sorted: they would not fill their blocks.
const FEW_RUNS: usize = 2 * BLOCK;

/// Chunks read at a time: as many as a node has.
const READ: usize = 512;

/// Words of a bitmap that are looked at together.
const FEW: usize = 8;

/// Bits of that many words.
const FEW_BITS: u64 = 64 * FEW as u64;

/// Where the chunks of two lists lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    lowest: u64,
    last: u64,
    /// Bits that any address or length has.
    any: u64,
    /// Bits that all addresses have.
    all: u64,
}

impl Bounds {
    /// The bounds of both lists.
    pub(crate) fn of(a: &impl List, b: &impl List) -> Self {
        let add = |mut to: Self, chunk: Chunk| {
            to.lowest = to.lowest.min(chunk.paddr);
            to.last = to.last.max(chunk.last_of_list());
            to.any |= chunk.paddr | chunk.length;
            to.all &= chunk.paddr;
            to
        };
        let none = Self { lowest: u64::MAX, last: 0, any: 0, all: u64::MAX };
        b.chunks().fold(a.chunks().fold(none, add), add)
    }

    /// Bits in which addresses may differ: all others are the same.
    pub(crate) fn differ(self) -> u64 {
        self.any & !self.all
    }
}

/// The pieces of two lists' runs, by the part where they lie.
#[derive(Debug)]
pub(crate) struct Bitmaps {
    blocks: Vec<[u32; BLOCK]>,
    /// For each block, where the one before of the same list and part ends.
    before: Vec<usize>,
    /// For each part, where the next piece of either list goes. At 0, and wherever a block ends, a block
    /// is opened.
    ends: Vec<[usize; 2]>,
    /// Words of a bitmap.
    nr_words: usize,
    granule: Granule,
    /// The granule of the first bit.
    lowest: u64,
}

impl Bitmaps {
    /// The runs of two lists of one granule; `None` if they lie too far apart for bitmaps, or have ends
    /// inside a granule. A run takes four bytes, or eight if its part ends in it, and its share of two
    /// open blocks in each part two more.
    pub(crate) fn of(
        a: &impl List,
        b: &impl List,
        bounds: Bounds,
    ) -> Result<Option<Self>, NoMemory> {
        let granule = a.granule();
        let (lowest, last) = (granule.floor(bounds.lowest), granule.floor(bounds.last));
        let Some(nr_pages) = last.checked_sub(lowest) else { return Ok(None) };
        let nr_parts = (nr_pages >> PART) + 1;
        let length = granule.floor(a.length()).saturating_add(granule.floor(b.length()));
        let nr_runs = a.chunks().len().saturating_add(b.chunks().len());
        if bounds.any & granule.mask() != 0
            || nr_pages.max(length) / SPARSE >= nr_runs as u64
            || nr_parts > MOST_PARTS
            || nr_runs < FEW_RUNS
        {
            return Ok(None);
        }
        #[expect(clippy::cast_possible_truncation, reason = "parts are few")]
        let nr_parts = nr_parts as usize;
        let (mut blocks, mut before, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let nr_blocks = nr_runs / BLOCK + 2 * nr_parts;
        reserve(&mut blocks, nr_blocks)?;
        reserve(&mut before, nr_blocks)?;
        reserve(&mut ends, nr_parts)?;
        ends.resize(nr_parts, [0; 2]);
        #[expect(clippy::cast_possible_truncation, reason = "a part has few words")]
        let nr_words = (nr_pages.min(IN_PART) / FEW_BITS + 1) as usize * FEW;
        let mut made = Self { blocks, before, ends, nr_words, granule, lowest };
        made.gather(a, 0)?;
        made.gather(b, 1)?;
        Ok(Some(made))
    }

    /// Takes the runs of list 0 or 1.
    fn gather(&mut self, list: &impl List, number: usize) -> Result<(), NoMemory> {
        let mut walk = list.walk_from(0);
        let mut chunks = [Chunk { paddr: 0, length: 0 }; READ];
        loop {
            let count = walk.read(&mut chunks);
            if count == 0 {
                return Ok(());
            }
            put_all(self, chunks.get(..count).unwrap_or_default(), number)?;
        }
    }

    /// Takes a run from granule `first` on, counted from the lowest.
    #[inline(always)]
    fn put(&mut self, list: usize, first: u64, nr_pages: u64) -> Result<(), NoMemory> {
        let start = first & IN_PART;
        if nr_pages > LONGEST.min(IN_PART + 1 - start) {
            return self.put_long(list, first, nr_pages);
        }
        self.put_piece(list, first, nr_pages)
    }

    /// As [`Self::put`], piece by piece.
    #[cold]
    fn put_long(&mut self, list: usize, first: u64, nr_pages: u64) -> Result<(), NoMemory> {
        let (mut first, mut nr_pages) = (first, nr_pages);
        // A mapped list that changes may have longer runs now.
        while nr_pages > 0 && first >> PART < self.ends.len() as u64 {
            let most = nr_pages.min(LONGEST).min(IN_PART + 1 - (first & IN_PART));
            self.put_piece(list, first, most)?;
            (first, nr_pages) = (first + most, nr_pages - most);
        }
        Ok(())
    }

    #[inline(always)]
    fn put_piece(&mut self, list: usize, first: u64, nr_pages: u64) -> Result<(), NoMemory> {
        let part = usize::try_from(first >> PART).unwrap_or(usize::MAX);
        // A mapped list that changes may have runs elsewhere now.
        let Some(end) = self.ends.get_mut(part).and_then(|ends| ends.get_mut(list)) else {
            return Ok(());
        };
        let mut at = *end;
        if at % BLOCK == 0 {
            at = open(&mut self.blocks, &mut self.before, at)?;
        }
        if let Some(block) = self.blocks.get_mut(at / BLOCK) {
            #[expect(clippy::cast_possible_truncation, reason = "both have their bits of the word")]
            let word = (first & IN_PART | nr_pages << PART) as u32;
            block[at % BLOCK] = word;
        }
        *end = at + 1;
        Ok(())
    }

    /// Sets the bits of the pieces that end at `end`.
    fn set(&self, mut end: usize, bits: &mut [u64]) {
        while let Some(number) = end.checked_sub(1).map(|last| last / BLOCK) {
            let (block, before) = (self.blocks.get(number), self.before.get(number));
            debug_assert!(block.is_some() && before.is_some(), "block {number}");
            let (Some(block), Some(&before)) = (block, before) else { return };
            for &piece in block.get(..end - number * BLOCK).unwrap_or_default() {
                set_bits(bits, u64::from(piece) & IN_PART, u64::from(piece >> PART));
            }
            end = before;
        }
    }

    /// Hands out the granule of the first bit, and both bitmaps, part by part. They have to be cleared.
    fn each<E: From<NoMemory>>(
        &self,
        mut each: impl FnMut(u64, &mut [u64], &mut [u64]) -> Result<(), E>,
    ) -> Result<(), E> {
        let [mut a, mut b] = [bitmap(self.nr_words)?, bitmap(self.nr_words)?];
        for (part, &ends) in (0..).zip(&self.ends) {
            if ends[0] > 0 && ends[1] > 0 {
                self.set(ends[0], &mut a);
                self.set(ends[1], &mut b);
                each(self.lowest + (part << PART), &mut a, &mut b)?;
            }
        }
        Ok(())
    }

    /// How many bytes both lists have.
    pub(crate) fn bytes(&self) -> Result<u64, NoMemory> {
        let mut count = 0;
        self.each(|_, a, b| {
            count += count_both(a, b);
            Ok::<_, NoMemory>(())
        })?;
        Ok(self.granule.to_bytes(count))
    }

    /// Hands out the pieces that both lists have, by address: the first byte, and how many. One piece may
    /// touch the next.
    pub(crate) fn pieces<E: From<NoMemory>>(
        &self,
        mut emit: impl FnMut(u64, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each(|first, a, b| {
            let words = a.chunks_exact_mut(FEW).zip(b.chunks_exact_mut(FEW));
            for (first, (a, b)) in (first..).step_by(64 * FEW).zip(words) {
                let any = a.iter().zip(&*b).fold(0, |any, (a, b)| any | a & b);
                for (first, (a, b)) in (first..).step_by(64).zip(a.iter().zip(&*b)) {
                    if any == 0 {
                        break;
                    }
                    let mut both = a & b;
                    while both != 0 {
                        let zeros = both.trailing_zeros();
                        let ones = (both >> zeros).trailing_ones();
                        let paddr = self.granule.to_bytes(first + u64::from(zeros));
                        emit(paddr, self.granule.to_bytes(ones.into()))?;
                        // Without its lowest ones.
                        both &= both.wrapping_add(1 << zeros);
                    }
                }
                a.fill(0);
                b.fill(0);
            }
            Ok(())
        })
    }
}

/// Opens a block, where the one before ends at `end`. Returns where it starts.
#[cold]
#[inline(never)]
fn open(
    blocks: &mut Vec<[u32; BLOCK]>,
    before: &mut Vec<usize>,
    end: usize,
) -> Result<usize, NoMemory> {
    reserve(blocks, 1)?;
    reserve(before, 1)?;
    blocks.push([0; BLOCK]);
    before.push(end);
    Ok((blocks.len() - 1) * BLOCK)
}

/// A bitmap of a part.
fn bitmap(nr_words: usize) -> Result<Vec<u64>, NoMemory> {
    let mut bits = Vec::new();
    reserve(&mut bits, nr_words)?;
    bits.resize(nr_words, 0);
    Ok(bits)
}

/// Sets `count` bits from `first` on, at least one.
#[inline(always)]
fn set_bits(bits: &mut [u64], first: u64, count: u64) {
    let (word, bit) = ((first / 64) as usize, first % 64);
    let ones = u64::MAX >> (64 - count.clamp(1, 64));
    if let Some(word) = bits.get_mut(word) {
        *word |= ones << bit;
    }
    if bit + count > 64 {
        set_rest(bits, word + 1, bit + count - 64);
    }
}

/// Sets `count` bits from the start of a word on.
fn set_rest(bits: &mut [u64], word: usize, count: u64) {
    let (full, rest) = (word + (count / 64) as usize, count % 64);
    bits.get_mut(word..full).unwrap_or_default().fill(u64::MAX);
    if let Some(word) = bits.get_mut(full) {
        *word |= (1 << rest) - 1;
    }
}

wide! {
    /// Takes runs of a list.
    fn put_all(to: &mut Bitmaps, chunks: &[Chunk], list: usize) -> Result<(), NoMemory> {
        for chunk in chunks {
            let first = to.granule.floor(chunk.paddr).wrapping_sub(to.lowest);
            to.put(list, first, to.granule.floor(chunk.length))?;
        }
        Ok(())
    }
}

wide! {
    /// Counts the bits that are set in both, and clears both.
    fn count_both(a: &mut [u64], b: &mut [u64]) -> u64 {
        let mut count = 0;
        for (a, b) in a.chunks_exact_mut(FEW).zip(b.chunks_exact_mut(FEW)) {
            for (a, b) in a.iter().zip(&*b) {
                count += u64::from((a & b).count_ones());
            }
            a.fill(0);
            b.fill(0);
        }
        count
    }
}
