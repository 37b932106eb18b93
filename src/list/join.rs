//! Lists made from lists.

use crate::error::{Error, expect_memory};
use crate::list::builder::Builder;
use crate::list::phyr::Phyr;

impl Phyr {
    /// This list and then the other, as the concatenation of their buffers. O(n).
    ///
    /// # Errors
    ///
    /// As [`Builder::extend`], of which [`Error::NoMemory`] is one; an empty list joins with any of its
    /// granule and kind.
    pub fn concat(&self, other: &Self) -> Result<Self, Error> {
        let mut builder = Builder::with(self.granule(), self.kind());
        builder.extend(self)?;
        builder.extend(other)?;
        builder.try_finish()
    }

    /// An equal list that keeps nothing alive but its own entries. O(n).
    ///
    /// A slice shares the chain it was cut from, however small it is; its compact copy does not.
    ///
    /// # Panics
    ///
    /// Panics if there is no memory for it; [`Self::try_compact`] does not.
    #[must_use]
    pub fn compact(&self) -> Self {
        expect_memory(self.try_compact())
    }

    /// As [`Self::compact`], for whoever can do without.
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
