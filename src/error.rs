//! Errors of the core, and their messages. A range reads `0xbase+0xlength`: addresses, positions,
//! lengths and page sizes are hexadecimal. Granules, counts, and numbers of chunks are decimal, and so
//! are bytes of files and arrays.

use alloc::vec::Vec;
use core::fmt;

use crate::kind::{Kind, NO_PADDRS};

/// There is no memory for so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoMemory {
    pub(crate) bytes: u64,
}

impl NoMemory {
    /// The error for `len` items.
    pub(crate) fn of<T>(len: usize) -> Self {
        Self { bytes: (size_of::<T>() as u64).saturating_mul(len as u64) }
    }
}

/// Makes room for more items.
pub(crate) fn reserve<T>(items: &mut Vec<T>, more: usize) -> Result<(), NoMemory> {
    items.try_reserve(more).map_err(|_| NoMemory::of::<T>(more))
}

/// So many zeros.
pub(crate) fn zeros<T: Copy + Default>(count: usize) -> Result<Vec<T>, NoMemory> {
    let mut items = Vec::new();
    items.try_reserve_exact(count).map_err(|_| NoMemory::of::<T>(count))?;
    items.resize(count, T::default());
    Ok(items)
}

impl From<NoMemory> for Error {
    fn from(NoMemory { bytes }: NoMemory) -> Self {
        Self::NoMemory { bytes }
    }
}

/// Refuses a list of user addresses, where physical ones are needed.
pub(crate) fn check_paddrs(kind: Kind) -> Result<(), Error> {
    if kind == Kind::User { Err(Error::UserAddresses) } else { Ok(()) }
}

/// Returns the result of an operation that the caller expects to have memory.
///
/// # Panics
///
/// Panics if there was no memory.
pub(crate) fn expect_memory<T>(outcome: Result<T, Error>) -> T {
    outcome.unwrap_or_else(|why| panic!("{why}; `try_` forms return this as an error"))
}

