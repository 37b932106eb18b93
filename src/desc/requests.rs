//! Map requests to VFIO and iommufd: the fewest that describe a list.

use super::DescError;
use super::bvec::{check_size, check_sum};
use super::limits::{Cut, check_boundaries};
use super::table::{Layout, Table};
use crate::iter::Chunk;
use crate::phyr::Phyr;

/// Mappings that a VFIO container takes by default.
///
/// Source: `dma_entry_limit`, `drivers/vfio/vfio_iommu_type1.c`.
pub const MAX_REQUESTS: u64 = 65_535;

/// One request: let the device find `length` bytes of this process at `iova`.
///
/// The same numbers as in `struct vfio_iommu_type1_dma_map` and `struct iommu_ioas_map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct MapRequest {
    /// I/O virtual address of the first byte.
    pub iova: u64,
    /// Virtual address of the first byte in this process.
    pub uaddr: u64,
    /// Bytes.
    pub length: u64,
}

const _: () = assert!(size_of::<MapRequest>() == 24);

/// Makes [`MapRequest`] records.
#[derive(Clone, Copy, Debug)]
pub struct RequestLayout {
    uaddr: u64,
}

impl Layout for RequestLayout {
    type Record = MapRequest;
    type Bytes = [u8; 24];

    #[inline]
    fn data(&self, segment: Chunk, position: u64) -> MapRequest {
        let Chunk { paddr: iova, length } = segment;
        // The end of the buffer was checked when the table was made.
        MapRequest { iova, uaddr: self.uaddr.wrapping_add(position), length }
    }

    #[inline]
    fn bytes(&self, record: MapRequest) -> [u8; 24] {
        let mut bytes = [0; 24];
        let fields = [record.iova, record.uaddr, record.length];
        for (slot, field) in bytes.chunks_exact_mut(8).zip(fields) {
            slot.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }
}

/// The fewest requests that map the buffer at `uaddr` to the I/O virtual addresses in `dma`: one a
/// chunk, since chunks are maximal runs.
///
/// `dma` says where the device is to find the buffer: the list of its physical pages where the two
/// are to agree, or one chunk for a linear window. `page_size` is the IOMMU's smallest page.
///
/// # Errors
///
/// [`DescError::TooMany`] above `max_requests`; [`DescError::Unaligned`] or [`DescError::Gap`] for
/// an address or a length that is not a multiple of `page_size`; [`DescError::Size`] unless that is a
/// power of two; [`DescError::Wraps`] if the buffer passes the end of the virtual space.
///
/// # Examples
///
/// ```
/// use phyr::desc::{MAX_REQUESTS, MapRequest, map_requests};
///
/// let mut builder = phyr::Builder::new();
/// builder.extend_pfns(&[1, 2, 9])?;
/// let plan = map_requests(&builder.finish(), 0x7f00_0000_0000, 4096, MAX_REQUESTS)?;
/// assert!(plan.records().eq([
///     MapRequest { iova: 0x1000, uaddr: 0x7f00_0000_0000, length: 0x2000 },
///     MapRequest { iova: 0x9000, uaddr: 0x7f00_0000_2000, length: 0x1000 },
/// ]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn map_requests(
    dma: &Phyr,
    uaddr: u64,
    page_size: u64,
    max_requests: u64,
) -> Result<Table<RequestLayout>, DescError> {
    check_size("page size", page_size, 1, 1 << 63)?;
    let iova = dma.translate(0).unwrap_or(0);
    let fields = [("iova", iova), ("uaddr", uaddr), ("length", dma.length())];
    for (field, value) in fields {
        if value % page_size != 0 {
            return Err(DescError::Unaligned { field, value, align: page_size });
        }
    }
    check_boundaries(dma, page_size - 1)?;
    check_sum(uaddr, dma.length().saturating_sub(1))?;
    let nr_requests = dma.nr_chunks();
    if nr_requests > max_requests {
        return Err(DescError::TooMany { nr_requests, max_requests });
    }
    Ok(Table::new(dma.clone(), RequestLayout { uaddr }, Cut::NONE, nr_requests))
}
