//! Walks over frozen lists: a block is unpacked at a time.

use core::fmt;
use core::iter::FusedIterator;
use core::ops::Range;

use alloc::vec::Vec;

use super::view::{Form, View};
use crate::list::walk::{Chunk, Walk};
use crate::storage::frozen::{BLOCK, Decoded};
use crate::wide::wide;

/// The chunks of a frozen list, in order; from [`Frozen::chunks`](crate::Frozen::chunks).
///
/// It holds two unpacked blocks, 5 KiB, and allocates nothing.
#[derive(Clone)]
pub struct FrozenChunks<'a>(Source<'a>);

#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "a walk lives on the stack, and allocates nothing")]
enum Source<'a> {
    Kept(Walk<'a>),
    Archived(Archived<'a>),
}

#[derive(Clone)]
struct Archived<'a> {
    view: &'a View,
    /// Runs of the archive that are still to come.
    front: u64,
    back: u64,
    /// The bytes of the archive that are still to come.
    start: u64,
    end: u64,
    /// The runs before this one are known to be whole, in `head`, and together in the bytes to come.
    plain_end: u64,
    /// The blocks of the two ends, as far as they were needed.
    head: Decoded,
    tail: Decoded,
}

/// A part of a walk: a chunk at an end, which may be trimmed, or runs of a block, at least one.
pub(super) enum Part<'w> {
    Chunk(Chunk),
    Block(&'w Decoded, Range<usize>),
}

impl Archived<'_> {
    /// The chunk of run `number` by way of `decoded`.
    #[inline(always)]
    fn at(view: &View, decoded: &mut Decoded, number: u64) -> (u64, Chunk) {
        let found = view.archive().run(number, decoded);
        view.trim(found.page, found.run)
    }

    /// The part of a chunk at byte `at` of the archive that is still to come. In words that are no
    /// archive there may be none; then the walk ends, so its chunks never have more bytes than the
    /// list, and each call of it gets on.
    #[inline(always)]
    fn rest(&self, at: u64, chunk: Chunk) -> Option<Chunk> {
        let skip = self.start.saturating_sub(at);
        let length =
            chunk.length.checked_sub(skip)?.min(self.end - at.max(self.start).min(self.end));
        (length > 0).then(|| Chunk { paddr: chunk.paddr + skip, length })
    }

    /// Passes the next chunks to `write`, each with one of `slots` and the byte where it starts. Returns
    /// their number. A short count is not the end; zero is.
    fn write<T>(
        &mut self,
        mut slots: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(T, Chunk, u64),
    ) -> usize {
        let (Some(slot), start) = (slots.next(), self.start) else { return 0 };
        let Some(first) = self.next() else { return 0 };
        write(slot, first, start);
        // The runs of the block that are known to be whole.
        let from = usize::try_from(self.front.wrapping_sub(self.head.number)).unwrap_or(BLOCK);
        let whole = usize::try_from(self.plain_end.saturating_sub(self.front)).unwrap_or(BLOCK);
        let count = whole.min(slots.len());
        if count > 0 {
            self.start = write_decoded(&self.head, from..from + count, self.start, slots, write);
            self.front += count as u64;
        }
        1 + count
    }

    #[inline(always)]
    fn next(&mut self) -> Option<Chunk> {
        if self.front >= self.plain_end {
            return self.next_end();
        }
        // Most chunks lie between the ends, so nothing is trimmed, and in the unpacked block.
        let (paddr, length) = self.head.bytes(self.front - self.head.number);
        self.front += 1;
        self.start += length;
        Some(Chunk { paddr, length })
    }

    /// As [`Self::next`], of a chunk that may be trimmed or is in another block.
    #[inline(never)]
    fn next_end(&mut self) -> Option<Chunk> {
        if self.front == self.back {
            return None;
        }
        let (at, chunk) = Self::at(self.view, &mut self.head, self.front);
        self.front += 1;
        let chunk = self.rest(at, chunk).filter(|_| at <= self.start)?;
        self.start += chunk.length;
        // All but the last, which may be trimmed.
        let last = (self.back - 1).min(self.head.number + self.head.count as u64);
        let pages = self.head.pages(self.front - self.head.number, last - self.head.number);
        let granule = self.view.granule;
        let fit = pages.is_some_and(|(first, count)| {
            granule.to_bytes(first) == self.start && count <= granule.floor(self.end - self.start)
        });
        self.plain_end = if fit { last } else { 0 };
        Some(chunk)
    }

    #[inline(always)]
    fn next_back(&mut self) -> Option<Chunk> {
        if self.front == self.back {
            return None;
        }
        self.back -= 1;
        self.plain_end = 0;
        let (at, chunk) = Self::at(self.view, &mut self.tail, self.back);
        let chunk = self.rest(at, chunk)?;
        self.end -= chunk.length;
        Some(chunk)
    }

    /// Visits all chunks still to come.
    fn fold<A>(self, start: A, mut f: impl FnMut(A, Chunk) -> A) -> A {
        self.fold_parts(start, |acc, part| match part {
            Part::Chunk(chunk) => f(acc, chunk),
            Part::Block(decoded, range) => fold_decoded(decoded, range, acc, &mut f),
        })
    }

    /// Visits all parts still to come: the ends, which may be trimmed, by themselves.
    #[inline(always)]
    fn fold_parts<A>(mut self, start: A, mut f: impl FnMut(A, Part<'_>) -> A) -> A {
        let mut acc = start;
        if let Some(first) = self.next() {
            acc = f(acc, Part::Chunk(first));
        }
        let last = self.next_back();
        while self.front < self.back {
            if self.front - self.head.number >= self.head.count as u64 {
                self.view.archive().unpack(self.front, &mut self.head);
            }
            if !self.head.is_plain {
                acc = f(acc, Part::Chunk(self.view.chunk(self.front)));
                self.front += 1;
                continue;
            }
            let from = usize::try_from(self.front - self.head.number).unwrap_or_default();
            let left = usize::try_from(self.back - self.front).unwrap_or(usize::MAX);
            let to = self.head.count.min(from.saturating_add(left));
            acc = f(acc, Part::Block(&self.head, from..to));
            self.front += (to - from) as u64;
        }
        match last {
            Some(last) => f(acc, Part::Chunk(last)),
            None => acc,
        }
    }
}

