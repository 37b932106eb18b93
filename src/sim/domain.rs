//! The IOMMU domain: its limits, its tables, and lookups in them.

use alloc::vec::Vec;

use super::counters::Counters;
use super::error::{DomainError, MemoryError};
use super::iotlb::Iotlb;
use super::memory::Memory;
use super::table::{PageTable, entry};
use super::vtd::{INDEX_BITS, Pte, index, shift};
use crate::error::NoMemory;
use crate::pgsize::PageSizes;

/// Page sizes of the format: 4 KiB, 2 MiB, 1 GiB.
const PAGE_SIZES: u64 = 1 << 12 | 1 << 21 | 1 << 30;

/// The largest number of table levels.
pub(super) const MOST_LEVELS: u32 = 5;

/// Options of a new domain.
#[derive(Clone, Debug)]
pub struct DomainOptions {
    /// Levels of tables: 3, 4 or 5, for addresses of 39, 48 or 57 bits.
    pub levels: u32,
    /// Page sizes: if bit *n* is set, pages of `1 << n` bytes. 4 KiB, and optionally 2 MiB and 1
    /// GiB.
    pub pgsize_bitmap: u64,
    /// First and last address that may be mapped; `None` for all that the tables translate.
    pub aperture: Option<(u64, u64)>,
    /// First and last address of ranges that may not be mapped.
    pub reserved: Vec<(u64, u64)>,
    /// Sets of the IOTLB for each page size, and entries in a set.
    pub iotlb: (u32, u32),
}

impl Default for DomainOptions {
    /// Four levels, all page sizes, an IOTLB with 64 sets of 4. The range 0xfee00000 to 0xfeefffff
    /// is reserved: the processor takes writes there as interrupts.
    fn default() -> Self {
        Self {
            levels: 4,
            pgsize_bitmap: PAGE_SIZES,
            aperture: None,
            reserved: Vec::from([(0xfee0_0000, 0xfeef_ffff)]),
            iotlb: (64, 4),
        }
    }
}

/// The translation of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the bits of an entry")]
pub struct Leaf {
    /// First address of the page.
    pub iova: u64,
    /// Physical address of the page's first byte.
    pub paddr: u64,
    /// Size of the page in bytes.
    pub pgsize: u64,
    /// True if the device may read.
    pub reads: bool,
    /// True if the device may write.
    pub writes: bool,
    /// True if accesses snoop the processor's caches.
    pub snoops: bool,
    /// True if a device has accessed the page.
    pub accessed: bool,
    /// True if a device has written to the page.
    pub dirty: bool,
}

/// An IOMMU domain: page tables in memory, in the second-stage format of Intel VT-d.
///
/// The domain keeps nothing but its tables. They are pages from the top of the memory,
/// and are given back when they are empty. Methods take that memory as an argument. Each either
/// does all of its work or changes nothing.
///
/// Source: Intel Virtualization Technology for Directed I/O, Architecture Specification, chapter on
/// second-stage translation.
#[derive(Debug)]
pub struct SimDomain {
    pub(super) levels: u32,
    pub(super) root: u64,
    pub(super) sizes: PageSizes,
    pub(super) aperture: (u64, u64),
    pub(super) reserved: Vec<(u64, u64)>,
    pub(super) iotlb: Iotlb,
    pub(super) counters: Counters,
}

impl SimDomain {
    /// A domain without mappings. It takes one page of the memory.
    ///
    /// # Errors
    ///
    /// [`DomainError::Levels`], [`DomainError::PageSizes`], [`DomainError::Range`] for the aperture
    /// or a reserved range, [`DomainError::Iotlb`], [`DomainError::Memory`].
    pub fn new(memory: &mut Memory, options: &DomainOptions) -> Result<Self, DomainError> {
        let DomainOptions { levels, pgsize_bitmap, .. } = *options;
        if !(3..=MOST_LEVELS).contains(&levels) {
            return Err(DomainError::Levels { levels });
        }
        if pgsize_bitmap & !PAGE_SIZES != 0 || pgsize_bitmap & (1 << 12) == 0 {
            return Err(DomainError::PageSizes { pgsize_bitmap });
        }
        let sizes = PageSizes::new(pgsize_bitmap);
        let sizes = sizes.map_err(|_| DomainError::PageSizes { pgsize_bitmap })?;
        let width = shift(levels) + INDEX_BITS;
        let most = (1 << width) - 1;
        let aperture = options.aperture.unwrap_or((0, most));
        // A reserved range may lie past the addresses that the tables translate. The aperture may
        // not.
        let is_none = |&(first, last): &(u64, u64)| first > last;
        let bad = core::iter::once(aperture).chain(options.reserved.iter().copied());
        if let Some((first, last)) = bad.into_iter().find(is_none) {
            return Err(DomainError::Range { first, last, width });
        }
        if aperture.1 > most {
            return Err(DomainError::Range { first: aperture.0, last: aperture.1, width });
        }
        let iotlb = Iotlb::new(options.iotlb.0, options.iotlb.1)?;
        let (mut reserved, count) = (Vec::new(), options.reserved.len());
        let room = reserved.try_reserve_exact(count);
        room.map_err(|_| MemoryError::from(NoMemory::of::<(u64, u64)>(count)))?;
        reserved.extend_from_slice(&options.reserved);
        Ok(Self {
            levels,
            root: memory.take_table()?,
            sizes,
            aperture,
            reserved,
            iotlb,
            counters: Counters { table_pages: 1, ..Counters::default() },
        })
    }

