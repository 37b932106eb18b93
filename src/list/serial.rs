//! A list as bytes, for files, pipes and shared memory between processes.
//!
//! ```text
//! offset size
//!      0    4  "PHYR"
//!      4    2  version, 1
//!      6    1  log2 of the granule in bytes, 0 to 16
//!      7    1  kind: 0 RAM, 1 MMIO, 2 user addresses
//!      8    4  provider of MMIO, else 0
//!     12    4  0
//!     16    8  bytes of the first granule before the list, less than a granule
//!     24    8  length in bytes
//!     32    8  number of words
//!     40    8  digest of the five words before and the words that follow
//!     48       words: the packed entries
//! ```
//!
//! All numbers are little-endian. Each list has exactly one form: equal lists have equal bytes.

use alloc::vec::Vec;

use crate::error::{Error, FormatError, expect_memory, zeros};
use crate::granule::Granule;
use crate::kind::Kind;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::list::stats::run_of;
use crate::slices;
use crate::storage::chain::LEAF_WORDS;
use crate::storage::digest::Digest;
use crate::storage::entry::{Entry, Run};
use crate::storage::writer::Writer;
use crate::wide::wide;

const MAGIC: [u8; 4] = *b"PHYR";
const VERSION: u16 = 1;
/// Words in the header; the last is the digest.
const HEADER_WORDS: usize = 6;
const WORD_BYTES: usize = size_of::<u64>();
/// Bytes in the header.
const HEADER_BYTES: usize = HEADER_WORDS * WORD_BYTES;
/// Words read at a time: as many as a node has.
const BLOCK_WORDS: usize = LEAF_WORDS;

