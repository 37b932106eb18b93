//! The memory that two lists have in common, by bitmaps: for many runs that lie close together.
//!
//! The addresses are cut into parts, so small that a bitmap of one, a bit a granule, fits in a cache.
//! First the runs of both lists are put into the parts where they lie. Then, part by part, each list
//! sets its bits, and the words of both bitmaps are compared. To count the bits, one bitmap does: the
//! second list clears those of the first that it finds set.
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

/// Log2 of the most granules for each run, of the addresses from the lowest to the highest and of all
/// runs together, to count what both lists have. With more, clearing the bits takes longer than sorting.
pub(crate) const SPARSE_ONE: u32 = 11;
/// The same to list what both have: two bitmaps are read.
pub(crate) const SPARSE_BOTH: u32 = 10;

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
    /// Bits that any address has.
    any: u64,
    /// Bits that all addresses have.
    all: u64,
    /// Runs of both lists.
    pub(crate) nr_runs: usize,
}

impl Bounds {
    /// The bounds of the chunks of both lists. O(n).
    fn of(a: impl Iterator<Item = Chunk>, b: impl Iterator<Item = Chunk>, nr_runs: usize) -> Self {
        let add = |mut to: Self, chunk: Chunk| {
            to.lowest = to.lowest.min(chunk.paddr);
            to.last = to.last.max(chunk.last_of_list());
            to.any |= chunk.paddr;
            to.all &= chunk.paddr;
            to
        };
        let none = Self { lowest: u64::MAX, last: 0, any: 0, all: u64::MAX, nr_runs };
        b.fold(a.fold(none, add), add)
    }

    /// Bounds that are known without a walk.
    fn known(a: &impl List, b: &impl List, nr_runs: usize) -> Self {
        let last = a.upper_bound().max(b.upper_bound());
        Self { lowest: 0, last, any: u64::MAX, all: 0, nr_runs }
    }

    /// Bits in which addresses may differ: all others are the same.
    pub(crate) fn differ(self) -> u64 {
        self.any & !self.all
    }
}

