//! Map requests for VFIO and iommufd: the fewest that describe a list.
//!
//! ```text
//!  byte           0       4       8        12        16       24       32      40
//! dma_map (VFIO)  | argsz | flags | vaddr            | iova   | size   |
//! ioas_map        | size  | flags | ioas_id | 0      | user_va | length | iova  |
//! ```

use super::bvec::{check_size, check_sum};
use super::error::DescError;
use super::layout::Layout;
use super::limits::{Cut, check_boundaries};
use super::table::Table;
use crate::list::chunks::Chunk;
use crate::list::reading::List;

/// The number of mappings that a VFIO container allows by default.
///
/// Source: `dma_entry_limit`, `drivers/vfio/vfio_iommu_type1.c`.
pub const MAX_REQUESTS: u64 = 65_535;

/// One request: map `length` bytes of this process, so that the device finds them at `iova`.
///
/// The fields that [`VfioDmaMap`] and [`IoasMap`] share.
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
        // The table was made only after a check that the buffer does not pass 2^64.
        MapRequest { iova, uaddr: self.uaddr.wrapping_add(position), length }
    }

    #[inline]
    fn bytes(&self, record: MapRequest) -> [u8; 24] {
        join([record.iova, record.uaddr, record.length])
    }
}

/// Joins words of 8 bytes, in order.
fn join<const WORDS: usize, const BYTES: usize>(words: [u64; WORDS]) -> [u8; BYTES] {
    const { assert!(BYTES == 8 * WORDS) };
    let mut bytes = [0; BYTES];
    for (slot, word) in bytes.chunks_exact_mut(8).zip(words) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Joins two numbers of 4 bytes into one of 8.
fn pair(first: u32, second: u32) -> u64 {
    u64::from(first) | u64::from(second) << 32
}

/// The argument of the ioctl `VFIO_IOMMU_MAP_DMA`.
///
/// Source: `struct vfio_iommu_type1_dma_map`, `include/uapi/linux/vfio.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct VfioDmaMap {
    /// Bytes of this struct.
    pub argsz: u32,
    /// The accesses that the device may make: [`Self::READ`], [`Self::WRITE`].
    pub flags: u32,
    /// Virtual address of the first byte in this process.
    pub vaddr: u64,
    /// I/O virtual address of the first byte.
    pub iova: u64,
    /// Bytes.
    pub size: u64,
}

const _: () = assert!(size_of::<VfioDmaMap>() == 32);

impl VfioDmaMap {
    /// In `flags`: the device may read.
    pub const READ: u32 = 1;
    /// In `flags`: the device may write.
    pub const WRITE: u32 = 2;
}

/// Makes [`VfioDmaMap`] records.
#[derive(Clone, Copy, Debug)]
pub struct VfioLayout {
    request: RequestLayout,
    flags: u32,
}

impl Layout for VfioLayout {
    type Record = VfioDmaMap;
    type Bytes = [u8; 32];

    #[inline]
    fn data(&self, segment: Chunk, position: u64) -> VfioDmaMap {
        let MapRequest { iova, uaddr, length } = self.request.data(segment, position);
        VfioDmaMap { argsz: 32, flags: self.flags, vaddr: uaddr, iova, size: length }
    }

    #[inline]
    fn bytes(&self, record: VfioDmaMap) -> [u8; 32] {
        let VfioDmaMap { argsz, flags, vaddr, iova, size } = record;
        join([pair(argsz, flags), vaddr, iova, size])
    }
}

/// The argument of the ioctl `IOMMU_IOAS_MAP`.
///
/// Source: `struct iommu_ioas_map`, `include/uapi/linux/iommufd.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct IoasMap {
    /// Bytes of this struct.
    pub size: u32,
    /// [`Self::FIXED_IOVA`], and the accesses that the device may make: [`Self::READABLE`],
    /// [`Self::WRITEABLE`].
    pub flags: u32,
    /// The I/O address space to map into.
    pub ioas_id: u32,
    /// Zero.
    pub reserved: u32,
    /// Virtual address of the first byte in this process.
    pub user_va: u64,
    /// Bytes.
    pub length: u64,
    /// I/O virtual address of the first byte.
    pub iova: u64,
}