impl Phyr {
    /// Serialises the list. O(n).
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::{Builder, Phyr};
    ///
    /// let mut builder = Builder::new();
    /// builder.extend_pfns(&[1, 2, 9])?;
    /// let phyr = builder.finish();
    /// let bytes = phyr.to_bytes();
    /// assert_eq!(bytes.len(), 48 + 2 * 8);
    /// assert_eq!(Phyr::from_bytes(&bytes), Ok(phyr));
    /// # Ok::<(), phyr::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if there is no memory for the bytes; [`Self::try_to_bytes`] returns an error instead.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        expect_memory(self.try_to_bytes())
    }

    /// As [`Self::to_bytes`], but a lack of memory is an error.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn try_to_bytes(&self) -> Result<Vec<u8>, Error> {
        let size = self.serialised_size();
        let mut bytes = zeros(size)?;
        self.serialise(&mut bytes);
        Ok(bytes)
    }

    /// The number of bytes that [`Self::to_bytes`] returns. O(n / 500).
    pub(crate) fn serialised_size(&self) -> usize {
        let granule = self.granule();
        let mut chunks = self.walk();
        let ends = [chunks.next(), chunks.next_back()].into_iter().flatten();
        let words = |chunk| 1 + usize::from(Entry::pack(run_of(granule, chunk)).0.is_escape());
        let mut count: usize = ends.map(words).sum();
        chunks.for_each_slice(|words| count += words.len());
        HEADER_BYTES + count * WORD_BYTES
    }

    /// Writes the bytes that [`Self::to_bytes`] returns to `out`, which must have that size.
    pub(crate) fn serialise(&self, out: &mut [u8]) {
        let granule = self.granule();
        let (kind, provider) = self.kind().numbers();
        let head = self.walk().next().map_or(0, |first| first.paddr & granule.mask());
        let (slots, _) = slices::arrays_mut::<_, WORD_BYTES>(out);
        let nr_words = slots.len().saturating_sub(HEADER_WORDS) as u64;
        let [m0, m1, m2, m3] = MAGIC;
        let [v0, v1] = VERSION.to_le_bytes();
        let [lg2, ..] = granule.lg2().to_le_bytes();
        let first = u64::from_le_bytes([m0, m1, m2, m3, v0, v1, lg2, kind]);
        let header = [first, u64::from(provider), head, self.length(), nr_words];

        let mut digest = Digest::default();
        digest.write(&header);
        let Some((head, mut rest)) = slots.split_first_chunk_mut::<HEADER_WORDS>() else { return };
        let mut write = |words: &[u64]| {
            digest.write(words);
            if let Some(slots) = slices::take_mut(&mut rest, words.len()) {
                for (slot, word) in slots.iter_mut().zip(words) {
                    *slot = word.to_le_bytes();
                }
            }
        };
        let pack = |chunk: Chunk| {
            let (entry, count) = Entry::pack(run_of(granule, chunk));
            ([entry.word(), count], 1 + usize::from(entry.is_escape()))
        };
        // Only the first and the last chunk are trimmed. The words of all others are copied as they
        // are.
        let mut chunks = self.walk();
        let (first, last) = (chunks.next(), chunks.next_back());
        if let Some((words, len)) = first.map(pack) {
            write(&words[..len]);
        }
        chunks.for_each_slice(&mut write);
        if let Some((words, len)) = last.map(pack) {
            write(&words[..len]);
        }
        let words = header.into_iter().chain([digest.finish()]);
        for (slot, word) in head.iter_mut().zip(words) {
            *slot = word.to_le_bytes();
        }
    }

    /// Reads a list from bytes that [`Self::to_bytes`] made. O(n).
    ///
    /// The bytes may come from anywhere. All of them are checked, and the memory used is in
    /// proportion to them.
    ///
    /// # Errors
    ///
    /// A [`FormatError`] that says which part is wrong, or [`FormatError::NoMemory`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let read = |at: usize, out: &mut [u8]| {
            let from = bytes.get(at..).and_then(|rest| rest.get(..out.len()));
            // `deserialise` asks for no others.
            debug_assert!(from.is_some(), "{} bytes at {at} of {}", out.len(), bytes.len());
            if let Some(from) = from {
                slices::copy(from, out);
            }
        };
        Self::deserialise(bytes.len(), read)
    }

    /// Reads a list of `size` bytes; `read(at, out)` copies bytes from byte `at` on to `out`.
    ///
    /// Each byte is read once, so another program may change the bytes meanwhile: the list is made
    /// of the same values that were checked.
    pub(crate) fn deserialise(
        size: usize,
        read: impl Fn(usize, &mut [u8]),
    ) -> Result<Self, FormatError> {
        let given = size as u64;
        if size < HEADER_BYTES {
            return Err(FormatError::Size { given, expected: HEADER_BYTES as u64 });
        }
        let mut header = [0; HEADER_BYTES];
        read(0, &mut header);
        let [m0, m1, m2, m3, v0, v1, lg2, kind] = *header.first_chunk().unwrap_or(&[0; 8]);
        if [m0, m1, m2, m3] != MAGIC {
            return Err(FormatError::Magic { magic: [m0, m1, m2, m3] });
        }
        let version = u16::from_le_bytes([v0, v1]);
        if version != VERSION {
            return Err(FormatError::Version { version });
        }
        let (words, _) = slices::arrays::<_, WORD_BYTES>(&header);
        let mut words = words.iter().map(|&word| u64::from_le_bytes(word));
        let header: [u64; HEADER_WORDS] = core::array::from_fn(|_| words.next().unwrap_or(0));
        let [_, provider, head, length, nr_words, stored] = header;
        let expected =
            nr_words.saturating_mul(WORD_BYTES as u64).saturating_add(HEADER_BYTES as u64);
        if given != expected {
            return Err(FormatError::Size { given, expected });
        }

        let granule = 1_u64
            .checked_shl(lg2.into())
            .and_then(|bytes| Granule::new(bytes).ok())
            .ok_or(FormatError::Header { field: "granule", value: lg2.into() });
        let kind = Kind::from_numbers(kind, provider)
            .map_err(|(field, value)| FormatError::Header { field, value });
        let mask = granule.map_or(u64::MAX, Granule::mask);
        let offset = if head > mask {
            Err(FormatError::Header { field: "offset", value: head })
        } else {
            Ok(head)
        };

        // If the digest does not match, the bytes were changed, and any other error would mislead.
        // So all words are read for the digest, even after an error was found.
        let mut digest = Digest::default();
        digest.write(&header[..HEADER_WORDS - 1]);
        let mut entries = Entries::new(granule.unwrap_or_default());
        let mut outcome = granule.and(kind).and(offset).map(drop);
        let mut block = [0; BLOCK_WORDS];
        let mut at = HEADER_BYTES;
        while at < size {
            let count = ((size - at) / WORD_BYTES).min(BLOCK_WORDS);
            let words = &mut block[..count];
            read(at, slices::bytes_mut(words));
            at += count * WORD_BYTES;
            for word in &mut *words {
                *word = u64::from_le(*word);
            }
            digest.write(words);
            if outcome.is_ok() {
                outcome = entries.extend(words);
            }
            if let Err(FormatError::NoMemory { .. }) = outcome {
                break;
            }
        }
        let computed = digest.finish();
        match outcome {
            Err(FormatError::NoMemory { .. }) => {}
            _ if stored != computed => return Err(FormatError::Check { stored, computed }),
            _ => {}
        }
        outcome?;
        let (granule, kind) = (granule?, kind?);
        let (mut writer, nr_pages) = entries.finish()?;
        // The list must use its first and its last page, or one list would have two forms.
        let used = match (length.checked_sub(1), head.checked_add(length)) {
            (None, _) if head == 0 => Some(0),
            (Some(_), Some(end)) => Some(granule.floor(end - 1) + 1),
            _ => None,
        };
        if used != Some(nr_pages) {
            return Err(FormatError::Header { field: "length", value: length });
        }
        Ok(Self::new(writer.finish(Run::default())?, granule, kind, head, length))
    }
}

/// Entries that are checked and stored one word at a time.
struct Entries {
    granule: Granule,
    writer: Writer,
    nr_pages: u64,
    /// The page number after the last entry.
    end: Option<u64>,
    /// Words so far.
    index: u64,
    /// The first word of an entry whose second word is still to come.
    first: Option<u64>,
}

impl Entries {
    fn new(granule: Granule) -> Self {
        let writer = Writer::default();
        Self { granule, writer, nr_pages: 0, end: None, index: 0, first: None }
    }

