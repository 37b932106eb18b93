//! Linux scatterlists, as x86-64 lays them out.
//!
//! ```text
//! byte  0                8         12        16             24           28        32
//!       | page_link    xx| offset  | length  | dma_address  | dma_length | dma_flags |
//!                      ^^ 1: link to the next block, 2: last entry
//! ```
//!
//! A block is a page of 128 entries. All blocks but the last end in a link.
//!
//! Source: `struct scatterlist`, `include/linux/scatterlist.h`, with `CONFIG_NEED_SG_DMA_LENGTH` and
//! `CONFIG_NEED_SG_DMA_FLAGS`; chaining as `sg_alloc_table()`, segments as
//! `sg_alloc_table_from_pages_segment()`, both `lib/scatterlist.c`.

use super::bvec::{PageStructs, check_last, check_sum, low};
use super::error::DescError;
use super::layout::Layout;
use super::limits::{Cut, Limits, check_boundaries};
use super::shape::Shape;
use super::table::Table;
use crate::list::chunks::Chunk;
use crate::list::reading::List;
use crate::slices;

/// Linux's `struct scatterlist`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SgEntry {
    /// Pointer to the `struct page` of the first page, or to the next block. The low bits hold
    /// marks.
    pub page_link: u64,
    /// Offset of the first byte in its page.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
    /// The address at which the device sees the segment; 0 until mapped.
    pub dma_address: u64,
    /// The bytes that the device sees there.
    pub dma_length: u32,
    /// Flags of the mapping.
    pub dma_flags: u32,
}

const _: () = assert!(size_of::<SgEntry>() == 32);

impl SgEntry {
    /// In `page_link`: this entry leads to the next block.
    pub const CHAIN: u64 = 1;
    /// In `page_link`: this is the last entry.
    pub const END: u64 = 2;
    /// Entries of a block: `SG_MAX_SINGLE_ALLOC`.
    pub const PER_BLOCK: u64 = 4096 / size_of::<Self>() as u64;
}

/// Makes [`SgEntry`] records.
#[derive(Clone, Copy, Debug)]
pub struct SgLayout {
    pages: PageStructs,
    address: u64,
    bus_offset: Option<u64>,
}

impl Layout for SgLayout {
    type Record = SgEntry;
    type Bytes = [u8; 32];

    #[inline]
    fn data(&self, segment: Chunk, _position: u64) -> SgEntry {
        let Chunk { paddr, length } = segment;
        let length = low(length);
        let (dma_address, dma_length) = match self.bus_offset {
            Some(offset) => (paddr.wrapping_add(offset), length),
            None => (0, 0),
        };
        SgEntry {
            page_link: self.pages.page(paddr),
            offset: self.pages.offset(paddr),
            length,
            dma_address,
            dma_length,
            dma_flags: 0,
        }
    }

    #[inline]
    fn bytes(&self, record: SgEntry) -> [u8; 32] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        // Writes 16 bytes at a time, for which the compiler uses wide registers.
        let half = |low: u64, high: u64| u128::from(low) | u128::from(high) << 64;
        let front = half(record.page_link, pair(record.offset, record.length));
        let back = half(record.dma_address, pair(record.dma_length, record.dma_flags));
        let mut bytes = [0; 32];
        let (slots, _) = slices::arrays_mut(&mut bytes);
        (slots[0], slots[1]) = (front.to_le_bytes(), back.to_le_bytes());
        bytes
    }

    fn slots(&self) -> Option<u64> {
        Some(SgEntry::PER_BLOCK)
    }

    fn link(&self, block: u64) -> Option<SgEntry> {
        // The table was made only after a check that its last block does not pass 2^64.
        let address = self.address.wrapping_add(block * 4096);
        Some(SgEntry { page_link: address | SgEntry::CHAIN, ..SgEntry::default() })
    }

    fn close(&self, record: SgEntry) -> SgEntry {
        SgEntry { page_link: record.page_link | SgEntry::END, ..record }
    }

    fn close_bytes(&self, bytes: &mut [u8; 32]) {
        // The lowest byte of `page_link`.
        bytes[0] |= SgEntry::END.to_le_bytes()[0];
    }
}

impl<P: List> Table<SgLayout, P> {
    /// The list as a chained scatterlist. Its blocks follow each other from virtual address
    /// `address` on, each a page of 4096 bytes.
    ///
    /// Segments are cut at page boundaries, as `sg_alloc_table_from_pages_segment()` cuts them. The
    /// DMA fields are 0, as before `dma_map_sg()`. With `bus_offset` they are the addresses that a
    /// device sees if its bus adds `bus_offset` to physical addresses.
    ///
    /// # Errors
    ///
    /// [`DescError::NoPages`] for a device's memory; [`DescError::Unaligned`] if `address` is not a
    /// multiple of 4096, or the array of `struct page` does not start at a multiple of 4, because
    /// marks need the low bits of pointers; [`DescError::Wraps`] if blocks, pointers or bus
    /// addresses pass 2^64; errors of [`Segments::new`](super::Segments::new).
    pub fn scatterlist(
        phyr: &P,
        pages: PageStructs,
        address: u64,
        bus_offset: Option<u64>,
        limits: Limits,
    ) -> Result<Self, DescError> {
        pages.check(phyr)?;
        pages.check_marks()?;
        if address % 4096 != 0 {
            return Err(DescError::Unaligned {
                field: "block address",
                value: address,
                align: 4096,
            });
        }
        check_last(phyr, |last| check_sum(bus_offset.unwrap_or(0), last))?;
        let cut = Cut::new(limits, u32::MAX.into(), pages.page_size())?;
        check_boundaries(phyr, limits.virt_boundary_mask)?;
        let layout = SgLayout { pages, address, bus_offset };
        let table = Self::new(phyr.clone(), layout, cut);
        let check = |nr_data| {
            let nr_blocks = Shape::new(nr_data, Some(SgEntry::PER_BLOCK)).nr_blocks();
            check_sum(address, nr_blocks.saturating_mul(4096).saturating_sub(1))
        };
        // First with the length, which is at least the number of segments. That bound is nearly
        // always enough; if not, count.
        check(phyr.length()).or_else(|_| check(cut.count(phyr)))?;
        Ok(table)
    }
}
