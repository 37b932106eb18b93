//! The packed word: one chunk in eight bytes.
//!
//! ```text
//! order = min(trailing_zeros(pfn), trailing_zeros(nr_pages))   count units of 2^order pages
//! count = nr_pages >> order
//!
//!  63                          12+order  11+order            11 10          0
//! +-------------------------------------+---+------------------+-------------+
//! |  pfn, its low `order` bits dropped  | 1 | 0 ... 0 (order)  |    count    |
//! +-------------------------------------+---+------------------+-------------+
//!                                         ^ the marker: lowest set bit of the upper 53
//! ```
//!
//! A chunk that is aligned to 2^order pages has zeros in the lowest `order` bits of its page
//! number, and the word drops them. The marker bit shows where the page number ends, so the order
//! needs no field. A count above 2047 does not fit in eleven bits: the field then holds 0, the
//! *escape*, and the next word is the count. A word without a marker is never an entry, so 0 marks
//! an unused slot.

use core::fmt;

/// Bits of the count field.
const COUNT_BITS: u32 = 11;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// A run of pages, decoded: `nr_pages` pages from number `pfn` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) pfn: u64,
    pub(crate) nr_pages: u64,
}

/// One packed word: a whole chunk, or the first of the two words of a long odd one.
///
/// Numbers are in granules ("pages") of the list that the entry belongs to.
///
/// # Examples
///
/// ```
/// use phyr::Entry;
///
/// // 2 MiB at 2 MiB, one aligned block of order 9: a single unit.
/// let (entry, more) = Entry::encode(0x200, 512).unwrap();
/// assert_eq!((entry.word(), more), (0x0030_0001, None));
/// assert_eq!((entry.pfn(), entry.order(), entry.count()), (0x200, 9, 1));
///
/// // 2049 pages at an odd page need the escape and a second word.
/// let (entry, more) = Entry::encode(0x201, 2049).unwrap();
/// assert_eq!((entry.word(), more), (0x0020_1800, Some(2049)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Entry(u64);

const _: () = assert!(size_of::<Entry>() == 8);

impl Entry {
    /// Largest count that fits beside the address: 2047 units.
    pub const MAX_COUNT: u64 = COUNT;

    /// Largest order: one block of all pages.
    pub(crate) const MAX_ORDER: u32 = 64 - 1 - COUNT_BITS;

    /// Page numbers are below this: 2^52.
    pub const PFN_LIMIT: u64 = 1 << (64 - 1 - COUNT_BITS);

    /// Packs `nr_pages` pages from page number `pfn` on.
    ///
    /// The second part of the result is the word that must follow if the count does not fit in the
    /// entry. Each run has exactly one encoding. Returns `None` if there are no pages, or if a page
    /// number is [`Self::PFN_LIMIT`] or above.
    #[must_use]
    pub const fn encode(pfn: u64, nr_pages: u64) -> Option<(Self, Option<u64>)> {
        if nr_pages == 0 || pfn >= Self::PFN_LIMIT || nr_pages > Self::PFN_LIMIT - pfn {
            return None;
        }
        let (entry, count) = Self::pack(Run { pfn, nr_pages });
        Some((entry, if entry.is_escape() { Some(count) } else { None }))
    }

    /// Packs a run that is known to be encodable; also returns its count of units, which is the
    /// second word if the entry is an escape.
    #[inline]
    pub(crate) const fn pack(run: Run) -> (Self, u64) {
        // A run has pages, so the two are not both zero: the order is at most 52, and the marker at
        // most bit 63.
        let order = (run.pfn | run.nr_pages).trailing_zeros();
        let count = run.nr_pages >> order;
        let marker = 1 << (COUNT_BITS + order);
        let field = if count <= COUNT { count } else { 0 };
        (Self(run.pfn << (COUNT_BITS + 1) | marker | field), count)
    }

    /// As [`Self::pack`], for many runs in a row: the compiler takes several together in wide
    /// registers. These cannot count zeros, so the order is read from the exponent of a float.
    ///
    /// The entry is right if the count is at most [`Self::MAX_COUNT`]. It is above that for a run of
    /// two words, and for one of all 2^52 pages.
    #[inline(always)]
    pub(crate) fn pack_in_row(run: Run) -> (Self, u64) {
        /// 2^52: the lowest bit of its fraction stands for 1.
        const WHOLE: f64 = 4_503_599_627_370_496.0;
        const FRACTION_BITS: u32 = 52;
        const BIAS: u64 = 1023;

        let any = run.pfn | run.nr_pages;
        let unit = any & any.wrapping_neg();
        // Exact for units below 2^52. That of all pages is taken for 2, which leaves a large count.
        let float = f64::from_bits(WHOLE.to_bits() | unit) - WHOLE;
        let order = (float.to_bits() >> FRACTION_BITS).wrapping_sub(BIAS) % 64;
        let count = run.nr_pages >> order;
        (Self(run.pfn << (COUNT_BITS + 1) | unit << COUNT_BITS | count), count)
    }

