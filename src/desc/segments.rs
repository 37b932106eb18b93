//! The walk that all formats share: chunks, cut where the limits require.

use core::fmt;
use core::iter::{self, FusedIterator};

use super::error::DescError;
use super::limits::{Cut, Limits, check_boundaries};
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::list::reading::{List, Steps};

/// The segments of a list under a device's limits, in order. Each is the largest that fits.
///
/// # Examples
///
/// ```
/// use phyr::desc::{Limits, Segments};
///
/// let mut builder = phyr::Builder::new();
/// builder.append(0xf000, 0x3000)?;
/// let phyr = builder.finish();
/// let limits = Limits { seg_boundary_mask: 0xffff, ..Limits::default() };
/// let lengths: Vec<u64> = Segments::new(&phyr, limits)?.map(|segment| segment.length).collect();
/// assert_eq!(lengths, [0x1000, 0x2000]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Segments<'a, P: List = Phyr> {
    chunks: P::Walk<'a>,
    /// The rest of the chunk that is being cut; no bytes between chunks.
    rest: Chunk,
    cut: Cut,
    /// Chunks read ahead and not yet cut: `at` to `end`.
    ahead: [Chunk; AHEAD],
    at: usize,
    end: usize,
}

/// Number of chunks read ahead if chunks are cut.
const AHEAD: usize = 16;

/// A chunk of no bytes.
pub(crate) const NOTHING: Chunk = Chunk { paddr: 0, length: 0 };

impl<'a, P: List> Segments<'a, P> {
    /// The segments of `phyr`.
    ///
    /// # Errors
    ///
    /// [`DescError::Mask`], [`DescError::SegmentSize`] and [`DescError::Boundaries`] for limits
    /// that no segment can meet; [`DescError::Gap`] if a boundary inside the list violates the virt
    /// boundary.
    pub fn new(list: &'a P, limits: Limits) -> Result<Self, DescError> {
        let cut = Cut::new(limits, u64::MAX, 1)?;
        check_boundaries(list, limits.virt_boundary_mask)?;
        Ok(Self::from(list, cut, 0))
    }

    /// The segments from byte `position` on; a segment must start there.
    pub(crate) fn from(list: &'a P, cut: Cut, position: u64) -> Self {
        // A `Place` of another table may lie past the end. Then nothing is left.
        let chunks = list.walk_from(position.min(list.length()));
        Self { chunks, rest: NOTHING, cut, ahead: [NOTHING; AHEAD], at: 0, end: 0 }
    }

    /// The next chunk. Some that follow it are read ahead.
    #[inline]
    fn next_chunk(&mut self) -> Option<Chunk> {
        if self.at == self.end {
            (self.at, self.end) = (0, self.chunks.read(&mut self.ahead));
        }
        let chunk = self.ahead[..self.end].get(self.at).copied()?;
        self.at += 1;
        Some(chunk)
    }
}

/// Takes the first `length` bytes off a chunk, which must have them.
#[inline(always)]
pub(crate) fn take(rest: &mut Chunk, length: u64) -> Chunk {
    let segment = Chunk { paddr: rest.paddr, length };
    // Wraps only after the last byte of the 64-bit space, where nothing is left.
    rest.paddr = rest.paddr.wrapping_add(length);
    rest.length -= length;
    segment
}

/// The next segment of a chunk that has bytes left.
#[inline(always)]
pub(crate) fn cut_one(cut: Cut, rest: &mut Chunk) -> Chunk {
    let length = cut.length(*rest);
    take(rest, length)
}

impl<P: List> fmt::Debug for Segments<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments").field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

impl<P: List> Iterator for Segments<'_, P> {
    type Item = Chunk;

    #[inline]
    fn next(&mut self) -> Option<Chunk> {
        if self.rest.length == 0 {
            self.rest = self.next_chunk()?;
        }
        Some(cut_one(self.cut, &mut self.rest))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // There is at least one segment for each chunk. Only a walk could tell how many more.
        let chunks = self.chunks.len();
        let least = chunks + (self.end - self.at) + usize::from(self.rest.length > 0);
        (least, if least == 0 { Some(0) } else { None })
    }

    fn fold<A, F: FnMut(A, Chunk) -> A>(self, start: A, mut f: F) -> A {
        let Self { chunks, rest, cut, ahead, at, end, .. } = self;
        let mut acc = start;
        for mut rest in iter::once(rest).chain(ahead[at..end].iter().copied()) {
            while rest.length > 0 {
                acc = f(acc, cut_one(cut, &mut rest));
            }
        }
        chunks.fold(acc, |mut acc, mut rest| {
            while rest.length > 0 {
                acc = f(acc, cut_one(cut, &mut rest));
            }
            acc
        })
    }
}

impl<P: List> FusedIterator for Segments<'_, P> {}
