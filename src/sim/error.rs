//! What the simulated machine refuses. Ranges read `0xbase+0xlength`.

use core::fmt;

use crate::error::{Error, NoMemory};

/// Why memory could not be made, reached, allocated or freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryError {
    /// Not a size of memory: it must be a multiple of 4096, at least two pages, at most 2^52.
    Size {
        /// What was asked for, in bytes.
        size: u64,
    },
    /// A range that the memory does not have.
    Outside {
        /// First byte.
        paddr: u64,
        /// Bytes.
        length: u64,
        /// Bytes of memory.
        size: u64,
    },
    /// A list of a device's memory, where only RAM will do.
    Mmio {
        /// The list's provider.
        provider: u32,
    },
    /// Data that is longer or shorter than the list.
    Length {
        /// Bytes given.
        given: u64,
        /// Bytes of the list.
        length: u64,
    },
    /// No free pages that fit what was asked for.
    Full {
        /// Bytes asked for.
        length: u64,
        /// Bytes free, wherever they are.
        free: u64,
    },
    /// A page to be freed that is not allocated.
    NotAllocated {
        /// A range of which not every page is.
        paddr: u64,
        /// Bytes.
        length: u64,
    },
    /// A page to be reserved that is not free.
    NotFree {
        /// A range of which not every page is.
        paddr: u64,
        /// Bytes.
        length: u64,
    },
    /// Not an alignment: it must be a power of two.
    Align {
        /// What was asked for, in bytes.
        align: u64,
    },
    /// An order of no block: 4096 << order must fit the address space.
    Order {
        /// What was asked for.
        order: u32,
    },
    /// No orders to draw from.
    NoOrders,
    /// An offset beyond the first page.
    Offset {
        /// What was asked for, in bytes.
        offset: u64,
    },
    /// More bytes written than the memory may keep.
    Resident {
        /// Bytes that were to be added.
        length: u64,
        /// Bytes resident before.
        resident: u64,
        /// Most bytes that may be.
        limit: u64,
    },
    /// More blocks than a scattered list may have.
    Blocks {
        /// Blocks that it would have, at least.
        blocks: u64,
        /// Most that it may have.
        most: u64,
    },
    /// The list itself could not be made; or there was no memory of this machine.
    List(Error),
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Size { size } => {
                write!(f, "memory of {size:#x} bytes is not a multiple of 4096 from 0x2000 to 2^52")
            }
            Self::Outside { paddr, length, size } => {
                write!(f, "range {paddr:#x}+{length:#x} is outside a memory of {size:#x} bytes")
            }
            Self::Mmio { provider } => {
                write!(f, "a list of kind mmio:{provider} is not RAM, which this needs")
            }
            Self::Length { given, length } => {
                write!(f, "{given:#x} bytes of data for a list of {length:#x} bytes")
            }
            Self::Full { length, free } => {
                write!(f, "no free pages fit {length:#x} bytes as asked, {free:#x} bytes are free")
            }
            Self::NotAllocated { paddr, length } => {
                write!(f, "not every page of {paddr:#x}+{length:#x} is allocated: nothing freed")
            }
            Self::NotFree { paddr, length } => {
                write!(f, "not every page of {paddr:#x}+{length:#x} is free: nothing reserved")
            }
            Self::Align { align } => write!(f, "alignment {align:#x} is not a power of two"),
            Self::Order { order } => write!(f, "order {order} is not from 0 to 39"),
            Self::NoOrders => f.write_str("no orders to draw blocks from"),
            Self::Offset { offset } => write!(f, "offset {offset:#x} is not below 0x1000"),
            Self::Resident { length, resident, limit } => write!(
                f,
                "{length:#x} bytes more than the {resident:#x} resident pass the limit of {limit:#x}"
            ),
            Self::Blocks { blocks, most } => write!(
                f,
                "{blocks} blocks or more, where a scattered list has {most} at most: ask for fewer \
                 bytes, or higher orders"
            ),
            Self::List(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for MemoryError {}

impl From<NoMemory> for MemoryError {
    fn from(why: NoMemory) -> Self {
        Self::List(why.into())
    }
}

impl From<Error> for MemoryError {
    fn from(error: Error) -> Self {
        Self::List(error)
    }
}

/// Why an IOMMU domain could not be made, or refused a map or an unmap, which then did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DomainError {
    /// Not a number of levels: 3, 4 or 5.
    Levels {
        /// What was asked for.
        levels: u32,
    },
    /// Page sizes of which some is not 4 KiB, 2 MiB or 1 GiB, or without 4 KiB.
    PageSizes {
        /// What was asked for.
        pgsize_bitmap: u64,
    },
    /// A range of addresses that is empty or beyond the width of the tables.
    Range {
        /// First address.
        first: u64,
        /// Last address.
        last: u64,
        /// Bits of an address.
        width: u32,
    },
    /// Not the shape of an IOTLB: sets a power of two, at least one way, at most 65536 entries.
    Iotlb {
        /// Sets asked for.
        sets: u32,
        /// Ways asked for.
        ways: u32,
    },
    /// A page size that the domain does not have.
    PageSize {
        /// What was asked for, in bytes.
        pgsize: u64,
        /// What there is.
        pgsize_bitmap: u64,
    },
    /// An address that is not a multiple of the page size.
    Unaligned {
        /// I/O virtual address.
        iova: u64,
        /// Physical address.
        paddr: u64,
        /// Page size in bytes.
        pgsize: u64,
    },
    /// An address to be unmapped that is not a multiple of the page size.
    Misplaced {
        /// I/O virtual address.
        iova: u64,
        /// Page size in bytes.
        pgsize: u64,
    },
    /// No pages, or more than there are addresses.
    Count {
        /// First address.
        iova: u64,
        /// Page size in bytes.
        pgsize: u64,
        /// Pages.
        pgcount: u64,
    },
    /// Outside the aperture.
    Aperture {
        /// First address.
        iova: u64,
        /// Bytes.
        length: u64,
        /// Last address of the aperture.
        last: u64,
    },
    /// Inside a reserved range.
    Reserved {
        /// First address.
        iova: u64,
        /// Bytes.
        length: u64,
        /// First address of the reserved range.
        first: u64,
    },
    /// Beyond the 52 bits of a physical address.
    Paddr {
        /// First address.
        paddr: u64,
        /// Bytes.
        length: u64,
    },
    /// Neither read nor write, or a bit that means nothing.
    Prot {
        /// What was asked for.
        prot: u64,
    },
    /// Something is mapped there.
    Mapped {
        /// First address that is.
        iova: u64,
    },
    /// Nothing is mapped there.
    NotMapped {
        /// First address that is not.
        iova: u64,
    },
    /// Part of a larger page: unmapping it would split the page.
    Split {
        /// First address of the page.
        iova: u64,
        /// Its size in bytes.
        pgsize: u64,
    },
    /// Columns of a plan that differ in length.
    Columns {
        /// Items of the first.
        iovas: u64,
        /// Items of the one that differs.
        other: u64,
    },
    /// A table entry that points where there is no memory: somebody wrote on the tables.
    Table {
        /// Where it points.
        paddr: u64,
    },
    /// No memory for a table.
    Memory(MemoryError),
}

