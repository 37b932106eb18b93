//! RDMA page lists: blocks of one size, and the best size.

use super::bvec::check_size;
use super::error::DescError;
use super::layout::Layout;
use super::layout::write_run;
use super::limits::{Cut, check_boundaries};
use super::table::Table;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;

/// The best size for a page list of one size: the largest that fits, but none larger than the
/// smallest that holds the whole list in one block.
///
/// `pgsize_bitmap` has bit *n* set where the device takes blocks of `1 << n` bytes; sizes below
/// 4096 are left out. `iova` is where the device is to see the first byte. Inside the list, runs
/// start where both the device's address and the memory's are multiples of the result. 0 where
/// nothing fits.
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
pub fn best_pgsize(phyr: &Phyr, pgsize_bitmap: u64, iova: u64) -> Result<u64, DescError> {
    let sizes = pgsize_bitmap & !0xfff;
    let more = phyr.length().saturating_sub(1);
    let Some(last) = iova.checked_add(more) else {
        return Err(DescError::Wraps { base: iova, offset: more });
    };
    // A block that holds every bit that changes is one for all: larger ones are no better.
    let changing = (u64::BITS - (last ^ iova).leading_zeros()).max(1);
    let limit = sizes & u64::MAX.checked_shl(changing).unwrap_or(0);
    // Bits that must be 0 in a block's size: where addresses differ, and where runs begin.
    let state = (limit, iova, 0);
    let (bits, ..) = phyr.chunks().fold(state, |(bits, iova, inside), chunk: Chunk| {
        let bits = bits | (chunk.paddr ^ iova) | (iova & inside);
        // Past the last chunk, which may end the space, nobody looks.
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

/// The order of the bytes of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Lowest first.
    #[default]
    Little,
    /// Highest first: the network's, and that of an MTT.
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
        // The order is asked for once a run, not once a record.
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

/// The aligned blocks of `page_size` bytes under a list, each the address of its first byte with
/// `flags` in the low bits, ready for a memory translation table.
///
/// The first block may start before the list and the last may end after it.
///
/// # Errors
///
/// [`DescError::Size`] unless `page_size` is a power of two; [`DescError::Gap`] if a boundary inside
/// the list is not a multiple of it; [`DescError::Record`] for flags of `page_size` and more.
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
pub fn page_list(
    phyr: &Phyr,
    page_size: u64,
    flags: u64,
    order: ByteOrder,
) -> Result<Table<BlockLayout>, DescError> {
    check_size("page size", page_size, 1, 1 << 63)?;
    let low = page_size - 1;
    if flags & !low != 0 {
        return Err(DescError::Record { index: 0, field: "flags", value: flags });
    }
    check_boundaries(phyr, low)?;
    let layout = BlockLayout { low, flags, order };
    Ok(Table::new(phyr.clone(), layout, Cut::blocks(page_size)))
}
