//! The limits of a device, and where they cut a chunk.

use core::num::NonZeroU64;

use super::error::DescError;
use crate::kind::Kind;
use crate::list::chunks::Chunk;
use crate::list::reading::List;

/// The limits that a device sets for each segment. The default sets none.
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
    /// The largest number of bytes in a segment, at least one.
    pub max_segment_size: u64,
    /// No segment crosses a multiple of this plus one. It is one less than a power of two, or all
    /// ones.
    pub seg_boundary_mask: u64,
    /// Inside the list, segments start and end at multiples of this plus one. It is one less than a
    /// power of two; 0 sets no limit.
    pub virt_boundary_mask: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_segment_size: u64::MAX, seg_boundary_mask: u64::MAX, virt_boundary_mask: 0 }
    }
}

/// Limits, checked and ready for use: cutting cannot fail.
///
/// ```text
/// chunk     |-----------------------------|
/// virt          |       |       |       |       where a cut may fall
/// size      |-------------|                     as much as a segment may hold
/// segments  |-----------|---------------|-|     a rest that fits whole is not cut
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The most bytes of a segment less one, counted from the multiple of `align + 1` at or before
    /// its start.
    more: u64,
    /// Set by the format: a segment's bytes are counted in units of this plus one. At most `more`.
    align: u64,
    boundary: u64,
    /// Every cut is at a multiple of this plus one. At most `more` and `boundary`.
    virt: u64,
}

/// Returns true if `mask` is one less than a power of two: a mask of low bits.
fn is_low_mask(mask: u64) -> bool {
    mask & mask.wrapping_add(1) == 0
}

impl Cut {
    /// Combines the limits of a device with those of a format: at most `most` bytes a segment,
    /// counted in units of `align`, a power of two. A kernel that counts pages is an example.
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
        // With fewer bytes, a cut that is moved back to an allowed place could leave nothing.
        let least = (align | virt).saturating_add(1);
        let size = max_segment_size.min(most) & !align;
        if size < least {
            return Err(DescError::SegmentSize { max_segment_size, least });
        }
        Ok(Self { more: size - 1, align, boundary: seg_boundary_mask, virt })
    }

    /// Cuts into aligned blocks of `size` bytes, a power of two.
    pub(crate) fn blocks(size: u64) -> Self {
        Self { more: size - 1, align: size - 1, ..Self::NONE }
    }

    /// No limits: each chunk is one segment.
    pub(crate) const NONE: Self =
        Self { more: u64::MAX - 1, align: 0, boundary: u64::MAX, virt: 0 };

    /// Bytes of the first segment of `chunk`.
    #[inline(always)]
    pub(crate) fn length(self, chunk: Chunk) -> u64 {
        // `align` is at most `more`, and `boundary` minus its masked bits cannot be negative: no
        // wrap.
        let by_size = self.more - (chunk.paddr & self.align);
        let by_boundary = self.boundary - (chunk.paddr & self.boundary);
        let more = (chunk.length - 1).min(by_size).min(by_boundary);
        if more == chunk.length - 1 {
            return chunk.length;
        }
        // Bytes follow, so the cut is below 2^64; `virt` leaves at least one byte.
        let length = more + 1;
        length - ((chunk.paddr + length) & self.virt)
    }

    /// The largest number of bytes that is never cut, at any address; 0 if the address matters.
    pub(crate) fn uncut(self) -> u64 {
        if self.boundary == u64::MAX { self.more - self.align } else { 0 }
    }

    /// Returns true if no chunk of a list of `length` bytes can be cut. True is certain; false
    /// means look.
    pub(crate) fn is_idle(self, length: u64) -> bool {
        // No chunk is longer than the list, and none starts more than `align` bytes after a
        // multiple of `align + 1`.
        length <= self.uncut()
    }

    /// Returns true if none of `chunks` is cut. True is certain; false means look.
    #[inline(always)]
    pub(crate) fn leaves(self, chunks: &[Chunk]) -> bool {
        // The bitwise or of all ends is at least the largest end, and cheaper to find. No chunk
        // passes 2^64, so the sums cannot wrap.
        let furthest = |mask| {
            let ends = chunks.iter().map(|chunk| (chunk.paddr & mask) + (chunk.length - 1));
            ends.fold(0, |all, end| all | end)
        };
        furthest(self.align) <= self.more
            && (self.boundary == u64::MAX || furthest(self.boundary) <= self.boundary)
    }

    /// The size of every segment that is cut off from `paddr` on, if all of them have one size.
    #[inline(always)]
    pub(crate) fn step(self, paddr: u64) -> Option<NonZeroU64> {
        let unit = self.align | self.virt;
        let is_free = self.boundary == u64::MAX
            || is_low_mask(self.more) && self.more <= self.boundary && paddr & self.more == 0;
        // The step is 0 only if the unit is the whole 64-bit space, and then nothing is cut.
        let step = NonZeroU64::new((self.more + 1) & !unit);
        step.filter(|_| is_free && paddr & unit == 0)
    }

    /// The number of segments of `step` bytes that are cut off `length` bytes. At least one byte
    /// remains for the last segment.
    #[inline(always)]
    pub(crate) fn steps(self, length: u64, step: NonZeroU64) -> u64 {
        // A last segment may be this much longer than a step, because cuts are moved back.
        let over = self.more + 1 - step.get();
        let length = (length - 1).saturating_sub(over);
        // Blocks are powers of two. A division takes as long as many segments.
        if step.is_power_of_two() { length >> step.trailing_zeros() } else { length / step }
    }

    /// The size of a block less one, and its log2, if all segments are aligned blocks of one size.
    #[inline(always)]
    pub(crate) fn block(self) -> Option<(u64, u32)> {
        let is_block = self.boundary == u64::MAX && self.align == self.more;
        is_block.then_some((self.more, self.more.trailing_ones()))
    }

    /// The number of segments of a list, if it is known without a walk: no chunk can be cut, or all
    /// segments are blocks of one size and no boundary inside the list is inside a block. O(log n).
    pub(crate) fn find_count(self, list: &impl List) -> Option<u64> {
        if self.is_idle(list.length()) {
            return Some(list.nr_chunks());
        }
        let (low, lg2) = self.block().filter(|&(low, _)| list.is_aligned(low))?;
        let (Some(more), Ok(first)) = (list.length().checked_sub(1), list.translate(0)) else {
            return Some(0);
        };
        // The offset of the last byte from the start of the first block. The sum could overflow, so
        // its two halves are kept apart.
        let (blocks, bytes) = (more >> lg2, (more & low) + (first & low));
        Some(blocks + (bytes >> lg2) + 1)
    }

    /// A lower bound on the number of segments of a list, within a factor of six. O(log n).
    pub(crate) fn least(self, list: &impl List) -> u64 {
        // No segment is longer than the divisor. Segments cut off a chunk, except the first, have
        // at least half that length if only the size cuts them, and a quarter on average if the
        // boundary does too.
        list.nr_chunks().max(list.length().div_ceil(self.more.min(self.boundary).saturating_add(1)))
    }

    /// The number of segments of a list. O(log n), or one walk over the chunks.
    pub(crate) fn count(self, list: &impl List) -> u64 {
        let walk = || {
            list.chunks().fold(0_u64, |count, chunk| count.wrapping_add(self.count_chunk(chunk)))
        };
        self.find_count(list).unwrap_or_else(walk).min(list.length())
    }

    /// Counts the segments of one chunk, by arithmetic.
    ///
    /// ```text
    /// boundary  |               |               |               |
    /// chunk          |--first---|----block------|----block------|--tail--|
    /// ```
    #[inline]
    fn count_chunk(self, chunk: Chunk) -> u64 {
        let into = chunk.paddr & self.boundary;
        // There are less than 2^64 bytes unless there is no boundary, so no sum here wraps.
        if chunk.length - 1 <= self.boundary - into {
            return self.count_block(chunk);
        }
        // A segment ends at each boundary. The blocks between two boundaries all have the same
        // segments: if `align + 1` is smaller than a block, each block starts at a multiple of it;
        // if not, each block is one segment.
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

    /// Counts the segments of a chunk that has bytes and crosses no boundary.
    #[inline]
    fn count_block(self, Chunk { paddr, length }: Chunk) -> u64 {
        let more = self.more - (paddr & self.align);
        if length - 1 <= more {
            return 1;
        }
        // Bytes follow, so the cut is below 2^64. After it, all steps are equal.
        let end = paddr + more + 1;
        let rest = length - (more + 1) + (end & self.virt);
        let unit = self.align | self.virt;
        NonZeroU64::new((self.more + 1) & !unit).map_or(2, |step| 2 + self.steps(rest, step))
    }
}