wide! {
    /// Visits some runs of a block.
    fn fold_decoded[A](
        decoded: &Decoded,
        range: Range<usize>,
        start: A,
        f: &mut impl FnMut(A, Chunk) -> A,
    ) -> A {
        let chunks = decoded.all_bytes(range.start, range.end);
        chunks.fold(start, |acc, (paddr, length)| f(acc, Chunk { paddr, length }))
    }
}

wide! {
    /// Passes some runs of a block, none of them trimmed, to `write`, each with a slot. Returns where the
    /// run behind them starts.
    fn write_decoded[T](
        decoded: &Decoded,
        range: Range<usize>,
        start: u64,
        slots: impl Iterator<Item = T>,
        write: impl FnMut(T, Chunk, u64),
    ) -> u64 {
        let (mut start, mut write) = (start, write);
        for ((paddr, length), slot) in decoded.all_bytes(range.start, range.end).zip(slots) {
            write(slot, Chunk { paddr, length }, start);
            start += length;
        }
        start
    }
}

impl<'a> FrozenChunks<'a> {
    /// The chunks from byte `position` on, which is at most the length.
    pub(super) fn new(form: &'a Form, position: u64) -> Self {
        Self(match form {
            Form::Kept(phyr) => Source::Kept(phyr.walk_from(position)),
            Form::Archived(view) => archived(view, position),
        })
    }
}

/// The walk over an archive from byte `position` of the list on.
///
/// Not inlined: else the walk over a `Phyr` would clear the two blocks, too.
#[inline(never)]
fn archived(view: &View, position: u64) -> Source<'_> {
    let (first, back) = view.numbers();
    let (start, end) = (view.offset + position, view.offset + view.length);
    let front = match position {
        0 => first,
        _ if start == end => back,
        _ => view.place(start).number.min(back - 1).max(first),
    };
    let (head, tail) = (Decoded::new(view.granule), Decoded::new(view.granule));
    Source::Archived(Archived { view, front, back, start, end, plain_end: 0, head, tail })
}

