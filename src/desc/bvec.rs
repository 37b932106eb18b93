//! Arrays of 16-byte vectors: `bio_vec`, `iovec` and `phys_vec`.
//!
//! ```text
//!  byte       0               8           12          16
//! bio_vec     | struct page * | len       | offset    |
//! iovec       | base          | len                   |
//! phys_vec    | paddr         | len                   |
//! ```

use super::error::DescError;
use super::layout::Layout;
use super::limits::{Cut, Limits, check_boundaries};
use super::table::Table;
use crate::kind::Kind;
use crate::list::chunks::Chunk;
use crate::list::reading::List;

/// The place of a kernel's array of `struct page`, into which descriptors point.
///
/// # Examples
///
/// ```
/// use phyr::desc::PageStructs;
///
/// let pages = PageStructs::new(0xffff_ea00_0000_0000, 4096)?;
/// assert_eq!(pages.page(0x3000), 0xffff_ea00_0000_00c0);
/// # Ok::<(), phyr::desc::DescError>(())
/// ```
///
/// Source: `pfn_to_page()` with `CONFIG_SPARSEMEM_VMEMMAP`, `include/asm-generic/memory_model.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageStructs {
    vmemmap: u64,
    /// A shift, because every use needs a shift or a mask.
    page_lg2: u32,
}

impl PageStructs {
    /// Bytes of a `struct page`.
    pub const STRUCT_SIZE: u64 = 64;

    /// The array of a kernel with pages of `page_size` bytes. The `struct page` of page 0 is at
    /// virtual address `vmemmap`: `vmemmap_base` of that kernel, `0xffff_ea00_0000_0000` on x86-64
    /// without KASLR.
    ///
    /// # Errors
    ///
    /// [`DescError::Size`] unless `page_size` is a power of two from 4 to 64 KiB.
    pub fn new(vmemmap: u64, page_size: u64) -> Result<Self, DescError> {
        check_size("page size", page_size, 4096, 64 << 10)?;
        Ok(Self { vmemmap, page_lg2: page_size.trailing_zeros() })
    }

    /// The kernel's page size in bytes.
    #[must_use]
    pub const fn page_size(self) -> u64 {
        1 << self.page_lg2
    }

    /// Returns the pointer to the `struct page` of the page that holds `paddr`.
    #[must_use]
    pub const fn page(self, paddr: u64) -> u64 {
        // Wraps like the kernel's pointer arithmetic. Tables check that their pointers do not wrap.
        self.vmemmap.wrapping_add((paddr >> self.page_lg2) * Self::STRUCT_SIZE)
    }

    /// Returns the address of the page of a `struct page` pointer.
    ///
    /// `None` if the pointer is not the start of a `struct page`, or its page is not below 2^64.
    #[must_use]
    pub const fn paddr(self, page: u64) -> Option<u64> {
        let at = page.wrapping_sub(self.vmemmap);
        if at % Self::STRUCT_SIZE != 0 {
            return None;
        }
        (at / Self::STRUCT_SIZE).checked_mul(self.page_size())
    }

    /// The offset of an address inside its page.
    pub(crate) fn offset(self, paddr: u64) -> u32 {
        low(paddr & (self.page_size() - 1))
    }

    /// Checks that pointers have two low bits free. A scatterlist keeps its marks there.
    pub(crate) fn check_marks(self) -> Result<(), DescError> {
        const ALIGN: u64 = 4;
        if self.vmemmap % ALIGN == 0 {
            return Ok(());
        }
        Err(DescError::Unaligned { field: "vmemmap", value: self.vmemmap, align: ALIGN })
    }

    /// Checks that every page of a list has a `struct page`: the list is RAM, and the pointers do
    /// not pass the end of the virtual space.
    pub(crate) fn check(self, phyr: &impl List) -> Result<(), DescError> {
        if let Kind::Mmio { provider } = phyr.kind() {
            return Err(DescError::NoPages { provider });
        }
        check_last(phyr, |last| {
            check_sum(self.vmemmap, (last >> self.page_lg2) * Self::STRUCT_SIZE)
        })
    }
}

