//! The addresses of many positions at once.

use alloc::vec::Vec;

use crate::error::Error;
use crate::list::phyr::Phyr;
use crate::storage::chain::Located;

/// Positions sorted together: their nodes are then read one after another.
const BLOCK: usize = 1 << 18;
/// So few are not worth sorting.
const FEW: usize = 64;

impl Phyr {
    /// Replaces each of these positions by the physical address of the byte there.
    ///
    /// The same as [`Self::translate`] of each: positions that ascend are one walk, others
    /// are sorted first, in blocks of 4 MiB of memory, or looked up one by one where there is none.
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
    /// let phyr = builder.finish();
    /// let mut positions = [0x1002, 0x10];
    /// phyr.translate_all(&mut positions)?;
    /// assert_eq!(positions, [0x3002, 0x7010]);
    /// # Ok::<(), phyr::Error>(())
    /// ```
    pub fn translate_all(&self, positions: &mut [u64]) -> Result<(), Error> {
        let length = self.length();
        if let Some(&position) = positions.iter().find(|&&position| position >= length) {
            return Err(Error::Position { position, length });
        }
        if positions.is_sorted() {
            let mut walk = Walk::new(self);
            for position in positions {
                *position = walk.translate(*position);
            }
            return Ok(());
        }
        let mut order: Vec<(u64, usize)> = Vec::new();
        let is_many = positions.len() >= FEW;
        if !is_many || order.try_reserve_exact(positions.len().min(BLOCK)).is_err() {
            for position in positions {
                *position = self.translate(*position)?;
            }
            return Ok(());
        }
        for block in positions.chunks_mut(BLOCK) {
            order.clear();
            order.extend(block.iter().copied().zip(0..));
            order.sort_unstable();
            let mut walk = Walk::new(self);
            for &(position, at) in &order {
                block[at] = walk.translate(position);
            }
        }
        Ok(())
    }
}

/// Translates positions that ascend and are inside the list.
struct Walk<'a> {
    phyr: &'a Phyr,
    place: Located<'a>,
    /// The chunk there: its page number, and the page of the chain where it ends; 0 before the first.
    pfn: u64,
    end: u64,
}

impl<'a> Walk<'a> {
    fn new(phyr: &'a Phyr) -> Self {
        Self { phyr, place: Located::default(), pfn: 0, end: 0 }
    }

    #[inline]
    fn translate(&mut self, position: u64) -> u64 {
        let granule = self.phyr.granule();
        let at = self.phyr.offset() + position;
        let page = granule.floor(at);
        if page >= self.end {
            let run = self.phyr.chain().advance(&mut self.place, page);
            (self.pfn, self.end) = (run.pfn, self.place.page + run.nr_pages);
        }
        granule.to_bytes(self.pfn + (page - self.place.page)) | at & granule.mask()
    }
}
