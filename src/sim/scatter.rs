//! Lists as fragmented memory gives them. The same seed gives the same list.

use alloc::vec::Vec;

use super::error::MemoryError;
use super::frames::Frames;
use super::small::small;
use crate::error::NoMemory;
use crate::list::builder::Builder;
use crate::list::phyr::Phyr;

/// Largest order of a block: a block of half a memory of 2^52 bytes.
const MOST_ORDER: u32 = 39;

/// Most blocks of a scattered list: 64 GiB in single pages.
const MOST_BLOCKS: u64 = 1 << 24;

/// Approximate bytes of memory for one block while a list is made: in the list, in the blocks to
/// give back on failure, and in the free runs.
const BLOCK_BYTES: u64 = 72;

/// Number of random places tried for a block before the free runs are searched.
const DRAWS: u32 = 32;

/// How to scatter pages.
///
/// The bytes are cut into naturally aligned blocks of the given orders. The seed decides the order
/// and the place of each block. A block never starts where the block before it ends, so every block
/// is a chunk of its own. If the rest at the end is too short for any of the orders, it takes
/// blocks of smaller orders.
///
/// # Examples
///
/// ```
/// use phyr::sim::{scatter, ScatterOptions};
///
/// let phyr = scatter(1 << 20, &ScatterOptions { seed: 7, ..ScatterOptions::default() })?;
/// assert_eq!((phyr.length(), phyr.nr_chunks()), (1 << 20, 256));
/// let huge = scatter(1 << 30, &ScatterOptions { orders: &[9], ..ScatterOptions::default() })?;
/// assert!(huge.chunks().all(|chunk| chunk.length == 2 << 20 && chunk.paddr % (2 << 20) == 0));
/// # Ok::<(), phyr::sim::MemoryError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ScatterOptions<'a> {
    /// The same seed and options give the same list.
    pub seed: u64,
    /// Orders of the blocks, all equally likely: 0 is 4 KiB, 9 is 2 MiB, 18 is 1 GiB.
    pub orders: &'a [u32],
    /// Bytes of the first page before the start of the list, below 4096.
    pub offset: u64,
    /// The address at or before which all blocks end.
    pub below: Option<u64>,
}

impl Default for ScatterOptions<'_> {
    /// Single pages anywhere, seed 0, from the start of a page.
    fn default() -> Self {
        Self { seed: 0, orders: &[0], offset: 0, below: None }
    }
}

/// A scattered list of `length` bytes, without a memory to take the pages from.
///
/// Its blocks lie below `options.below`. The default is 2^36, or four times the length if that is
/// more. Page 0 is left out, and no page is listed twice.
///
/// # Errors
///
/// [`MemoryError::Order`], [`MemoryError::NoOrders`], [`MemoryError::Offset`]; [`MemoryError::Full`] if
/// there is no room; [`MemoryError::Blocks`] for more than 2^24 blocks;
/// [`Error::NoMemory`](crate::Error) as [`MemoryError::List`].
pub fn scatter(length: u64, options: &ScatterOptions<'_>) -> Result<Phyr, MemoryError> {
    let room = || length.saturating_mul(4).clamp(1 << 36, 1 << 52);
    let nr_pages = options.below.unwrap_or_else(room).min(1 << 52) / 4096;
    scatter_in(&mut Frames::new(1, nr_pages.max(1)), nr_pages, length, options)
}

