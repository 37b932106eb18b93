//! Lists from arrays that others wrote: scatterlists, `bio_vec`, `iovec` and `phys_vec`.
//!
//! The bytes may come from anywhere. Errors name the record and the field.

use super::bvec::PageStructs;
use super::error::DescError;
use super::sg::SgEntry;
use crate::error::Error;
use crate::granule::Granule;
use crate::kind::Kind;
use crate::list::builder::Builder;
use crate::list::phyr::Phyr;
use crate::list::ranges::{BLOCK_CHUNKS, Ranges};

/// Reads the little-endian `u64` at byte `at`, which must exist.
pub(crate) fn word(record: &[u8], at: usize) -> u64 {
    let bytes = record.get(at..).and_then(<[u8]>::first_chunk);
    debug_assert!(bytes.is_some(), "no word at byte {at} of {}", record.len());
    u64::from_le_bytes(bytes.copied().unwrap_or_default())
}

/// Reads the little-endian `u32` at byte `at`, which must exist.
pub(crate) fn half(record: &[u8], at: usize) -> u32 {
    let bytes = record.get(at..).and_then(<[u8]>::first_chunk);
    debug_assert!(bytes.is_some(), "no half word at byte {at} of {}", record.len());
    u32::from_le_bytes(bytes.copied().unwrap_or_default())
}

/// Splits bytes into records of `size` bytes.
pub(super) fn records(
    bytes: &[u8],
    size: usize,
) -> Result<core::slice::ChunksExact<'_, u8>, DescError> {
    if bytes.len().checked_rem(size) == Some(0) {
        Ok(bytes.chunks_exact(size))
    } else {
        Err(DescError::Ragged { bytes: bytes.len() as u64, record_size: size as u64 })
    }
}

/// Makes a list of the ranges that `range` reads from each record.
fn list(
    bytes: &[u8],
    size: usize,
    granule: Granule,
    range: impl Fn(u64, &[u8]) -> Result<(u64, u64), DescError>,
) -> Result<Phyr, DescError> {
    let mut builder = Builder::with(granule, Kind::Ram);
    let mut ranges = Ranges::new(&mut builder);
    let misfit = |(index, why)| DescError::list(index, why);
    for (index, record) in (0..).zip(records(bytes, size)?) {
        match range(index, record) {
            Ok((paddr, length)) => ranges.push(paddr, length).map_err(misfit)?,
            // Of several that are wrong the first is named.
            Err(why) => return Err(ranges.flush().map_err(misfit).err().unwrap_or(why)),
        }
    }
    ranges.flush().map_err(misfit)?;
    finish(builder)
}

/// Ranges of records on their way to a list, each with the number of its record.
pub(crate) struct Gathered<'b> {
    ranges: Ranges<'b>,
    count: usize,
    /// The numbers of the last records: those that are not handed over are among them.
    indices: [u64; BLOCK_CHUNKS],
}

impl Gathered<'_> {
    /// Makes a list of the ranges that `gather` pushes.
    pub(crate) fn list<E: From<DescError>>(
        granule: Granule,
        gather: impl FnOnce(&mut Gathered<'_>) -> Result<(), E>,
    ) -> Result<Phyr, E> {
        let mut builder = Builder::with(granule, Kind::Ram);
        let (ranges, indices) = (Ranges::new(&mut builder), [0; BLOCK_CHUNKS]);
        let mut gathered = Gathered { ranges, count: 0, indices };
        let outcome = gather(&mut gathered);
        // Of several records that are wrong the first is named.
        let flushed = gathered.ranges.flush();
        flushed.map_err(|why| gathered.misfit(why))?;
        outcome?;
        Ok(finish(builder)?)
    }

    /// Takes the range of record `index`. An error is of this record or of one before.
    #[inline]
    pub(crate) fn push(&mut self, index: u64, paddr: u64, length: u64) -> Result<(), DescError> {
        if let Err(why) = self.ranges.push(paddr, length) {
            return Err(self.misfit(why));
        }
        self.indices[self.count % BLOCK_CHUNKS] = index;
        self.count += 1;
        Ok(())
    }

    /// Takes the ranges of records `index` on. An error is of one of these or of one before.
    pub(crate) fn ranges(
        &mut self,
        index: u64,
        paddrs: &[u64],
        lengths: &[u64],
    ) -> Result<(), DescError> {
        if let Err(why) = self.ranges.flush() {
            return Err(self.misfit(why));
        }
        let appended = self.ranges.append(paddrs, lengths);
        appended.map_err(|(at, why)| DescError::list(index + at as u64, why))
    }

    #[cold]
    fn misfit(&self, (number, why): (u64, Error)) -> DescError {
        let at = usize::try_from(number % BLOCK_CHUNKS as u64).unwrap_or_default();
        DescError::list(self.indices[at], why)
    }
}

