//! RDMA page lists: blocks of one size, and the best size.

use super::bvec::check_size;
use super::error::DescError;
use super::layout::Layout;
use super::layout::write_run;
use super::limits::{Cut, check_boundaries, refuse_user};
use super::table::Table;
use crate::list::chunks::Chunk;
use crate::list::reading::List;

/// Returns the best block size for a page list: the largest that fits, but not larger than the
/// smallest size that holds the whole list in one block.
///
/// If bit *n* of `pgsize_bitmap` is set, the device takes blocks of `1 << n` bytes; sizes below
/// 4096 are left out. `iova` is the address at which the device sees the first byte. Inside the
/// list, chunks start where both the device's address and the memory's are multiples of the result.
/// Returns 0 if no size fits.
///
/// # Errors
///
/// [`DescError::Wraps`] if the list passes the end of the I/O virtual space.
///
/// # Examples
///
/// ```
/// use phyr::desc::best_pgsize;
///
/// let mut builder = phyr::Builder::new();
/// builder.append(0x20_0000, 0x60_0000)?;
/// builder.append(0x1000_0000, 0x1000)?; // A short tail does not hold the others back.
/// let phyr = builder.finish();
/// let sizes = 1 << 12 | 1 << 21 | 1 << 30;
/// assert_eq!(best_pgsize(&phyr, sizes, 0x4000_0000)?, 2 << 20);
/// assert_eq!(best_pgsize(&phyr, sizes, 0x4000_1000)?, 4096);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Source: `ib_umem_find_best_pgsz()`, `drivers/infiniband/core/umem.c`.
pub fn best_pgsize(phyr: &impl List, pgsize_bitmap: u64, iova: u64) -> Result<u64, DescError> {
    refuse_user(phyr)?;
    let sizes = pgsize_bitmap & !0xfff;
    let more = phyr.length().saturating_sub(1);
    let Some(last) = iova.checked_add(more) else {
        return Err(DescError::Wraps { base: iova, offset: more });
    };
    // One block that holds all changing bits holds the whole list, so a larger block is no better.
    let changing = (u64::BITS - (last ^ iova).leading_zeros()).max(1);
    let limit = sizes & u64::MAX.checked_shl(changing).unwrap_or(0);
    // The bits that must be 0 below a block's size: those in which the two addresses differ, and
    // those of chunk starts.
    let state = (limit, iova, 0);
    let (bits, ..) = phyr.chunks().fold(state, |(bits, iova, inside), chunk: Chunk| {
        let bits = bits | (chunk.paddr ^ iova) | (iova & inside);
        // The address after the last chunk, which may be 2^64, is not used.
        (bits, iova.wrapping_add(chunk.length), u64::MAX)
    });
    let fitting = match bits {
        0 => sizes,
        _ => sizes & (bits ^ (bits - 1)),
    };
    Ok(match fitting {
        0 => 0,
        _ => 1 << fitting.ilog2(),
    })
}

/// The byte order of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Lowest byte first.
    #[default]
    Little,
    /// Highest byte first: network order, and that of an MTT.
    Big,
}

/// Makes the addresses of aligned blocks.
#[derive(Clone, Copy, Debug)]
pub struct BlockLayout {
    low: u64,
    flags: u64,
    order: ByteOrder,
}

impl Layout for BlockLayout {
    type Record = u64;
    type Bytes = [u8; 8];

    #[inline]
    fn data(&self, segment: Chunk, _position: u64) -> u64 {
        segment.paddr & !self.low | self.flags
    }

    #[inline]
    fn bytes(&self, record: u64) -> [u8; 8] {
        match self.order {
            ByteOrder::Little => record.to_le_bytes(),
            ByteOrder::Big => record.to_be_bytes(),
        }
    }

    #[inline(always)]
    fn run(&self, first: Chunk, position: u64, out: &mut [[u8; 8]]) {
        // Reads the byte order once for a run, not once for each record.
        let Self { low, flags, order } = *self;
        let entry = |segment: Chunk| segment.paddr & !low | flags;
        match order {
            ByteOrder::Little => {
                write_run(first, position, out, |segment, _| entry(segment).to_le_bytes());
            }
            ByteOrder::Big => {
                write_run(first, position, out, |segment, _| entry(segment).to_be_bytes());
            }
        }
    }
}

/// The aligned blocks of `page_size` bytes under a list. Each record is the address of a block with
/// `flags` in the low bits, ready for a memory translation table.
///
/// The first block may start before the list and the last may end after it.
///
/// # Errors
///
/// [`DescError::Size`] unless `page_size` is a power of two; [`DescError::Gap`] if a boundary
/// inside the list is not a multiple of it; [`DescError::Record`] if `flags` is not below
/// `page_size`.
///
/// # Examples
///
/// ```
/// use phyr::desc::{ByteOrder, page_list};
///
/// let mut builder = phyr::Builder::new();
/// builder.append(0x20_1000, 0x3f_f000)?;
/// let phyr = builder.finish();
/// let table = page_list(&phyr, 2 << 20, 0, ByteOrder::Big)?;
/// assert!(table.records().eq([0x20_0000, 0x40_0000]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Source: `rdma_umem_for_each_dma_block()`, `include/rdma/ib_umem.h`.
pub fn page_list<P: List>(
    phyr: &P,
    page_size: u64,
    flags: u64,
    order: ByteOrder,
) -> Result<Table<BlockLayout, P>, DescError> {
    check_size("page size", page_size, 1, 1 << 63)?;
    let low = page_size - 1;
    if flags & !low != 0 {
        return Err(DescError::Record { index: 0, field: "flags", value: flags });
    }
    check_boundaries(phyr, low)?;
    let layout = BlockLayout { low, flags, order };
    Ok(Table::new(phyr.clone(), layout, Cut::blocks(page_size)))
}
