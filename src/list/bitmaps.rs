//! The memory that two lists have in common, by bitmaps: for many runs that lie close together.
//!
//! The addresses are cut into parts, so small that a bitmap of one, a bit a granule, fits in a cache.
//! First the runs of both lists are put into the parts where they lie. Then, part by part, the first list
//! sets its bits. To count those of both, the second list clears the bits that it finds set. To list them,
//! it copies those bits to a second bitmap.
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

use crate::error::{NoMemory, reserve, zeros};
use crate::granule::Granule;
use crate::list::bits::{Bits, Both, IN_PART, LONGEST, PART, piece};
use crate::list::chunks::Chunk;
use crate::list::reading::{List, Steps};
use crate::slices::fetch;
use crate::wide::wide;

/// The most parts: a block of each list is open in each of them.
const MOST_PARTS: u64 = 1 << 11;

/// Log2 of the most granules for each run, of the addresses from the lowest to the highest and of all
/// runs together. With more, a part has too few runs for the blocks that are open in it.
const SPARSE: u32 = 11;

/// Pieces of a block.
const BLOCK: usize = 256;

/// Pieces of a cache line.
const LINE: usize = 16;

/// Fewer runs than this are sorted: they would not fill their blocks.
const FEW_RUNS: usize = 2 * BLOCK;

/// Chunks read at a time: as many as a node has.
const READ: usize = 512;

/// A run, before it is put into its part: the place in the part, its granules, and the part.
///
/// ```text
///   63    53 52           20 19              0
///  |  part  |   granules    | place in the part |
/// ```
type Slot = u64;

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
        let (a, b) = (a.span(), b.span());
        Self { lowest: a.0.min(b.0), last: a.1.max(b.1), any: u64::MAX, all: 0, nr_runs }
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
    /// For each list and part, where the next piece goes. At 0, and wherever a block ends, a block is
    /// opened.
    ends: [Vec<usize>; 2],
    /// Bits of a bitmap.
    nr_bits: u64,
    granule: Granule,
    /// The granule of the first bit.
    lowest: u64,
}

impl Bitmaps {
    /// The runs of two lists of one granule; `None` if there are few, if they lie too far apart for
    /// bitmaps, or if they have ends inside a granule. And bounds of the lists, which take a walk where
    /// those that are known do not tell.
    pub(crate) fn or_bounds(
        a: &impl List,
        b: &impl List,
    ) -> Result<(Option<Self>, Bounds), NoMemory> {
        let (first, second) = (a.chunks(), b.chunks());
        let nr_runs = first.len().saturating_add(second.len());
        let is_many = nr_runs >= FEW_RUNS;
        if is_many {
            let known = Bounds::known(a, b, nr_runs);
            if let Some(made) = Self::of(a, b, known)? {
                return Ok((Some(made), known));
            }
        }
        let bounds = Bounds::of(first, second, nr_runs);
        let made = if is_many { Self::of(a, b, bounds)? } else { None };
        Ok((made, bounds))
    }

    /// A run takes four bytes for each of its pieces: one, one more if a part ends in it, and one more for
    /// each 4095 granules; and its share of two open blocks in each part, at most four bytes.
    fn of(a: &impl List, b: &impl List, bounds: Bounds) -> Result<Option<Self>, NoMemory> {
        let (granule, nr_runs) = (a.granule(), bounds.nr_runs);
        let (lowest, last) = (granule.floor(bounds.lowest), granule.floor(bounds.last));
        let Some(nr_pages) = last.checked_sub(lowest) else { return Ok(None) };
        let nr_parts = (nr_pages >> PART) + 1;
        let length = granule.floor(a.length()).saturating_add(granule.floor(b.length()));
        if nr_pages.max(length) >> SPARSE >= nr_runs as u64
            || nr_parts > MOST_PARTS
            || is_ragged(a)
            || is_ragged(b)
        {
            return Ok(None);
        }
        #[expect(clippy::cast_possible_truncation, reason = "parts are few")]
        let nr_parts = nr_parts as usize;
        let (mut blocks, mut before) = (Vec::new(), Vec::new());
        let nr_blocks = nr_runs / BLOCK + 2 * nr_parts;
        reserve(&mut blocks, nr_blocks)?;
        reserve(&mut before, nr_blocks)?;
        let ends = [zeros(nr_parts)?, zeros(nr_parts)?];
        let nr_bits = nr_pages.min(IN_PART) + 1;
        let mut made = Self { blocks, before, ends, nr_bits, granule, lowest };
        made.gather(a, 0)?;
        made.gather(b, 1)?;
        Ok(Some(made))
    }

