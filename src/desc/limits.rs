//! What a device asks of its segments, and where that cuts a chunk.

use core::num::NonZeroU64;

use super::error::DescError;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;

/// What a device asks of each segment. The default asks for nothing.
///
/// # Examples
///
/// ```
/// use phyr::desc::Limits;
///
/// // As the block layer describes an NVMe controller with pages of 4 KiB.
/// let limits = Limits { virt_boundary_mask: 0xfff, ..Limits::default() };
/// assert_eq!(limits.max_segment_size, u64::MAX);
/// ```
///
/// Source: `dma_get_max_seg_size()`, `dma_get_seg_boundary()`, `include/linux/dma-mapping.h`;
/// `virt_boundary_mask` of `struct queue_limits`, `include/linux/blkdev.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Most bytes of a segment, at least one.
    pub max_segment_size: u64,
    /// No segment crosses a multiple of this plus one; one less than a power of two, or all ones.
    pub seg_boundary_mask: u64,
    /// Inside the list, segments start and end at multiples of this plus one; one less than a
    /// power of two, 0 for none.
    pub virt_boundary_mask: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_segment_size: u64::MAX, seg_boundary_mask: u64::MAX, virt_boundary_mask: 0 }
    }
}

/// Limits made ready for use: they are consistent, and cutting cannot fail.
///
/// ```text
/// chunk     |-----------------------------|
/// virt          |       |       |       |       where a cut may fall
/// size      |-------------|                     as much as a segment may hold
/// segments  |-----------|---------------|-|     a rest that fits whole is not cut
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Bytes of a segment, less one, counted from the multiple of `align + 1` at or before it.
    more: u64,
    /// The format's own: bytes of a segment are counted in units of this plus one. At most `more`.
    align: u64,
    boundary: u64,
    /// Every cut falls on a multiple of this plus one. At most `more`, and `boundary`.
    virt: u64,
}

/// One less than a power of two: a mask of low bits.
fn is_low_mask(mask: u64) -> bool {
    mask & mask.wrapping_add(1) == 0
}

impl Cut {
    /// Limits, together with what a format asks: at most `most` bytes a segment, counted in units of
    /// `align`, a power of two, as a kernel counts pages.
    pub(crate) fn new(limits: Limits, most: u64, align: u64) -> Result<Self, DescError> {
        let Limits { max_segment_size, seg_boundary_mask, virt_boundary_mask } = limits;
        for mask in [seg_boundary_mask, virt_boundary_mask] {
            if !is_low_mask(mask) {
                return Err(DescError::Mask { mask });
            }
        }
        if seg_boundary_mask < virt_boundary_mask {
            return Err(DescError::Boundaries { seg_boundary_mask, virt_boundary_mask });
        }
        let (align, virt) = (align - 1, virt_boundary_mask);
        // Of fewer bytes, none would be left after a cut is moved back to where it may fall.
        let least = (align | virt).saturating_add(1);
        let size = max_segment_size.min(most) & !align;
        if size < least {
            return Err(DescError::SegmentSize { max_segment_size, least });
        }
        Ok(Self { more: size - 1, align, boundary: seg_boundary_mask, virt })
    }

    /// Aligned blocks of `size` bytes, a power of two.
    pub(crate) fn blocks(size: u64) -> Self {
        Self { more: size - 1, align: size - 1, ..Self::NONE }
    }

    /// No limits: segments are chunks.
    pub(crate) const NONE: Self =
        Self { more: u64::MAX - 1, align: 0, boundary: u64::MAX, virt: 0 };

    /// Bytes of the first segment of `chunk`.
    #[inline(always)]
    pub(crate) fn length(self, chunk: Chunk) -> u64 {
        // `align` is at most `more`, and of `boundary` bits are masked: neither wraps.
        let by_size = self.more - (chunk.paddr & self.align);
        let by_boundary = self.boundary - (chunk.paddr & self.boundary);
        let more = (chunk.length - 1).min(by_size).min(by_boundary);
        if more == chunk.length - 1 {
            return chunk.length;
        }
        // Something follows, so the cut lies below 2^64, and `virt` leaves at least one byte.
        let length = more + 1;
        length - ((chunk.paddr + length) & self.virt)
    }

    /// Bytes of a chunk that is not cut, wherever it lies; 0 where that depends on the place.
    pub(crate) fn uncut(self) -> u64 {
        if self.boundary == u64::MAX { self.more - self.align } else { 0 }
    }

    /// Whether nothing can be cut in a list of `length` bytes.
    pub(crate) fn is_idle(self, length: u64) -> bool {
        // No chunk is longer than the list, nor starts `align` bytes after a multiple.
        length <= self.uncut()
    }

    /// Whether it is plain that none of `chunks` is cut.
    #[inline(always)]
    pub(crate) fn leaves(self, chunks: &[Chunk]) -> bool {
        // All ends in one number, which is no less than the largest, and cheaper to find. Neither
        // sum wraps, since no chunk passes 2^64.
        let reach = |mask| {
            let ends = chunks.iter().map(|chunk| (chunk.paddr & mask) + (chunk.length - 1));
            ends.fold(0, |all, end| all | end)
        };
        reach(self.align) <= self.more
            && (self.boundary == u64::MAX || reach(self.boundary) <= self.boundary)
    }

    /// Bytes of every segment that is cut off from `paddr` on, where they are all alike.
    #[inline(always)]
    pub(crate) fn step(self, paddr: u64) -> Option<NonZeroU64> {
        let unit = self.align | self.virt;
        let is_free = self.boundary == u64::MAX
            || is_low_mask(self.more) && self.more <= self.boundary && paddr & self.more == 0;
        // No unit is left only where it is the whole space, off which nothing is cut.
        let step = NonZeroU64::new((self.more + 1) & !unit);
        step.filter(|_| is_free && paddr & unit == 0)
    }