/// Returns true if a list starts or ends inside a granule.
fn is_ragged(list: &impl List) -> bool {
    let mut chunks = list.chunks();
    let ends = [chunks.next(), chunks.next_back()].into_iter().flatten();
    ends.fold(0, |any, chunk| any | chunk.paddr | chunk.length) & list.granule().mask() != 0
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
    /// The runs of two lists of one granule; `None` if there are few, if they lie too far apart for
    /// bitmaps, with `1 << sparse` granules or more for each, or if they have ends inside a granule. And
    /// bounds of the lists, which take a walk where those that are known do not tell.
    pub(crate) fn or_bounds(
        a: &impl List,
        b: &impl List,
        sparse: u32,
    ) -> Result<(Option<Self>, Bounds), NoMemory> {
        let (first, second) = (a.chunks(), b.chunks());
        let nr_runs = first.len().saturating_add(second.len());
        let is_many = nr_runs >= FEW_RUNS;
        if is_many {
            let known = Bounds::known(a, b, nr_runs);
            if let Some(made) = Self::of(a, b, (known, sparse))? {
                return Ok((Some(made), known));
            }
        }
        let bounds = Bounds::of(first, second, nr_runs);
        let made = if is_many { Self::of(a, b, (bounds, sparse))? } else { None };
        Ok((made, bounds))
    }

    /// A run takes four bytes, or eight if its part ends in it, and its share of two open blocks in each
    /// part at most eight more.
    fn of(
        a: &impl List,
        b: &impl List,
        (bounds, sparse): (Bounds, u32),
    ) -> Result<Option<Self>, NoMemory> {
        let (granule, nr_runs) = (a.granule(), bounds.nr_runs);
        let (lowest, last) = (granule.floor(bounds.lowest), granule.floor(bounds.last));
        let Some(nr_pages) = last.checked_sub(lowest) else { return Ok(None) };
        let nr_parts = (nr_pages >> PART) + 1;
        let length = granule.floor(a.length()).saturating_add(granule.floor(b.length()));
        if nr_pages.max(length) >> sparse >= nr_runs as u64
            || nr_parts > MOST_PARTS
            || is_ragged(a)
            || is_ragged(b)
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
            let mut rest = chunks.get(..count).unwrap_or_default();
            while let Some(chunk) = rest.first() {
                let (first, nr_pages) = place(chunk, self.granule, self.lowest);
                self.put(number, first, nr_pages)?;
                let more = rest.get(1..).unwrap_or_default();
                rest = more.get(put_all(self, more, number)..).unwrap_or_default();
            }
        }
    }

    /// Takes a run from granule `first` on, counted from the lowest.
    fn put(&mut self, list: usize, first: u64, nr_pages: u64) -> Result<(), NoMemory> {
        if is_piece(first, nr_pages) {
            return self.put_piece(list, first, nr_pages);
        }
        self.put_long(list, first, nr_pages)
    }

    /// As [`Self::put`], piece by piece.
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
        if let Some(place) = self.blocks.as_flattened_mut().get_mut(at) {
            *place = pack(first, nr_pages);
        }
        *end = at + 1;
        Ok(())
    }

    /// Hands out the pieces that end at `end`, a block at a time.
    #[inline(always)]
    fn each_block(&self, mut end: usize, mut each: impl FnMut(&[u32])) {
        while let Some(number) = end.checked_sub(1).map(|last| last / BLOCK) {
            let (block, before) = (self.blocks.get(number), self.before.get(number));
            debug_assert!(block.is_some() && before.is_some(), "block {number}");
            let (Some(block), Some(&before)) = (block, before) else { return };
            each(block.get(..end - number * BLOCK).unwrap_or_default());
            end = before;
        }
    }

    /// The parts where both lists have pieces: the granule of the first bit, and where the pieces end.
    fn parts(&self) -> impl Iterator<Item = (u64, [usize; 2])> {
        let parts = (0..).zip(&self.ends).filter(|(_, ends)| ends[0] > 0 && ends[1] > 0);
        parts.map(|(part, &ends): (u64, _)| (self.lowest + (part << PART), ends))
    }

    /// How many bytes both lists have. The bits of the first are cleared where the second has them, too,
    /// so each counts once.
    pub(crate) fn bytes(&self) -> Result<u64, NoMemory> {
        let (mut bits, mut count) = (bitmap(self.nr_words)?, 0);
        for (_, ends) in self.parts() {
            self.each_block(ends[0], |pieces| set_all(&mut bits, pieces));
            self.each_block(ends[1], |pieces| count += take_all(&mut bits, pieces));
            bits.fill(0);
        }
        Ok(self.granule.to_bytes(count))
    }

    /// Hands out the pieces that both lists have, by address: the first byte, and how many. One piece may
    /// touch the next.
    pub(crate) fn pieces<E: From<NoMemory>>(
        &self,
        mut emit: impl FnMut(u64, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let [mut a, mut b] = [bitmap(self.nr_words)?, bitmap(self.nr_words)?];
        for (first, ends) in self.parts() {
            self.each_block(ends[0], |pieces| set_all(&mut a, pieces));
            self.each_block(ends[1], |pieces| set_all(&mut b, pieces));
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
        }
        Ok(())
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

/// The word that has the first bit of a piece, the bits that the piece has in it, and how many it has in
/// the words behind.
#[inline(always)]
fn unpack(piece: u32) -> (usize, u64, u64) {
    let (first, count) = (u64::from(piece) & IN_PART, u64::from(piece >> PART));
    let (word, bit) = ((first / 64) as usize, first % 64);
    match (bit + count).checked_sub(65) {
        // A piece has at least one bit.
        None => (word, u64::MAX >> (count.wrapping_neg() % 64) << bit, 0),
        Some(more) => (word, u64::MAX << bit, more + 1),
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

/// Clears `count` bits from the start of a word on; returns how many of them were set.
fn take_rest(bits: &mut [u64], word: usize, count: u64) -> u64 {
    let mut taken = 0;
    let (full, rest) = (word + (count / 64) as usize, count % 64);
    for word in bits.get_mut(word..full).unwrap_or_default() {
        taken += u64::from(core::mem::take(word).count_ones());
    }
    if let Some(word) = bits.get_mut(full) {
        let ones = (1 << rest) - 1;
        taken += u64::from((*word & ones).count_ones());
        *word &= !ones;
    }
    taken
}

/// The first granule of a run, counted from the lowest, and how many it has.
#[inline(always)]
fn place(chunk: &Chunk, granule: Granule, lowest: u64) -> (u64, u64) {
    (granule.floor(chunk.paddr).wrapping_sub(lowest), granule.floor(chunk.length))
}

/// Returns true if a run is one piece: so short, and in one part.
#[inline(always)]
fn is_piece(first: u64, nr_pages: u64) -> bool {
    (1..=LONGEST.min(IN_PART + 1 - (first & IN_PART))).contains(&nr_pages)
}

wide! {
    /// Takes runs of a list, as many as are one piece and need no new block; returns how many.
    fn put_all(to: &mut Bitmaps, chunks: &[Chunk], list: usize) -> usize {
        let Bitmaps { blocks, ends, granule, lowest, .. } = to;
        // Copies: the compiler cannot know that storing a piece does not change them.
        let (pieces, ends) = (blocks.as_flattened_mut(), ends.as_mut_slice());
        let (granule, lowest) = (*granule, *lowest);
        for (count, chunk) in chunks.iter().enumerate() {
            let (first, nr_pages) = place(chunk, granule, lowest);
            let part = usize::try_from(first >> PART).unwrap_or(usize::MAX);
            let end = ends.get_mut(part).and_then(|ends| ends.get_mut(list));
            let Some(end) = end.filter(|end| **end % BLOCK != 0 && is_piece(first, nr_pages)) else {
                return count;
            };
            let Some(place) = pieces.get_mut(*end) else { return count };
            *place = pack(first, nr_pages);
            *end += 1;
        }
        chunks.len()
    }
}

/// A piece.
#[inline(always)]
fn pack(first: u64, nr_pages: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "both have their bits of the word")]
    let piece = (first & IN_PART | nr_pages << PART) as u32;
    piece
}

wide! {
    /// Sets the bits of pieces.
    fn set_all(bits: &mut [u64], pieces: &[u32]) {
        for &piece in pieces {
            let (at, ones, more) = unpack(piece);
            if let Some(word) = bits.get_mut(at) {
                *word |= ones;
            }
            if more > 0 {
                set_rest(bits, at + 1, more);
            }
        }
    }
}

wide! {
    /// Clears the bits of pieces, and returns how many of them were set.
    fn take_all(bits: &mut [u64], pieces: &[u32]) -> u64 {
        let mut taken = 0;
        for &piece in pieces {
            let (at, ones, more) = unpack(piece);
            if let Some(word) = bits.get_mut(at) {
                taken += u64::from((*word & ones).count_ones());
                *word &= !ones;
            }
            if more > 0 {
                taken += take_rest(bits, at + 1, more);
            }
        }
        taken
    }
}
