//! Lists from NVMe commands: follows PRP chains and SGLs through memory that the caller reads.

use core::fmt;

use super::bvec::check_size;
use super::error::DescError;
use super::parse::{Gathered, half, word};
use super::sgl::SglDescriptor;
use crate::granule::Granule;
use crate::list::phyr::Phyr;
use crate::slices;
use crate::storage::words;
use crate::wide::wide;

/// Why a chain could not be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError<E> {
    /// The memory holds descriptors that are wrong.
    Desc(DescError),
    /// `read` failed, with this error.
    Read(E),
}

impl<E> From<DescError> for ReadError<E> {
    fn from(error: DescError) -> Self {
        Self::Desc(error)
    }
}

impl<E: fmt::Display> fmt::Display for ReadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Desc(error) => error.fmt(f),
            Self::Read(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ReadError<E> {}

/// Bytes read at a time. Records and links are aligned, so no record crosses a multiple of this.
pub(super) const PIECE: usize = 4096;

/// The number of records without data, links included, that may come beyond one for each record
/// with data.
const MOST_IDLE: u64 = 1 << 20;

/// Finds a chain of links that goes round in a circle, or leads on too often without data.
///
/// Source: R. P. Brent, "An improved Monte Carlo factorization algorithm", BIT 20, 1980, section 2.
#[derive(Default)]
pub(super) struct Links {
    followed: u64,
    /// The last link whose number was a power of two.
    mark: u64,
    /// Records without data so far, and records with data.
    idle: u64,
    data: u64,
}

impl Links {
    /// Counts record `records`, which has no data.
    pub(super) fn idle(&mut self, records: u64) -> Result<(), DescError> {
        self.idle += 1;
        if self.idle.saturating_sub(MOST_IDLE) > self.data {
            Err(DescError::Endless { records })
        } else {
            Ok(())
        }
    }

    /// Counts records that have data.
    pub(super) fn data(&mut self, records: u64) {
        self.data += records;
    }

    pub(super) fn follow(&mut self, address: u64, records: u64) -> Result<(), DescError> {
        self.idle(records)?;
        if self.followed > 0 && self.mark == address {
            return Err(DescError::Endless { records });
        }
        self.followed += 1;
        if self.followed.is_power_of_two() {
            self.mark = address;
        }
        Ok(())
    }
}

/// Reads the list of the memory that PRP1 and PRP2 point to, for a transfer of `length` bytes.
///
/// `read` must fill its buffer, of at most 4096 bytes, from an address. A PRP list may start inside
/// a page, at a multiple of 8.
///
/// # Errors
///
/// [`DescError::Size`] unless `page_size` is a power of two from 4 to 64 KiB; [`DescError::Record`]
/// for an entry with an offset that is not allowed (PRP1 is number 0, PRP2 is 1, the entries of
/// lists follow); [`DescError::Endless`] for lists in a circle, or for more than 2^20 links beyond
/// one for each entry; [`DescError::List`] for pages that a list of this granule cannot hold;
/// errors of `read`.
pub fn from_prp<E>(
    prp1: u64,
    prp2: u64,
    length: u64,
    page_size: u64,
    granule: Granule,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Phyr, ReadError<E>> {
    check_size("page size", page_size, 4096, 64 << 10)?;
    let (low, lg2) = (page_size - 1, page_size.trailing_zeros());
    Gathered::list(granule, |gathered| {
        let mut left = length;
        let mut index = 0;
        // Takes the next page of the transfer. The first page may start at any multiple of 4.
        let page = |gathered: &mut Gathered<'_>, index: u64, entry: u64, left: &mut u64| {
            let wrong = if index == 0 { entry & 3 } else { entry & low };
            if wrong != 0 {
                return Err(DescError::Record { index, field: "offset", value: entry });
            }
            let length = (*left).min(page_size - (entry & low));
            *left -= length;
            gathered.push(index, entry, length)
        };
        if left > 0 {
            page(gathered, index, prp1, &mut left)?;
        }
        if left > 0 && left <= page_size {
            page(gathered, 1, prp2, &mut left)?;
        }
        let (mut list, mut links, mut piece) = (prp2, Links::default(), [0; PIECE]);
        let (mut pages, lengths) = ([0; PIECE / 8], [page_size; PIECE / 8]);
        while left > 0 {
            if list % 8 != 0 {
                return Err(
                    DescError::Record { index: 1 + index, field: "list", value: list }.into()
                );
            }
            links.follow(list, index)?;
            // The entries up to the end of the page, or as many as are needed.
            let needed = (left >> lg2) + u64::from(left & low != 0);
            let slots = (page_size - (list & low)) / 8;
            let is_last = needed <= slots;
            let mut slots = slots.min(needed);
            let mut at = list;
            while slots > 0 {
                let room = (PIECE as u64 - at % PIECE as u64) / 8;
                let count = slots.min(room);
                let bytes = usize::try_from(count * 8).unwrap_or(PIECE).min(PIECE);
                read(at, &mut piece[..bytes]).map_err(ReadError::Read)?;
                for (page, entry) in pages.iter_mut().zip(piece[..bytes].chunks_exact(8)) {
                    *page = word(entry, 0);
                }
                // Whole pages go together; the rest, and those of which one is wrong, one by one.
                let data = if is_last || count < slots { count } else { count - 1 };
                let whole = usize::try_from(data.min(left >> lg2)).unwrap_or(0);
                let mut done = 0;
                if words::any_bit(&pages[..whole]) & low == 0 {
                    gathered.ranges(2 + index, &pages[..whole], &lengths[..whole])?;
                    done = whole;
                    index += whole as u64;
                    left -= page_size * whole as u64;
                    links.data(whole as u64);
                }
                for (number, &entry) in (1..).zip(&pages[..bytes / 8]).skip(done) {
                    if !is_last && number == slots {
                        list = entry;
                    } else {
                        index += 1;
                        page(gathered, 1 + index, entry, &mut left)?;
                        links.data(1);
                    }
                }
                slots -= count;
                at = at.wrapping_add(count * 8);
            }
        }
        Ok(())
    })
}

/// Reads the list of the memory that an SGL describes; `sgl1` is the descriptor in the command.
///
/// Reading stops at more data than `max_length` bytes. This bounds the number of reads, whatever
/// they return: at most 2^20 descriptors and two for each byte.
///
/// `read` must fill its buffer, of at most 4096 bytes, from an address. Data blocks of length 0 are
/// skipped.
///
/// # Errors
///
/// [`DescError::Record`] for a descriptor of another type, a segment without descriptors, a segment
/// descriptor that is not the last of its segment, or a last segment that leads on (numbers count
/// the descriptors read; `sgl1` is 0); [`DescError::Ragged`] for a segment that is not a whole
/// number of descriptors; [`DescError::Endless`] for segments in a circle, or for more than 2^20
/// descriptors without data beyond one for each with data; [`DescError::TooLong`] for more data
/// than `max_length` bytes; [`DescError::List`] for data that a list of this granule cannot hold;
/// errors of `read`.
pub fn from_sgl<E>(
    sgl1: &[u8; 16],
    max_length: u64,
    granule: Granule,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Phyr, ReadError<E>> {
    Gathered::list(granule, |gathered| {
        let mut links = Links::default();
        let mut piece = [0; PIECE];
        let (mut paddrs, mut lengths) = ([0; PIECE / 16], [0; PIECE / 16]);
        let (mut index, mut left) = (0, max_length);
        // The bytes of the current segment that are still to be read, and their address.
        let (mut at, mut bytes) = (0, 0);
        let mut in_last = false;
        piece[..16].copy_from_slice(sgl1);
        let mut count = 16;
        loop {
            // All but the last of a segment are data blocks, if nothing is wrong: they go together.
            let mut done = 0;
            let most = count / 16 - usize::from(bytes == 0);
            if let Some(total) = data_blocks(&piece[..most * 16], &mut paddrs, &mut lengths) {
                if total <= left {
                    gathered.ranges(index, &paddrs[..most], &lengths[..most])?;
                    links.data(most as u64);
                    index += most as u64;
                    left -= total;
                    done = most;
                }
            }
            for (record, number) in piece[..count].chunks_exact(16).zip(1..).skip(done) {
                let (address, length, identifier) = (word(record, 0), half(record, 8), record[15]);
                let wrong = |field, value| DescError::Record { index, field, value };
                match identifier {
                    SglDescriptor::DATA_BLOCK => {
                        if length > 0 {
                            left = left.checked_sub(length.into()).ok_or_else(|| {
                                let length = (max_length - left).saturating_add(length.into());
                                DescError::TooLong { index, length, max_length }
                            })?;
                            gathered.push(index, address, length.into())?;
                            links.data(1);
                        } else {
                            links.idle(index)?;
                        }
                    }
                    SglDescriptor::SEGMENT | SglDescriptor::LAST_SEGMENT => {
                        // Only the last descriptor of a segment may lead on, and a last segment may
                        // not.
                        if in_last || bytes > 0 || number * 16 < count {
                            return Err(wrong("identifier", identifier.into()).into());
                        }
                        if length == 0 {
                            return Err(wrong("length", 0).into());
                        }
                        if length % 16 != 0 {
                            let bytes = length.into();
                            return Err(DescError::Ragged { bytes, record_size: 16 }.into());
                        }
                        if address.checked_add(u64::from(length) - 1).is_none() {
                            return Err(wrong("address", address).into());
                        }
                        links.follow(address, index)?;
                        (at, bytes) = (address, length.into());
                        in_last = identifier == SglDescriptor::LAST_SEGMENT;
                    }
                    _ => return Err(wrong("identifier", identifier.into()).into()),
                }
                index += 1;
            }
            if bytes == 0 {
                return Ok(());
            }
            count = usize::try_from(bytes).unwrap_or(PIECE).min(PIECE);
            read(at, &mut piece[..count]).map_err(ReadError::Read)?;
            at = at.wrapping_add(count as u64);
            bytes -= count as u64;
        }
    })
}

wide! {
    /// Reads the addresses and lengths of data blocks, and returns the sum of the lengths; `None` if one
    /// is of another type or has no bytes.
    fn data_blocks(
        records: &[u8],
        paddrs: &mut [u64; PIECE / 16],
        lengths: &mut [u64; PIECE / 16],
    ) -> Option<u64> {
        let (mut total, mut types, mut empty) = (0, 0, 0);
        let records = slices::arrays::<_, 16>(records).0;
        for ((record, paddr), length) in records.iter().zip(paddrs).zip(lengths) {
            let second = word(record, 8);
            *paddr = word(record, 0);
            *length = second & u64::from(u32::MAX);
            types |= second >> 56;
            empty |= u64::from(*length == 0);
            // So many lengths of 32 bits fit.
            total += *length;
        }
        (types | empty == u64::from(SglDescriptor::DATA_BLOCK)).then_some(total)
    }
}
