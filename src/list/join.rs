//! Lists made of other lists.

use crate::error::{Error, expect_memory};
use crate::list::builder::Builder;
use crate::list::phyr::Phyr;

impl Phyr {
    /// All these lists one after another, as the concatenation of their buffers. O(n).
    ///
    /// Adding one list to another in a loop copies what is there already each time; this copies each
    /// word once. The first list says the granule and the kind; no lists make an empty list of RAM in
    /// granules of 4096 bytes.
    ///
    /// # Errors
    ///
    /// As [`Builder::extend`], for the first list that cannot follow.
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::{Chunk, Phyr};
    ///
    /// let page = |pfn: u64| Phyr::from_chunks([Chunk { paddr: pfn << 12, length: 0x1000 }]);
    /// let lists = [page(7)?, page(8)?, page(2)?];
    /// let phyr = Phyr::join(&lists)?;
    /// assert!(phyr.chunks().eq([
    ///     Chunk { paddr: 0x7000, length: 0x2000 },
    ///     Chunk { paddr: 0x2000, length: 0x1000 },
    /// ]));
    /// # Ok::<(), phyr::Error>(())
    /// ```
    pub fn join<'a>(lists: impl IntoIterator<Item = &'a Self>) -> Result<Self, Error> {
        let mut builder: Option<Builder> = None;
        for phyr in lists {
            let fresh = || Builder::with(phyr.granule(), phyr.kind());
            builder.get_or_insert_with(fresh).extend(phyr)?;
        }
        builder.unwrap_or_default().try_finish()
    }

    /// This list and then the other, as the concatenation of their buffers. O(n): for many lists,
    /// [`Self::join`].
    ///
    /// # Errors
    ///
    /// As [`Builder::extend`], [`Error::NoMemory`] included. An empty list joins with any list of
    /// the same granule and kind.
    pub fn concat(&self, other: &Self) -> Result<Self, Error> {
        Self::join([self, other])
    }

    /// An equal list that keeps only its own entries alive. O(n).
    ///
    /// A slice shares the chain it was cut from, even if the slice is small. Its compact copy does
    /// not.
    ///
    /// # Panics
    ///
    /// Panics if there is no memory for the copy; [`Self::try_compact`] returns an error instead.
    #[must_use]
    pub fn compact(&self) -> Self {
        expect_memory(self.try_compact())
    }

    /// As [`Self::compact`], but a lack of memory is an error.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn try_compact(&self) -> Result<Self, Error> {
        Self::join([self])
    }
}
