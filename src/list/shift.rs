//! The same list at other addresses, and the first chunk above an address.

use crate::error::{Error, check_paddrs};
use crate::list::builder::Builder;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::list::reading::List;

impl Phyr {
    /// The list with `offset` added to every address. O(n).
    ///
    /// # Errors
    ///
    /// [`Error::Shift`], which names the first bad chunk, if `offset` is not a multiple of the
    /// granule, or if it moves a chunk below 0, to 2^64 or past the granule's reach;
    /// [`Error::UserAddresses`] for a list of kind `user`; [`Error::NoMemory`].
    ///
    /// # Examples
    ///
    /// ```
    /// let mut builder = phyr::Builder::new();
    /// builder.append(0x7800, 0x1000)?;
    /// let phyr = builder.finish();
    /// assert_eq!(phyr.shift(0x8000_0000)?.translate(0)?, 0x8000_7800);
    /// assert!(phyr.shift(-0x8000).is_err());
    /// # Ok::<(), phyr::Error>(())
    /// ```
    pub fn shift(&self, offset: i128) -> Result<Self, Error> {
        check_paddrs(self.kind())?;
        if offset == 0 || self.is_empty() {
            return Ok(self.clone());
        }
        let granule = self.granule();
        let highest = i128::from(granule.to_bytes(granule.reach() - 1) | granule.mask());
        let fits = |first: u64, last: u64| {
            i128::from(first).checked_add(offset).is_some_and(|first| first >= 0)
                && i128::from(last).checked_add(offset).is_some_and(|last| last <= highest)
        };
        let aligned = offset & i128::from(granule.mask()) == 0;
        let (first, last) = self.chunks().fold((u64::MAX, 0), |(first, last), chunk| {
            (chunk.paddr.min(first), chunk.last_of_list().max(last))
        });
        if !aligned || !fits(first, last) {
            let bad = |chunk: &Chunk| !aligned || !fits(chunk.paddr, chunk.last_of_list());
            let Chunk { paddr, length } =
                self.chunks().find(bad).unwrap_or(Chunk { paddr: first, length: last - first });
            return Err(Error::Shift { paddr, length, offset, granule: granule.bytes() });
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "modulo 2^64")]
        let added = offset as u64;
        let mut builder = Builder::with(granule, self.kind());
        builder.extend_moved(self, added)?;
        builder.try_finish()
    }

    /// Finds the first chunk with a byte above address `last`; returns its number and the chunk.
    /// O(log n) if the bound of all addresses shows that there is none, else O(n).
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::{Builder, Chunk};
    ///
    /// let mut builder = Builder::new();
    /// builder.extend_pages(&[0xffff_f000, 0x1_0000_0000, 0x3000])?;
    /// let phyr = builder.finish();
    /// let chunk = Chunk { paddr: 0xffff_f000, length: 0x2000 };
    /// assert_eq!(phyr.first_beyond(0xffff_ffff), Some((0, chunk)));
    /// assert_eq!(phyr.first_beyond(0x1_0000_0fff), None);
    /// # Ok::<(), phyr::Error>(())
    /// ```
    #[must_use]
    pub fn first_beyond(&self, last: u64) -> Option<(u64, Chunk)> {
        first_beyond(self, last)
    }
}

/// As [`Phyr::first_beyond`], of a list in either form.
pub(crate) fn first_beyond(phyr: &impl List, last: u64) -> Option<(u64, Chunk)> {
    let highest = || phyr.chunks().fold(0, |highest, chunk| chunk.last_of_list().max(highest));
    if phyr.upper_bound() <= last || highest() <= last {
        return None;
    }
    (0..).zip(phyr.chunks()).find(|(_, chunk)| chunk.last_of_list() > last)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::granule::Granule;
    use crate::kind::Kind;

    fn list(granule: u64, chunks: &[(u64, u64)]) -> Phyr {
        let mut builder = Builder::with(Granule::new(granule).unwrap(), Kind::Mmio { provider: 3 });
        for &(paddr, length) in chunks {
            builder.append(paddr, length).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn nothing_is_shifted_to_itself() {
        let phyr = list(4096, &[(0x7800, 0x800), (0x2000, 0x10)]);
        let same = phyr.shift(0).unwrap();
        assert!(same.chain().is_same(phyr.chain()));
        assert_eq!(Phyr::default().shift(i128::MAX).unwrap(), Phyr::default());
    }

    #[test]
    fn a_chunk_may_be_moved_to_either_end_of_the_address_space_and_no_further() {
        let phyr = list(4096, &[(0x3000, 0x1000), (0x1000, 0x1000)]);
        assert_eq!(phyr.shift(-0x1000).unwrap().translate(0x1000), Ok(0));
        let up = (1 << 64) - 0x4000;
        assert_eq!(phyr.shift(up).unwrap().translate(0xfff), Ok(u64::MAX));
        let error = |paddr, offset| Error::Shift { paddr, length: 0x1000, offset, granule: 4096 };
        assert_eq!(phyr.shift(-0x2000), Err(error(0x1000, -0x2000)));
        assert_eq!(phyr.shift(up + 0x1000), Err(error(0x3000, up + 0x1000)));
        assert_eq!(phyr.shift(0x800), Err(error(0x3000, 0x800)));
        for extreme in [i128::MIN, i128::MAX & !4095] {
            assert!(matches!(phyr.shift(extreme), Err(Error::Shift { .. })));
        }
    }

    #[test]
    fn the_reach_of_a_small_granule_is_the_end() {
        let phyr = list(512, &[(0x200, 0x200)]);
        let up = (1 << 61) - 0x400;
        assert_eq!(phyr.shift(up).unwrap().translate(0x1ff), Ok((1 << 61) - 1));
        assert!(phyr.shift(up + 0x200).is_err());
    }

    proptest! {
        #[test]
        fn every_address_moves_by_the_offset_and_nothing_else_changes(
            pages in proptest::collection::vec(0_u64..64, 1..40), offset in 0_u64..1000,
            cut in 0_u64..4096,
        ) {
            let pages: Vec<u64> = pages.iter().map(|page| page << 12).collect();
            let mut builder = Builder::new();
            builder.extend_pages(&pages).unwrap();
            let phyr = builder.finish();
            let phyr = phyr.slice(cut, phyr.length()).unwrap();
            let shifted = phyr.shift(i128::from(offset << 12)).unwrap();
            shifted.validate().unwrap();
            let moved = phyr
                .chunks()
                .map(|chunk| Chunk { paddr: chunk.paddr + (offset << 12), ..chunk });
            prop_assert!(shifted.chunks().eq(moved));
            prop_assert_eq!(shifted.shift(-i128::from(offset << 12)).unwrap(), phyr);
        }

        #[test]
        fn first_beyond_is_what_looking_finds(
            pages in proptest::collection::vec(0_u64..64, 0..40), last in 0_u64..70 << 12,
        ) {
            let mut builder = Builder::new();
            builder.extend_pfns(&pages).unwrap();
            let phyr = builder.finish();
            let mut found = None;
            for (number, chunk) in phyr.chunks().enumerate() {
                if chunk.paddr + chunk.length > last + 1 && found.is_none() {
                    found = Some((number as u64, chunk));
                }
            }
            prop_assert_eq!(phyr.first_beyond(last), found);
        }
    }
}
