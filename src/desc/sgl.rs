//! NVMe scatter gather lists: data blocks, segments and last segments.
//!
//! ```text
//! byte  0               8           12           15         16
//!       | address       | length    | 0          | type << 4 |
//!                                                  0 data block, 2 segment, 3 last segment
//! ```
//!
//! The descriptor in the command is a data block, or leads to the first segment. The last
//! descriptor of a segment leads to the next segment, unless no data follows.
//!
//! Source: NVM Express Base Specification 2.0, section 4.1.2, "Scatter Gather List (SGL)".

use super::bvec::{check_size, low, words};
use super::error::DescError;
use super::layout::Layout;
use super::limits::{Cut, Limits, check_boundaries};
use super::prp::check_blocks;
use super::shape::Shape;
use super::table::Table;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::list::reading::List;

/// One descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SglDescriptor {
    /// Address of the data, or of the next segment.
    pub address: u64,
    /// Bytes of the data, or of the descriptors of the next segment.
    pub length: u32,
    /// Zero.
    pub reserved: [u8; 3],
    /// The type in the upper four bits. The lower four are 0: `address` is a memory address.
    pub identifier: u8,
}

const _: () = assert!(size_of::<SglDescriptor>() == 16);

impl SglDescriptor {
    /// Identifier of a data block.
    pub const DATA_BLOCK: u8 = 0x00;
    /// Identifier of a segment that another segment follows.
    pub const SEGMENT: u8 = 0x20;
    /// Identifier of the last segment.
    pub const LAST_SEGMENT: u8 = 0x30;

    fn new(address: u64, length: u32, identifier: u8) -> Self {
        Self { address, length, reserved: [0; 3], identifier }
    }

    /// The descriptor as the controller reads it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        words(self.address, u64::from(self.length) | u64::from(self.identifier) << 56)
    }
}

/// Makes [`SglDescriptor`] records.
#[derive(Clone, Debug)]
pub struct SglLayout {
    lists: Phyr,
    segment_size: u64,
    /// A link holds the length of the segment that it leads to, which is not written yet: the shape
    /// tells it.
    shape: Shape,
}

impl Layout for SglLayout {
    type Record = SglDescriptor;
    type Bytes = [u8; 16];

    #[inline]
    fn data(&self, segment: Chunk, _position: u64) -> SglDescriptor {
        SglDescriptor::new(segment.paddr, low(segment.length), SglDescriptor::DATA_BLOCK)
    }

    #[inline]
    fn bytes(&self, record: SglDescriptor) -> [u8; 16] {
        record.to_bytes()
    }

    fn slots(&self) -> Option<u64> {
        Some(self.segment_size / 16)
    }

    fn link(&self, block: u64) -> Option<SglDescriptor> {
        // A `Place` of another table may lie past the end.
        let left = self.shape.nr_blocks().checked_sub(block).filter(|&left| left > 0)?;
        let address = self.lists.translate(block * self.segment_size).ok()?;
        let is_last = left == 1;
        let identifier = if is_last { SglDescriptor::LAST_SEGMENT } else { SglDescriptor::SEGMENT };
        Some(SglDescriptor::new(address, low(self.shape.records_in(block) * 16), identifier))
    }
}

/// The descriptor of an NVMe command, and the segments that it may need.
#[derive(Clone, Debug)]
pub struct SegmentList<P: List = Phyr> {
    /// The descriptor in the command.
    pub sgl1: SglDescriptor,
    /// The bytes to write to the blocks of memory, one after the other.
    pub segments: Table<SglLayout, P>,
}

impl<P: List> SegmentList<P> {
    /// Describes the memory under `phyr`. Segments of up to `segment_size` bytes go to blocks of
    /// that size in `lists`, in order.
    ///
    /// Lengths have 32 bits: longer chunks are cut at multiples of 4096.
    ///
    /// # Errors
    ///
    /// [`DescError::Size`] unless `segment_size` is a power of two from 32 bytes to 1 MiB;
    /// [`DescError::Unaligned`], [`DescError::Gap`] and [`DescError::NoRoom`] if `lists` is not
    /// enough aligned blocks; errors of [`Segments::new`](super::Segments::new).
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::{Builder, Phyr};
    /// use phyr::desc::{Limits, SegmentList, SglDescriptor};
    ///
    /// let mut builder = Builder::new();
    /// builder.append(0x7004, 0x123)?;
    /// let list = SegmentList::new(&builder.finish(), &Phyr::default(), 4096, Limits::default())?;
    /// assert_eq!(list.sgl1.identifier, SglDescriptor::DATA_BLOCK);
    /// assert_eq!((list.sgl1.address, list.sgl1.length), (0x7004, 0x123));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(
        phyr: &P,
        lists: &Phyr,
        segment_size: u64,
        limits: Limits,
    ) -> Result<Self, DescError> {
        check_size("segment size", segment_size, 32, 1 << 20)?;
        let cut = Cut::new(limits, u32::MAX.into(), 4096)?;
        check_boundaries(phyr, limits.virt_boundary_mask)?;
        let nr_data = cut.count(phyr);
        let shape = Shape::new(nr_data, Some(segment_size / 16));
        let layout = SglLayout { lists: lists.clone(), segment_size, shape };
        if nr_data <= 1 {
            // Points to the data itself. An empty list is a data block of length 0.
            let first = phyr.chunks().next().unwrap_or(Chunk { paddr: 0, length: 0 });
            let sgl1 = layout.data(first, 0);
            let segments = Table::new(P::default(), layout, cut);
            return Ok(Self { sgl1, segments });
        }
        check_blocks(lists, shape.nr_blocks(), segment_size)?;
        let sgl1 = layout.link(0).ok_or(DescError::Empty)?;
        Ok(Self { sgl1, segments: Table::new(phyr.clone(), layout, cut) })
    }
}
