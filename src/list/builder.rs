//! Making lists: append chunks, page numbers, page addresses or other lists. Neighbours merge.

use crate::error::{Error, NoMemory, expect_memory};
use crate::granule::{Granule, Span, check_alike};
use crate::kind::Kind;
use crate::list::phyr::Phyr;
use crate::storage::entry::Run;
use crate::storage::words;
use crate::storage::writer::Writer;

/// Builds a list, front to back.
///
/// The list depends only on the bytes appended, not on how many calls append them: a chunk that
/// starts where the one before ends is merged with it. If a call fails, even for lack of memory,
/// the builder is as before the call. No allocation is larger than 4096 bytes, however long the
/// list grows.
///
/// # Examples
///
/// ```
/// use phyr::{Builder, Chunk};
///
/// let mut builder = Builder::new();
/// builder.extend_pfns(&[7, 8, 9, 0x200])?;
/// builder.append(0x20_1000, 0x1000)?;
/// let phyr = builder.finish();
/// assert!(phyr.chunks().eq([
///     Chunk { paddr: 0x7000, length: 0x3000 },
///     Chunk { paddr: 0x20_0000, length: 0x2000 },
/// ]));
/// # Ok::<(), phyr::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Builder {
    granule: Granule,
    kind: Kind,
    /// All runs but the last.
    writer: Writer,
    /// The last run, which may still grow. It has no pages while the list is empty.
    run: Run,
    /// Pages so far, the last run included.
    nr_pages: u64,
    /// Bytes of the first page before the list, and of the last page after it.
    head: u64,
    tail: u64,
}

impl Builder {
    /// A builder for RAM in granules of 4096 bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A builder for another granule or kind.
    #[must_use]
    pub fn with(granule: Granule, kind: Kind) -> Self {
        Self { granule, kind, ..Self::default() }
    }