    /// Takes the runs of list 0 or 1.
    fn gather(&mut self, list: &impl List, number: usize) -> Result<(), NoMemory> {
        let mut walk = list.walk_from(0);
        let (granule, lowest) = (self.granule, self.lowest);
        let mut slots = [0; READ];
        loop {
            let write = |slot: &mut Slot, chunk, _| *slot = place(chunk, granule, lowest);
            let count = walk.write(slots.iter_mut(), write);
            if count == 0 {
                return Ok(());
            }
            let Some(ends) = self.ends.get_mut(number) else { return Ok(()) };
            let slots = slots.get(..count).unwrap_or_default();
            put_all(&mut self.blocks, &mut self.before, ends, slots)?;
        }
    }

    /// Hands out the pieces that end at `end`, a block at a time.
    #[inline(always)]
    fn each_block(&self, mut end: usize, mut each: impl FnMut(&[u32])) {
        while let Some(number) = end.checked_sub(1).map(|last| last / BLOCK) {
            let (block, before) = (self.blocks.get(number), self.before.get(number));
            debug_assert!(block.is_some() && before.is_some(), "block {number}");
            let (Some(block), Some(&before)) = (block, before) else { return };
            // The block before comes from memory while this one is read.
            for line in (0..BLOCK).step_by(LINE) {
                fetch(self.blocks.as_flattened(), before.saturating_sub(1) / BLOCK * BLOCK + line);
            }
            each(block.get(..end - number * BLOCK).unwrap_or_default());
            end = before;
        }
    }

    /// The parts where both lists have pieces: the granule of the first bit, and where the pieces end.
    fn parts(&self) -> impl Iterator<Item = (u64, [usize; 2])> {
        let [a, b] = &self.ends;
        let ends = a.iter().zip(b).map(|(&a, &b)| [a, b]);
        let parts = (0..).zip(ends).filter(|(_, ends)| ends[0] > 0 && ends[1] > 0);
        parts.map(|(part, ends): (u64, _)| (self.lowest + (part << PART), ends))
    }

    /// Sets the bits of the pieces that end at `end`; returns how many they are.
    fn set(&self, bits: &mut Bits, end: usize) -> usize {
        let mut count = 0;
        self.each_block(end, |pieces| {
            bits.set(pieces);
            count += pieces.len();
        });
        count
    }

    /// Clears all bits, which are those of the `count` pieces that end at `end`.
    fn clear(&self, bits: &mut Bits, end: usize, count: usize) {
        if bits.has_few(count) {
            self.each_block(end, |pieces| bits.clear(pieces));
        } else {
            bits.clear_all();
        }
    }

    /// How many bytes both lists have. The bits of the first are cleared where the second has them, too,
    /// so each counts once.
    pub(crate) fn bytes(&self) -> Result<u64, NoMemory> {
        let (mut bits, mut both) = (Bits::new(self.nr_bits)?, 0);
        for (_, [a, b]) in self.parts() {
            let count = self.set(&mut bits, a);
            self.each_block(b, |pieces| both += bits.take(pieces));
            self.clear(&mut bits, a, count);
        }
        Ok(self.granule.to_bytes(both))
    }

