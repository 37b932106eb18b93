//! A list cut into consecutive byte ranges.

use core::iter::FusedIterator;

use crate::error::Error;
use crate::list::phyr::Phyr;
use crate::list::reading::List;

/// Cuts a list into consecutive parts of the given lengths, from byte `start` on.
///
/// Each part is a slice that shares the storage. A length of 0 gives no part. Bytes after the last
/// part are left out.
///
/// # Errors
///
/// A part beyond the end of the list is an [`Error::Outside`], and ends the iteration.
///
/// # Examples
///
/// ```
/// use phyr::desc::split;
///
/// let mut builder = phyr::Builder::new();
/// builder.append(0x1000, 0x3000)?;
/// let phyr = builder.finish();
/// let parts: Vec<u64> =
///     split(&phyr, 0x800, [0x1000, 0, 0x1800]).map(|part| part.unwrap().length()).collect();
/// assert_eq!(parts, [0x1000, 0x1800]);
/// # Ok::<(), phyr::Error>(())
/// ```
///
/// Source: as `sg_split()`, `lib/sg_split.c`, but without entries of length 0.
pub fn split<P: List, I>(phyr: &P, start: u64, lengths: I) -> Split<'_, I::IntoIter, P>
where
    I: IntoIterator<Item = u64>,
{
    Split { phyr, position: Some(start), lengths: lengths.into_iter() }
}

/// The parts of a list; from [`split`].
#[derive(Clone, Debug)]
pub struct Split<'a, I, P: List = Phyr> {
    phyr: &'a P,
    /// Where the next part starts; `None` after an error.
    position: Option<u64>,
    lengths: I,
}

impl<I: Iterator<Item = u64>, P: List> Iterator for Split<'_, I, P> {
    type Item = Result<P, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.position?;
        let length = self.lengths.find(|&length| length > 0)?;
        // An end that passes 2^64 counts as 2^64 - 1, which is outside any shorter list.
        let end = start.checked_add(length);
        let part = match end {
            Some(end) => self.phyr.slice(start, end),
            None => Err(Error::Outside { start, end: u64::MAX, length: self.phyr.length() }),
        };
        self.position = end.filter(|_| part.is_ok());
        Some(part)
    }
}

impl<I: Iterator<Item = u64>, P: List> FusedIterator for Split<'_, I, P> {}
