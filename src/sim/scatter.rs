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

/// Blocks that are taken at a time.
const STEP: usize = 4096;

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
    let mut scatter = FreeScatter::new(length, options)?;
    while scatter.step()? {}
    scatter.finish()
}

/// [`scatter`], for a caller that wants to stop in between.
pub(crate) struct FreeScatter<'a> {
    frames: Frames,
    scattering: Scattering<'a>,
}

impl<'a> FreeScatter<'a> {
    pub(crate) fn new(length: u64, options: &ScatterOptions<'a>) -> Result<Self, MemoryError> {
        let room = || length.saturating_mul(4).clamp(1 << 36, 1 << 52);
        let nr_pages = options.below.unwrap_or_else(room).min(1 << 52) / 4096;
        let frames = Frames::new(1, nr_pages.max(1))?;
        let scattering = Scattering::new(&frames, nr_pages, length, options)?;
        Ok(Self { frames, scattering })
    }

    /// As [`Scattering::step`].
    pub(crate) fn step(&mut self) -> Result<bool, MemoryError> {
        self.scattering.step(&mut self.frames)
    }

    /// As [`Scattering::finish`].
    pub(crate) fn finish(mut self) -> Result<Phyr, MemoryError> {
        self.scattering.finish()
    }
}

/// A scattered list in the making: its blocks are taken from the free frames step by step.
pub(crate) struct Scattering<'a> {
    length: u64,
    orders: &'a [u32],
    offset: u64,
    /// Frame at or before which all blocks end.
    end: u64,
    /// Pages still to be taken.
    left: u64,
    random: SplitMix,
    builder: Builder,
    /// The blocks taken so far, and the frame after the last of them.
    taken: Vec<(u64, u64)>,
    previous_end: u64,
    /// Number of blocks that were a whole run of free frames.
    nr_whole: usize,
}

impl<'a> Scattering<'a> {
    /// Begins a list of blocks below frame `nr_pages`. Takes none yet.
    pub(super) fn new(
        frames: &Frames,
        nr_pages: u64,
        length: u64,
        options: &ScatterOptions<'a>,
    ) -> Result<Self, MemoryError> {
        let ScatterOptions { seed, orders, offset, below } = *options;
        if let Some(&order) = orders.iter().find(|&&order| order > MOST_ORDER) {
            return Err(MemoryError::Order { order });
        }
        if orders.is_empty() {
            return Err(MemoryError::NoOrders);
        }
        if offset >= 4096 {
            return Err(MemoryError::Offset { offset });
        }
        let mut left = 0;
        if length > 0 {
            let full = MemoryError::Full { length, free: frames.nr_free() * 4096 };
            left = length.checked_add(offset).ok_or(full)?.div_ceil(4096);
            // Checked before anything is taken, so that an impossible request takes no time.
            if left > frames.nr_free() {
                return Err(full);
            }
        }
        let largest = orders.iter().map(|&order| 1 << order).max().unwrap_or(1);
        let blocks = left.div_ceil(largest);
        if blocks > MOST_BLOCKS {
            return Err(MemoryError::Blocks { blocks, most: MOST_BLOCKS });
        }
        let mut taken = Vec::new();
        // At most 2^24. If there is no memory for the least that is needed, it takes no time.
        let room = taken.try_reserve_exact(small(blocks));
        room.map_err(|_| NoMemory::of::<(u64, u64)>(small(blocks)))?;
        Ok(Self {
            length,
            orders,
            offset,
            end: nr_pages.min(below.map_or(u64::MAX, |below| below / 4096)),
            left,
            random: SplitMix(seed),
            builder: Builder::new(),
            taken,
            previous_end: 0,
            nr_whole: 0,
        })
    }

    /// Takes a few blocks. Returns true if others are to follow. If it fails, the caller gives them
    /// back.
    pub(super) fn step(&mut self, frames: &mut Frames) -> Result<bool, MemoryError> {
        // Giving a block back needs room if it was a whole run of free frames.
        let room = 2 * STEP + self.nr_whole;
        frames.reserve(room)?;
        for _ in 0..STEP {
            if self.left == 0 {
                break;
            }
            self.take_block(frames)?;
        }
        Ok(self.left > 0)
    }

    fn take_block(&mut self, frames: &mut Frames) -> Result<(), MemoryError> {
        let blocks = self.taken.len() + 1;
        if blocks as u64 > MOST_BLOCKS {
            return Err(MemoryError::Blocks { blocks: blocks as u64, most: MOST_BLOCKS });
        }
        self.taken.try_reserve(1).map_err(|_| NoMemory::of::<(u64, u64)>(blocks))?;
        let count = draw_count(&mut self.random, self.orders, self.left);
        let (end, not, nr_runs) = (self.end, self.previous_end, frames.nr_runs());
        let Some(pfn) = take_block(frames, &mut self.random, count, end, not)? else {
            return Err(MemoryError::Full { length: self.length, free: frames.nr_free() * 4096 });
        };
        self.taken.push((pfn, count));
        self.nr_whole += usize::from(frames.nr_runs() < nr_runs);
        self.previous_end = pfn + count;
        self.builder.append_pfns(pfn, count)?;
        self.left -= count;
        Ok(())
    }

    /// Returns the list, once all blocks are taken. If it fails, the caller gives them back.
    pub(super) fn finish(&mut self) -> Result<Phyr, MemoryError> {
        if self.length == 0 {
            return Ok(Phyr::default());
        }
        let end = self.offset + self.length;
        Ok(self.builder.try_finish()?.slice(self.offset, end)?)
    }

    /// Gives back all blocks that were taken.
    pub(super) fn give_back(&mut self, frames: &mut Frames) {
        for (pfn, count) in self.taken.drain(..).rev() {
            // The last step made room. If another thread used it, and there is no memory, a block that
            // cannot be given back stays allocated.
            let _ = frames.put(pfn, count);
        }
        frames.trim();
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
fn take_block(
    frames: &mut Frames,
    random: &mut SplitMix,
    count: u64,
    end: u64,
    not: u64,
) -> Result<Option<u64>, NoMemory> {
    let blocks = end / count;
    if blocks == 0 {
        return Ok(None);
    }
    for _ in 0..DRAWS {
        let pfn = random.below(blocks) * count;
        if pfn != not && frames.take(pfn, count)? {
            return Ok(Some(pfn));
        }
    }
    let Some(pfn) = frames.block_from(random.below(end), count, end, not) else {
        return Ok(None);
    };
    Ok(frames.take(pfn, count)?.then_some(pfn))
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