    /// The word of a run of one page. Its order is 0, so it is the page number, the marker and a
    /// count of 1.
    #[inline]
    pub(crate) const fn one_page(pfn: u64) -> u64 {
        pfn << (COUNT_BITS + 1) | 1 << COUNT_BITS | 1
    }

    /// The page number of one aligned block of 2^order pages, and bits of which one is set if the word
    /// is no such block.
    #[inline]
    pub(crate) const fn as_block(self, order: u32) -> (u64, u64) {
        let other = self.0 ^ (1 << (COUNT_BITS + order) | 1);
        // At the highest order these are all bits: the shift leaves 0.
        let low = (1_u64 << (COUNT_BITS + order) << 1).wrapping_sub(1);
        ((self.0 & !low) >> (COUNT_BITS + 1), other & low)
    }

    /// Reads a word as an entry; `None` for a word without a marker.
    #[must_use]
    pub const fn from_word(word: u64) -> Option<Self> {
        if word >> COUNT_BITS == 0 { None } else { Some(Self(word)) }
    }

    /// A word that is known to be an entry.
    #[inline]
    pub(crate) const fn stored(word: u64) -> Self {
        Self(word)
    }

    /// The packed word.
    #[must_use]
    #[inline]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Number of the first page.
    #[must_use]
    #[inline]
    pub const fn pfn(self) -> u64 {
        let y = self.0 & !COUNT;
        (y & (y.wrapping_sub(1))) >> (COUNT_BITS + 1)
    }

    /// Address and length in bytes of the chunk, if this word is the whole entry and the granule is
    /// 4096: then the word holds the address as it is.
    #[inline]
    pub(crate) const fn bytes(self) -> (u64, u64) {
        // The address and the count. Taking one from the bits above the count clears the marker, and
        // those that it changes below the marker were 0.
        let both = self.0 & self.0.wrapping_sub(1 << COUNT_BITS);
        let marker = self.0 ^ both;
        // The bytes of a unit are twice the marker.
        let length = (both.wrapping_add(both) & COUNT << 1).wrapping_mul(marker);
        (both & !COUNT, length)
    }

    /// Log2 of the pages in one unit, 0 to 52.
    #[must_use]
    pub const fn order(self) -> u32 {
        (self.0 & !COUNT).trailing_zeros() - COUNT_BITS
    }

    /// Bounds of several words, given as the bitwise or of all of them: the lowest order among
    /// them, and a page number that no chunk passes. `None` if there are no words.
    pub(crate) const fn bounds(joined: u64) -> Option<(u32, u64)> {
        match Self::from_word(joined) {
            Some(entry) => Some((entry.order(), joined >> (COUNT_BITS + 1))),
            None => None,
        }
    }

    /// The marker bit, at its place in the word.
    #[inline]
    pub(crate) const fn marker(self) -> u64 {
        let y = self.0 & !COUNT;
        y & y.wrapping_neg()
    }

    /// Pages in one unit: 2^order.
    #[inline]
    const fn unit(self) -> u64 {
        Self::pages_of(self.marker())
    }

    /// Pages that a marker bit stands for.
    #[inline]
    const fn pages_of(marker: u64) -> u64 {
        marker >> COUNT_BITS
    }

    /// Pages that several markers stand for, given as sums of their lower and upper 32 bits.
    ///
    /// A sum of whole markers could overflow: the pages fit in 64 bits, but a marker is 2^11 times
    /// its pages.
    #[inline]
    pub(crate) const fn pages_of_halves(low: u64, high: u64) -> u64 {
        Self::pages_of(low).wrapping_add(high << (u32::BITS - COUNT_BITS))
    }

    /// Number of units; 0 if the count is in the next word.
    #[must_use]
    #[inline]
    pub const fn count(self) -> u64 {
        self.0 & COUNT
    }

    /// Returns true if the next word belongs to this entry and holds the count.
    #[must_use]
    #[inline]
    pub const fn is_escape(self) -> bool {
        self.0 & COUNT == 0
    }

    /// Pages of the chunk if this word is the whole entry; 0 for an escape. There is no branch, so
    /// that the compiler can decode a slice of words with wide registers.
    #[inline]
    pub(crate) const fn nr_pages(self) -> u64 {
        // At most 2^52 for a stored entry. A second word misread as an entry may overflow; its
        // result is never used.
        self.count().wrapping_mul(self.unit())
    }

