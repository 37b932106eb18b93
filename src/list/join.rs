//! Lists made from lists.

use crate::error::Error;
use crate::list::builder::Builder;
use crate::list::phyr::Phyr;

impl Phyr {
    /// This list and then the other, as the concatenation of their buffers. O(n).
    ///
    /// # Errors
    ///
    /// As [`Builder::extend`]; an empty list joins with any of its granule and kind.
    pub fn concat(&self, other: &Self) -> Result<Self, Error> {
        let mut builder = Builder::with(self.granule(), self.kind());
        builder.extend(self)?;
        builder.extend(other)?;
        Ok(builder.finish())
    }

    /// An equal list that keeps nothing alive but its own entries. O(n).
    ///
    /// A slice shares the chain it was cut from, however small it is; its compact copy does not.
    #[must_use]
    pub fn compact(&self) -> Self {
        let mut builder = Builder::with(self.granule(), self.kind());
        match builder.extend(self) {
            Ok(()) => builder.finish(),
            // Not reached: a list is as well made as its copy. The list itself is a right answer.
            Err(_) => self.clone(),
        }
    }
}
