//! The granule of a list, and the checked arithmetic between bytes and granules.
//!
//! `end` is exclusive, `last` is inclusive. A range may contain the last byte of the 64-bit space,
//! so nothing here computes an `end`, which would overflow.

use core::fmt;

use crate::error::Error;
use crate::kind::Kind;

/// Log2 of the number of pages that a packed word can number.
const PFN_BITS: u32 = 52;

/// The unit in which the addresses and lengths of a list are stored: its "page".
///
/// A granule is a power of two from 1 byte to 64 KiB, 4096 by default. A granule number has at most
/// 52 bits. So a list with a granule of 4096 bytes can hold every 64-bit address, and one with a
/// granule of 1 byte only addresses below 2^52.
///
/// # Examples
///
/// ```
/// use phyr::Granule;
///
/// assert_eq!(Granule::default().bytes(), 4096);
/// assert_eq!(Granule::new(64 << 10)?.bytes(), 0x1_0000);
/// assert!(Granule::new(3000).is_err());
/// # Ok::<(), phyr::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Granule {
    /// Log2 of the size, because every use needs a shift and because it cannot hold a size that is
    /// not a power of two.
    lg2: u32,
}

impl Granule {
    /// Largest granule, in bytes.
    pub const MAX: u64 = 64 << 10;

    /// A granule of `bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::Granule`] unless `bytes` is a power of two from 1 to [`Self::MAX`].
    pub const fn new(bytes: u64) -> Result<Self, Error> {
        if bytes.is_power_of_two() && bytes <= Self::MAX {
            Ok(Self { lg2: bytes.trailing_zeros() })
        } else {
            Err(Error::Granule { granule: bytes })
        }
    }

    /// Size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self.lg2
    }

    /// Log2 of the size in bytes, 0 to 16.
    #[must_use]
    pub const fn lg2(self) -> u32 {
        self.lg2
    }

    /// A mask of the address bits below the granule.
    pub(crate) const fn mask(self) -> u64 {
        self.bytes() - 1
    }

    /// The reach: page numbers are below this.
    pub(crate) const fn reach(self) -> u64 {
        let address_bits = 64 - self.lg2();
        1 << if address_bits < PFN_BITS { address_bits } else { PFN_BITS }
    }

    /// The most granules a list can hold, so that its length in bytes fits `u64`.
    pub(crate) const fn most(self) -> u64 {
        u64::MAX >> self.lg2
    }

    /// Whole granules in `bytes`, rounded down.
    pub(crate) const fn floor(self, bytes: u64) -> u64 {
        bytes >> self.lg2
    }

    /// Bytes in `granules`; the caller knows that they fit.
    pub(crate) const fn to_bytes(self, granules: u64) -> u64 {
        granules << self.lg2
    }
}

impl Default for Granule {
    /// 4096 bytes.
    fn default() -> Self {
        Self { lg2: 12 }
    }
}

impl fmt::Debug for Granule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Granule({})", self.bytes())
    }
}

/// A byte range as pages: the granules that it touches, and the unused bytes of the first and last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// First granule touched.
    pub(crate) pfn: u64,
    /// Granules touched, at least one.
    pub(crate) nr_pages: u64,
    /// Bytes of the first granule before the range.
    pub(crate) head: u64,
    /// Bytes of the last granule after the range.
    pub(crate) tail: u64,
}

impl Span {
    /// The granules under `length` bytes at `paddr`.
    ///
    /// # Errors
    ///
    /// [`Error::ZeroLength`], [`Error::Wraps`] past 2^64, [`Error::Reach`] past the granule's
    /// reach.
    pub(crate) fn new(granule: Granule, paddr: u64, length: u64) -> Result<Self, Error> {
        let Some(more) = length.checked_sub(1) else {
            return Err(Error::ZeroLength { paddr });
        };
        let Some(last) = paddr.checked_add(more) else {
            return Err(Error::Wraps { paddr, length });
        };
        let (pfn, last_pfn) = (granule.floor(paddr), granule.floor(last));
        if last_pfn >= granule.reach() {
            return Err(Error::Reach { paddr, length, granule: granule.bytes() });
        }
        Ok(Self {
            pfn,
            nr_pages: last_pfn - pfn + 1,
            head: paddr & granule.mask(),
            tail: granule.mask() - (last & granule.mask()),
        })
    }
}

/// Refuses two lists of different granules or kinds.
pub(crate) fn check_alike(left: (Granule, Kind), right: (Granule, Kind)) -> Result<(), Error> {
    if left.0 != right.0 {
        return Err(Error::Granules { left: left.0.bytes(), right: right.0.bytes() });
    }
    if left.1 != right.1 {
        return Err(Error::Kinds { left: left.1, right: right.1 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_power_of_two_to_64_kib_is_a_granule_and_nothing_else() {
        for lg2 in 0..64 {
            let made = Granule::new(1 << lg2);
            assert_eq!(made.is_ok(), lg2 <= 16, "{lg2}");
            if let Ok(granule) = made {
                assert_eq!((granule.bytes(), granule.lg2()), (1 << lg2, lg2));
            }
        }
        for bytes in [0, 3, 4095, 4097, u64::MAX] {
            assert_eq!(Granule::new(bytes), Err(Error::Granule { granule: bytes }));
        }
    }

    #[test]
    fn the_last_byte_of_the_address_space_is_in_reach_of_granules_from_4096() {
        for bytes in [4096, 8192, 65536] {
            let granule = Granule::new(bytes).unwrap();
            let span = Span::new(granule, u64::MAX, 1).unwrap();
            assert_eq!(span.pfn, granule.reach() - 1);
            assert_eq!((span.nr_pages, span.head, span.tail), (1, bytes - 1, 0));
        }
        let granule = Granule::new(2048).unwrap();
        assert!(Span::new(granule, (1 << 63) - 1, 1).is_ok());
        assert!(matches!(Span::new(granule, 1 << 63, 1), Err(Error::Reach { .. })));
    }

    #[test]
    fn a_span_touches_exactly_the_granules_of_its_bytes() {
        let granule = Granule::default();
        assert_eq!(
            Span::new(granule, 0x1ffe, 4).unwrap(),
            Span { pfn: 1, nr_pages: 2, head: 0xffe, tail: 0xffe }
        );
        assert_eq!(Span::new(granule, 7, 0), Err(Error::ZeroLength { paddr: 7 }));
        assert_eq!(
            Span::new(granule, u64::MAX, 2),
            Err(Error::Wraps { paddr: u64::MAX, length: 2 })
        );
    }
}