/// Checks that a list does not have user addresses, with which no device does anything.
pub(crate) fn refuse_user(list: &impl List) -> Result<(), DescError> {
    if list.kind() == Kind::User { Err(DescError::UserAddresses) } else { Ok(()) }
}

/// Checks that every boundary inside a list is a multiple of `mask + 1`.
///
/// O(log n) if they are. Otherwise a walk finds the boundary that is not, or finds that it belongs
/// to another part of a longer list. Every descriptor is made after this check, so it refuses user
/// addresses, too.
pub(crate) fn check_boundaries(list: &impl List, mask: u64) -> Result<(), DescError> {
    check_boundaries_of("phyr", list, mask)
}

/// As [`check_boundaries`]; errors call the list `argument`.
pub(crate) fn check_boundaries_of(
    argument: &'static str,
    list: &impl List,
    mask: u64,
) -> Result<(), DescError> {
    refuse_user(list)?;
    if list.is_aligned(mask) {
        return Ok(());
    }
    let align = u128::from(mask) + 1;
    let ends = list.nr_chunks().saturating_sub(1);
    let check = |state: Result<(u64, u64), DescError>, chunk: Chunk| {
        let (number, position) = state?;
        if number > 0 && chunk.paddr & mask != 0 {
            return Err(DescError::Gap { argument, paddr: chunk.paddr, position, align });
        }
        let position = position.wrapping_add(chunk.length);
        if number < ends && !chunk.last_of_list() & mask != 0 {
            let paddr = chunk.last_of_list().wrapping_add(1);
            return Err(DescError::Gap { argument, paddr, position, align });
        }
        Ok((number + 1, position))
    };
    list.chunks().fold(Ok((0, 0)), check).map(|_| ())
}
