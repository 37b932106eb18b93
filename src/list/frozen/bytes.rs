//! Frozen lists as bytes, which are also their file.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::list::Frozen;
use super::view::{Form, View};
use crate::error::{Error, FormatError, NoMemory};
use crate::list::phyr::Phyr;
use crate::slices;
#[cfg(target_has_atomic = "64")]
use crate::storage::frozen::SharedWords;
use crate::storage::frozen::{Archive, MAGIC, Store};

impl Frozen {
    /// The list as bytes, the same for equal lists. O(n).
    ///
    /// A list that stays a [`Phyr`] has the bytes of [`Phyr::to_bytes`].
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::{Builder, Frozen};
    ///
    /// let mut builder = Builder::new();
    /// builder.extend_pfns(&(0..1000).map(|i| i * 7919 % 65536).collect::<Vec<_>>())?;
    /// let frozen = builder.finish().freeze();
    /// let bytes = frozen.to_bytes().unwrap();
    /// assert!(bytes.len() < 1000 * 3);
    /// assert_eq!(Frozen::from_bytes(&bytes), Ok(frozen));
    /// # Ok::<(), phyr::Error>(())
    /// ```
    /// # Errors
    ///
    /// [`FormatError::Changed`] if the words are not those of a list, which can happen only if others
    /// own them; [`FormatError::NoMemory`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        match &self.0 {
            Form::Archived(view) if view.is_whole() => Ok(view.archive().to_bytes()?),
            // A part has a form of its own, as the list that it is.
            _ => Ok(freeze_bytes(&self.thaw()?)?),
        }
    }

    /// The list that [`Self::to_bytes`], or [`Phyr::to_bytes`], made these bytes of. O(n).
    ///
    /// The bytes may come from anywhere: they are copied, and all of them are checked.
    ///
    /// # Errors
    ///
    /// A [`FormatError`] that says which part is not that of a list, or [`FormatError::NoMemory`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.first_chunk() != Some(&MAGIC) {
            return Ok(Phyr::from_bytes(bytes)?.try_freeze().map_err(no_memory)?);
        }
        let (words, rest) = slices::arrays(bytes);
        if !rest.is_empty() {
            let (given, expected) = (bytes.len() as u64, size_of_val(words) as u64);
            return Err(FormatError::Size { given, expected });
        }
        let mut copy = Vec::new();
        copy.try_reserve_exact(words.len()).map_err(|_| NoMemory::of::<u64>(words.len()))?;
        copy.extend(words.iter().map(|&word| u64::from_ne_bytes(word)));
        let frozen = Self::over(Store::Owned(copy.into_boxed_slice()))?;
        frozen.check()?;
        Ok(frozen)
    }

    /// The list in memory that others may see and change: a mapped file, in words as they lie there.
    /// O(1): only the header is checked. [`Self::check`] checks the rest.
    ///
    /// Memory that is not a list's, or changes, yields wrong chunks, each of them inside the address
    /// space; [`Self::thaw`] makes a list of such chunks, or refuses them. Nothing panics, and
    /// nothing outside the memory is read.
    ///
    /// # Errors
    ///
    /// A [`FormatError`] that says which part of the header is not that of a list.
    #[cfg(target_has_atomic = "64")]
    pub fn from_shared(owner: Box<dyn SharedWords>) -> Result<Self, FormatError> {
        Self::over(Store::Shared(owner))
    }

    fn over(store: Store) -> Result<Self, FormatError> {
        let (archive, header) = Archive::open(store)?;
        Ok(Self(Form::Archived(View::new(archive, &header)?)))
    }

    /// Checks every word: that they are those of one list, and have not changed since they were
    /// written. O(n), without allocating.
    ///
    /// Of a slice that leaves pages out, it checks the words that are read for it, some more at its
    /// ends: that they are those of a list. The digest is of the whole, so words that were changed to
    /// those of another list are not found out. So a large file can be opened unchecked, and checked
    /// part by part.
    ///
    /// # Errors
    ///
    /// A [`FormatError`] that says where they are not.
    pub fn check(&self) -> Result<(), FormatError> {
        let Form::Archived(view) = &self.0 else { return Ok(()) };
        let Some(more) = view.length.checked_sub(1) else { return Ok(()) };
        let pages = [view.offset, view.offset + more].map(|at| view.granule.floor(at));
        // Not by the words, which may have changed.
        if pages == [0, view.archive().nr_pages() - 1] {
            return view.archive().check();
        }
        view.archive().check_part(pages[0], pages[1])
    }
}

/// The bytes of the frozen form of a list.
fn freeze_bytes(phyr: &Phyr) -> Result<Vec<u8>, NoMemory> {
    let bytes = phyr.try_freeze().and_then(|frozen| match &frozen.0 {
        Form::Kept(phyr) => phyr.try_to_bytes(),
        Form::Archived(view) => Ok(view.archive().to_bytes()?),
    });
    bytes.map_err(no_memory)
}

/// The only way in which freezing a list fails.
fn no_memory(why: Error) -> NoMemory {
    match why {
        Error::NoMemory { bytes } => NoMemory { bytes },
        _ => NoMemory { bytes: 0 },
    }
}
