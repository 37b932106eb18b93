//! The folios of a memfd, as one kernel hands them to the next: `memfd_luo_folio_ser`.
//!
//! ```text
//!  bit   0         52      64        128
//!        | pfn     | flags | index   |
//! ```
//!
//! A record has no size. A memfd is preserved without holes, so a folio ends where the next one
//! starts in the file, and the last ends with the file.

use super::bvec::{check_size, words};
use super::error::DescError;
use super::layout::Layout;
use super::limits::{Cut, check_boundaries};
use super::parse::{finish, records, word};
use super::table::Table;
use crate::granule::Granule;
use crate::kind::Kind;
use crate::list::builder::Builder;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::list::reading::List;

/// Bits of a page number in a record.
const PFN_BITS: u32 = 52;

/// Linux's `struct memfd_luo_folio_ser`: a folio of a memfd, for live update.
///
/// Source: `include/linux/kho/abi/memfd.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemfdFolio {
    /// Number of the folio's first page; 52 bits. A kernel skips 0.
    pub pfn: u64,
    /// [`Self::DIRTY`], [`Self::UPTODATE`]; 12 bits.
    pub flags: u16,
    /// Number of the folio's first page in the file.
    pub index: u64,
}

impl MemfdFolio {
    /// In `flags`: the folio was written to.
    pub const DIRTY: u16 = 1;
    /// In `flags`: the folio was cleared or filled.
    pub const UPTODATE: u16 = 2;
    /// All flags that have a meaning.
    const FLAGS: u64 = (Self::DIRTY | Self::UPTODATE) as u64;
}

/// Makes [`MemfdFolio`] records.
#[derive(Clone, Copy, Debug)]
pub struct MemfdLayout {
    flags: u16,
    page_lg2: u32,
}

impl Layout for MemfdLayout {
    type Record = MemfdFolio;
    type Bytes = [u8; 16];

    #[inline]
    fn data(&self, segment: Chunk, position: u64) -> MemfdFolio {
        MemfdFolio {
            pfn: segment.paddr >> self.page_lg2,
            flags: self.flags,
            index: position >> self.page_lg2,
        }
    }

    #[inline]
    fn bytes(&self, record: MemfdFolio) -> [u8; 16] {
        words(record.pfn | u64::from(record.flags) << PFN_BITS, record.index)
    }
}

/// Checks that a list is RAM in whole blocks of `size` bytes, from an aligned address on. Only the
/// last may be short. None of them is at address 0, which kernels take for a missing one.
pub(super) fn check_folios(
    phyr: &impl List,
    field: &'static str,
    size: u64,
) -> Result<(), DescError> {
    if let Kind::Mmio { provider } = phyr.kind() {
        return Err(DescError::NoPages { provider });
    }
    let first = phyr.translate(0).unwrap_or(0);
    if first & (size - 1) != 0 {
        return Err(DescError::Unaligned { field: "first address", value: first, align: size });
    }
    check_boundaries(phyr, size - 1)?;
    let state = phyr.chunks().try_fold(0, |position, chunk: Chunk| {
        if chunk.paddr == 0 { Err(position) } else { Ok(position + chunk.length) }
    });
    match state {
        Ok(_) => Ok(()),
        Err(position) => {
            let index = position.checked_div(size).unwrap_or_default();
            Err(DescError::Record { index, field, value: 0 })
        }
    }
}

