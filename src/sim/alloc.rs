//! Allocating the pages of a memory: account of who uses which.

use alloc::vec::Vec;

use super::error::MemoryError;
use super::frames::Frames;
use super::memory::{Memory, PAGE_SIZE};
use super::scatter::{ScatterOptions, Scattering};
use crate::error::NoMemory;
use crate::list::builder::Builder;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::list::reading::List;

impl Memory {
    /// Allocates `length` contiguous bytes at the lowest pages that fit.
    ///
    /// The pages end at or before address `below`, if it is given, and start at a multiple of
    /// `align`. An empty list takes no page.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Align`] unless `align` is a power of two; [`MemoryError::Full`].
    pub fn alloc(
        &mut self,
        length: u64,
        below: Option<u64>,
        align: u64,
    ) -> Result<Phyr, MemoryError> {
        if !align.is_power_of_two() {
            return Err(MemoryError::Align { align });
        }
        let mut builder = Builder::new();
        if length > 0 {
            let end = below.unwrap_or(self.size) / PAGE_SIZE;
            let align = (align / PAGE_SIZE).max(1);
            let count = length.div_ceil(PAGE_SIZE);
            // Room to take the pages, and to give them back if there is no memory for the list.
            self.frames.reserve(2)?;
            let pfn = self.frames.first_fit(count, align, end)?;
            let pfn = pfn.ok_or(MemoryError::Full { length, free: self.free_bytes() })?;
            let made = builder.append(pfn * PAGE_SIZE, length).and_then(|()| builder.try_finish());
            if made.is_err() {
                self.frames.put(pfn, count)?;
            }
            return Ok(made?);
        }
        Ok(builder.try_finish()?)
    }

    /// Allocates `length` bytes in scattered pages; see [`ScatterOptions`].
    ///
    /// # Errors
    ///
    /// As [`scatter`](super::scatter()). The memory is then as before.
    pub fn scatter(
        &mut self,
        length: u64,
        options: &ScatterOptions<'_>,
    ) -> Result<Phyr, MemoryError> {
        let mut scattering = self.scattering(length, options)?;
        let mut outcome = Ok(true);
        while let Ok(true) = outcome {
            outcome = self.scatter_more(&mut scattering);
        }
        let made = outcome.and_then(|_| self.scattered(&mut scattering));
        made.inspect_err(|_| self.unscatter(scattering))
    }

    /// Begins [`Self::scatter`], for a caller that wants to stop in between.
    pub(crate) fn scattering<'a>(
        &self,
        length: u64,
        options: &ScatterOptions<'a>,
    ) -> Result<Scattering<'a>, MemoryError> {
        Scattering::new(&self.frames, self.size / PAGE_SIZE, length, options)
    }

    /// Takes a few blocks more. Returns true if others are to follow. If it fails, or the caller stops,
    /// [`Self::unscatter`] is to follow.
    pub(crate) fn scatter_more(
        &mut self,
        scattering: &mut Scattering<'_>,
    ) -> Result<bool, MemoryError> {
        scattering.step(&mut self.frames)
    }

    /// Returns the list of all blocks. If it fails, [`Self::unscatter`] is to follow.
    pub(crate) fn scattered(
        &mut self,
        scattering: &mut Scattering<'_>,
    ) -> Result<Phyr, MemoryError> {
        let phyr = scattering.finish()?;
        self.frames.trim();
        Ok(phyr)
    }

    /// Gives back all blocks that were taken.
    pub(crate) fn unscatter(&mut self, mut scattering: Scattering<'_>) {
        scattering.give_back(&mut self.frames);
    }

    /// Allocates every page that a list touches. The list may come from anywhere.
    ///
    /// # Errors
    ///
    /// [`MemoryError::NotFree`] unless all pages are free, and none is in the list twice;
    /// [`MemoryError::Mmio`], [`MemoryError::Outside`]. Nothing is reserved then.
    pub fn reserve(&mut self, phyr: &impl List) -> Result<(), MemoryError> {
        let runs = self.runs(phyr, Frames::are_free, |Chunk { paddr, length }| {
            MemoryError::NotFree { paddr, length }
        })?;
        for (pfn, count) in runs {
            // There is room, and the frames were looked at.
            self.frames.take(pfn, count)?;
        }
        self.frames.trim();
        Ok(())
    }

    /// Frees every page that a list touches, and drops the bytes written to it.
    ///
    /// # Errors
    ///
    /// [`MemoryError::NotAllocated`] unless all pages are allocated, and none is in the list twice;
    /// [`MemoryError::Mmio`], [`MemoryError::Outside`]. Nothing is freed then.
    pub fn free(&mut self, phyr: &impl List) -> Result<(), MemoryError> {
        let runs = self.runs(phyr, Frames::are_taken, |Chunk { paddr, length }| {
            MemoryError::NotAllocated { paddr, length }
        })?;
        for (pfn, count) in runs {
            // There is room, and the frames were looked at.
            self.frames.put(pfn, count)?;
            self.store.remove(pfn, pfn + (count - 1));
        }
        self.frames.trim();
        Ok(())
    }

    /// The pages of each chunk, in ascending order, and room in the free frames to take or to give
    /// back all of them. Refuses a chunk of which a page is not as `suits` says, or listed twice.
    fn runs(
        &mut self,
        phyr: &impl List,
        suits: fn(&Frames, u64, u64) -> bool,
        refusal: fn(Chunk) -> MemoryError,
    ) -> Result<Vec<(u64, u64)>, MemoryError> {
        self.check(phyr)?;
        let chunks = phyr.chunks();
        self.frames.reserve(chunks.len())?;
        let mut runs = Vec::new();
        let room = runs.try_reserve_exact(chunks.len());
        room.map_err(|_| NoMemory::of::<(u64, u64)>(chunks.len()))?;
        for chunk in chunks {
            let pfn = chunk.paddr / PAGE_SIZE;
            let count = chunk.last_of_list() / PAGE_SIZE - pfn + 1;
            // Page 0 is never allocated.
            if pfn == 0 || !suits(&self.frames, pfn, count) {
                self.frames.trim();
                return Err(refusal(chunk));
            }
            runs.push((pfn, count));
        }
        runs.sort_unstable();
        let mut end = 0;
        let twice = runs.iter().find(|&&(pfn, count)| {
            let overlaps = pfn < end;
            end = pfn + count;
            overlaps
        });
        if let Some(&(pfn, count)) = twice {
            self.frames.trim();
            let (paddr, length) = (pfn * PAGE_SIZE, count * PAGE_SIZE);
            return Err(refusal(Chunk { paddr, length }));
        }
        Ok(runs)
    }
}
