//! Errors of writing and reading descriptors, and their messages.

use core::fmt;

use crate::error::Error;
use crate::kind::NO_PADDRS;

/// Why a list cannot be written as descriptors, or bytes cannot be read as descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DescError {
    /// A boundary mask that is not one less than a power of two.
    Mask {
        /// The mask.
        mask: u64,
    },
    /// The largest segment size is too small: no cut would be allowed in a segment.
    SegmentSize {
        /// The size asked for, in bytes.
        max_segment_size: u64,
        /// The smallest size that works.
        least: u64,
    },
    /// Segments must end at boundaries where the virt boundary mask allows no segment to end.
    Boundaries {
        /// The segment boundary mask.
        seg_boundary_mask: u64,
        /// The virt boundary mask.
        virt_boundary_mask: u64,
    },
    /// A size is not a power of two, or is not one that the format allows.
    Size {
        /// The name of the size.
        field: &'static str,
        /// The size in bytes.
        size: u64,
        /// The smallest size that the format allows.
        least: u64,
        /// The largest size that the format allows.
        most: u64,
    },
    /// A boundary inside a list that the format cannot express.
    Gap {
        /// The list at fault: `phyr` is the data, `lists` the memory for descriptors.
        argument: &'static str,
        /// The address after the boundary, or the end of the chunk before it.
        paddr: u64,
        /// Position of the boundary in the list.
        position: u64,
        /// The boundary is not a multiple of this, which is 2^64 at most.
        align: u128,
    },
    /// An address or length is not a multiple of a number that it must be a multiple of.
    Unaligned {
        /// The name of the value.
        field: &'static str,
        /// The value.
        value: u64,
        /// The number that it must be a multiple of.
        align: u64,
    },
    /// A sum of addresses passes 2^64.
    Wraps {
        /// The first number of the sum.
        base: u64,
        /// The second number of the sum.
        offset: u64,
    },
    /// The memory for descriptors is too small.
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
        /// The number of the device that provides the memory.
        provider: u32,
    },
    /// A list of user addresses, where a device or a kernel needs others.
    UserAddresses,
    /// An empty list, in a format that has to point to a byte.
    Empty,
    /// The bytes are not a whole number of records.
    Ragged {
        /// Bytes given.
        bytes: u64,
        /// Bytes of a record.
        record_size: u64,
    },
    /// A record is not valid in the format.
    Record {
        /// Number of the record.
        index: u64,
        /// The name of the wrong field.
        field: &'static str,
        /// The value of the field.
        value: u64,
    },
    /// A link leads out of the table, or to an address that is not the start of a record.
    Link {
        /// Number of the record.
        index: u64,
        /// The address that the link leads to.
        address: u64,
    },
    /// There is more data than the transfer may have.
    TooLong {
        /// Number of the record.
        index: u64,
        /// Bytes of data up to the end of this record; 2^64 - 1 if there are more than that.
        length: u64,
        /// The limit.
        max_length: u64,
    },
    /// Links go round in a circle, or lead on too often without data.
    Endless {
        /// Records followed.
        records: u64,
    },
    /// The records end, but no record is marked as the last.
    NoEnd {
        /// Records read.
        records: u64,
    },
    /// Bytes of memory that come twice where each may come once.
    Overlap {
        /// The first of those bytes.
        paddr: u64,
        /// Their number.
        length: u64,
    },
    /// The records have more or fewer bytes than what they describe.
    Coverage {
        /// Bytes of all records.
        length: u64,
        /// Bytes of what they describe.
        expected: u64,
    },
    /// The list cannot hold a record.
    List {
        /// Number of the record.
        index: u64,
        /// The reason.
        why: Error,
    },
    /// No memory for the list.
    NoMemory {
        /// Bytes that could not be allocated.
        bytes: u64,
    },
}

impl DescError {
    /// The argument that is at fault, by its name in Python, if the error is about alignment or room.
    #[must_use]
    pub fn argument(&self) -> Option<&'static str> {
        match *self {
            Self::Gap { argument, .. } => Some(argument),
            Self::Unaligned { field: "list address", .. } | Self::NoRoom { .. } => Some("lists"),
            Self::Unaligned { field: "block address", .. } => Some("address"),
            Self::Unaligned { field: "first address" | "iova" | "length", .. } => Some("phyr"),
            Self::Unaligned { field, .. } => Some(field),
            _ => None,
        }
    }

    /// The error for record `index`, which the list did not accept.
    pub(crate) fn list(index: u64, why: Error) -> Self {
        match why {
            // A lack of memory is not the fault of the record.
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
            Self::Gap { argument, paddr, position, align } => write!(
                f,
                "the boundary at position {position:#x}, at address {paddr:#x}, is inside \
                 `{argument}` and not a multiple of {align:#x}, which the format cannot express"
            ),
            Self::Unaligned { field, value, align } => {
                write!(f, "{field} {value:#x} is not a multiple of {align:#x}")
            }
            Self::Wraps { base, offset } => {
                write!(f, "address {base:#x} + {offset:#x} passes the end of the 64-bit space")
            }
            Self::NoRoom { needed, given } => write!(
                f,
                "the descriptors take {needed:#x} bytes of blocks, and `lists` has {given:#x}"
            ),
            Self::TooMany { nr_requests, max_requests } => {
                write!(f, "{nr_requests} requests pass the limit of {max_requests}")
            }
            Self::NoPages { provider } => {
                write!(f, "memory of device {provider} has no struct page: only RAM has")
            }
            Self::UserAddresses => f.write_str(NO_PADDRS),
            Self::Empty => f.write_str("an empty list has no byte to point to"),
            Self::Ragged { bytes, record_size } => {
                write!(f, "{bytes} bytes are not whole records of {record_size}")
            }
            Self::Record { index, field, value } => {
                write!(f, "record {index}: {field} is {value:#x}")?;
                // Kernels test the pointers that they follow, and the page numbers, for 0.
                let is_place = matches!(field, "address" | "list address" | "pfn");
                if is_place && value == 0 { f.write_str(", which stands for none") } else { Ok(()) }
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
            Self::Overlap { paddr, length } => {
                write!(f, "{length:#x} bytes of memory at {paddr:#x} come twice")
            }
            Self::Coverage { length, expected } => {
                write!(f, "the records cover {length:#x} bytes, not {expected:#x}")
            }
            Self::List { index, why } => write!(f, "record {index}: {why}"),
            Self::NoMemory { bytes } => Error::NoMemory { bytes }.fmt(f),
        }
    }
}

impl core::error::Error for DescError {}