    /// Hands out the pieces that both lists have, by address: the first byte, and how many. One piece may
    /// touch the next.
    pub(crate) fn pieces<E: From<NoMemory>>(
        &self,
        mut emit: impl FnMut(u64, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut bits, mut both) = (Bits::new(self.nr_bits)?, Both::new(self.nr_bits)?);
        for (first, [a, b]) in self.parts() {
            let count = self.set(&mut bits, a);
            self.each_block(b, |pieces| both.set(pieces, &bits));
            self.clear(&mut bits, a, count);
            both.each(|place, count| {
                emit(self.granule.to_bytes(first + place), self.granule.to_bytes(count))
            })?;
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

/// The run of a chunk.
#[inline(always)]
fn place(chunk: Chunk, granule: Granule, lowest: u64) -> Slot {
    let first = granule.floor(chunk.paddr).wrapping_sub(lowest);
    // The upper bits fall off. Only a mapped list that changes may have some.
    let nr_pages = granule.floor(chunk.length) << (11 + PART) >> 11;
    first & IN_PART | nr_pages | first >> PART << 53
}

/// Granules of a run.
#[inline(always)]
fn nr_pages(slot: Slot) -> u64 {
    slot << 11 >> (11 + PART)
}

/// Returns 0 if a run is one piece: so short, and in one part.
#[inline(always)]
fn is_cut(slot: Slot) -> u64 {
    let more = nr_pages(slot).wrapping_sub(1);
    // One more than the longest would be none.
    (slot & IN_PART).wrapping_add(more) & !IN_PART | more.wrapping_add(1) & !LONGEST | more >> 63
}

wide! {
    /// Takes runs of a list.
    fn put_all(
        blocks: &mut Vec<[u32; BLOCK]>,
        before: &mut Vec<usize>,
        ends: &mut [usize],
        slots: &[Slot],
    ) -> Result<(), NoMemory> {
        let is_any_cut = slots.iter().fold(0, |any, &slot| any | is_cut(slot)) != 0;
        for &slot in slots {
            if is_any_cut && is_cut(slot) != 0 {
                put_long(blocks, before, ends, slot)?;
                continue;
            }
            #[expect(clippy::cast_possible_truncation, reason = "the lower half is the piece")]
            put(blocks, before, ends, ((slot >> 53) as usize, slot as u32))?;
        }
        Ok(())
    }
}

/// Takes a piece.
#[inline(always)]
fn put(
    blocks: &mut Vec<[u32; BLOCK]>,
    before: &mut Vec<usize>,
    ends: &mut [usize],
    (part, piece): (usize, u32),
) -> Result<(), NoMemory> {
    // A mapped list that changes may have runs elsewhere now.
    let Some(end) = ends.get_mut(part) else { return Ok(()) };
    if *end % BLOCK == 0 {
        *end = open(blocks, before, *end)?;
    }
    let pieces = blocks.as_flattened_mut();
    fetch(pieces, *end + LINE);
    if let Some(place) = pieces.get_mut(*end) {
        *place = piece;
    }
    *end += 1;
    Ok(())
}

/// Takes a run piece by piece.
#[inline(never)]
fn put_long(
    blocks: &mut Vec<[u32; BLOCK]>,
    before: &mut Vec<usize>,
    ends: &mut [usize],
    slot: Slot,
) -> Result<(), NoMemory> {
    let (mut first, mut nr_pages) = (slot >> 53 << PART | slot & IN_PART, nr_pages(slot));
    // A mapped list that changes may have longer runs now.
    while nr_pages > 0 && first >> PART < ends.len() as u64 {
        let most = nr_pages.min(LONGEST).min(IN_PART + 1 - (first & IN_PART));
        let part = usize::try_from(first >> PART).unwrap_or(usize::MAX);
        put(blocks, before, ends, (part, piece(first, most)))?;
        (first, nr_pages) = (first + most, nr_pages - most);
    }
    Ok(())
}