/// Takes scattered blocks below frame `nr_pages` from the free frames. If it fails, it takes none.
pub(super) fn scatter_in(
    frames: &mut Frames,
    nr_pages: u64,
    length: u64,
    options: &ScatterOptions<'_>,
) -> Result<Phyr, MemoryError> {
    if let Some(&order) = options.orders.iter().find(|&&order| order > MOST_ORDER) {
        return Err(MemoryError::Order { order });
    }
    if options.orders.is_empty() {
        return Err(MemoryError::NoOrders);
    }
    let offset = options.offset;
    if offset >= 4096 {
        return Err(MemoryError::Offset { offset });
    }
    if length == 0 {
        return Ok(Phyr::default());
    }
    let full = |frames: &Frames| MemoryError::Full { length, free: frames.nr_free() * 4096 };
    let bytes = length.checked_add(offset).ok_or_else(|| full(frames))?;
    let mut left = bytes.div_ceil(4096);
    // Checked before anything is taken, so that an impossible request takes no time.
    if left > frames.nr_free() {
        return Err(full(frames));
    }
    let largest = options.orders.iter().map(|&order| 1 << order).max().unwrap_or(1);
    check_blocks(left.div_ceil(largest))?;
    let end = nr_pages.min(options.below.map_or(u64::MAX, |below| below / 4096));
    let mut random = SplitMix(options.seed);
    let mut taken: Vec<(u64, u64)> = Vec::new();
    let mut builder = Builder::new();
    let mut previous_end = 0;
    while left > 0 {
        let count = draw_count(&mut random, options.orders, left);
        let took = room_for_one(&mut taken).and_then(|()| {
            place(frames, &mut random, count, end, previous_end).ok_or_else(|| full(frames))
        });
        let done = took.and_then(|pfn| {
            taken.push((pfn, count));
            previous_end = pfn + count;
            Ok(builder.append_pfns(pfn, count)?)
        });
        if let Err(why) = done {
            give_back(frames, taken);
            return Err(why);
        }
        left -= count;
    }
    match builder.try_finish().and_then(|phyr| phyr.slice(offset, bytes)) {
        Ok(phyr) => Ok(phyr),
        Err(why) => {
            give_back(frames, taken);
            Err(why.into())
        }
    }
}

/// Checks that a list may have so many blocks, and that there is memory for them.
fn check_blocks(blocks: u64) -> Result<(), MemoryError> {
    if blocks > MOST_BLOCKS {
        return Err(MemoryError::Blocks { blocks, most: MOST_BLOCKS });
    }
    // The map of free runs cannot report a lack of memory, so ask for the memory here, once.
    let bytes = blocks * BLOCK_BYTES;
    let mut probe: Vec<u8> = Vec::new();
    let probed = usize::try_from(bytes).ok().map(|bytes| probe.try_reserve_exact(bytes));
    if probed.is_some_and(|probed| probed.is_ok()) {
        Ok(())
    } else {
        Err(NoMemory { bytes }.into())
    }
}

/// Makes room for one more block.
fn room_for_one(taken: &mut Vec<(u64, u64)>) -> Result<(), MemoryError> {
    let blocks = taken.len() + 1;
    if blocks as u64 > MOST_BLOCKS {
        return Err(MemoryError::Blocks { blocks: blocks as u64, most: MOST_BLOCKS });
    }
    Ok(taken.try_reserve(1).map_err(|_| NoMemory::of::<(u64, u64)>(blocks))?)
}

fn give_back(frames: &mut Frames, taken: Vec<(u64, u64)>) {
    for (pfn, count) in taken.into_iter().rev() {
        frames.put(pfn, count);
    }
}

/// The pages of the next block: one of the orders that fit, or the largest power of two that fits.
fn draw_count(random: &mut SplitMix, orders: &[u32], left: u64) -> u64 {
    let fits = |order: &&u32| 1_u64 << **order <= left;
    let choices = orders.iter().filter(fits).count() as u64;
    // The number drawn is below the number of choices, which is at most the number of items in
    // memory.
    let drawn = small(random.below(choices.max(1)));
    let order = orders.iter().filter(fits).nth(drawn).copied().unwrap_or(left.ilog2());
    1 << order
}

/// Takes a free block of `count` frames that does not start at frame `not`.
fn place(
    frames: &mut Frames,
    random: &mut SplitMix,
    count: u64,
    end: u64,
    not: u64,
) -> Option<u64> {
    let blocks = end / count;
    if blocks == 0 {
        return None;
    }
    for _ in 0..DRAWS {
        let pfn = random.below(blocks) * count;
        if pfn != not && frames.take(pfn, count) {
            return Some(pfn);
        }
    }
    let pfn = frames.block_from(random.below(end), count, end, not)?;
    frames.take(pfn, count).then_some(pfn)
}

/// Sebastiano Vigna's splitmix64, as in the workloads of the benches.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0: the upper half of a product. It needs no division.
    fn below(&mut self, end: u64) -> u64 {
        // The upper half of a product of two `u64` is a `u64`.
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }
}