    /// Pages of the chunk. `next` is the word after this one, and is used if this one is an escape.
    ///
    /// Returns `None` if the pages do not fit in `u64`.
    pub(crate) const fn nr_pages_with(self, next: u64) -> Option<u64> {
        if self.is_escape() { next.checked_mul(self.unit()) } else { Some(self.nr_pages()) }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >> COUNT_BITS == 0 {
            return write!(f, "Entry(unused, {:#x})", self.0);
        }
        write!(f, "Entry(pfn {:#x}, order {}, ", self.pfn(), self.order())?;
        if self.is_escape() { f.write_str("escape)") } else { write!(f, "count {})", self.count()) }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use proptest::prelude::*;

    use super::*;

    /// The encoding read off the picture, bit by bit.
    fn picture(pfn: u64, nr_pages: u64) -> (u64, Option<u64>) {
        let mut order = 0;
        while pfn & (1 << order) == 0 && nr_pages & (1 << order) == 0 {
            order += 1;
        }
        let count = nr_pages / (1 << order);
        let word = pfn * 4096 + (2048 << order);
        if count <= 2047 { (word + count, None) } else { (word, Some(count)) }
    }

    #[test]
    fn every_order_and_every_count_at_the_edge_of_its_field_round_trips() {
        let all = (0, 1 << 52);
        for order in 0..=52 {
            for count in [1, 2, 3, 2046, 2047, 2048, 2049, 4095] {
                for pfn in
                    [0, 1_u64 << order, 3 << order, (1_u64 << 52).saturating_sub(count << order)]
                {
                    if let Some((entry, more)) = Entry::encode(pfn, count << order) {
                        assert_eq!((entry.word(), more), picture(pfn, count << order));
                        assert_eq!(entry.pfn(), pfn);
                        let (packed, units) =
                            Entry::pack_in_row(Run { pfn, nr_pages: count << order });
                        let is_plain = more.is_none() && (pfn, count << order) != all;
                        assert_eq!(units <= Entry::MAX_COUNT, is_plain);
                        assert!(packed == entry || !is_plain);
                        let next = more.unwrap_or(0);
                        assert_eq!(entry.nr_pages_with(next), Some(count << order));
                    }
                }
            }
        }
    }

    #[test]
    fn a_power_of_two_block_is_one_word_at_every_order() {
        for order in 0..=52 {
            let (entry, more) = Entry::encode(0, 1 << order).unwrap();
            assert_eq!((entry.order(), entry.count(), more), (order, 1, None));
        }
        assert_eq!(Entry::encode(0, 1 << 52).unwrap().0.word(), 1 << 63 | 1);
    }

    #[test]
    fn what_cannot_be_numbered_is_not_encoded() {
        assert_eq!(Entry::encode(0, 0), None);
        assert_eq!(Entry::encode(1 << 52, 1), None);
        assert_eq!(Entry::encode((1 << 52) - 1, 2), None);
        assert_eq!(Entry::encode(1, 1 << 52), None);
        assert_eq!(Entry::encode(1, u64::MAX), None);
    }

    #[test]
    fn a_word_without_marker_is_no_entry() {
        for word in [0, 1, 0x7ff] {
            assert_eq!(Entry::from_word(word), None);
        }
        assert_eq!(Entry::from_word(0x800), Some(Entry(0x800)));
    }

    #[test]
    fn debug_decodes_the_word() {
        let (entry, _) = Entry::encode(0x200, 512).unwrap();
        assert_eq!(format!("{entry:?}"), "Entry(pfn 0x200, order 9, count 1)");
        let (entry, _) = Entry::encode(0x201, 2049).unwrap();
        assert_eq!(format!("{entry:?}"), "Entry(pfn 0x201, order 0, escape)");
        assert_eq!(format!("{:?}", Entry(5)), "Entry(unused, 0x5)");
    }

    #[test]
    fn a_block_may_be_all_the_pages_there_are() {
        let (all, _) = Entry::encode(0, 1 << 52).unwrap();
        assert_eq!(all.as_block(52), (0, 0));
        let (half, _) = Entry::encode(0, 1 << 51).unwrap();
        assert_ne!(half.as_block(52).1, 0);
    }

    proptest! {
        #[test]
        fn a_block_is_told_from_all_other_runs(
            pfn in 0_u64..64, nr_pages in 1_u64..64, order in 0_u32..7,
        ) {
            let (entry, _) = Entry::encode(pfn, nr_pages).unwrap();
            let (first, other) = entry.as_block(order);
            let is_block = nr_pages == 1 << order && pfn % nr_pages == 0;
            prop_assert_eq!(other == 0, is_block);
            prop_assert!(!is_block || first == pfn);
        }

        #[test]
        fn encode_is_the_picture_and_decode_its_inverse(
            shift in 0_u32..52, pfn in 0_u64..1 << 52, nr_pages in 1_u64..1 << 52,
            short in 0_u32..52,
        ) {
            let pfn = pfn >> shift << shift;
            let nr_pages = ((nr_pages >> short) + 1).min((1 << 52) - pfn);
            let (entry, more) = Entry::encode(pfn, nr_pages).unwrap();
            prop_assert_eq!((entry.word(), more), picture(pfn, nr_pages));
            prop_assert_eq!(entry.pfn(), pfn);
            prop_assert_eq!(entry.nr_pages_with(more.unwrap_or(0)), Some(nr_pages));
            if more.is_none() {
                prop_assert_eq!(entry.nr_pages(), nr_pages);
                prop_assert_eq!(entry.bytes(), (pfn << 12, nr_pages << 12));
            }
        }
    }
}
