//! A list as blocks of one size, for a device that knows only that size.

use core::iter::FusedIterator;

use crate::error::Error;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::list::reading::{List, Steps};

impl Phyr {
    /// The aligned blocks of `page_size` bytes that cover the list, by address, in order.
    ///
    /// The first block may start before the list, and the last may end after it. The list starts at
    /// byte `translate(0) % page_size` of its first block. Walks the list once to check it where a
    /// search cannot tell.
    ///
    /// # Errors
    ///
    /// [`Error::PageSize`] unless `page_size` is a power of two; [`Error::Block`] if a chunk starts
    /// or ends inside the list at an address that is not a multiple of `page_size`;
    /// [`Error::TooLong`] if there are more than 2^64 - 1 blocks.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut builder = phyr::Builder::new();
    /// builder.append(0x1_0000, 0x2_0000)?;
    /// builder.append(0x9_0000, 0x1_0000)?;
    /// let phyr = builder.finish();
    /// assert!(phyr.pages(0x1_0000)?.eq([0x1_0000, 0x2_0000, 0x9_0000]));
    /// assert!(phyr.pages(0x2_0000).is_err());
    /// # Ok::<(), phyr::Error>(())
    /// ```
    pub fn pages(&self, page_size: u64) -> Result<Pages<'_>, Error> {
        Pages::new(self, page_size)
    }
}

impl<'a, P: List> Pages<'a, P> {
    /// The blocks of a list in either form; see [`Phyr::pages`].
    pub(crate) fn new(list: &'a P, page_size: u64) -> Result<Self, Error> {
        if !page_size.is_power_of_two() {
            return Err(Error::PageSize { page_size });
        }
        let low = page_size - 1;
        if list.is_aligned(low) {
            // No block has bytes of two chunks, so blocks follow each other as bytes do.
            let head = list.walk_from(0).next().map_or(0, |first| first.paddr & low);
            let blocks = (u128::from(head) + u128::from(list.length())).div_ceil(page_size.into());
            if let Ok(remaining) = u64::try_from(blocks) {
                let chunks = list.walk_from(0);
                return Ok(Self { chunks, page_size, paddr: 0, in_chunk: 0, remaining });
            }
        }
        let last_number = list.nr_chunks().saturating_sub(1);
        let check = |state: Result<(u64, u64), Error>, chunk: Chunk| {
            let (number, total) = state?;
            let starts_inside = number > 0 && chunk.paddr & low != 0;
            let ends_inside = number < last_number && chunk.last_of_list() & low != low;
            if starts_inside || ends_inside {
                return Err(Error::Block {
                    paddr: chunk.paddr,
                    length: chunk.length,
                    align: page_size,
                });
            }
            let blocks = blocks(chunk, page_size);
            let total = total.checked_add(blocks).ok_or(Error::TooLong {
                length: list.length(),
                nr_pages: blocks,
                granule: page_size,
            })?;
            Ok((number + 1, total))
        };
        let (_, remaining) = list.chunks().fold(Ok((0, 0)), check)?;
        Ok(Self { chunks: list.walk_from(0), page_size, paddr: 0, in_chunk: 0, remaining })
    }
}

/// The number of blocks that cover a chunk. It fits in `u64`: 2^64 blocks would need blocks of one
/// byte and a chunk of 2^64 bytes, and no chunk is that long.
fn blocks(chunk: Chunk, page_size: u64) -> u64 {
    let lg2 = page_size.trailing_zeros();
    (chunk.last_of_list() >> lg2) - (chunk.paddr >> lg2) + 1
}

/// Addresses of blocks; from [`Phyr::pages`].
#[derive(Clone, Debug)]
pub struct Pages<'a, P: List = Phyr> {
    chunks: P::Walk<'a>,
    page_size: u64,
    /// The next block, if the current chunk has one left.
    paddr: u64,
    in_chunk: u64,
    remaining: u64,
}

impl<P: List> Pages<'_, P> {
    /// The number of blocks still to come. It may be more than memory could hold.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Copies the addresses of the next blocks to `out`, as many as fit; returns how many. Faster than
    /// `next`, and can stop and go on, as `fold` cannot.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut builder = phyr::Builder::new();
    /// builder.extend_pfns(&[7, 8, 3])?;
    /// let phyr = builder.finish();
    /// let mut pages = phyr.pages(4096)?;
    /// let mut out = [0; 2];
    /// assert_eq!((pages.read(&mut out), out), (2, [0x7000, 0x8000]));
    /// assert_eq!((pages.read(&mut out), out[0]), (1, 0x3000));
    /// # Ok::<(), phyr::Error>(())
    /// ```
    pub fn read(&mut self, out: &mut [u64]) -> usize {
        /// Chunks to take one by one after one that is longer than a block.
        const FEW: usize = 32;

        let (mut at, mut one_by_one) = (0, 0);
        while at < out.len() {
            let rest = &mut out[at..];
            if self.in_chunk > 0 {
                let left = usize::try_from(self.in_chunk).unwrap_or(usize::MAX);
                let count = left.min(rest.len());
                // Wraps as in `next`.
                let mut paddr = self.paddr;
                for slot in &mut rest[..count] {
                    *slot = paddr;
                    paddr = paddr.wrapping_add(self.page_size);
                }
                self.paddr = paddr;
                self.in_chunk -= count as u64;
                at += count;
                continue;
            }
            if one_by_one == 0 {
                let count = self.chunks.read_blocks(self.page_size, rest);
                at += count;
                if count > 0 {
                    continue;
                }
                one_by_one = FEW;
            }
            one_by_one -= 1;
            let Some(chunk) = self.chunks.next() else { break };
            self.begin(chunk);
        }
        // The words of a frozen list may have changed since they were counted.
        self.remaining = self.remaining.saturating_sub(at as u64);
        at
    }

    /// Starts with the blocks of a chunk.
    #[inline]
    fn begin(&mut self, chunk: Chunk) {
        self.paddr = chunk.paddr & !(self.page_size - 1);
        self.in_chunk = blocks(chunk, self.page_size);
    }
}

impl<P: List> Iterator for Pages<'_, P> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        if self.in_chunk == 0 {
            let chunk = self.chunks.next()?;
            self.begin(chunk);
        }
        let paddr = self.paddr;
        // This wraps only after the last block of the 64-bit space; nothing uses the result then.
        self.paddr = paddr.wrapping_add(self.page_size);
        self.in_chunk -= 1;
        self.remaining = self.remaining.saturating_sub(1);
        Some(paddr)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match usize::try_from(self.remaining) {
            Ok(remaining) => (remaining, Some(remaining)),
            Err(_) => (usize::MAX, None),
        }
    }

    fn fold<A, F: FnMut(A, u64) -> A>(self, start: A, mut f: F) -> A {
        let mut acc = start;
        let mut paddr = self.paddr;
        for _ in 0..self.in_chunk {
            acc = f(acc, paddr);
            paddr = paddr.wrapping_add(self.page_size);
        }
        self.chunks.fold(acc, |mut acc, chunk| {
            let mut paddr = chunk.paddr & !(self.page_size - 1);
            for _ in 0..blocks(chunk, self.page_size) {
                acc = f(acc, paddr);
                paddr = paddr.wrapping_add(self.page_size);
            }
            acc
        })
    }
}

impl<P: List> FusedIterator for Pages<'_, P> {}