    /// Bytes so far.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.granule.to_bytes(self.nr_pages) - self.head - self.tail
    }

    /// The granule of the list.
    #[must_use]
    pub fn granule(&self) -> Granule {
        self.granule
    }

    /// The kind of the list.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Bytes of heap in use. O(nodes).
    #[must_use]
    pub fn storage(&self) -> usize {
        self.writer.storage()
    }

    /// Appends `length` bytes at `paddr`.
    ///
    /// The first chunk may start inside a granule, and the last may end inside one. A chunk that
    /// starts at the byte right after the last chunk extends that chunk.
    ///
    /// # Errors
    ///
    /// [`Error::ZeroLength`], [`Error::Wraps`] or [`Error::Reach`] if there is no such chunk;
    /// [`Error::Unaligned`] if a boundary would be inside a granule; [`Error::TooLong`] if the
    /// whole granules of the list would pass 2^64 - 1 bytes; [`Error::NoMemory`].
    pub fn append(&mut self, paddr: u64, length: u64) -> Result<(), Error> {
        let span = Span::new(self.granule, paddr, length)?;
        let run = Run { pfn: span.pfn, nr_pages: span.nr_pages };
        if self.nr_pages == 0 {
            self.check_room(run.nr_pages)?;
            self.push(run)?;
            self.head = span.head;
        } else if self.tail == 0 && span.head == 0 {
            self.check_room(run.nr_pages)?;
            self.push(run)?;
        } else if self.continues_inside(span) {
            // The list already ends in the first page of the chunk.
            self.check_room(run.nr_pages - 1)?;
            self.run.nr_pages += run.nr_pages - 1;
            self.nr_pages += run.nr_pages - 1;
        } else {
            return Err(self.unaligned(paddr));
        }
        self.tail = span.tail;
        Ok(())
    }

    /// Appends `nr_pages` whole pages from number `pfn` on.
    ///
    /// # Errors
    ///
    /// [`Error::ZeroLength`] if `nr_pages` is 0; [`Error::Pfn`], [`Error::Unaligned`],
    /// [`Error::TooLong`] and [`Error::NoMemory`] as in [`Self::extend_pfns`].
    pub fn append_pfns(&mut self, pfn: u64, nr_pages: u64) -> Result<(), Error> {
        let paddr = || self.granule.bytes().saturating_mul(pfn);
        let Some(more) = nr_pages.checked_sub(1) else {
            return Err(Error::ZeroLength { paddr: paddr() });
        };
        let last = pfn.saturating_add(more);
        if last >= self.granule.reach() {
            return Err(Error::Pfn { pfn: last, granule: self.granule.bytes() });
        }
        self.check_pages(paddr(), nr_pages)?;
        Ok(self.push(Run { pfn, nr_pages })?)
    }

    /// Appends whole pages by number: multiples of the granule.
    ///
    /// # Errors
    ///
    /// [`Error::Pfn`] for a number past the granule's reach; [`Error::Unaligned`] if the list so
    /// far ends inside a granule; [`Error::TooLong`] and [`Error::NoMemory`] as in
    /// [`Self::append`].
    pub fn extend_pfns(&mut self, pfns: &[u64]) -> Result<(), Error> {
        let Some(&first) = pfns.first() else { return Ok(()) };
        let out_of_reach = !(self.granule.reach() - 1);
        if words::any_bit(pfns) & out_of_reach != 0 {
            let pfn = pfns.iter().copied().find(|pfn| pfn & out_of_reach != 0).unwrap_or_default();
            return Err(Error::Pfn { pfn, granule: self.granule.bytes() });
        }
        self.check_pages(self.granule.to_bytes(first), pfns.len() as u64)?;
        self.all_or_nothing(|builder| builder.push_pages(pfns, 0))?;
        Ok(())
    }

    /// Appends whole pages by address.
    ///
    /// # Errors
    ///
    /// [`Error::Unaligned`] for an address that is not a multiple of the granule, or if the list so
    /// far ends inside a granule; [`Error::Reach`], [`Error::TooLong`] and [`Error::NoMemory`] as
    /// in [`Self::append`].
    pub fn extend_pages(&mut self, paddrs: &[u64]) -> Result<(), Error> {
        let Some(&first) = paddrs.first() else { return Ok(()) };
        let granule = self.granule;
        let most = granule.to_bytes(granule.reach() - 1);
        if words::any_bit(paddrs) & !most != 0 {
            let index = paddrs.iter().position(|paddr| paddr & !most != 0).unwrap_or_default();
            let (paddr, length) = (paddrs[index], granule.bytes());
            let position =
                self.length().saturating_add(granule.bytes().saturating_mul(index as u64));
            return Err(if paddr & granule.mask() == 0 {
                Error::Reach { paddr, length, granule: length }
            } else {
                Error::Unaligned { paddr, position, align: length }
            });
        }
        self.check_pages(first, paddrs.len() as u64)?;
        self.all_or_nothing(|builder| builder.push_pages(paddrs, granule.lg2()))?;
        Ok(())
    }

    /// Appends another list, of the same granule and kind.
    ///
    /// # Errors
    ///
    /// [`Error::Granules`] or [`Error::Kinds`] if those differ; [`Error::Unaligned`] if the two
    /// lists meet inside a granule and the other does not start at the byte right after this one;
    /// [`Error::TooLong`] and [`Error::NoMemory`] as in [`Self::append`].
    pub fn extend(&mut self, other: &Phyr) -> Result<(), Error> {
        self.check_alike(other.granule(), other.kind())?;
        self.extend_moved(other, 0)
    }

    /// Appends another list of the same granule and kind, with `added` added to its addresses.
    /// `added` is a multiple of the granule and is added modulo 2^64, so a large value subtracts.
    /// No address may leave the granule's reach.
    pub(crate) fn extend_moved(&mut self, other: &Phyr, added: u64) -> Result<(), Error> {
        let granule = self.granule;
        let mut chunks = other.walk();
        let Some(first) = chunks.next() else { return Ok(()) };
        // Count the pages of the other list, without a first page that both lists share.
        let shared = u64::from(first.paddr & granule.mask() != 0 && self.nr_pages > 0);
        self.check_room(other.granules().1 - shared)?;
        self.all_or_nothing(|builder| {
            builder.append(first.paddr.wrapping_add(added), first.length)?;
            // From here on every boundary is aligned, except the end of the last chunk. A walk by
            // `for_each` is fast, but cannot stop early.
            let last = chunks.next_back();
            let mut outcome = Ok(());
            if added == 0 {
                chunks.for_each_slice(|words| {
                    if outcome.is_ok() {
                        outcome = builder.push_words(words);
                    }
                });
            } else {
                chunks.for_each(|chunk| {
                    let pfn = granule.floor(chunk.paddr.wrapping_add(added));
                    if outcome.is_ok() {
                        outcome = builder.push(Run { pfn, nr_pages: granule.floor(chunk.length) });
                    }
                });
            }
            outcome?;
            last.map_or(Ok(()), |last| builder.append(last.paddr.wrapping_add(added), last.length))
        })
    }

    /// Finishes the list.
    ///
    /// # Panics
    ///
    /// Panics if there is no memory for the list; [`Self::try_finish`] returns an error instead.
    #[must_use]
    pub fn finish(mut self) -> Phyr {
        expect_memory(self.try_finish())
    }

    /// Finishes the list and empties the builder.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; the builder is then as before the call.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut builder = phyr::Builder::new();
    /// builder.append(0x7000, 0x1000)?;
    /// assert_eq!(builder.try_finish()?.length(), 0x1000);
    /// assert_eq!(builder.length(), 0);
    /// # Ok::<(), phyr::Error>(())
    /// ```
    pub fn try_finish(&mut self) -> Result<Phyr, Error> {
        let Self { granule, kind, head, .. } = *self;
        let length = self.length();
        let chain = self.writer.finish(self.run)?;
        *self = Self::with(granule, kind);
        Ok(Phyr::new(chain, granule, kind, head, length))
    }

    /// Returns true if so many whole pages may follow.
    pub(crate) fn may_follow(&self, nr_pages: u64) -> bool {
        self.tail == 0 && nr_pages <= self.granule.most() - self.nr_pages
    }

    /// Appends ranges of whole pages that may follow, in units of `1 << lg2`. If it fails, some were
    /// appended.
    pub(crate) fn push_ranges(
        &mut self,
        paddrs: &[u64],
        lengths: &[u64],
        lg2: u32,
    ) -> Result<(), NoMemory> {
        let (run, nr_pages) = self.writer.push_ranges(self.run, paddrs, lengths, lg2)?;
        self.run = run;
        self.nr_pages += nr_pages;
        Ok(())
    }

    /// Runs `append`, which appends several pieces. If it fails, all its pieces are removed.
    pub(crate) fn all_or_nothing<E>(
        &mut self,
        append: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { run, nr_pages, head, tail, .. } = *self;
        let mark = self.writer.mark();
        append(self).inspect_err(|_| {
            self.writer.rewind(mark);
            (self.run, self.nr_pages, self.head, self.tail) = (run, nr_pages, head, tail);
        })
    }

    /// Returns true if `span` starts inside the last page of the list, at the byte right after the
    /// last byte.
    fn continues_inside(&self, span: Span) -> bool {
        let last_pfn = self.run.pfn + (self.run.nr_pages - 1);
        self.tail > 0 && span.pfn == last_pfn && span.head == self.granule.bytes() - self.tail
    }

    /// The error for a chunk at `paddr` that cannot be appended.
    fn unaligned(&self, paddr: u64) -> Error {
        Error::Unaligned { paddr, position: self.length(), align: self.granule.bytes() }
    }

    /// Checks that a list of this granule and kind may follow.
    pub(crate) fn check_alike(&self, granule: Granule, kind: Kind) -> Result<(), Error> {
        check_alike((self.granule, self.kind), (granule, kind))
    }

    pub(crate) fn check_room(&self, nr_pages: u64) -> Result<(), Error> {
        if nr_pages <= self.granule.most() - self.nr_pages {
            return Ok(());
        }
        let length = self.granule.to_bytes(self.nr_pages);
        Err(Error::TooLong { length, nr_pages, granule: self.granule.bytes() })
    }

    /// Checks that `count` whole pages, the first at `paddr`, may be appended.
    fn check_pages(&self, paddr: u64, count: u64) -> Result<(), Error> {
        if self.tail != 0 {
            return Err(self.unaligned(paddr));
        }
        self.check_room(count)
    }

    /// Appends whole pages that may follow. If this fails, nothing has changed.
    #[inline]
    fn push(&mut self, run: Run) -> Result<(), NoMemory> {
        // Page numbers are below 2^52, so the sum cannot overflow, and pages cannot merge across
        // 2^64.
        if self.run.nr_pages > 0 && self.run.pfn + self.run.nr_pages == run.pfn {
            self.run.nr_pages += run.nr_pages;
        } else {
            if self.run.nr_pages > 0 {
                self.writer.push(self.run)?;
            }
            self.run = run;
        }
        self.nr_pages += run.nr_pages;
        Ok(())
    }

    /// Appends the words of whole chunks that may follow and do not touch the last run. If it fails,
    /// some were appended.
    fn push_words(&mut self, words: &[u64]) -> Result<(), NoMemory> {
        if self.run.nr_pages > 0 && !words.is_empty() {
            self.writer.push(self.run)?;
            self.run = Run::default();
        }
        self.nr_pages += self.writer.push_words(words)?;
        Ok(())
    }

    /// Appends pages that may follow; `item >> shift` is the number of each. If this fails, some
    /// pages may have been appended.
    pub(crate) fn push_pages(&mut self, items: &[u64], shift: u32) -> Result<(), NoMemory> {
        // An empty list begins with a run of no pages just before the first page, which extends
        // that run.
        if self.run.nr_pages == 0 {
            if let Some(first) = items.first() {
                self.run.pfn = first >> shift;
            }
        }
        self.run = self.writer.push_pages(self.run, items, shift)?;
        self.nr_pages += items.len() as u64;
        Ok(())
    }
}
