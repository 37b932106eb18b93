//! Checks an archive that may come from anywhere: its header at once, all of it in a walk.

use alloc::vec::Vec;

use super::archive::{Archive, Decoded, Sections, Store, find_block, named, with_words};
use super::bits::Words;
use super::block::{BLOCK, Block, DATA_WORDS, ENTRY};
use super::header::{DIGEST, HEADER, Header, digest};
use super::write::{pack, write};
use crate::error::{FormatError, NoMemory};
use crate::storage::entry::Run;

impl Archive {
    /// Opens an archive whose words may come from anywhere. O(1): checks only the header, and that
    /// all sections lie in the words. Other bad words make answers wrong, but do no other harm.
    pub(crate) fn open(store: Store) -> Result<(Self, Header), FormatError> {
        let (header, nr_chunks) = with_words!(&store, words => Header::read(words))?;
        let bad = |field, value| FormatError::Header { field, value };
        let nr_pages = header.nr_pages().ok_or(bad("length", header.length))?;
        let sections = Sections::new(nr_pages, nr_chunks, ENTRY).ok_or(bad("chunks", nr_chunks))?;
        let end = sections.index + ENTRY * sections.nr_blocks;
        let (size, last_page, last) = with_words!(&store, words => {
            (words.count(), words.word(end), words.word(end + 1))
        });
        if size < sections.data {
            return Err(bad("chunks", nr_chunks));
        }
        if last_page != nr_pages {
            return Err(bad("length", header.length));
        }
        if last >> 24 != (size - sections.data) as u64 {
            return Err(bad("words", size as u64));
        }
        let archive = Self { store, sections, nr_pages, nr_chunks, granule: header.granule };
        Ok((archive, header))
    }

    /// Bytes before the list, and of the list, as the header has them.
    pub(crate) fn extent(&self) -> (u64, u64) {
        with_words!(&self.store, words => (words.word(2), words.word(3)))
    }