    /// Takes the next words: whole blocks where each word is a chunk and right, else word by word.
    fn extend(&mut self, words: &[u64]) -> Result<(), FormatError> {
        /// Words taken one by one where something among them needs a closer look.
        const FEW: usize = 32;

        let (end, reach) = (self.end.unwrap_or(u64::MAX), self.granule.reach());
        let known = check_single(words, end, reach)
            .or_else(|| check_plain(words, end, reach))
            .filter(|known| self.first.is_none() && known.0 <= self.granule.most() - self.nr_pages);
        if let Some((nr_pages, end)) = known {
            self.writer.push_plain(words, nr_pages)?;
            self.nr_pages += nr_pages;
            self.end = Some(end);
            self.index += words.len() as u64;
            return Ok(());
        }
        if words.len() > FEW {
            return words.chunks(FEW).try_for_each(|few| self.extend(few));
        }
        words.iter().try_for_each(|&word| self.push(word))
    }

    /// Adds the next word.
    fn push(&mut self, word: u64) -> Result<(), FormatError> {
        let second = self.first.map(|_| word);
        let (index, word) = match self.first.take() {
            Some(first) => (self.index - 1, first),
            None => (self.index, word),
        };
        self.index += 1;
        let bad = FormatError::Entry { index, word };
        let entry = Entry::from_word(word).ok_or(bad)?;
        if entry.is_escape() && second.is_none() {
            self.first = Some(word);
            return Ok(());
        }
        let granule = self.granule;
        let nr_pages = entry.nr_pages_with(second.unwrap_or(0)).ok_or(bad)?;
        let run = Run { pfn: entry.pfn(), nr_pages };
        if Entry::encode(run.pfn, run.nr_pages) != Some((entry, second)) {
            return Err(bad);
        }
        if run.pfn + run.nr_pages > granule.reach() {
            let why = Error::Pfn { pfn: run.pfn + (run.nr_pages - 1), granule: granule.bytes() };
            return Err(FormatError::Chunk { index, why });
        }
        if self.end == Some(run.pfn) {
            return Err(FormatError::NotCanonical { index });
        }
        self.end = Some(run.pfn + run.nr_pages);
        if run.nr_pages > granule.most() - self.nr_pages {
            let (length, granule) = (granule.to_bytes(self.nr_pages), granule.bytes());
            let why = Error::TooLong { length, nr_pages: run.nr_pages, granule };
            return Err(FormatError::Chunk { index, why });
        }
        self.nr_pages += run.nr_pages;
        Ok(self.writer.push(run)?)
    }

    /// Returns the entries, and how many pages they have.
    fn finish(self) -> Result<(Writer, u64), FormatError> {
        match self.first {
            Some(word) => Err(FormatError::Entry { index: self.index - 1, word }),
            None => Ok((self.writer, self.nr_pages)),
        }
    }
}

wide! {
    /// As [`check_plain`], for words that each are one page: fewer steps, and `None` also for words
    /// that may be right.
    fn check_single(words: &[u64], end: u64, reach: u64) -> Option<(u64, u64)> {
        /// Words looked at together.
        const FEW: usize = 64;

        let (low, step) = (Entry::one_page(0), Entry::one_page(1) - Entry::one_page(0));
        // Behind the last page this wraps to page 0, which would be right: a closer look will tell.
        let mut next = end.wrapping_mul(step) | low;
        let mut any = 0;
        for few in words.chunks(FEW) {
            let mut bad = 0;
            for &word in few {
                any |= word;
                bad |= (word ^ low) & (step - 1) | u64::from(word == next);
                next = word.wrapping_add(step);
            }
            if bad != 0 {
                return None;
            }
        }
        let last = Entry::stored(*words.last()?).pfn();
        (Entry::stored(any).pfn() < reach).then_some((words.len() as u64, last + 1))
    }
}

wide! {
    /// Checks words that follow a chunk which ends before page `end`; no chunk ends there where `end` is
    /// out of reach.
    ///
    /// If each word is a chunk in its one encoding, in reach, that does not touch the one before: the
    /// pages of all, and the page after the last.
    fn check_plain(words: &[u64], end: u64, reach: u64) -> Option<(u64, u64)> {
        let mut end = end;
        let (mut pages, mut bad) = (0_u64, 0);
        for &word in words {
            let entry = Entry::stored(word);
            let (pfn, marker, count) = (entry.pfn(), entry.marker(), entry.count());
            // Up to 2047 units of 2^52 pages, so no overflow; 0 without a marker or a count.
            let nr_pages = entry.nr_pages();
            // A larger unit would do where both the number and the count are multiples of it.
            let is_odd = (count & 1) | (word & (marker << 1));
            bad |= u64::from(nr_pages == 0) | u64::from(is_odd == 0) | u64::from(pfn == end);
            end = pfn + nr_pages;
            // Of 63 bits at most, so the difference is negative where the reach is passed.
            bad |= reach.wrapping_sub(end) >> 63;
            pages = pages.wrapping_add(nr_pages);
        }
        (bad == 0).then_some((pages, end))
    }
}
