//! Errors of the simulated machine, and their messages. A range reads `0xbase+0xlength`.

use core::fmt;

use crate::error::{Error, NoMemory};
use crate::kind::NO_PADDRS;

/// Why memory could not be made, accessed, allocated or freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryError {
    /// Not a size of memory: it must be a multiple of 4096, at least two pages, at most 2^52 bytes.
    Size {
        /// The size asked for, in bytes.
        size: u64,
    },
    /// A range is not inside the memory.
    Outside {
        /// First byte.
        paddr: u64,
        /// Bytes.
        length: u64,
        /// Size of the memory in bytes.
        size: u64,
    },
    /// A list of a device's memory was given where only RAM is possible.
    Mmio {
        /// The provider of the list's memory.
        provider: u32,
    },
    /// A list of user addresses, where physical ones are needed.
    UserAddresses,
    /// The data is longer or shorter than the list.
    Length {
        /// Bytes given.
        given: u64,
        /// Bytes of the list.
        length: u64,
    },
    /// No free pages fit the request.
    Full {
        /// Bytes asked for.
        length: u64,
        /// Bytes that are free in all, whether or not they are contiguous.
        free: u64,
    },
    /// A page to be freed is not allocated.
    NotAllocated {
        /// First byte of a range with a page that is not allocated.
        paddr: u64,
        /// Bytes.
        length: u64,
    },
    /// A page to be reserved is not free.
    NotFree {
        /// First byte of a range with a page that is not free.
        paddr: u64,
        /// Bytes.
        length: u64,
    },
    /// Not an alignment: it must be a power of two.
    Align {
        /// The alignment asked for, in bytes.
        align: u64,
    },
    /// Not an order of blocks: 4096 << order must fit in the address space.
    Order {
        /// The order asked for.
        order: u32,
    },
    /// There are no orders to draw from.
    NoOrders,
    /// An offset past the first page.
    Offset {
        /// The offset asked for, in bytes.
        offset: u64,
    },
    /// More bytes would be written than the memory may keep.
    Resident {
        /// Bytes to be added.
        length: u64,
        /// Bytes resident before the call.
        resident: u64,
        /// Most bytes that may be resident.
        limit: u64,
    },
    /// More blocks than a scattered list may have.
    Blocks {
        /// A lower bound on the number of blocks.
        blocks: u64,
        /// Most blocks that a list may have.
        most: u64,
    },
    /// The list could not be made, or this machine has no memory for the work.
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
            Self::UserAddresses => f.write_str(NO_PADDRS),
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

/// Why an IOMMU domain could not be made, or refused to map or unmap. A refused call changes
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DomainError {
    /// Not a number of levels: it must be 3, 4 or 5.
    Levels {
        /// The number asked for.
        levels: u32,
    },
    /// Page sizes without 4 KiB, or with a size other than 4 KiB, 2 MiB and 1 GiB.
    PageSizes {
        /// The bitmap asked for.
        pgsize_bitmap: u64,
    },
    /// A range of addresses is empty, or has more bits than the tables translate.
    Range {
        /// First address.
        first: u64,
        /// Last address.
        last: u64,
        /// Number of bits of an address.
        width: u32,
    },
    /// Not a shape of an IOTLB: the sets must be a power of two, with at least one way and at most
    /// 65536 entries.
    Iotlb {
        /// Sets asked for.
        sets: u32,
        /// Ways asked for.
        ways: u32,
    },
    /// A page size that the domain does not have.
    PageSize {
        /// The page size asked for, in bytes.
        pgsize: u64,
        /// The page sizes of the domain.
        pgsize_bitmap: u64,
    },
    /// An address is not a multiple of the page size.
    Unaligned {
        /// I/O virtual address.
        iova: u64,
        /// Physical address.
        paddr: u64,
        /// Page size in bytes.
        align: u64,
    },
    /// An address to be unmapped is not a multiple of the page size.
    Misplaced {
        /// I/O virtual address.
        iova: u64,
        /// Page size in bytes.
        align: u64,
    },
    /// No pages, or more pages than there are addresses.
    Count {
        /// First address.
        iova: u64,
        /// Page size in bytes.
        pgsize: u64,
        /// Pages.
        pgcount: u64,
    },
    /// A range is outside the aperture.
    Aperture {
        /// First address.
        iova: u64,
        /// Bytes.
        length: u64,
        /// Last address of the aperture.
        last: u64,
    },
    /// A range overlaps a reserved range.
    Reserved {
        /// First address.
        iova: u64,
        /// Bytes.
        length: u64,
        /// First address of the reserved range.
        first: u64,
    },
    /// A physical address has more than 52 bits.
    Paddr {
        /// First address.
        paddr: u64,
        /// Bytes.
        length: u64,
    },
    /// The permission has neither read nor write, or has an unknown bit.
    Prot {
        /// The permission asked for.
        prot: u64,
    },
    /// An address of the range is mapped already.
    Mapped {
        /// The first such address.
        iova: u64,
    },
    /// An address of the range is not mapped.
    NotMapped {
        /// The first such address.
        iova: u64,
    },
    /// A range holds only a part of a larger page: unmapping would split the page.
    Split {
        /// First address of the page.
        iova: u64,
        /// Size of the page in bytes.
        pgsize: u64,
    },
    /// The columns of a plan differ in length.
    Columns {
        /// Items of the first column.
        iovas: u64,
        /// Items of the first column that differs.
        other: u64,
    },
    /// A table entry points to an address without memory: somebody wrote to the tables.
    Table {
        /// The address that the entry points to.
        paddr: u64,
    },
    /// There is no memory for a table.
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
            Self::Unaligned { iova, paddr, align } => write!(
                f,
                "iova {iova:#x} and address {paddr:#x} are not multiples of page size {align:#x}"
            ),
            Self::Misplaced { iova, align } => {
                write!(f, "iova {iova:#x} is not a multiple of page size {align:#x}")
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