/// Why a list could not be made, sliced, searched or joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Not a granule: it must be a power of two from 1 to 65536.
    Granule {
        /// The granule asked for, in bytes.
        granule: u64,
    },
    /// Not a block size: it must be a power of two.
    PageSize {
        /// The size asked for, in bytes.
        page_size: u64,
    },
    /// A chunk of no bytes.
    ZeroLength {
        /// Where it would start.
        paddr: u64,
    },
    /// A range that passes 2^64.
    Wraps {
        /// First byte.
        paddr: u64,
        /// Bytes.
        length: u64,
    },
    /// A window of I/O virtual addresses that passes 2^64, or would be all of them.
    Window {
        /// I/O virtual address of the first byte.
        iova: u64,
        /// Bytes.
        length: u64,
    },
    /// Whole pages would let a device reach bytes beyond the list, and the caller forbade that.
    Exposes {
        /// First byte of the list.
        paddr: u64,
        /// Last byte of the list.
        last: u64,
        /// Smallest page of the table in bytes.
        align: u64,
        /// Bytes of the first page before the list.
        before: u64,
        /// Bytes of the last page behind the list.
        behind: u64,
    },
    /// An address that is too high for a list of this granule.
    Reach {
        /// First byte.
        paddr: u64,
        /// Bytes.
        length: u64,
        /// The list's granule in bytes.
        granule: u64,
    },
    /// A page number that is too high for a list of this granule.
    Pfn {
        /// The page number.
        pfn: u64,
        /// The list's granule in bytes.
        granule: u64,
    },
    /// A boundary inside a list is not a multiple of the granule.
    Unaligned {
        /// Start of the chunk after the boundary, existing or to be added.
        paddr: u64,
        /// Position of the boundary in the list, in bytes.
        position: u64,
        /// The list's granule in bytes.
        align: u64,
    },
    /// A chunk boundary inside a list is not a multiple of the block size asked for.
    Block {
        /// Start of the chunk before or after the boundary.
        paddr: u64,
        /// Length of that chunk.
        length: u64,
        /// Size of the blocks in bytes.
        align: u64,
    },
    /// The whole granules of a list would have more than 2^64 - 1 bytes.
    TooLong {
        /// Bytes so far, counted in whole granules.
        length: u64,
        /// Granules to be added.
        nr_pages: u64,
        /// The list's granule in bytes.
        granule: u64,
    },
    /// A byte range that is not inside the list.
    Outside {
        /// First byte asked for.
        start: u64,
        /// One past the last byte asked for.
        end: u64,
        /// Bytes in the list.
        length: u64,
    },
    /// A byte position that is not inside the list.
    Position {
        /// The position asked for.
        position: u64,
        /// Bytes in the list.
        length: u64,
    },
    /// A chunk number that is not inside the list.
    Number {
        /// The chunk asked for.
        number: u64,
        /// Chunks in the list.
        nr_chunks: u64,
    },
    /// A bitmap of page sizes is 0: it names no size.
    NoPageSize,
    /// An I/O virtual address and the physical address to map there have different offsets inside
    /// the smallest page.
    Skew {
        /// I/O virtual address of the first byte.
        iova: u64,
        /// Physical address of the first byte.
        paddr: u64,
        /// Size of the smallest page in bytes.
        align: u64,
    },
    /// Addresses to be mapped of which one is mapped.
    Mapped {
        /// The first of them.
        iova: u64,
        /// How many, in bytes.
        length: u64,
        /// The first that is mapped.
        first: u64,
    },
    /// A constant that cannot be added to the addresses of a list.
    Shift {
        /// First byte of the first chunk that it does not fit.
        paddr: u64,
        /// Bytes of that chunk.
        length: u64,
        /// The constant.
        offset: i128,
        /// The list's granule in bytes.
        granule: u64,
    },
    /// Two lists of different granules.
    Granules {
        /// Granule of the first list, in bytes.
        left: u64,
        /// Granule of the second list, in bytes.
        right: u64,
    },
    /// A list of user addresses, where physical ones are needed.
    UserAddresses,
    /// Two lists of different kinds.
    Kinds {
        /// Kind of the first list.
        left: Kind,
        /// Kind of the second list.
        right: Kind,
    },
    /// No memory for the list.
    NoMemory {
        /// Bytes that could not be allocated.
        bytes: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Granule { granule } => {
                write!(f, "granule {granule} is not a power of two from 1 to 65536")
            }
            Self::PageSize { page_size } => {
                write!(f, "page size {page_size:#x} is not a power of two")
            }
            Self::ZeroLength { paddr } => write!(f, "chunk {paddr:#x}+0x0 has no bytes"),
            Self::Wraps { paddr, length } => {
                write!(f, "range {paddr:#x}+{length:#x} passes the end of the 64-bit space")
            }
            Self::Window { iova, length } => {
                write!(f, "window {iova:#x}+{length:#x} passes the end of the I/O virtual space")
            }
            Self::Exposes { paddr, last, align, before, behind } => write!(
                f,
                "whole pages of {align:#x} show the device {:#x} bytes beyond the list: \
                 {before:#x} before {paddr:#x}, {behind:#x} behind {last:#x}",
                // Each is less than a page, which is at most 2^63.
                before + behind
            ),
            Self::Reach { paddr, length, granule } => write!(
                f,
                "range {paddr:#x}+{length:#x} is beyond the reach of granule {granule}, \
                 {granule} * 2^52 bytes"
            ),
            Self::Pfn { pfn, granule } => {
                write!(f, "page number {pfn:#x} is beyond the reach of granule {granule}")
            }
            Self::Unaligned { paddr, position, align } if paddr % align.max(1) == 0 => write!(
                f,
                "address {paddr:#x} cannot follow at position {position:#x}: the chunk before ends \
                 inside a granule of {align} bytes"
            ),
            Self::Unaligned { paddr, position, align } => write!(
                f,
                "address {paddr:#x} at position {position:#x} is not a multiple of granule {align}"
            ),
            Self::Block { paddr, length, align } => write!(
                f,
                "chunk {paddr:#x}+{length:#x} has a boundary inside the list that is not a \
                 multiple of page size {align:#x}"
            ),
            Self::TooLong { length, nr_pages, granule } => write!(
                f,
                "{nr_pages} granules of {granule} bytes after {length:#x} bytes are more than a \
                 list holds, 2^64 - 1 bytes of whole granules"
            ),
            Self::Outside { start, end, length } => {
                write!(f, "bytes {start:#x} to {end:#x} are outside a list of {length:#x} bytes")
            }
            Self::Position { position, length } => {
                write!(f, "position {position:#x} is outside a list of {length:#x} bytes")
            }
            Self::Number { number, nr_chunks } => {
                write!(f, "chunk {number} is outside a list of {nr_chunks} chunks")
            }
            Self::NoPageSize => f.write_str("page-size bitmap 0x0 names no page size"),
            Self::Skew { iova, paddr, align } => write!(
                f,
                "address {iova:#x} cannot stand for {paddr:#x}: they are at different places \
                 inside a page of {align:#x} bytes"
            ),
            Self::Mapped { iova, length, first } => {
                write!(f, "range {iova:#x}+{length:#x} cannot be mapped: {first:#x} is")
            }
            Self::Shift { paddr, length, offset, granule } => {
                let (sign, size) = if offset < 0 { ('-', "taken") } else { ('+', "added") };
                write!(
                    f,
                    "chunk {paddr:#x}+{length:#x} cannot be moved by {sign}{:#x}: what is {size} \
                     must be a multiple of granule {granule} and stay in its reach",
                    offset.unsigned_abs()
                )
            }
            Self::Granules { left, right } => {
                write!(f, "the lists have different granules: {left} and {right}")
            }
            Self::UserAddresses => f.write_str(NO_PADDRS),
            Self::Kinds { left, right } => {
                write!(f, "the lists have different kinds: {left} and {right}")
            }
            Self::NoMemory { bytes } => write!(f, "no memory for {bytes} bytes of a list"),
        }
    }
}