/// Checks that a size is a power of two in a range.
pub(crate) fn check_size(
    field: &'static str,
    size: u64,
    least: u64,
    most: u64,
) -> Result<(), DescError> {
    if size.is_power_of_two() && (least..=most).contains(&size) {
        Ok(())
    } else {
        Err(DescError::Size { field, size, least, most })
    }
}

/// Runs `check` on the highest address of a list, which is 0 if the list is empty. If `check` holds
/// for an address, it must hold for every lower one.
///
/// O(log n) if the check holds for an upper bound of all addresses; else a walk finds the highest.
pub(crate) fn check_last(
    phyr: &impl List,
    check: impl Fn(u64) -> Result<(), DescError>,
) -> Result<(), DescError> {
    let walk = || phyr.chunks().fold(0, |last, chunk| chunk.last_of_list().max(last));
    check(phyr.upper_bound()).or_else(|_| check(walk()))
}

/// Checks that an address does not pass 2^64.
pub(crate) fn check_sum(base: u64, offset: u64) -> Result<(), DescError> {
    match base.checked_add(offset) {
        Some(_) => Ok(()),
        None => Err(DescError::Wraps { base, offset }),
    }
}

/// Narrows a number that is known to fit in 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "lengths are cut to 32 bits, offsets smaller")]
pub(crate) fn low(bytes: u64) -> u32 {
    debug_assert!(bytes <= u32::MAX.into(), "{bytes:#x}");
    bytes as u32
}

/// Joins two words of 8 bytes.
#[inline]
pub(crate) fn words(first: u64, second: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (front, back) = bytes.split_at_mut(8);
    front.copy_from_slice(&first.to_le_bytes());
    back.copy_from_slice(&second.to_le_bytes());
    bytes
}

/// Linux's `struct bio_vec`.
///
/// Source: `include/linux/bvec.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct BioVec {
    /// Pointer to the `struct page` of the first page.
    pub bv_page: u64,
    /// Bytes.
    pub bv_len: u32,
    /// Offset of the first byte in its page.
    pub bv_offset: u32,
}

const _: () = assert!(size_of::<BioVec>() == 16);

/// Makes [`BioVec`] records.
#[derive(Clone, Copy, Debug)]
pub struct BioVecLayout(PageStructs);

impl Layout for BioVecLayout {
    type Record = BioVec;
    type Bytes = [u8; 16];

    #[inline]
    fn data(&self, segment: Chunk, _position: u64) -> BioVec {
        let Chunk { paddr, length } = segment;
        BioVec { bv_page: self.0.page(paddr), bv_len: low(length), bv_offset: self.0.offset(paddr) }
    }

    #[inline]
    fn bytes(&self, record: BioVec) -> [u8; 16] {
        words(record.bv_page, u64::from(record.bv_len) | u64::from(record.bv_offset) << 32)
    }
}

impl<P: List> Table<BioVecLayout, P> {
    /// The list as `bio_vec`s. Lengths have 32 bits: longer chunks are cut at page boundaries.
    ///
    /// # Errors
    ///
    /// [`DescError::NoPages`] for a device's memory; [`DescError::Wraps`] for a page whose
    /// `struct page` would pass the end of the virtual space; errors of
    /// [`Segments::new`](super::Segments::new).
    pub fn bio_vecs(phyr: &P, pages: PageStructs, limits: Limits) -> Result<Self, DescError> {
        pages.check(phyr)?;
        let cut = Cut::new(limits, u32::MAX.into(), pages.page_size())?;
        check_boundaries(phyr, limits.virt_boundary_mask)?;
        Ok(Self::new(phyr.clone(), BioVecLayout(pages), cut))
    }
}

