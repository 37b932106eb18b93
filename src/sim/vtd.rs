//! The words of second-stage tables, as Intel's remapping hardware reads them.
//!
//! ```text
//!  63    52 51              12 11  10  9   8   7   6    3   2   1   0
//! +--------+------------------+---+---+---+---+---+------+---+---+---+
//! | ignored|     address      |SNP| ign D | A | PS| ign  | X | W | R |
//! +--------+------------------+---+---+---+---+---+------+---+---+---+
//! ```
//!
//! An entry is present if it permits read or write. PS makes an entry of level 2 (2 MiB) or level 3
//! (1 GiB) a leaf, and is reserved in higher levels; level 1 entries are always leaves. In a leaf,
//! the address bits below the page size are reserved. D and SNP are used in leaves only. Execute
//! requests are not simulated: X stays 0 and is not read. Bits 6:3, the memory type, are not used
//! for DMA.
//!
//! Source: Intel Virtualization Technology for Directed I/O, Architecture Specification, chapter on
//! second-stage translation ("Second-Stage Paging Entries"); fault reasons in its appendix.

use super::small::small;
use crate::dma::backend::Prot;

/// Bits of an index into a table: the difference in width between one level and the next.
pub(super) const INDEX_BITS: u32 = 9;

/// Entries in a table.
pub(super) const ENTRIES: u64 = 1 << INDEX_BITS;

const R: u64 = 1 << 0;
const W: u64 = 1 << 1;
const PS: u64 = 1 << 7;
const A: u64 = 1 << 8;
const D: u64 = 1 << 9;
const SNP: u64 = 1 << 11;

/// The address field, bits 51:12.
const ADDRESS: u64 = ((1 << 52) - 1) & !0xfff;

/// Log2 of the bytes that one entry of a level covers: 12, 21, 30, 39, 48.
pub(super) const fn shift(level: u32) -> u32 {
    12 + INDEX_BITS * (level - 1)
}

/// Number of the entry for an address in its table.
pub(super) const fn index(iova: u64, level: u32) -> usize {
    // The number has nine bits.
    small((iova >> shift(level)) & (ENTRIES - 1))
}

/// Returns true if a permission has read or write and no unknown bit. Known are Linux's
/// `IOMMU_READ` and so on; no-execute (8), MMIO (16) and privileged (32) have no effect here.
pub(super) const fn is_prot(prot: Prot) -> bool {
    let bits = prot.bits();
    bits & 0b11 != 0 && bits & !0b11_1111 == 0
}

/// One entry of a table of any level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pte(pub(super) u64);

impl Pte {
    pub(super) const EMPTY: Self = Self(0);

    /// An entry that points to the next table. It permits everything; leaves restrict.
    pub(super) const fn table(paddr: u64) -> Self {
        Self(paddr | R | W)
    }

    /// The bits that all leaves of a level and a permission have in common.
    pub(super) const fn leaf_bits(level: u32, prot: Prot) -> u64 {
        let access = prot.bits() as u64 & (R | W);
        let size = if level > 1 { PS } else { 0 };
        let snoop = if prot.contains(Prot::CACHE) { SNP } else { 0 };
        access | size | snoop
    }

    pub(super) const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }

    pub(super) const fn to_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    pub(super) const fn is_present(self) -> bool {
        self.0 & (R | W) != 0
    }

    pub(super) const fn reads(self) -> bool {
        self.0 & R != 0
    }

    pub(super) const fn writes(self) -> bool {
        self.0 & W != 0
    }

    pub(super) const fn snoops(self) -> bool {
        self.0 & SNP != 0
    }

    pub(super) const fn accessed(self) -> bool {
        self.0 & A != 0
    }

    pub(super) const fn dirty(self) -> bool {
        self.0 & D != 0
    }

    /// Returns true if a present entry of a level ends the walk.
    pub(super) const fn is_leaf(self, level: u32) -> bool {
        level == 1 || (level <= 3 && self.0 & PS != 0)
    }

    /// The address of the next table, or of the first byte of a 4 KiB leaf.
    pub(super) const fn address(self) -> u64 {
        self.0 & ADDRESS
    }

    /// The address of the first byte of a leaf of a level.
    pub(super) const fn leaf_address(self, level: u32) -> u64 {
        self.address() & !((1 << shift(level)) - 1)
    }

    /// Returns true if a reserved bit is set. `pgsize_bitmap` says which leaves are supported.
    pub(super) const fn has_reserved(self, level: u32, pgsize_bitmap: u64) -> bool {
        if level == 1 || self.0 & PS == 0 {
            return false;
        }
        let below = ADDRESS & ((1 << shift(level)) - 1);
        level > 3 || pgsize_bitmap >> shift(level) & 1 == 0 || self.0 & below != 0
    }

    /// The entry after an access: accessed, and dirty if `dirty`.
    pub(super) const fn used(self, dirty: bool) -> Self {
        Self(self.0 | A | if dirty { D } else { 0 })
    }

    /// The entry with its dirty bit cleared.
    pub(super) const fn cleaned(self) -> Self {
        Self(self.0 & !D)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_where_the_specification_puts_them() {
        assert_eq!(Pte::table(0x1234_5000).0, 0x1234_5003);
        assert_eq!(Pte::leaf_bits(1, Prot::READ), 0x001);
        assert_eq!(Pte::leaf_bits(1, Prot::WRITE), 0x002);
        assert_eq!(Pte::leaf_bits(2, Prot::READ | Prot::WRITE), 0x083);
        assert_eq!(Pte::leaf_bits(3, Prot::READ | Prot::CACHE | Prot::MMIO), 0x881);
        assert_eq!(Pte(1).used(false).0, 0x101);
        assert_eq!(Pte(1).used(true).0, 0x301);
        assert_eq!(Pte(u64::MAX).address(), 0xf_ffff_ffff_f000);
        assert_eq!([1, 2, 3, 4, 5].map(shift), [12, 21, 30, 39, 48]);
    }

    #[test]
    fn reserved_bits_are_those_below_a_leaf_and_the_size_bit_above() {
        let all = 1 << 12 | 1 << 21 | 1 << 30;
        assert!(!Pte(0xf83).has_reserved(1, all));
        assert!(!Pte(0x20_0083).has_reserved(2, all));
        assert!(Pte(0x20_1083).has_reserved(2, all));
        assert!(Pte(0x20_0083).has_reserved(2, 1 << 12));
        assert!(!Pte(0x4000_0083).has_reserved(3, all));
        assert!(Pte(0x20_0083).has_reserved(3, all));
        assert!(Pte(0x4000_0083).has_reserved(4, all));
        assert!(Pte(0x83).has_reserved(5, all));
        assert!(!Pte(0x1003).has_reserved(3, all));
    }

    #[test]
    fn a_permission_reads_or_writes() {
        for bits in [0, 4, 60, 64 | 1, u32::MAX] {
            assert!(!is_prot(Prot::from_bits(bits)), "{bits:#x}");
        }
        for bits in [1, 2, 3, 0b11_1111] {
            assert!(is_prot(Prot::from_bits(bits)), "{bits:#x}");
        }
    }
}