    /// Gives every table back to the memory.
    pub fn destroy(mut self, memory: &mut Memory) {
        let last = (1 << self.width()) - 1;
        let (root, levels) = (self.root, self.levels);
        self.table(memory).clear(root, levels, 0, last);
        memory.drop_table(root);
    }

    /// Supported page sizes.
    #[must_use]
    pub fn page_sizes(&self) -> PageSizes {
        self.sizes
    }

    /// First and last address that may be mapped.
    #[must_use]
    pub fn aperture(&self) -> (u64, u64) {
        self.aperture
    }

    /// First and last address of each range that may not be mapped.
    #[must_use]
    pub fn reserved(&self) -> &[(u64, u64)] {
        &self.reserved
    }

    /// Number of table levels.
    #[must_use]
    pub fn levels(&self) -> u32 {
        self.levels
    }

    /// Physical address of the root table.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Counts of the calls and the work so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Number of bits of an address.
    pub(super) fn width(&self) -> u32 {
        shift(self.levels) + INDEX_BITS
    }

    pub(super) fn table<'a>(&'a mut self, memory: &'a mut Memory) -> PageTable<'a> {
        let Self { levels, root, .. } = *self;
        PageTable { memory, counters: &mut self.counters, root, levels }
    }

    /// The physical address that `iova` is mapped to, whatever access the tables permit.
    #[must_use]
    pub fn iova_to_phys(&self, memory: &Memory, iova: u64) -> Option<u64> {
        let (_, pte, level) = self.leaf(memory, iova)?;
        Some(pte.leaf_address(level) + (iova & ((1 << shift(level)) - 1)))
    }

    /// The translation of an address, with its permissions; `None` if it is not mapped.
    #[must_use]
    pub fn lookup(&self, memory: &Memory, iova: u64) -> Option<Leaf> {
        let (_, pte, level) = self.leaf(memory, iova)?;
        Some(Leaf {
            iova: iova >> shift(level) << shift(level),
            paddr: pte.leaf_address(level),
            pgsize: 1 << shift(level),
            reads: pte.reads(),
            writes: pte.writes(),
            snoops: pte.snoops(),
            accessed: pte.accessed(),
            dirty: pte.dirty(),
        })
    }

    /// The leaf entry of an address: the address of its table, the entry, and its level.
    fn leaf(&self, memory: &Memory, iova: u64) -> Option<(u64, Pte, u32)> {
        if iova >> self.width() != 0 {
            return None;
        }
        let mut table = self.root;
        for level in (1..=self.levels).rev() {
            let pte = entry(memory, table, index(iova, level));
            if !pte.is_present() {
                return None;
            }
            if pte.is_leaf(level) {
                return Some((table, pte, level));
            }
            table = pte.address();
        }
        None
    }

    /// Clears the dirty bit of the page that holds an address. Returns true if the bit was set.
    ///
    /// Returns `None` if the address is not mapped. The page is removed from the IOTLB, so that the
    /// next write sets the bit again.
    pub fn clear_dirty(&mut self, memory: &mut Memory, iova: u64) -> Option<bool> {
        let (table, pte, level) = self.leaf(memory, iova)?;
        // The entry was read from this page, so the page is present.
        if pte.dirty() {
            if let Some(page) = memory.present_mut(table) {
                page.words_mut()[index(iova, level)] = pte.cleaned().to_bytes();
                self.iotlb.invalidate(iova, iova);
            }
        }
        Some(pte.dirty())
    }

    /// Removes every translation from the IOTLB. Call it after writing to the tables directly.
    pub fn flush_iotlb(&mut self) {
        self.iotlb.invalidate(0, u64::MAX);
    }
}