/// POSIX's `struct iovec` on a 64-bit machine.
///
/// Source: `include/uapi/linux/uio.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct IoVec {
    /// Virtual address of the first byte.
    pub iov_base: u64,
    /// Bytes.
    pub iov_len: u64,
}

const _: () = assert!(size_of::<IoVec>() == 16);

/// Makes [`IoVec`] records of memory that is mapped at one virtual address without gaps.
#[derive(Clone, Copy, Debug)]
pub struct IoVecLayout {
    uaddr: u64,
}

impl Layout for IoVecLayout {
    type Record = IoVec;
    type Bytes = [u8; 16];

    #[inline]
    fn data(&self, segment: Chunk, _position: u64) -> IoVec {
        // Checked for every chunk when the table was made.
        IoVec { iov_base: segment.paddr.wrapping_add(self.uaddr), iov_len: segment.length }
    }

    #[inline]
    fn bytes(&self, record: IoVec) -> [u8; 16] {
        words(record.iov_base, record.iov_len)
    }
}

impl<P: List> Table<IoVecLayout, P> {
    /// The list as `iovec`s. Physical address 0 is mapped at virtual address `uaddr`, as for the
    /// memory of a guest, or for a direct map.
    ///
    /// # Errors
    ///
    /// [`DescError::Wraps`] for a chunk that passes the end of the virtual space; errors of
    /// [`Segments::new`](super::Segments::new).
    pub fn iovecs(phyr: &P, uaddr: u64, limits: Limits) -> Result<Self, DescError> {
        let cut = Cut::new(limits, u64::MAX, 1)?;
        check_boundaries(phyr, limits.virt_boundary_mask)?;
        check_last(phyr, |last| check_sum(uaddr, last))?;
        Ok(Self::new(phyr.clone(), IoVecLayout { uaddr }, cut))
    }
}

/// Linux's `struct phys_vec`.
///
/// `len` had 32 bits and padding until 2025. For lengths below 4 GiB the bytes are the same.
///
/// Source: `include/linux/types.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PhysVec {
    /// Physical address of the first byte.
    pub paddr: u64,
    /// Bytes.
    pub len: u64,
}

const _: () = assert!(size_of::<PhysVec>() == 16);

/// Makes [`PhysVec`] records.
#[derive(Clone, Copy, Debug)]
pub struct PhysVecLayout;

impl Layout for PhysVecLayout {
    type Record = PhysVec;
    type Bytes = [u8; 16];

    #[inline]
    fn data(&self, segment: Chunk, _position: u64) -> PhysVec {
        PhysVec { paddr: segment.paddr, len: segment.length }
    }

    #[inline]
    fn bytes(&self, record: PhysVec) -> [u8; 16] {
        words(record.paddr, record.len)
    }
}

impl<P: List> Table<PhysVecLayout, P> {
    /// The list as `phys_vec`s.
    ///
    /// # Errors
    ///
    /// Those of [`Segments::new`](super::Segments::new).
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::desc::{Fill, Limits, Place, Table};
    ///
    /// let mut builder = phyr::Builder::new();
    /// builder.extend_pfns(&[1, 7, 9])?;
    /// let phyr = builder.finish();
    /// let table = Table::phys_vecs(&phyr, Limits::default())?;
    ///
    /// // A ring of two records, filled as often as it takes.
    /// let (mut ring, mut place) = ([0; 32], Place::default());
    /// assert_eq!(table.fill(&mut place, &mut ring), 32);
    /// assert_eq!(table.fill(&mut place, &mut ring), 16);
    /// assert_eq!(table.fill(&mut place, &mut ring), 0);
    /// assert_eq!(ring[..8], 0x9000_u64.to_le_bytes());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn phys_vecs(phyr: &P, limits: Limits) -> Result<Self, DescError> {
        let cut = Cut::new(limits, u64::MAX, 1)?;
        check_boundaries(phyr, limits.virt_boundary_mask)?;
        Ok(Self::new(phyr.clone(), PhysVecLayout, cut))
    }
}
