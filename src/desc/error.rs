//! What cannot be written as descriptors, or read back from them, and the sentences that say so.

use core::fmt;

use crate::error::Error;

/// Why a list has no such descriptors, or bytes are no such descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DescError {
    /// A boundary mask that is not one less than a power of two.
    Mask {
        /// The mask.
        mask: u64,
    },
    /// Segments too small for the cuts to fall where they must.
    SegmentSize {
        /// What was asked for, in bytes.
        max_segment_size: u64,
        /// The least that works.
        least: u64,
    },
    /// Segments end at boundaries where the virt boundary lets none end.
    Boundaries {
        /// The segment boundary mask.
        seg_boundary_mask: u64,
        /// The virt boundary mask.
        virt_boundary_mask: u64,
    },
    /// A size that is no power of two, or not one of the format's.
    Size {
        /// What the size is of.
        field: &'static str,
        /// The size in bytes.
        size: u64,
        /// The smallest that the format knows.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// A boundary inside a list that the format cannot express.
    Gap {
        /// Which list: `phyr`, of the data, or `lists`, of the memory for descriptors.
        argument: &'static str,
        /// Address after the boundary, or right after the chunk before it.
        paddr: u64,
        /// Position of the boundary in the list.
        position: u64,
        /// It is not a multiple of this plus one.
        mask: u64,
    },
    /// An address or length that is not a multiple of what it must be.
    Unaligned {
        /// What it is.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it must be a multiple of.
        align: u64,
    },
    /// An address that passes 2^64.
    Wraps {
        /// What is added to.
        base: u64,
        /// What is added.
        offset: u64,
    },
    /// Less memory for the descriptors than they take.
    NoRoom {
        /// Bytes that the blocks of descriptors take.
        needed: u64,
        /// Bytes given.
        given: u64,
    },
    /// More requests than the limit allows.
    TooMany {
        /// Requests needed.
        nr_requests: u64,
        /// The limit.
        max_requests: u64,
    },
    /// A device's memory, which has no `struct page`.
    NoPages {
        /// The number of the device that provides it.
        provider: u32,
    },
    /// An empty list, where the format needs a byte to point to.
    Empty,
    /// Bytes that are not whole records.
    Ragged {
        /// Bytes given.
        bytes: u64,
        /// Bytes of a record.
        record_size: u64,
    },
    /// A record that is not one of the format's.
    Record {
        /// Number of the record.
        index: u64,
        /// The field that is wrong.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// A link that leads out of the table, or into the middle of a record.
    Link {
        /// Number of the record.
        index: u64,
        /// Where it leads.
        address: u64,
    },
    /// More data than the transfer may have.
    TooLong {
        /// Number of the record.
        index: u64,
        /// Bytes of data up to and including it, or 2^64 - 1 for more than that.
        length: u64,
        /// The limit.
        max_length: u64,
    },
    /// Links that lead round in a circle, or on and on without data.
    Endless {
        /// Records followed.
        records: u64,
    },
    /// The records end before the table says that it ends.
    NoEnd {
        /// Records read.
        records: u64,
    },
    /// A record that the list cannot hold.
    List {
        /// Number of the record.
        index: u64,
        /// Why not.
        why: Error,
    },
    /// No memory for the list.
    NoMemory {
        /// Bytes that were asked for and not to be had.
        bytes: u64,
    },
}

impl DescError {
    /// The argument that is at fault, as the functions of Python call it, where alignment is.
    #[must_use]
    pub fn argument(&self) -> Option<&'static str> {
        match *self {
            Self::Gap { argument, .. } => Some(argument),
            Self::Unaligned { field: "list address", .. } => Some("lists"),
            Self::Unaligned { field: "block address", .. } => Some("address"),
            Self::Unaligned { field: "first address" | "iova" | "length", .. } => Some("phyr"),
            Self::Unaligned { field, .. } => Some(field),
            _ => None,
        }
    }

    /// Why a list did not take record `index`.
    pub(crate) fn list(index: u64, why: Error) -> Self {
        match why {
            // This says nothing about the record.
            Error::NoMemory { bytes } => Self::NoMemory { bytes },
            why => Self::List { index, why },
        }
    }
}

impl fmt::Display for DescError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Mask { mask } => {
                write!(f, "boundary mask {mask:#x} is not one less than a power of two")
            }
            Self::SegmentSize { max_segment_size, least } => write!(
                f,
                "max segment size {max_segment_size:#x} is too small: cuts fall on multiples of \
                 {least:#x}"
            ),
            Self::Boundaries { seg_boundary_mask, virt_boundary_mask } => write!(
                f,
                "segment boundary mask {seg_boundary_mask:#x} is below virt boundary mask \
                 {virt_boundary_mask:#x}"
            ),
            Self::Size { field, size, least, most } => {
                write!(f, "{field} {size:#x} is not a power of two from {least:#x} to {most:#x}")
            }
            Self::Gap { argument, paddr, position, mask } => write!(
                f,
                "the boundary at position {position:#x}, at address {paddr:#x}, is inside \
                 `{argument}` and not a multiple of {:#x}, which the format cannot express",
                u128::from(mask) + 1,
            ),
            Self::Unaligned { field, value, align } => {
                write!(f, "{field} {value:#x} is not a multiple of {align:#x}")
            }
            Self::Wraps { base, offset } => {
                write!(f, "address {base:#x} + {offset:#x} passes the end of the 64-bit space")
            }
            Self::NoRoom { needed, given } => write!(
                f,
                "the descriptors take {needed:#x} bytes of blocks, {given:#x} bytes are given"
            ),
            Self::TooMany { nr_requests, max_requests } => {
                write!(f, "{nr_requests} requests pass the limit of {max_requests}")
            }
            Self::NoPages { provider } => {
                write!(f, "memory of device {provider} has no struct page: only RAM has")
            }
            Self::Empty => f.write_str("an empty list has no byte to point to"),
            Self::Ragged { bytes, record_size } => {
                write!(f, "{bytes} bytes are not whole records of {record_size}")
            }
            Self::Record { index, field, value } => {
                write!(f, "record {index}: {field} is {value:#x}")
            }
            Self::Link { index, address } => {
                write!(f, "record {index} links to {address:#x}, where no block is")
            }
            Self::TooLong { index, length, max_length } => write!(
                f,
                "record {index}: {length:#x} bytes of data in all, more than {max_length:#x}"
            ),
            Self::Endless { records } => {
                write!(f, "the links lead on after {records} records, in a circle or without data")
            }
            Self::NoEnd { records } => {
                write!(f, "the table does not end within its {records} records")
            }
            Self::List { index, why } => write!(f, "record {index}: {why}"),
            Self::NoMemory { bytes } => Error::NoMemory { bytes }.fmt(f),
        }
    }
}

impl core::error::Error for DescError {}
