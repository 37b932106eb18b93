//! The first words of an archive: what list it is of, and its digest.

use super::bits::Words;
use crate::error::FormatError;
use crate::granule::Granule;
use crate::kind::Kind;
use crate::storage::digest::Digest;

/// Words of the header.
pub(crate) const HEADER: usize = 8;
/// The first four bytes.
pub(crate) const MAGIC: [u8; 4] = *b"PHYF";
const VERSION: u16 = 1;
/// Word of the digest, the header's last.
pub(super) const DIGEST: usize = HEADER - 1;

/// The granule, kind and extent of the list, as the header states them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) granule: Granule,
    pub(crate) kind: Kind,
    /// Bytes of the first page before the list, and bytes of the list.
    pub(crate) head: u64,
    pub(crate) length: u64,
}

impl Header {
    /// Writes the header of an archive whose other words are written. Does nothing to words that are
    /// too few for an archive.
    pub(super) fn write(&self, words: &mut [u64], nr_chunks: u64) {
        let [m0, m1, m2, m3] = MAGIC;
        let [v0, v1] = VERSION.to_le_bytes();
        let [lg2, ..] = self.granule.lg2().to_le_bytes();
        let (kind, provider) = self.kind.numbers();
        let first = u64::from_le_bytes([m0, m1, m2, m3, v0, v1, lg2, kind]);
        let size = words.len() as u64;
        let header = [first, u64::from(provider), self.head, self.length, nr_chunks, size, 0, 0];
        if let Some(first) = words.first_chunk_mut::<HEADER>() {
            *first = header.map(u64::to_le);
        }
        let digest = digest(&*words);
        if let Some(word) = words.get_mut(DIGEST) {
            *word = digest.to_le();
        }
    }

    /// Reads a header. Also returns the number of runs that it states.
    pub(super) fn read<W: Words + ?Sized>(words: &W) -> Result<(Self, u64), FormatError> {
        let given = words.count() as u64;
        let bytes = |words: u64| words.saturating_mul(size_of::<u64>() as u64);
        if given < HEADER as u64 {
            return Err(FormatError::Size { given: bytes(given), expected: bytes(HEADER as u64) });
        }
        let [first, provider, head, length, nr_chunks, size, unused] =
            core::array::from_fn(|index| words.word(index));
        let [m0, m1, m2, m3, v0, v1, lg2, kind] = first.to_le_bytes();
        if [m0, m1, m2, m3] != MAGIC {
            return Err(FormatError::Magic { magic: [m0, m1, m2, m3] });
        }
        let version = u16::from_le_bytes([v0, v1]);
        if version != VERSION {
            return Err(FormatError::Version { version });
        }
        if size != given {
            return Err(FormatError::Size { given: bytes(given), expected: bytes(size) });
        }
        let bad = |field, value| FormatError::Header { field, value };
        let granule = 1_u64.checked_shl(lg2.into()).and_then(|bytes| Granule::new(bytes).ok());
        let granule = granule.ok_or(bad("granule", lg2.into()))?;
        let kind =
            Kind::from_numbers(kind, provider).map_err(|(field, value)| bad(field, value))?;
        if head > granule.mask() {
            return Err(bad("offset", head));
        }
        if unused != 0 {
            return Err(bad("unused", unused));
        }
        Ok((Self { granule, kind, head, length }, nr_chunks))
    }

    /// Pages that the list touches; `None` if there is no such list, or an empty one.
    pub(super) fn nr_pages(&self) -> Option<u64> {
        let last = self.head.checked_add(self.length.checked_sub(1)?)?;
        let nr_pages = self.granule.floor(last) + 1;
        (nr_pages <= self.granule.most()).then_some(nr_pages)
    }
}

/// The digest of all words but the one that holds it.
pub(super) fn digest<W: Words + ?Sized>(words: &W) -> u64 {
    let mut digest = Digest::default();
    let mut copy = [0; 512];
    for (from, to) in [(0, DIGEST), (HEADER, words.count())] {
        let mut at = from;
        while at < to {
            let count = copy.len().min(to - at);
            for (index, word) in copy[..count].iter_mut().enumerate() {
                *word = words.word(at + index);
            }
            digest.write(&copy[..count]);
            at += count;
        }
    }
    digest.finish()
}