impl<P: List> Table<MemfdLayout, P> {
    /// The list as the folios of a memfd, each of `folio_size` bytes, for a kernel with pages of
    /// `page_size` bytes. The list is the whole file; the last folio may be longer than what is
    /// left.
    ///
    /// # Errors
    ///
    /// [`DescError::Size`] unless `page_size` is a power of two from 4 to 64 KiB, and `folio_size`
    /// one from `page_size` up; [`DescError::NoPages`] for a device's memory;
    /// [`DescError::Unaligned`] or [`DescError::Gap`] for a folio that is not aligned to its size;
    /// [`DescError::Record`] for the page at address 0, or flags that have no meaning.
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::desc::{MemfdFolio, Table};
    ///
    /// let mut builder = phyr::Builder::new();
    /// builder.append(0x20_0000, 0x40_0000)?;
    /// let table = Table::memfd_folios(&builder.finish(), 3, 2 << 20, 4096)?;
    /// let folio = |pfn, index| MemfdFolio { pfn, flags: 3, index };
    /// assert!(table.records().eq([folio(0x200, 0), folio(0x400, 0x200)]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn memfd_folios(
        phyr: &P,
        flags: u64,
        folio_size: u64,
        page_size: u64,
    ) -> Result<Self, DescError> {
        check_size("page size", page_size, 4096, 64 << 10)?;
        check_size("folio size", folio_size, page_size, 1 << 63)?;
        let bits = u16::try_from(flags).ok().filter(|_| flags & !MemfdFolio::FLAGS == 0);
        let Some(flags) = bits else {
            return Err(DescError::Record { index: 0, field: "flags", value: flags });
        };
        check_folios(phyr, "pfn", folio_size)?;
        let layout = MemfdLayout { flags, page_lg2: page_size.trailing_zeros() };
        Ok(Self::new(phyr.clone(), layout, Cut::blocks(folio_size)))
    }
}

/// Reads the list of a memfd of `size` bytes from the array of its folios. `size` is
/// `memfd_luo_ser.size`; it says where the last folio ends.
///
/// # Errors
///
/// [`DescError::Size`] unless `page_size` is a power of two from 4 to 64 KiB;
/// [`DescError::Ragged`] for a cut record; [`DescError::Coverage`] if there is no folio for a file
/// that has bytes; [`DescError::Record`] for a page number of 0 or above 2^64 bytes, for unknown
/// flags, for a first index that is not 0, or for indexes between which no folio fits; and
/// [`DescError::List`] for a folio that a list of this granule cannot hold.
pub fn from_memfd_folios(
    bytes: &[u8],
    size: u64,
    page_size: u64,
    granule: Granule,
) -> Result<Phyr, DescError> {
    check_size("page size", page_size, 4096, 64 << 10)?;
    let mut builder = Builder::with(granule, Kind::Ram);
    let mut folios = (0..).zip(records(bytes, 16)?).peekable();
    if folios.peek().is_none() && size > 0 {
        return Err(DescError::Coverage { length: 0, expected: size });
    }
    let pages = size.div_ceil(page_size);
    while let Some((number, folio)) = folios.next() {
        let wrong = |field, value| DescError::Record { index: number, field, value };
        let (head, index) = (word(folio, 0), word(folio, 8));
        let (pfn, flags) = (head & ((1 << PFN_BITS) - 1), head >> PFN_BITS);
        if flags & !MemfdFolio::FLAGS != 0 {
            return Err(wrong("flags", flags));
        }
        let is_first = number == 0;
        if index >= pages || is_first && index != 0 {
            return Err(wrong("index", index));
        }
        let next = folios.peek().map(|(_, folio)| word(folio, 8));
        let gap = next.unwrap_or(pages).saturating_sub(index);
        // A folio is a power of two of pages and lies at a multiple of its size, in memory and in
        // the file. Of the last, only what is in the file is known.
        let is_folio = gap.is_power_of_two() && index & (gap - 1) == 0;
        if !is_folio && next.is_some() {
            return Err(wrong("gap to the next index", gap));
        }
        let is_aligned = pfn.trailing_zeros() >= gap.next_power_of_two().trailing_zeros();
        let paddr = pfn.checked_mul(page_size).filter(|&paddr| paddr > 0 && is_aligned);
        let Some(paddr) = paddr else { return Err(wrong("pfn", pfn)) };
        // The last folio may end after the file.
        let start = index * page_size;
        let length = match next {
            Some(_) => gap.checked_mul(page_size).ok_or(wrong("gap to the next index", gap))?,
            None => size - start,
        };
        builder.append(paddr, length).map_err(|why| DescError::list(number, why))?;
    }
    finish(builder)
}