/// Finishes the list.
pub(super) fn finish(mut builder: Builder) -> Result<Phyr, DescError> {
    builder.try_finish().map_err(|why| DescError::list(0, why))
}

/// The address that a `struct page` pointer and an offset stand for.
fn paddr(pages: PageStructs, index: u64, page: u64, offset: u32) -> Result<u64, DescError> {
    pages.paddr(page).and_then(|paddr| paddr.checked_add(offset.into())).ok_or(DescError::Record {
        index,
        field: "page",
        value: page,
    })
}

/// Reads a list from an array of `bio_vec`.
///
/// # Errors
///
/// [`DescError::Ragged`] for a cut record; [`DescError::Record`] for a pointer to no `struct page`;
/// [`DescError::List`] for a record that a list of this granule cannot hold.
pub fn from_bio_vecs(
    bytes: &[u8],
    pages: PageStructs,
    granule: Granule,
) -> Result<Phyr, DescError> {
    list(bytes, 16, granule, |index, record| {
        let start = paddr(pages, index, word(record, 0), half(record, 12))?;
        Ok((start, half(record, 8).into()))
    })
}

/// Reads a list from an array of `iovec`. Physical address 0 is mapped at `uaddr`.
///
/// # Errors
///
/// [`DescError::Ragged`] for a cut record; [`DescError::Record`] for a base below `uaddr`;
/// [`DescError::List`] for a record that a list of this granule cannot hold.
pub fn from_iovecs(bytes: &[u8], uaddr: u64, granule: Granule) -> Result<Phyr, DescError> {
    list(bytes, 16, granule, |index, record| {
        let base = word(record, 0);
        let wrong = DescError::Record { index, field: "iov_base", value: base };
        Ok((base.checked_sub(uaddr).ok_or(wrong)?, word(record, 8)))
    })
}

/// Reads a list from an array of `phys_vec`.
///
/// # Errors
///
/// [`DescError::Ragged`] for a cut record; [`DescError::List`] for a record that a list of this
/// granule cannot hold.
pub fn from_phys_vecs(bytes: &[u8], granule: Granule) -> Result<Phyr, DescError> {
    list(bytes, 16, granule, |_, record| Ok((word(record, 0), word(record, 8))))
}

/// Reads a list from a scatterlist in memory that starts at virtual address `address`. Links must
/// lead to entries of the same memory.
///
/// With `dma`, the result is the list of mapped DMA addresses, up to the first entry of DMA length
/// 0.
///
/// # Errors
///
/// [`DescError::Ragged`] for a cut entry; [`DescError::Link`] for a link out of the memory;
/// [`DescError::Endless`] for links in a circle; [`DescError::NoEnd`] if no entry has the end mark;
/// [`DescError::Record`] for a pointer to no `struct page`; [`DescError::List`] for an entry that a
/// list of this granule cannot hold.
pub fn from_scatterlist(
    bytes: &[u8],
    pages: PageStructs,
    address: u64,
    dma: bool,
    granule: Granule,
) -> Result<Phyr, DescError> {
    const SIZE: usize = size_of::<SgEntry>();

    let nr_records = records(bytes, SIZE)?.len();
    let mut at = 0;
    Gathered::list(granule, |gathered| {
        for _ in 0..nr_records {
            let index = at as u64;
            let Some(record) = bytes.get(at * SIZE..).and_then(<[u8]>::first_chunk::<SIZE>) else {
                return Err(DescError::NoEnd { records: index });
            };
            let link = word(record, 0);
            let target = link & !(SgEntry::CHAIN | SgEntry::END);
            if link & SgEntry::CHAIN != 0 {
                let wrong = DescError::Link { index, address: target };
                let into = target.checked_sub(address).ok_or(wrong)?;
                let entry = usize::try_from(into / SIZE as u64).unwrap_or(usize::MAX);
                if into % SIZE as u64 != 0 || entry >= nr_records {
                    return Err(wrong);
                }
                at = entry;
                continue;
            }
            let (start, length) = if dma {
                (word(record, 16), half(record, 24))
            } else {
                (paddr(pages, index, target, half(record, 8))?, half(record, 12))
            };
            if dma && length == 0 {
                return Ok(());
            }
            gathered.push(index, start, length.into())?;
            if link & SgEntry::END != 0 {
                return Ok(());
            }
            at += 1;
        }
        // As many steps as entries, and no end: the links form a circle, or the entries run out.
        Err(if at < nr_records {
            DescError::Endless { records: nr_records as u64 }
        } else {
            DescError::NoEnd { records: nr_records as u64 }
        })
    })
}
