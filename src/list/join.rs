//! Lists made of other lists.

use crate::error::{Error, expect_memory};
use crate::list::builder::Builder;
use crate::list::phyr::Phyr;

impl Phyr {
    /// This list followed by the other: the concatenation of their buffers. O(n).
    ///
    /// # Errors
    ///
    /// As [`Builder::extend`], [`Error::NoMemory`] included. An empty list joins with any list of
    /// the same granule and kind.
    pub fn concat(&self, other: &Self) -> Result<Self, Error> {
        let mut builder = Builder::with(self.granule(), self.kind());
        builder.extend(self)?;
        builder.extend(other)?;
        builder.try_finish()
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
        let mut builder = Builder::with(self.granule(), self.kind());
        builder.extend(self)?;
        builder.try_finish()
    }
}