impl core::error::Error for Error {}

/// Why bytes are not a serialised list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes are fewer or more than the header says, or too few for a header.
    Size {
        /// Bytes given.
        given: u64,
        /// Bytes that the header announces; `u64::MAX` if that number does not fit.
        expected: u64,
    },
    /// The first four bytes are not `PHYR`.
    Magic {
        /// The first four bytes.
        magic: [u8; 4],
    },
    /// A version that this crate cannot read.
    Version {
        /// The version in the header.
        version: u16,
    },
    /// A header field has a value that is not allowed.
    Header {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The check word does not match the bytes: they changed since they were written.
    Check {
        /// The check word in the header.
        stored: u64,
        /// The check word computed from the bytes.
        computed: u64,
    },
    /// A word is not an entry, or is not the only encoding of its chunk.
    Entry {
        /// Number of the word.
        index: u64,
        /// The value of the word.
        word: u64,
    },
    /// The list cannot hold a chunk.
    Chunk {
        /// Number of its first word.
        index: u64,
        /// The reason.
        why: Error,
    },
    /// Two neighbouring chunks touch, or the list uses no byte of its first or last granule.
    NotCanonical {
        /// Number of the word where this was found.
        index: u64,
    },
    /// The words of a frozen list, in memory of others, are not those of a list: they changed since
    /// the list was opened, or nobody checked them.
    Changed {
        /// Bytes that the list had when it was opened.
        length: u64,
    },
    /// There is no memory for the list. The bytes may be right or wrong.
    NoMemory {
        /// Bytes that could not be allocated.
        bytes: u64,
    },
}

impl From<NoMemory> for FormatError {
    fn from(NoMemory { bytes }: NoMemory) -> Self {
        Self::NoMemory { bytes }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Size { given, expected } => {
                write!(f, "{given} bytes given where a serialised list has {expected}")
            }
            Self::Magic { magic } => {
                let hint = if magic == *b"PHYF" { ", as a frozen list does" } else { "" };
                write!(
                    f,
                    "does not start with \"PHYR\" but with \"{}\"{hint}",
                    magic.escape_ascii()
                )
            }
            Self::Version { version } => write!(f, "serialised list of unknown version {version}"),
            Self::Header { field, value } => write!(f, "header field {field} holds {value:#x}"),
            Self::Check { stored, computed } => write!(
                f,
                "the check word is {stored:#x} but the bytes yield {computed:#x}: they changed \
                 since they were written"
            ),
            Self::Entry { index, word } => write!(f, "word {index}, {word:#x}, is not an entry"),
            Self::Chunk { index, why } => write!(f, "word {index}: {why}"),
            Self::NotCanonical { index } => {
                write!(f, "word {index} is not part of a canonical list")
            }
            Self::Changed { length } => write!(
                f,
                "the words of a list of {length:#x} bytes are not those of a list: they changed since \
                 it was opened, or were never checked"
            ),
            Self::NoMemory { bytes } => Error::NoMemory { bytes }.fmt(f),
        }
    }
}

impl core::error::Error for FormatError {}