impl FrozenChunks<'_> {
    /// Visits the parts of an archive still to come. There are none of a list that is a `Phyr`.
    pub(super) fn each_part(self, mut f: impl FnMut(Part<'_>)) {
        if let Source::Archived(chunks) = self.0 {
            chunks.fold_parts((), |(), part| f(part));
        }
    }

    /// Appends `of(chunk)` to `items` for each chunk still to come, a block at a time.
    pub fn extend(self, items: &mut Vec<u64>, of: impl Fn(Chunk) -> u64 + Copy) {
        match self.0 {
            Source::Kept(chunks) => chunks.extend(items, of),
            Source::Archived(chunks) => chunks.fold((), |(), chunk| items.push(of(chunk))),
        }
    }

    /// The byte where the walk stands, counted from the start of what the list is a view of.
    pub(super) fn at(&self) -> u64 {
        match &self.0 {
            Source::Kept(chunks) => Walk::position(chunks),
            Source::Archived(chunks) => chunks.start,
        }
    }

    /// The next chunk. The walk does not move.
    pub(super) fn peek(&self) -> Option<Chunk> {
        match &self.0 {
            Source::Kept(chunks) => chunks.peek(),
            Source::Archived(chunks) => chunks.clone().next(),
        }
    }

    /// As the method of the same name of [`Steps`](crate::list::reading::Steps).
    pub(super) fn write<T>(
        &mut self,
        slots: impl ExactSizeIterator<Item = T>,
        write: impl FnMut(T, Chunk, u64),
    ) -> usize {
        match &mut self.0 {
            Source::Kept(chunks) => chunks.write(slots, write),
            Source::Archived(chunks) => chunks.write(slots, write),
        }
    }

    /// Returns true if every chunk still to come is known to be shorter than `length` bytes. True is
    /// certain; false means look.
    pub(super) fn are_shorter(&self, length: u64) -> bool {
        match &self.0 {
            Source::Kept(chunks) => chunks.are_shorter(length),
            Source::Archived(_) => false,
        }
    }
}

impl<'a> FrozenChunks<'a> {
    /// The walk over a list that is a `Phyr`.
    pub(super) fn kept(&mut self) -> Option<&mut Walk<'a>> {
        match &mut self.0 {
            Source::Kept(chunks) => Some(chunks),
            Source::Archived(_) => None,
        }
    }
}

impl fmt::Debug for FrozenChunks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrozenChunks").field("remaining", &self.len()).finish_non_exhaustive()
    }
}

impl Iterator for FrozenChunks<'_> {
    type Item = Chunk;

    #[inline]
    fn next(&mut self) -> Option<Chunk> {
        match &mut self.0 {
            Source::Kept(chunks) => chunks.next(),
            Source::Archived(chunks) => chunks.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Source::Kept(chunks) => chunks.size_hint(),
            Source::Archived(chunks) => {
                let left = usize::try_from(chunks.back - chunks.front).unwrap_or(usize::MAX);
                (left, Some(left))
            }
        }
    }

    fn count(self) -> usize {
        self.len()
    }

    fn last(mut self) -> Option<Chunk> {
        self.next_back()
    }

    fn nth(&mut self, n: usize) -> Option<Chunk> {
        match &mut self.0 {
            Source::Kept(chunks) => chunks.nth(n),
            Source::Archived(chunks) => {
                let n = (n as u64).min(chunks.back - chunks.front);
                chunks.front += n;
                chunks.plain_end = 0;
                if n > 0 && chunks.front < chunks.back {
                    let (at, _) = Archived::at(chunks.view, &mut chunks.head, chunks.front);
                    chunks.start = at.clamp(chunks.start, chunks.end);
                }
                chunks.next()
            }
        }
    }

    fn fold<A, F: FnMut(A, Chunk) -> A>(self, start: A, f: F) -> A {
        match self.0 {
            Source::Kept(chunks) => chunks.fold(start, f),
            Source::Archived(chunks) => chunks.fold(start, f),
        }
    }
}

impl DoubleEndedIterator for FrozenChunks<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Chunk> {
        match &mut self.0 {
            Source::Kept(chunks) => chunks.next_back(),
            Source::Archived(chunks) => chunks.next_back(),
        }
    }

    fn nth_back(&mut self, n: usize) -> Option<Chunk> {
        match &mut self.0 {
            Source::Kept(chunks) => chunks.nth_back(n),
            Source::Archived(chunks) => {
                let n = (n as u64).min(chunks.back - chunks.front);
                chunks.back -= n;
                chunks.plain_end = 0;
                if n > 0 && chunks.front < chunks.back {
                    let (at, _) = Archived::at(chunks.view, &mut chunks.tail, chunks.back);
                    chunks.end = at.clamp(chunks.start, chunks.end);
                }
                chunks.next_back()
            }
        }
    }
}

impl ExactSizeIterator for FrozenChunks<'_> {}
impl FusedIterator for FrozenChunks<'_> {}
