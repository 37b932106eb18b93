//! Page-size bitmaps: which page of a table fits where.
//!
//! If bit *n* of a bitmap is set, pages of `1 << n` bytes are supported. The lowest set bit is the
//! granule of the table: everything that it maps is a multiple of that.

use core::fmt;

use crate::error::Error;

/// The page sizes of an I/O page table; there is at least one.
///
/// # Examples
///
/// ```
/// use phyr::PageSizes;
///
/// let sizes = PageSizes::new(1 << 12 | 1 << 21 | 1 << 30)?;
/// assert_eq!(sizes.granule(), 4096);
/// assert_eq!(sizes.largest_fit(0x4000_0000, 0x20_0000, 4 << 20), Some(2 << 20));
/// assert_eq!(sizes.largest_fit(0x4000_1000, 0x20_1000, 4 << 20), Some(4096));
/// # Ok::<(), phyr::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageSizes {
    /// Not zero.
    bitmap: u64,
}

impl PageSizes {
    /// The sizes that `pgsize_bitmap` names.
    ///
    /// # Errors
    ///
    /// [`Error::NoPageSize`] if it names none.
    pub const fn new(pgsize_bitmap: u64) -> Result<Self, Error> {
        if pgsize_bitmap == 0 { Err(Error::NoPageSize) } else { Ok(Self { bitmap: pgsize_bitmap }) }
    }

    /// The bitmap: bit *n* set means pages of `1 << n` bytes.
    #[must_use]
    pub const fn bitmap(self) -> u64 {
        self.bitmap
    }

    /// The smallest size, in bytes.
    #[must_use]
    pub const fn granule(self) -> u64 {
        self.bitmap & self.bitmap.wrapping_neg()
    }

    /// The smallest size above `pgsize`, in bytes.
    #[must_use]
    pub const fn above(self, pgsize: u64) -> Option<u64> {
        let above = self.bitmap & !(pgsize | pgsize.wrapping_sub(1));
        if above == 0 { None } else { Some(above & above.wrapping_neg()) }
    }

    /// The largest page that can map the start of a range: it divides both addresses and is at most
    /// `length` bytes.
    #[must_use]
    pub const fn largest_fit(self, iova: u64, paddr: u64, length: u64) -> Option<u64> {
        largest(self.bitmap & up_to(length) & dividing(iova | paddr))
    }

    /// The largest page that divides every number of a set. `merged` is the bitwise or of the set.
    ///
    /// If the set is the addresses and lengths at which a list may be cut, the result is the
    /// largest single page size that describes the whole list. Same contract as
    /// `ib_umem_find_best_pgsz()`, drivers/infiniband/core/umem.c, Linux.
    ///
    /// # Examples
    ///
    /// ```
    /// let sizes = phyr::PageSizes::new(1 << 12 | 1 << 16 | 1 << 21)?;
    /// assert_eq!(sizes.best_single(0x3_0000 | 0x20_0000), Some(0x1_0000));
    /// assert_eq!(sizes.best_single(0x800), None);
    /// # Ok::<(), phyr::Error>(())
    /// ```
    #[must_use]
    pub const fn best_single(self, merged: u64) -> Option<u64> {
        largest(self.bitmap & dividing(merged))
    }

    /// The largest page for the start of a range, and how many pages of that size to map before the
    /// next call: as many as fit, or as many as lead up to the place where a larger page can be
    /// used.
    ///
    /// `None` if no page fits. Same contract as `iommu_pgsize()`, drivers/iommu/iommu.c, Linux.
    ///
    /// # Examples
    ///
    /// ```
    /// let sizes = phyr::PageSizes::new(1 << 12 | 1 << 21)?;
    /// // 3 small pages lead up to 2 MiB on both sides, and then one of 2 MiB fits.
    /// assert_eq!(sizes.fit(0x5f_d000, 0x3f_d000, 4 << 20), Some((4096, 3)));
    /// assert_eq!(sizes.fit(0x60_0000, 0x40_0000, 4 << 20), Some((2 << 20, 2)));
    /// // The sides never line up, so all of it is small pages.
    /// assert_eq!(sizes.fit(0x60_1000, 0x40_0000, 4 << 20), Some((4096, 1024)));
    /// # Ok::<(), phyr::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub const fn fit(self, iova: u64, paddr: u64, length: u64) -> Option<(u64, u64)> {
        let Some(pgsize) = self.largest_fit(iova, paddr, length) else { return None };
        let mut until = length;
        if let Some(next) = self.above(pgsize) {
            // A larger page can be used only where both addresses have the same offset inside it.
            if (iova ^ paddr) & (next - 1) == 0 {
                let ahead = next - (iova & (next - 1));
                match ahead.checked_add(next) {
                    Some(needed) if needed <= length => until = ahead,
                    _ => {}
                }
            }
        }
        Some((pgsize, until >> pgsize.trailing_zeros()))
    }
}