impl fmt::Display for DomainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Levels { levels } => write!(f, "{levels} levels of tables are not 3, 4 or 5"),
            Self::PageSizes { pgsize_bitmap } => write!(
                f,
                "page sizes {pgsize_bitmap:#x} are not 0x1000 and any of 0x200000 and 0x40000000"
            ),
            Self::Range { first, last, width } => {
                write!(f, "addresses {first:#x} to {last:#x} are no range of {width}-bit addresses")
            }
            Self::Iotlb { sets, ways } => write!(
                f,
                "an IOTLB of {sets} sets of {ways} is not a power of two of at least one, 65536 \
                 entries at most"
            ),
            Self::PageSize { pgsize, pgsize_bitmap } => {
                write!(f, "page size {pgsize:#x} is not among {pgsize_bitmap:#x}")
            }
            Self::Unaligned { iova, paddr, pgsize } => write!(
                f,
                "iova {iova:#x} and address {paddr:#x} are not multiples of page size {pgsize:#x}"
            ),
            Self::Misplaced { iova, pgsize } => {
                write!(f, "iova {iova:#x} is not a multiple of page size {pgsize:#x}")
            }
            Self::Count { iova, pgsize, pgcount } => {
                write!(f, "{pgcount} pages of {pgsize:#x} at iova {iova:#x} are no range")
            }
            Self::Aperture { iova, length, last } => {
                write!(f, "iova {iova:#x}+{length:#x} is outside the aperture, last {last:#x}")
            }
            Self::Reserved { iova, length, first } => {
                write!(f, "iova {iova:#x}+{length:#x} touches the reserved range at {first:#x}")
            }
            Self::Paddr { paddr, length } => {
                write!(f, "address {paddr:#x}+{length:#x} is beyond 52 bits")
            }
            Self::Prot { prot } => {
                write!(
                    f,
                    "prot {prot:#x} is not read (1), write (2) or both, and what goes with it"
                )
            }
            Self::Mapped { iova } => write!(f, "iova {iova:#x} is mapped already: nothing mapped"),
            Self::NotMapped { iova } => {
                write!(f, "iova {iova:#x} is not mapped: nothing unmapped")
            }
            Self::Split { iova, pgsize } => write!(
                f,
                "the page {iova:#x}+{pgsize:#x} is larger than what is to be unmapped: nothing \
                 unmapped"
            ),
            Self::Columns { iovas, other } => {
                write!(f, "columns of {iovas} and {other} items are no plan")
            }
            Self::Table { paddr } => {
                write!(f, "a table entry points to {paddr:#x}, where there is no memory")
            }
            Self::Memory(error) => write!(f, "no memory for tables: {error}"),
        }
    }
}

impl core::error::Error for DomainError {}

impl From<MemoryError> for DomainError {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}
