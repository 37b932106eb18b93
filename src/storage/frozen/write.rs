//! Making an archive: one walk finds how large it will be, a second one writes it.

use super::archive::{Archive, Sections, Store};
use super::block::{self, Block, ENTRY, MOST_DATA, Packing, SHORT_ENTRY, block_runs};
use super::header::{HEADER, Header};
use crate::error::{NoMemory, zeros};
use crate::storage::entry::Run;
use crate::wide::wide;

/// Hands out runs by the block, of an archive whose index entries have `WORDS` words.
#[inline]
fn by_block<const WORDS: usize>(runs: impl Iterator<Item = Run>, each: impl FnMut(&[Run])) {
    if WORDS == SHORT_ENTRY {
        by::<{ block_runs(SHORT_ENTRY) }>(runs, each);
    } else {
        by::<{ block_runs(ENTRY) }>(runs, each);
    }
}

/// Hands out `COUNT` runs at a time.
#[inline]
fn by<const COUNT: usize>(runs: impl Iterator<Item = Run>, mut each: impl FnMut(&[Run])) {
    let (mut block, mut count) = ([Run::default(); COUNT], 0);
    runs.for_each(|run| {
        block[count % COUNT] = run;
        count += 1;
        if count == COUNT {
            each(&block);
            count = 0;
        }
    });
    if count > 0 {
        // The count is below that: a remainder that changes nothing says so to the compiler.
        each(&block[..count % COUNT]);
    }
}

/// How large the archive of some runs is, with `WORDS` words an index entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes<const WORDS: usize> {
    nr_pages: u64,
    nr_chunks: u64,
    sections: Sections,
    /// Words of the whole archive.
    pub(crate) nr_words: usize,
}

impl<const WORDS: usize> Sizes<WORDS> {
    /// Measures the archive of these runs; `None` if there are none, or too many for one.
    pub(crate) fn of(runs: impl Iterator<Item = Run>) -> Option<Self> {
        let (mut nr_pages, mut nr_chunks, mut data) = (0, 0, 0_usize);
        by_block::<WORDS>(runs, |runs| {
            let block = pack(runs, WORDS);
            nr_pages += block.nr_pages;
            nr_chunks += runs.len() as u64;
            data += block.words();
        });
        let sections = Sections::new(nr_pages, nr_chunks, WORDS)?;
        let nr_words = sections.data.checked_add(data)?;
        let fits = (data as u64) < MOST_DATA;
        fits.then_some(Self { nr_pages, nr_chunks, sections, nr_words })
    }

    /// Writes the archive of the same runs. `header` is what the header says beside the sizes.
    pub(crate) fn write(
        self,
        runs: impl Iterator<Item = Run>,
        header: &Header,
    ) -> Result<Archive<WORDS>, NoMemory> {
        let Self { nr_pages, nr_chunks, sections, nr_words } = self;
        let mut words = zeros::<u64>(nr_words)?;
        let mut open = Open::<WORDS> {
            words: &mut words,
            sections,
            data: sections.data,
            page: 0,
            number: 0,
            bucket: 0,
        };
        by_block::<WORDS>(runs, |runs| open.push(runs));
        if !open.finish(nr_pages) {
            // The runs are not those that were measured: all words were to be written. No file can
            // change them meanwhile: they are a list's own, or copies.
            debug_assert!(false, "{} of {nr_pages} pages, {nr_words} words", open.page);
            return Err(NoMemory::of::<u64>(nr_words.saturating_add(1)));
        }
        header.write(&mut words, nr_chunks);
        Ok(Archive {
            store: Store::Owned(words.into_boxed_slice()),
            sections,
            nr_pages,
            nr_chunks,
            granule: header.granule,
        })
    }
}

/// An archive that is being written.
struct Open<'a, const WORDS: usize> {
    words: &'a mut [u64],
    sections: Sections,
    /// Word of the next data, pages and blocks so far.
    data: usize,
    page: u64,
    number: usize,
    /// Buckets that the directory has so far.
    bucket: usize,
}

impl<const WORDS: usize> Open<'_, WORDS> {
    fn push(&mut self, runs: &[Run]) {
        let block = pack(runs, WORDS);
        // Buckets that start before this block start in the one before.
        while self.bucket < self.sections.nr_buckets
            && (self.bucket as u64) << self.sections.bucket_lg2 < self.page
        {
            self.name_block(self.number - 1);
        }
        self.entry(block.packing);
        let (words, at) = (&mut *self.words, self.data);
        self.data = write(words, at, runs, &block);
        self.page += block.nr_pages;
        self.number += 1;
    }

    /// Writes what follows the last block. Returns true if the archive has so many pages and fills
    /// its words.
    fn finish(&mut self, nr_pages: u64) -> bool {
        while self.bucket <= self.sections.nr_buckets {
            self.name_block(self.number - 1);
        }
        self.entry(Packing::default());
        let written = (self.page, self.number, self.data);
        written == (nr_pages, self.sections.nr_blocks, self.words.len())
    }

    /// Writes the directory entry of the next bucket. [`Self::finish`] finds if there is no room.
    fn name_block(&mut self, number: usize) {
        let half = (number as u64) << (32 * (self.bucket % 2));
        if let Some(word) = self.words.get_mut(HEADER + self.bucket / 2) {
            *word |= half.to_le();
        }
        self.bucket += 1;
    }

    /// Writes the index entry of the next block. [`Self::finish`] finds if there is no room.
    fn entry(&mut self, packing: Packing) {
        let data = (self.data - self.sections.data) as u64;
        let at = self.sections.index + WORDS * self.number;
        let entry = [self.page, packing.word(data), packing.lowest];
        let words = self.words.get_mut(at..).unwrap_or_default();
        for (word, value) in words.iter_mut().zip(entry).take(WORDS) {
            *word = value.to_le();
        }
    }
}

wide! {
    /// Finds how to pack a block.
    pub(super) fn pack(runs: &[Run], entry: usize) -> Block {
        let (packing, nr_pages) = Packing::of(runs, entry);
        Block::new([0, packing.word(0), packing.lowest], nr_pages, runs.len(), 0)
    }
}

wide! {
    /// Writes the data of a block from word `at` on; returns the word after.
    pub(super) fn write(words: &mut [u64], at: usize, runs: &[Run], block: &Block) -> usize {
        block::write(words, at, runs, block)
    }
}