/// The largest size in a bitmap.
#[inline]
const fn largest(some: u64) -> Option<u64> {
    if some == 0 { None } else { Some(1 << some.ilog2()) }
}

/// All powers of two up to `length`.
#[inline]
const fn up_to(length: u64) -> u64 {
    if length == 0 { 0 } else { u64::MAX >> length.leading_zeros() }
}

/// All powers of two that divide `number`. Every power of two divides 0.
#[inline]
const fn dividing(number: u64) -> u64 {
    number ^ number.wrapping_sub(1)
}

impl fmt::Debug for PageSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageSizes({:#x})", self.bitmap)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// The largest page by trying each.
    fn tried(bitmap: u64, iova: u64, paddr: u64, length: u64) -> Option<u64> {
        (0..64)
            .map(|lg2| 1_u64 << lg2)
            .filter(|&size| bitmap & size != 0)
            .filter(|&size| iova % size == 0 && paddr % size == 0 && size <= length)
            .max()
    }

    /// How many pages, one after the other, get the same answer as the first.
    fn counted(bitmap: u64, iova: u64, paddr: u64, length: u64) -> Option<(u64, u64)> {
        let pgsize = tried(bitmap, iova, paddr, length)?;
        let mut count = 0;
        let mut done = 0;
        while length - done >= pgsize
            && tried(bitmap, iova + done, paddr + done, length - done) == Some(pgsize)
        {
            count += 1;
            done += pgsize;
        }
        Some((pgsize, count))
    }

    #[test]
    fn no_sizes_are_refused() {
        assert_eq!(PageSizes::new(0), Err(Error::NoPageSize));
        assert_eq!(PageSizes::new(1 << 63).unwrap().granule(), 1 << 63);
    }

    #[test]
    fn the_top_of_the_address_space_is_reached_without_overflow() {
        let sizes = PageSizes::new(1 << 12 | 1 << 63).unwrap();
        assert_eq!(sizes.fit(1 << 63, 1 << 63, 1 << 63), Some((1 << 63, 1)));
        assert_eq!(sizes.fit(0, 0, u64::MAX - 4095), Some((1 << 63, 1)));
        // 2^63 - 4096 bytes to the boundary, and 2^63 after it, to the very last byte or not.
        assert_eq!(sizes.fit(4096, 4096, u64::MAX - 4095), Some((4096, (1 << 51) - 1)));
        assert_eq!(sizes.fit(4096, 4096, u64::MAX - 8191), Some((4096, (1 << 52) - 2)));
    }

    #[test]
    fn above_walks_up_the_sizes() {
        let sizes = PageSizes::new(1 << 12 | 1 << 21 | 1 << 63).unwrap();
        assert_eq!(sizes.above(4096), Some(2 << 20));
        assert_eq!(sizes.above(2 << 20), Some(1 << 63));
        assert_eq!(sizes.above(1 << 63), None);
    }

    proptest! {
        #[test]
        fn fit_is_what_trying_page_by_page_finds(
            bitmap in 1_u64..1 << 10, iova in 0_u64..2048, paddr in 0_u64..2048,
            length in 0_u64..3000, together in any::<bool>(),
        ) {
            let paddr = if together { paddr & !1023 | iova & 1023 } else { paddr };
            let sizes = PageSizes::new(bitmap).unwrap();
            prop_assert_eq!(
                sizes.largest_fit(iova, paddr, length), tried(bitmap, iova, paddr, length)
            );
            prop_assert_eq!(sizes.fit(iova, paddr, length), counted(bitmap, iova, paddr, length));
        }

        #[test]
        fn best_single_divides_all_and_no_larger_does(
            bitmap in 1_u64.., numbers in proptest::collection::vec(any::<u64>(), 0..4),
            shift in 0_u32..64,
        ) {
            let numbers: Vec<u64> = numbers.iter().map(|n| n << shift).collect();
            let merged = numbers.iter().fold(0, |merged, number| merged | number);
            let tried = (0..64)
                .map(|lg2| 1_u64 << lg2)
                .filter(|&size| bitmap & size != 0)
                .filter(|&size| numbers.iter().all(|number| number % size == 0))
                .max();
            prop_assert_eq!(PageSizes::new(bitmap).unwrap().best_single(merged), tried);
        }
    }
}
