//! Walks over frozen lists: a block is unpacked at a time.

use core::fmt;
use core::iter::FusedIterator;

use super::view::{Form, View};
use crate::granule::Granule;
use crate::list::chunks::{Chunk, Chunks};
use crate::storage::frozen::{BLOCK, Window};

/// The chunks of a frozen list, in order; from [`Frozen::chunks`](crate::Frozen::chunks).
///
/// It holds two unpacked blocks, 4 KiB, and allocates nothing.
#[derive(Clone)]
pub struct FrozenChunks<'a>(Walk<'a>);

#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "a walk lives on the stack, and allocates nothing")]
enum Walk<'a> {
    Kept(Chunks<'a>),
    Archived(Archived<'a>),
}

#[derive(Clone)]
struct Archived<'a> {
    view: &'a View,
    /// Runs of the archive that are still to come.
    front: u64,
    back: u64,
    /// The blocks of the two ends, as far as they were needed.
    head: Window,
    tail: Window,
}

impl Archived<'_> {
    /// The chunk of run `number` by way of `window`.
    #[inline(always)]
    fn at(view: &View, window: &mut Window, number: u64) -> Chunk {
        if number.wrapping_sub(window.number) >= window.count as u64 {
            view.archive().unpack(number, window);
        }
        let index = usize::try_from(number - window.number).unwrap_or_default().min(BLOCK - 1);
        view.trim(window.page(index), window.run(index)).1
    }

    #[inline(always)]
    fn next(&mut self) -> Option<Chunk> {
        if self.front == self.back {
            return None;
        }
        let chunk = Self::at(self.view, &mut self.head, self.front);
        self.front += 1;
        Some(chunk)
    }

    #[inline(always)]
    fn next_back(&mut self) -> Option<Chunk> {
        if self.front == self.back {
            return None;
        }
        self.back -= 1;
        Some(Self::at(self.view, &mut self.tail, self.back))
    }

    /// Visits all chunks still to come: the ends, which may be trimmed, by the plain way.
    fn fold<A>(mut self, start: A, mut f: impl FnMut(A, Chunk) -> A) -> A {
        let mut acc = start;
        if let Some(first) = self.next() {
            acc = f(acc, first);
        }
        let last = self.next_back();
        let granule = self.view.granule;
        while self.front < self.back {
            if self.front - self.head.number >= self.head.count as u64 {
                self.view.archive().unpack(self.front, &mut self.head);
            }
            let from = usize::try_from(self.front - self.head.number).unwrap_or_default();
            let left = usize::try_from(self.back - self.front).unwrap_or(usize::MAX);
            let to = self.head.count.min(from.saturating_add(left));
            acc = if granule == Granule::default() {
                // Shifts by what the compiler knows are none.
                Self::fold_window(&self.head, from..to, Granule::default(), acc, &mut f)
            } else {
                Self::fold_window(&self.head, from..to, granule, acc, &mut f)
            };
            self.front += (to - from) as u64;
        }
        match last {
            Some(last) => f(acc, last),
            None => acc,
        }
    }

    #[inline(always)]
    fn fold_window<A>(
        window: &Window,
        range: core::ops::Range<usize>,
        granule: Granule,
        start: A,
        f: &mut impl FnMut(A, Chunk) -> A,
    ) -> A {
        window.runs(range.start, range.end).fold(start, |acc, run| {
            let (paddr, length) = (granule.to_bytes(run.pfn), granule.to_bytes(run.nr_pages));
            f(acc, Chunk { paddr, length })
        })
    }
}

impl<'a> FrozenChunks<'a> {
    pub(super) fn new(form: &'a Form) -> Self {
        Self(match form {
            Form::Kept(phyr) => Walk::Kept(phyr.chunks()),
            Form::Archived(view) => {
                let (front, back) = view.numbers();
                let (head, tail) = (Window::new(view.granule), Window::new(view.granule));
                Walk::Archived(Archived { view, front, back, head, tail })
            }
        })
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
            Walk::Kept(chunks) => chunks.next(),
            Walk::Archived(chunks) => chunks.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Walk::Kept(chunks) => chunks.size_hint(),
            Walk::Archived(chunks) => {
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
            Walk::Kept(chunks) => chunks.nth(n),
            Walk::Archived(chunks) => {
                chunks.front += (n as u64).min(chunks.back - chunks.front);
                chunks.next()
            }
        }
    }

    fn fold<A, F: FnMut(A, Chunk) -> A>(self, start: A, f: F) -> A {
        match self.0 {
            Walk::Kept(chunks) => chunks.fold(start, f),
            Walk::Archived(chunks) => chunks.fold(start, f),
        }
    }
}

impl DoubleEndedIterator for FrozenChunks<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Chunk> {
        match &mut self.0 {
            Walk::Kept(chunks) => chunks.next_back(),
            Walk::Archived(chunks) => chunks.next_back(),
        }
    }

    fn nth_back(&mut self, n: usize) -> Option<Chunk> {
        match &mut self.0 {
            Walk::Kept(chunks) => chunks.nth_back(n),
            Walk::Archived(chunks) => {
                chunks.back -= (n as u64).min(chunks.back - chunks.front);
                chunks.next_back()
            }
        }
    }
}

impl ExactSizeIterator for FrozenChunks<'_> {}
impl FusedIterator for FrozenChunks<'_> {}
