//! Checks an archive that may come from anywhere: its header at once, all of it in a walk.

use alloc::vec::Vec;

use super::archive::{Archive, Decoded, Sections, Store, with_words};
use super::bits::Words;
use super::block::{BLOCK, DATA_WORDS, ENTRY};
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

    /// Checks that the words are those that [`Sizes::write`](super::Sizes) writes for their runs.
    fn check_words<W: Words + ?Sized>(&self, words: &W) -> Result<(), FormatError> {
        let bad = |index: usize| FormatError::NotCanonical { index: index as u64 };
        let sections = self.sections;
        let (mut decoded, mut runs) = (Decoded::new(self.granule), [Run::default(); BLOCK]);
        let mut again = [0; DATA_WORDS];
        let (mut page, mut data, mut bucket) = (0_u64, sections.data, 0);
        // No run ends there, so the first run continues none.
        let mut end = u64::MAX;
        let entry = |bucket: usize| {
            (words.word(HEADER + bucket / 2) >> (32 * (bucket % 2)) & 0xffff_ffff) as usize
        };
        for number in 0..sections.nr_blocks {
            let at = sections.index + ENTRY * number;
            while bucket < sections.nr_buckets && (bucket as u64) << sections.bucket_lg2 < page {
                if Some(entry(bucket)) != number.checked_sub(1) {
                    return Err(bad(HEADER + bucket / 2));
                }
                bucket += 1;
            }
            if words.word(at) != page || words.word(at + ENTRY) < page {
                return Err(bad(at));
            }
            self.unpack((number * BLOCK) as u64, &mut decoded);
            let runs = runs.get_mut(..decoded.count).ok_or(bad(at))?;
            // A run that is unpacked starts where the run before it ends; others say where they start.
            if decoded.is_plain {
                let unpacked = decoded.runs(0, decoded.count);
                runs.iter_mut().zip(unpacked).for_each(|(run, unpacked)| *run = unpacked);
            } else {
                let mut start = page;
                for (index, run) in runs.iter_mut().enumerate() {
                    let found = self.find_chunk((number * BLOCK + index) as u64);
                    if found.page != start {
                        return Err(bad(at));
                    }
                    start = start.wrapping_add(found.run.nr_pages);
                    *run = found.run;
                }
            }
            for run in &*runs {
                // Refuse a run that continues the run before.
                if run.pfn == end {
                    return Err(bad(at));
                }
                end = run.pfn + run.nr_pages;
                page = page.wrapping_add(run.nr_pages);
            }
            let block = pack(runs, ENTRY);
            let packing = block.packing.word((data - sections.data) as u64);
            if words.word(at + 1) != packing || words.word(at + 2) != block.packing.lowest {
                return Err(bad(at + 1));
            }
            let count = write(&mut again, 0, runs, &block);
            for (index, again) in again.get(..count).ok_or(bad(data))?.iter().enumerate() {
                if words.word(data + index) != u64::from_le(*again) {
                    return Err(bad(data + index));
                }
            }
            data += count;
        }
        let at = sections.index + ENTRY * sections.nr_blocks;
        let size = words.count();
        let packing = ((size - sections.data) as u64) << 24;
        let last = [words.word(at), words.word(at + 1), words.word(at + 2)];
        if data != size || last != [page, packing, 0] {
            return Err(bad(at));
        }
        for bucket in bucket..=sections.nr_buckets {
            if entry(bucket) != sections.nr_blocks - 1 {
                return Err(bad(HEADER + bucket / 2));
            }
        }
        // The other half of the directory's last word.
        let rest = sections.nr_buckets + 1;
        if rest % 2 == 1 && entry(rest) != 0 {
            return Err(bad(HEADER + rest / 2));
        }
        Ok(())
    }
}