    /// All words, as bytes.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, NoMemory> {
        with_words!(&self.store, words => {
            let (size, mut bytes) = (size_of::<u64>() * words.count(), Vec::new());
            bytes.try_reserve_exact(size).map_err(|_| NoMemory::of::<u8>(size))?;
            (0..words.count())
                .for_each(|index| bytes.extend_from_slice(&words.word(index).to_le_bytes()));
            Ok(bytes)
        })
    }

    /// Checks every word. O(n), a block at a time, without allocating.
    pub(crate) fn check(&self) -> Result<(), FormatError> {
        with_words!(&self.store, words => {
            let (stored, computed) = (words.word(DIGEST), digest(words));
            if stored != computed {
                return Err(FormatError::Check { stored, computed });
            }
            self.check_words(words)
        })
    }

    /// Checks the words that searches for the pages `first` to `last`, which the archive has, and walks over
    /// them read: that they lead to blocks such as [`Sizes::write`](super::Sizes) writes, one after the
    /// other. The digest is of all words, so it is not checked. O(n) for n runs of these blocks and
    /// buckets of these pages.
    pub(crate) fn check_part(&self, first: u64, last: u64) -> Result<(), FormatError> {
        with_words!(&self.store, words => {
            let (_, from) = find_block(self, words, first);
            let (_, to) = find_block(self, words, last);
            let (page, data) = self.starts_at(words, from);
            let mut block = Walked::new(self, page, data);
            if page > first || from > to {
                return Err(not_canonical(self.entry_at(from)));
            }
            for number in from..=to {
                let start = block.page;
                self.check_block(words, number, &mut block)?;
                if block.page > self.nr_pages {
                    return Err(not_canonical(self.entry_at(number)));
                }
                self.check_way(words, number, start.max(first), block.page.min(last.saturating_add(1)))?;
            }
            // The next entry says where these end.
            if self.starts_at(words, to + 1) != (block.page, block.data) || last >= block.page {
                return Err(not_canonical(self.entry_at(to + 1)));
            }
            Ok(())
        })
    }

    /// Checks that each page from `start` on, and before `end`, is found in block `number`.
    fn check_way<W: Words + ?Sized>(
        &self,
        words: &W,
        number: usize,
        start: u64,
        end: u64,
    ) -> Result<(), FormatError> {
        let Sections { bucket_lg2, is_even, .. } = self.sections;
        let mut page = start;
        while page < end {
            let bucket = page >> bucket_lg2;
            let last = (end - 1).min(page | ((1 << bucket_lg2) - 1));
            // A search compares pages with starts of blocks. It ends at one block for two pages only if
            // no such start lies between them: then it ends there for all between.
            let is_found =
                [page, last].iter().all(|&page| find_block(self, words, page).1 == number);
            // The first look, in a list of runs of one size, does not compare: it is at one block.
            let other = usize::try_from(bucket).unwrap_or(usize::MAX - 1);
            let start = words.word(self.entry_at(other));
            if !is_found || is_even && other != number && page < start && start <= last {
                return Err(not_canonical(HEADER + other / 2));
            }
            page = last + 1;
        }
        Ok(())
    }

    /// Where block `number` starts, by its entry: pages before it, and the word of its data.
    fn starts_at<W: Words + ?Sized>(&self, words: &W, number: usize) -> (u64, usize) {
        let at = self.entry_at(number);
        (words.word(at), Block::data(words.word(at + 1), self.sections.data))
    }

    /// Word of the index entry of block `number`.
    fn entry_at(&self, number: usize) -> usize {
        self.sections.index.saturating_add(ENTRY.saturating_mul(number))
    }

    /// Checks that the words are those that [`Sizes::write`](super::Sizes) writes for their runs.
    fn check_words<W: Words + ?Sized>(&self, words: &W) -> Result<(), FormatError> {
        let sections = self.sections;
        let (mut block, mut bucket) = (Walked::new(self, 0, sections.data), 0);
        for number in 0..sections.nr_blocks {
            while bucket < sections.nr_buckets
                && (bucket as u64) << sections.bucket_lg2 < block.page
            {
                if Some(named(words, bucket)) != number.checked_sub(1) {
                    return Err(not_canonical(HEADER + bucket / 2));
                }
                bucket += 1;
            }
            self.check_block(words, number, &mut block)?;
        }
        let at = self.entry_at(sections.nr_blocks);
        let size = words.count();
        let packing = ((size - sections.data) as u64) << 24;
        let last = [words.word(at), words.word(at + 1), words.word(at + 2)];
        if block.data != size || last != [block.page, packing, 0] {
            return Err(not_canonical(at));
        }
        for bucket in bucket..=sections.nr_buckets {
            if named(words, bucket) != sections.nr_blocks - 1 {
                return Err(not_canonical(HEADER + bucket / 2));
            }
        }
        // The other half of the directory's last word.
        let rest = sections.nr_buckets + 1;
        if rest % 2 == 1 && named(words, rest) != 0 {
            return Err(not_canonical(HEADER + rest / 2));
        }
        Ok(())
    }

    /// Checks block `number`, which starts where `block` says; that then says where the next one starts.
    fn check_block<W: Words + ?Sized>(
        &self,
        words: &W,
        number: usize,
        block: &mut Walked,
    ) -> Result<(), FormatError> {
        let at = self.entry_at(number);
        let (mut page, data, mut end) = (block.page, block.data, block.end);
        let Walked { decoded, runs, again, .. } = &mut *block;
        if words.word(at) != page || words.word(at + ENTRY) < page {
            return Err(not_canonical(at));
        }
        let before = number as u64 * BLOCK as u64;
        self.unpack(before, decoded);
        let runs = runs.get_mut(..decoded.count).ok_or(not_canonical(at))?;
        // A run that is unpacked starts where the run before it ends; others say where they start.
        if decoded.is_plain {
            let unpacked = decoded.runs(0, decoded.count);
            runs.iter_mut().zip(unpacked).for_each(|(run, unpacked)| *run = unpacked);
        } else {
            let mut start = page;
            for (index, run) in runs.iter_mut().enumerate() {
                let found = self.find_chunk(before + index as u64);
                if found.page != start {
                    return Err(not_canonical(at));
                }
                start = start.wrapping_add(found.run.nr_pages);
                *run = found.run;
            }
        }
        for run in &*runs {
            // Refuse a run that continues the run before.
            if run.pfn == end {
                return Err(not_canonical(at));
            }
            end = run.pfn + run.nr_pages;
            page = page.wrapping_add(run.nr_pages);
        }
        let packed = pack(runs, ENTRY);
        let packing = packed.packing.word(data.wrapping_sub(self.sections.data) as u64);
        if words.word(at + 1) != packing || words.word(at + 2) != packed.packing.lowest {
            return Err(not_canonical(at + 1));
        }
        let count = write(again, 0, runs, &packed);
        let next = data.checked_add(count).ok_or(not_canonical(data))?;
        for (index, again) in again.get(..count).ok_or(not_canonical(data))?.iter().enumerate() {
            // Before `next`, so the sum is below the largest number.
            let at = data.wrapping_add(index);
            if words.word(at) != u64::from_le(*again) {
                return Err(not_canonical(at));
            }
        }
        (block.page, block.data, block.end) = (page, next, end);
        Ok(())
    }
}

/// A walk over blocks that checks them.
struct Walked {
    /// Where the next block starts: pages before it, and the word of its data.
    page: u64,
    data: usize,
    /// The page behind the last run; at first one where no run ends.
    end: u64,
    decoded: Decoded,
    runs: [Run; BLOCK],
    again: [u64; DATA_WORDS],
}

impl Walked {
    fn new(archive: &Archive, page: u64, data: usize) -> Self {
        let decoded = Decoded::new(archive.granule);
        let (runs, again) = ([Run::default(); BLOCK], [0; DATA_WORDS]);
        Self { page, data, end: u64::MAX, decoded, runs, again }
    }
}

fn not_canonical(index: usize) -> FormatError {
    FormatError::NotCanonical { index: index as u64 }
}
