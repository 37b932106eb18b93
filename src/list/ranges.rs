//! Byte ranges appended by the block: checked together, then written run by run.

use crate::error::Error;
use crate::granule::Granule;
use crate::list::builder::Builder;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::wide::wide;

/// Ranges checked at a time: few enough to stay close.
pub(crate) const BLOCK_CHUNKS: usize = 256;

impl Phyr {
    /// A list of RAM in granules of 4096 bytes, of these chunks one after another. O(n).
    ///
    /// For another granule or kind, or in several steps: [`Builder::extend_chunks`].
    ///
    /// # Errors
    ///
    /// As [`Builder::append`].
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::{Chunk, Phyr};
    ///
    /// let phyr = Phyr::from_chunks([(0x7800, 0x800), (0x20_0000, 0x1000)].map(|(paddr, length)| {
    ///     Chunk { paddr, length }
    /// }))?;
    /// assert_eq!(Phyr::from_chunks(phyr.chunks())?, phyr);
    /// # Ok::<(), phyr::Error>(())
    /// ```
    pub fn from_chunks(chunks: impl IntoIterator<Item = Chunk>) -> Result<Self, Error> {
        let mut builder = Builder::new();
        builder.extend_chunks(chunks)?;
        builder.try_finish()
    }
}

impl Builder {
    /// Appends chunks one after another, each as [`Self::append`] does; all of them or none.
    ///
    /// # Errors
    ///
    /// As [`Self::append`], for the first chunk that cannot follow.
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::{Builder, Chunk};
    ///
    /// let mut builder = Builder::new();
    /// let bad = [Chunk { paddr: 0x7000, length: 0x1000 }, Chunk { paddr: 0x9001, length: 7 }];
    /// assert!(builder.extend_chunks(bad).is_err());
    /// assert_eq!(builder.length(), 0);
    /// # Ok::<(), phyr::Error>(())
    /// ```
    pub fn extend_chunks(&mut self, chunks: impl IntoIterator<Item = Chunk>) -> Result<(), Error> {
        self.all_or_nothing(|builder| {
            let mut ranges = Ranges::new(builder);
            for Chunk { paddr, length } in chunks {
                ranges.push(paddr, length).map_err(|(_, why)| why)?;
            }
            ranges.flush().map_err(|(_, why)| why)
        })
    }

    /// Appends byte ranges, each as [`Self::append`] does. If one cannot follow, those before it
    /// were appended, and its index comes with the error.
    pub(crate) fn append_ranges(
        &mut self,
        paddrs: &[u64],
        lengths: &[u64],
    ) -> Result<(), (usize, Error)> {
        let mut at = 0;
        for (paddrs, lengths) in paddrs.chunks(BLOCK_CHUNKS).zip(lengths.chunks(BLOCK_CHUNKS)) {
            let granule = self.granule();
            let whole = whole_pages(granule, paddrs, lengths);
            if whole.is_none_or(|nr_pages| !self.may_follow(nr_pages)) {
                // Some range is not whole pages, or is an error.
                for (index, (&paddr, &length)) in (at..).zip(paddrs.iter().zip(lengths)) {
                    self.append(paddr, length).map_err(|why| (index, why))?;
                }
            } else if whole == Some(paddrs.len() as u64) {
                // No range has less than a page, so each is one.
                self.push_pages(paddrs, granule.lg2()).map_err(|why| (at, why.into()))?;
            } else {
                self.push_ranges(paddrs, lengths, granule.lg2()).map_err(|why| (at, why.into()))?;
            }
            at += paddrs.len();
        }
        Ok(())
    }
}

/// Ranges on their way to a builder, gathered for [`Builder::append_ranges`].
pub(crate) struct Ranges<'b> {
    builder: &'b mut Builder,
    /// Ranges handed over, and those gathered after them.
    done: u64,
    count: usize,
    paddrs: [u64; BLOCK_CHUNKS],
    lengths: [u64; BLOCK_CHUNKS],
}

impl<'b> Ranges<'b> {
    pub(crate) fn new(builder: &'b mut Builder) -> Self {
        Self { builder, done: 0, count: 0, paddrs: [0; BLOCK_CHUNKS], lengths: [0; BLOCK_CHUNKS] }
    }

    /// Takes the next range. An error is of this one or of one before, whose number comes with it.
    #[inline]
    pub(crate) fn push(&mut self, paddr: u64, length: u64) -> Result<(), (u64, Error)> {
        if self.count == BLOCK_CHUNKS {
            self.flush()?;
        }
        // The count is below that: a mask that changes nothing says so to the compiler.
        let at = self.count % BLOCK_CHUNKS;
        self.paddrs[at] = paddr;
        self.lengths[at] = length;
        self.count += 1;
        Ok(())
    }

    /// Appends ranges of another array; nothing may be gathered. Errors have an index of that array.
    pub(crate) fn append(&mut self, paddrs: &[u64], lengths: &[u64]) -> Result<(), (usize, Error)> {
        debug_assert_eq!(self.count, 0, "ranges are gathered");
        self.builder.append_ranges(paddrs, lengths)
    }

    /// Hands over what is gathered. After an error nothing is left to hand over.
    pub(crate) fn flush(&mut self) -> Result<(), (u64, Error)> {
        let count = core::mem::take(&mut self.count);
        let paddrs = self.paddrs.get(..count).unwrap_or(&self.paddrs);
        let lengths = self.lengths.get(..count).unwrap_or(&self.lengths);
        let appended = self.builder.append_ranges(paddrs, lengths);
        appended.map_err(|(index, why)| (self.done + index as u64, why))?;
        self.done += count as u64;
        Ok(())
    }
}

wide! {
    /// The pages of all ranges, if each is whole pages in reach.
    fn whole_pages(granule: Granule, paddrs: &[u64], lengths: &[u64]) -> Option<u64> {
        let highest = granule.to_bytes(granule.reach() - 1) | granule.mask();
        let (mut bits, mut bad, mut nr_pages) = (0, 0, 0_u64);
        for (&paddr, &length) in paddrs.iter().zip(lengths) {
            let last = paddr.wrapping_add(length.wrapping_sub(1));
            bad |= u64::from(last < paddr) | u64::from(last > highest) | u64::from(length == 0);
            bits |= paddr | length;
            // At most 2^52 each where nothing is bad, and few enough to fit.
            nr_pages = nr_pages.wrapping_add(granule.floor(length));
        }
        (bad == 0 && bits & granule.mask() == 0).then_some(nr_pages)
    }
}
