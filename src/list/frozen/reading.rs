//! The face that a frozen list has in common with a `Phyr`.

use alloc::vec::Vec;

use super::chunks::FrozenChunks;
use super::list::Frozen;
use super::view::Form;
use crate::error::Error;
use crate::granule::Granule;
use crate::kind::Kind;
use crate::list::pages::Pages;
use crate::list::phyr::Phyr;
use crate::list::reading::{Inner, List, Steps, list};
use crate::list::walk::Chunk;
use crate::list::{overlap, shift, stats};

impl Frozen {
    /// As [`Phyr::pages`]. A list in memory that others write may yield fewer or other blocks later.
    ///
    /// # Errors
    ///
    /// As for [`Phyr::pages`].
    pub fn pages(&self, page_size: u64) -> Result<Pages<'_, Self>, Error> {
        Pages::new(self, page_size)
    }

    /// As [`Phyr::stats`]. The words are those that a [`Phyr`] would have, the heap is this list's.
    #[must_use]
    pub fn stats(&self) -> stats::Stats {
        match &self.0 {
            Form::Kept(phyr) => phyr.stats(),
            Form::Archived(view) => {
                let (length, storage) = (self.length(), self.storage() as u64);
                // The archive, and the words that it owns.
                let nr_nodes = 1 + u64::from(view.archive().owns_words());
                stats::count(self, stats::Stats { length, nr_nodes, storage, ..Default::default() })
            }
        }
    }

    /// As [`Phyr::orders`].
    #[must_use]
    pub fn orders(&self) -> [u64; 53] {
        match &self.0 {
            Form::Kept(phyr) => phyr.orders(),
            Form::Archived(_) => stats::orders(self),
        }
    }

    /// As [`Phyr::first_beyond`].
    #[must_use]
    pub fn first_beyond(&self, last: u64) -> Option<(u64, Chunk)> {
        shift::first_beyond(self, last)
    }

    /// As [`Phyr::overlap`].
    ///
    /// # Errors
    ///
    /// As for [`Phyr::overlap`].
    pub fn overlap(&self, other: &impl List) -> Result<u64, Error> {
        overlap::overlap(self, other)
    }

    /// As [`Phyr::intersect`].
    ///
    /// # Errors
    ///
    /// As for [`Phyr::intersect`].
    pub fn intersect(&self, other: &impl List) -> Result<Phyr, Error> {
        overlap::intersect(self, other)
    }

    /// As [`Phyr::within`].
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn within(&self, first: u64, last: u64) -> Result<Vec<(u64, Chunk)>, Error> {
        overlap::within(self, first, last)
    }
}

impl List for Frozen {
    list!(FrozenChunks);
}

impl Inner for Frozen {
    type Walk<'a> = FrozenChunks<'a>;

    fn walk_from(&self, position: u64) -> FrozenChunks<'_> {
        FrozenChunks::new(&self.0, position)
    }

    fn kept(phyr: Phyr) -> Self {
        Self(Form::Kept(phyr))
    }

    fn has_nodes(&self) -> bool {
        self.as_phyr().is_some()
    }

    fn upper_bound(&self) -> u64 {
        match &self.0 {
            Form::Kept(phyr) => phyr.upper_bound(),
            Form::Archived(view) => {
                view.granule.to_bytes(view.granule.reach() - 1) | view.granule.mask()
            }
        }
    }

    fn span(&self) -> (u64, u64) {
        match &self.0 {
            Form::Kept(phyr) => phyr.span(),
            Form::Archived(view) => view.span(),
        }
    }

    fn is_aligned(&self, mask: u64) -> bool {
        match &self.0 {
            Form::Kept(phyr) => phyr.is_aligned(mask),
            Form::Archived(view) => view.granule.bytes() > mask || self.nr_chunks() < 2,
        }
    }
}

impl Steps for FrozenChunks<'_> {
    fn at(&self) -> u64 {
        self.at()
    }

    fn peek(&self) -> Option<Chunk> {
        self.peek()
    }

    fn read(&mut self, out: &mut [Chunk]) -> usize {
        self.write(out.iter_mut(), |slot, chunk, _| *slot = chunk)
    }

    fn write<T>(
        &mut self,
        slots: impl ExactSizeIterator<Item = T>,
        write: impl FnMut(T, Chunk, u64),
    ) -> usize {
        self.write(slots, write)
    }

    fn short(&mut self, most: u64) -> usize {
        self.kept().map_or(0, |chunks| chunks.short(most))
    }

    fn read_blocks(&mut self, size: u64, out: &mut [u64]) -> usize {
        self.kept().map_or(0, |chunks| chunks.read_blocks(size, out))
    }

    fn are_shorter(&self, length: u64) -> bool {
        self.are_shorter(length)
    }
}