    /// How many segments of `step` bytes are cut off `length` bytes, of which at least one is left
    /// as the last segment.
    #[inline(always)]
    pub(crate) fn steps(self, length: u64, step: NonZeroU64) -> u64 {
        // What a last segment may hold beyond a step, where cuts are moved back.
        let over = self.more + 1 - step.get();
        let length = (length - 1).saturating_sub(over);
        // Blocks are powers of two, and a division takes as long as many segments.
        if step.is_power_of_two() { length >> step.trailing_zeros() } else { length / step }
    }

    /// The size of blocks, less one, and its log2, where segments are aligned blocks of one size.
    #[inline(always)]
    pub(crate) fn block(self) -> Option<(u64, u32)> {
        let is_block = self.boundary == u64::MAX && self.align == self.more;
        is_block.then_some((self.more, self.more.trailing_ones()))
    }

    /// Segments of a list, if no walk is needed to tell: nothing can be cut, or all is cut into blocks
    /// that no boundary inside the list lies in. O(log n).
    pub(crate) fn find_count(self, phyr: &Phyr) -> Option<u64> {
        if self.is_idle(phyr.length()) {
            return Some(phyr.nr_chunks());
        }
        let (low, lg2) = self.block().filter(|&(low, _)| phyr.is_aligned(low))?;
        let (Some(more), Ok(first)) = (phyr.length().checked_sub(1), phyr.translate(0)) else {
            return Some(0);
        };
        // The last byte counted from the start of the first block, in two halves that fit.
        let (blocks, bytes) = (more >> lg2, (more & low) + (first & low));
        Some(blocks + (bytes >> lg2) + 1)
    }

    /// A number that segments of a list are at least, and six times that at most. O(log n).
    pub(crate) fn least(self, phyr: &Phyr) -> u64 {
        // A segment is at most this long. What is cut off a chunk, but for the first, is at least half
        // as long where only the size cuts it, and a quarter on average where the boundary does too.
        phyr.nr_chunks().max(phyr.length().div_ceil(self.more.min(self.boundary).saturating_add(1)))
    }

    /// Segments of a list. O(log n), or one walk of the chunks.
    pub(crate) fn count(self, phyr: &Phyr) -> u64 {
        let walk = || phyr.chunks().fold(0, |count, chunk| count + self.count_chunk(chunk));
        self.find_count(phyr).unwrap_or_else(walk)
    }

    /// Segments of one chunk, by arithmetic.
    ///
    /// ```text
    /// boundary  |               |               |               |
    /// chunk          |--first---|----block------|----block------|--tail--|
    /// ```
    #[inline]
    fn count_chunk(self, chunk: Chunk) -> u64 {
        let into = chunk.paddr & self.boundary;
        // Of fewer bytes than 2^64, unless there is no boundary: neither sum wraps.
        if chunk.length - 1 <= self.boundary - into {
            return self.count_block(chunk);
        }
        // A segment ends at each boundary. Blocks between two are cut alike: they start at multiples of
        // `align + 1` where that is smaller, and are one segment each where it is not.
        let first = self.boundary - into + 1;
        let rest = chunk.length - first;
        let (blocks, tail) = (rest >> self.boundary.count_ones(), rest & self.boundary);
        let mut count = self.count_block(Chunk { length: first, ..chunk });
        if blocks > 0 {
            count += blocks * self.count_block(Chunk { paddr: 0, length: self.boundary + 1 });
        }
        if tail > 0 {
            count += self.count_block(Chunk { paddr: 0, length: tail });
        }
        count
    }

    /// Segments of bytes that cross no boundary, of which there are some.
    #[inline]
    fn count_block(self, Chunk { paddr, length }: Chunk) -> u64 {
        let more = self.more - (paddr & self.align);
        if length - 1 <= more {
            return 1;
        }
        // Something follows, so the cut lies below 2^64. From there on, steps are equal.
        let end = paddr + more + 1;
        let rest = length - (more + 1) + (end & self.virt);
        let unit = self.align | self.virt;
        NonZeroU64::new((self.more + 1) & !unit).map_or(2, |step| 2 + self.steps(rest, step))
    }
}

/// Checks that every boundary inside a list is a multiple of `mask + 1`.
///
/// O(log n) where they are; a walk finds the one that is not, or that it is not in this part of a
/// longer list.
pub(crate) fn check_boundaries(phyr: &Phyr, mask: u64) -> Result<(), DescError> {
    check_boundaries_of("phyr", phyr, mask)
}

/// As [`check_boundaries`], of a list that the caller knows as `argument`.
pub(crate) fn check_boundaries_of(
    argument: &'static str,
    phyr: &Phyr,
    mask: u64,
) -> Result<(), DescError> {
    if phyr.is_aligned(mask) {
        return Ok(());
    }
    let ends = phyr.nr_chunks().saturating_sub(1);
    let check = |state: Result<(u64, u64), DescError>, chunk: Chunk| {
        let (number, position) = state?;
        if number > 0 && chunk.paddr & mask != 0 {
            return Err(DescError::Gap { argument, paddr: chunk.paddr, position, mask });
        }
        let position = position + chunk.length;
        if number < ends && !chunk.last() & mask != 0 {
            let paddr = chunk.last().wrapping_add(1);
            return Err(DescError::Gap { argument, paddr, position, mask });
        }
        Ok((number + 1, position))
    };
    phyr.chunks().fold(Ok((0, 0)), check).map(|_| ())
}
