//! The addresses of many positions of a frozen list at once.

use super::list::Frozen;
use super::view::{Form, View};
use crate::error::Error;
use crate::list::positions::{ascend_in, ascending_below};
use crate::slices::take_mut;
use crate::storage::frozen::Decoded;

/// Positions in a block that are worth unpacking all of it.
const WORTH: usize = 8;

impl Frozen {
    /// As [`Phyr::translate_all`](crate::Phyr::translate_all). Positions that ascend are one walk, where
    /// they are close; others are looked up one by one.
    ///
    /// # Errors
    ///
    /// [`Error::Position`] with the first that is not below the length; all of them are then as they
    /// were.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut builder = phyr::Builder::new();
    /// builder.extend_pfns(&[7, 3])?;
    /// let frozen = builder.finish().freeze();
    /// let mut positions = [0x1002, 0x10];
    /// frozen.translate_all(&mut positions)?;
    /// assert_eq!(positions, [0x3002, 0x7010]);
    /// # Ok::<(), phyr::Error>(())
    /// ```
    pub fn translate_all(&self, positions: &mut [u64]) -> Result<(), Error> {
        let view = match &self.0 {
            Form::Kept(phyr) => return phyr.translate_all(positions),
            Form::Archived(view) => view,
        };
        if ascend_in(positions, view.length)? {
            view.translate_ascending(positions);
        } else {
            view.translate_each(positions);
        }
        Ok(())
    }
}

impl View {
    /// The address of byte `at` of the archive, which is in the view.
    #[inline(always)]
    pub(super) fn translate(&self, at: u64) -> u64 {
        self.address(self.archive().translate(self.granule.floor(at)), at)
    }

    /// The address of byte `at` of the archive, which is in page `pfn` of memory.
    #[inline(always)]
    fn address(&self, pfn: u64, at: u64) -> u64 {
        // Only words that are no archive have a page out of reach.
        self.granule.to_bytes(pfn.min(self.granule.reach() - 1)) | at & self.granule.mask()
    }

    fn translate_each(&self, positions: &mut [u64]) {
        for position in positions {
            *position = self.translate(self.offset + *position);
        }
    }

    /// Translates positions that ascend, a block of the archive after the other.
    fn translate_ascending(&self, mut positions: &mut [u64]) {
        let mut decoded = Decoded::new(self.granule);
        while let Some(&first) = positions.first() {
            let (number, end) = self.archive().block_of(self.granule.floor(self.offset + first));
            let end = self.granule.to_bytes(end).saturating_sub(self.offset);
            // One at least, whatever the words say where the block ends.
            let count = ascending_below(positions, end).max(1);
            let here = take_mut(&mut positions, count);
            debug_assert!(here.is_some(), "{count} positions of those that are left");
            let Some(here) = here else { return self.translate_each(positions) };
            if count < WORTH {
                self.translate_each(here);
            } else {
                self.archive().unpack(number, &mut decoded);
                self.translate_in(&decoded, here);
            }
        }
    }

    /// Translates positions that ascend and are in this block: both are walked together.
    fn translate_in(&self, decoded: &Decoded, positions: &mut [u64]) {
        let Some((mut page, _)) = decoded.pages(0, decoded.count as u64) else {
            return self.translate_each(positions);
        };
        let mut at = 0;
        for run in decoded.runs(0, decoded.count) {
            let end = page.wrapping_add(run.nr_pages);
            let by = run.pfn.wrapping_sub(page);
            while let Some(position) = positions.get_mut(at) {
                let byte = self.offset + *position;
                let here = self.granule.floor(byte);
                if here >= end {
                    break;
                }
                *position = self.address(here.wrapping_add(by), byte);
                at += 1;
            }
            page = end;
        }
        // In words that are no archive, the runs of a block may end too soon.
        self.translate_each(positions.get_mut(at..).unwrap_or_default());
    }
}