const _: () = assert!(size_of::<IoasMap>() == 40);

impl IoasMap {
    /// In `flags`: map at `iova`; without it the kernel chooses the address.
    pub const FIXED_IOVA: u32 = 1;
    /// In `flags`: the device may write.
    pub const WRITEABLE: u32 = 2;
    /// In `flags`: the device may read.
    pub const READABLE: u32 = 4;
}

/// Makes [`IoasMap`] records.
#[derive(Clone, Copy, Debug)]
pub struct IoasLayout {
    request: RequestLayout,
    flags: u32,
    ioas_id: u32,
}

impl Layout for IoasLayout {
    type Record = IoasMap;
    type Bytes = [u8; 40];

    #[inline]
    fn data(&self, segment: Chunk, position: u64) -> IoasMap {
        let Self { flags, ioas_id, .. } = *self;
        let MapRequest { iova, uaddr, length } = self.request.data(segment, position);
        IoasMap { size: 40, flags, ioas_id, reserved: 0, user_va: uaddr, length, iova }
    }

    #[inline]
    fn bytes(&self, record: IoasMap) -> [u8; 40] {
        let IoasMap { size, flags, ioas_id, reserved, user_va, length, iova } = record;
        join([pair(size, flags), pair(ioas_id, reserved), user_va, length, iova])
    }
}

impl<P: List> Table<RequestLayout, P> {
    /// The same requests in the form of VFIO, one ioctl each.
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::desc::{MAX_REQUESTS, VfioDmaMap, map_requests};
    ///
    /// let mut builder = phyr::Builder::new();
    /// builder.extend_pfns(&[1, 2])?;
    /// let requests = map_requests(&builder.finish(), 0x7f00_0000_0000, 4096, MAX_REQUESTS)?;
    /// let table = requests.vfio(VfioDmaMap::READ);
    /// let [vaddr, iova, size] = [0x7f00_0000_0000, 0x1000, 0x2000];
    /// assert!(table.records().eq([VfioDmaMap { argsz: 32, flags: 1, vaddr, iova, size }]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn vfio(self, flags: u32) -> Table<VfioLayout, P> {
        self.with(|request| VfioLayout { request, flags })
    }

    /// The same requests in the form of iommufd, one ioctl each, for the I/O address space
    /// `ioas_id`.
    #[must_use]
    pub fn ioas(self, flags: u32, ioas_id: u32) -> Table<IoasLayout, P> {
        self.with(|request| IoasLayout { request, flags, ioas_id })
    }
}

/// The fewest requests that map the buffer at `uaddr` to the I/O virtual addresses in `dma`: one
/// for each chunk, because chunks are maximal runs.
///
/// `dma` is the list of addresses at which the device finds the buffer. If I/O virtual addresses
/// are to equal physical ones, it is the list of the buffer's pages; for a linear window it is one
/// chunk. `page_size` is the IOMMU's smallest page.
///
/// # Errors
///
/// [`DescError::TooMany`] for more than `max_requests`; [`DescError::Unaligned`] or
/// [`DescError::Gap`] for an address or a length that is not a multiple of `page_size`;
/// [`DescError::Size`] unless `page_size` is a power of two; [`DescError::Wraps`] if the buffer
/// passes the end of the virtual space.
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
pub fn map_requests<P: List>(
    dma: &P,
    uaddr: u64,
    page_size: u64,
    max_requests: u64,
) -> Result<Table<RequestLayout, P>, DescError> {
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
    Ok(Table::new(dma.clone(), RequestLayout { uaddr }, Cut::NONE))
}
