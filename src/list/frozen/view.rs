//! Bytes of an archive, which others share.

use crate::error::{Error, NoMemory};
use crate::granule::Granule;
use crate::kind::Kind;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::storage::entry::Run;
use crate::storage::frozen::{Archive, Header, Located};
use crate::storage::shared::One;

/// The two forms that a frozen list can have.
#[derive(Clone)]
pub(super) enum Form {
    /// A list that an archive would not make smaller.
    Kept(Phyr),
    Archived(View),
}

/// Bytes of an archive.
#[derive(Clone)]
pub(super) struct View {
    pub(super) archive: One<Archive>,
    /// Bytes of the archive before the view, and of the view.
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) granule: Granule,
    pub(super) kind: Kind,
}

impl View {
    /// All of an archive.
    pub(super) fn new(archive: Archive, header: &Header) -> Result<Self, NoMemory> {
        let Header { granule, kind, head, length } = *header;
        Ok(Self { archive: One::try_new(|| archive)?, offset: head, length, granule, kind })
    }

    pub(super) fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The run that holds byte `at` of the archive.
    pub(super) fn place(&self, at: u64) -> Located {
        self.archive().find_page(self.granule.floor(at))
    }

    /// Run `number` of the archive, whole.
    #[cold]
    pub(super) fn chunk(&self, number: u64) -> Chunk {
        let Run { pfn, nr_pages } = self.archive().find_chunk(number).run;
        Chunk { paddr: self.granule.to_bytes(pfn), length: self.granule.to_bytes(nr_pages) }
    }

    /// Numbers of the archive's runs that the view touches: the first, and one past the last.
    pub(super) fn numbers(&self) -> (u64, u64) {
        let Some(more) = self.length.checked_sub(1) else { return (0, 0) };
        let (first_page, last_page) =
            (self.granule.floor(self.offset), self.granule.floor(self.offset + more));
        let nr_chunks = self.archive().nr_chunks();
        // The ends of the archive need no search.
        let first = if first_page == 0 { 0 } else { self.archive().find_page(first_page).number };
        let is_end = last_page == self.archive().nr_pages() - 1;
        let last = if is_end { nr_chunks - 1 } else { self.archive().find_page(last_page).number };
        (first, last.max(first) + 1)
    }

    /// Addresses between which all chunks of the view lie.
    pub(super) fn span(&self) -> (u64, u64) {
        let (first, end) = self.numbers();
        let (lowest, last) = self.archive().span(first, end);
        let last = last.min(self.granule.reach() - 1);
        (self.granule.to_bytes(lowest), self.granule.to_bytes(last) | self.granule.mask())
    }

    /// The piece of the run that is in the view, and where it starts in the archive.
    #[inline(always)]
    pub(super) fn trim(&self, page: u64, run: Run) -> (u64, Chunk) {
        let granule = self.granule;
        let (start, bytes) = (granule.to_bytes(page), granule.to_bytes(run.nr_pages));
        // Only words that are no archive have a run outside the view. It then yields one byte.
        let skip = self.offset.saturating_sub(start).min(bytes - 1);
        let end = self.offset + self.length;
        let cut = start.saturating_add(bytes).saturating_sub(end).min(bytes - skip - 1);
        let paddr = granule.to_bytes(run.pfn) + skip;
        (start.wrapping_add(skip), Chunk { paddr, length: bytes - skip - cut })
    }

    pub(super) fn checked(&self, position: u64) -> Result<u64, Error> {
        if position < self.length {
            Ok(self.offset + position)
        } else {
            Err(Error::Position { position, length: self.length })
        }
    }
}

impl View {
    /// Returns true if the view uses the first page of the archive and the last, from the same byte to
    /// the same byte.
    pub(super) fn is_whole(&self) -> bool {
        self.archive().extent() == (self.offset, self.length)
    }
}
