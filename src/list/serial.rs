//! A list as bytes, for files, pipes and shared memory between processes.
//!
//! ```text
//! offset size
//!      0    4  "PHYR"
//!      4    2  version, 1
//!      6    1  log2 of the granule in bytes, 0 to 16
//!      7    1  kind: 0 RAM, 1 MMIO
//!      8    4  provider of MMIO, else 0
//!     12    4  0
//!     16    8  bytes of the first granule before the list, less than a granule
//!     24    8  length in bytes
//!     32    8  number of words
//!     40    8  digest of the five words before and the words that follow
//!     48       words: the packed entries
//! ```
//!
//! All numbers are little-endian. There is one form for each list: equal lists have equal bytes.

use alloc::vec::Vec;

use crate::error::{Error, FormatError};
use crate::granule::Granule;
use crate::kind::Kind;
use crate::list::phyr::Phyr;
use crate::list::stats::run_of;
use crate::storage::digest::Digest;
use crate::storage::entry::{Entry, Run};
use crate::storage::writer::Writer;

const MAGIC: [u8; 4] = *b"PHYR";
const VERSION: u16 = 1;
/// Words of the header, the digest last.
const HEADER_WORDS: usize = 6;
const WORD_BYTES: usize = size_of::<u64>();
/// Bytes of the header.
const HEADER_BYTES: usize = HEADER_WORDS * WORD_BYTES;

impl Phyr {
    /// The list as bytes. O(n).
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
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let granule = self.granule();
        let mut words = Vec::with_capacity(HEADER_WORDS + self.chunks().len());
        words.resize(HEADER_WORDS, 0);
        let mut head = 0;
        let mut first = true;
        self.chunks().for_each(|chunk| {
            if core::mem::take(&mut first) {
                head = chunk.paddr & granule.mask();
            }
            let (entry, count) = Entry::pack(run_of(granule, chunk));
            words.push(entry.word());
            if entry.is_escape() {
                words.push(count);
            }
        });
        let (kind, provider) = match self.kind() {
            Kind::Ram => (0, 0),
            Kind::Mmio { provider } => (1, provider),
        };
        let nr_words = (words.len() - HEADER_WORDS) as u64;
        let [m0, m1, m2, m3] = MAGIC;
        let [v0, v1] = VERSION.to_le_bytes();
        let [lg2, ..] = granule.lg2().to_le_bytes();
        words[0] = u64::from_le_bytes([m0, m1, m2, m3, v0, v1, lg2, kind]);
        words[1..5].copy_from_slice(&[u64::from(provider), head, self.length(), nr_words]);
        words[5] = check(&words);

        let mut bytes = Vec::with_capacity(words.len() * WORD_BYTES);
        for word in words {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The list that [`Self::to_bytes`] made these bytes of. O(n).
    ///
    /// The bytes may come from anywhere: all of them are checked, and no more memory is used than
    /// they account for.
    ///
    /// # Errors
    ///
    /// A [`FormatError`] that says which part is not that of a list.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let given = bytes.len() as u64;
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(FormatError::Size { given, expected: HEADER_BYTES as u64 });
        };
        let [m0, m1, m2, m3, v0, v1, lg2, kind] = *header.first_chunk().unwrap_or(&[0; 8]);
        if [m0, m1, m2, m3] != MAGIC {
            return Err(FormatError::Magic { magic: [m0, m1, m2, m3] });
        }
        let version = u16::from_le_bytes([v0, v1]);
        if version != VERSION {
            return Err(FormatError::Version { version });
        }
        let (words, _) = header.as_chunks::<WORD_BYTES>();
        let mut words = words.iter().map(|&word| u64::from_le_bytes(word)).skip(1);
        let [provider, head, length, nr_words, stored] =
            core::array::from_fn(|_| words.next().unwrap_or(0));

        let expected =
            nr_words.saturating_mul(WORD_BYTES as u64).saturating_add(HEADER_BYTES as u64);
        if given != expected {
            return Err(FormatError::Size { given, expected });
        }
        let all: Vec<u64> = {
            let (words, _) = bytes.as_chunks::<WORD_BYTES>();
            words.iter().map(|&word| u64::from_le_bytes(word)).collect()
        };
        let computed = check(&all);
        if stored != computed {
            return Err(FormatError::Check { stored, computed });
        }

        let granule = 1_u64
            .checked_shl(lg2.into())
            .and_then(|bytes| Granule::new(bytes).ok())
            .ok_or(FormatError::Header { field: "granule", value: lg2.into() })?;
        let bad_provider = FormatError::Header { field: "provider", value: provider };
        let kind = match (kind, u32::try_from(provider)) {
            (0, Ok(0)) => Kind::Ram,
            (1, Ok(provider)) => Kind::Mmio { provider },
            (0 | 1, _) => return Err(bad_provider),
            _ => return Err(FormatError::Header { field: "kind", value: kind.into() }),
        };
        if head > granule.mask() {
            return Err(FormatError::Header { field: "offset", value: head });
        }

        let (writer, nr_pages) = read_entries(granule, &all[HEADER_WORDS..])?;
        // The view must use the first and the last page, or there would be two forms of one list.
        let used = match (length.checked_sub(1), head.checked_add(length)) {
            (None, _) if head == 0 => Some(0),
            (Some(_), Some(end)) => Some(granule.floor(end - 1) + 1),
            _ => None,
        };
        if used != Some(nr_pages) {
            return Err(FormatError::Header { field: "length", value: length });
        }
        Ok(Self::new(writer.finish(Run::default()), granule, kind, head, length))
    }
}

/// The digest of the header, its own place left out, and of the entries.
fn check(words: &[u64]) -> u64 {
    let mut digest = Digest::default();
    digest.write(&words[..HEADER_WORDS - 1]);
    digest.write(&words[HEADER_WORDS..]);
    digest.finish()
}

/// Checks and stores the entries; also returns how many pages they have.
fn read_entries(granule: Granule, words: &[u64]) -> Result<(Writer, u64), FormatError> {
    let mut writer = Writer::default();
    let (mut nr_pages, mut end) = (0_u64, None);
    let mut rest = words.iter().copied().zip(0..);
    while let Some((word, index)) = rest.next() {
        let bad = FormatError::Entry { index, word };
        let entry = Entry::from_word(word).ok_or(bad)?;
        let second = if entry.is_escape() { Some(rest.next().ok_or(bad)?.0) } else { None };
        let pages = entry.nr_pages_with(second.unwrap_or(0)).ok_or(bad)?;
        let run = Run { pfn: entry.pfn(), nr_pages: pages };
        if Entry::encode(run.pfn, run.nr_pages) != Some((entry, second)) {
            return Err(bad);
        }
        if run.pfn + run.nr_pages > granule.reach() {
            let why = Error::Pfn { pfn: run.pfn + (run.nr_pages - 1), granule: granule.bytes() };
            return Err(FormatError::Chunk { index, why });
        }
        if end == Some(run.pfn) {
            return Err(FormatError::NotCanonical { index });
        }
        end = Some(run.pfn + run.nr_pages);
        if run.nr_pages > granule.most() - nr_pages {
            let (length, granule) = (granule.to_bytes(nr_pages), granule.bytes());
            let why = Error::TooLong { length, nr_pages: run.nr_pages, granule };
            return Err(FormatError::Chunk { index, why });
        }
        nr_pages += run.nr_pages;
        writer.push(run);
    }
    Ok((writer, nr_pages))
}
