//! From the frozen form to the other: thawing, and appending to a builder.

use super::chunks::Part;
use super::list::Frozen;
use super::view::{Form, View};
use crate::error::{Error, FormatError, NoMemory};
use crate::list::builder::Builder;
use crate::list::phyr::Phyr;
use crate::list::stats::run_of;
use crate::storage::frozen::BLOCK;

/// Why a frozen list cannot be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExtendError {
    /// It cannot follow.
    List(Error),
    /// Its words are not those of a list.
    Words(FormatError),
}

impl From<Error> for ExtendError {
    fn from(why: Error) -> Self {
        Self::List(why)
    }
}

impl From<NoMemory> for ExtendError {
    fn from(why: NoMemory) -> Self {
        Self::List(why.into())
    }
}

impl From<FormatError> for ExtendError {
    fn from(why: FormatError) -> Self {
        Self::Words(why)
    }
}

impl Builder {
    /// As [`Self::extend`], of a frozen list. Takes its runs by the block; no list is made between.
    pub(crate) fn extend_frozen(&mut self, other: &Frozen) -> Result<(), ExtendError> {
        let view = match &other.0 {
            Form::Kept(phyr) => return Ok(self.extend(phyr)?),
            Form::Archived(view) => view,
        };
        self.check_alike(view.granule, view.kind)?;
        let Some(more) = view.length.checked_sub(1) else { return Ok(()) };
        let head = view.offset & view.granule.mask();
        let nr_pages = view.granule.floor(head + more) + 1;
        let is_shared = head != 0 && self.length() > 0;
        self.check_room(nr_pages - u64::from(is_shared))?;
        self.all_or_nothing(|builder| {
            let mut appended = Ok(Appended { left: nr_pages, end: u64::MAX });
            other.chunks().each_part(|part| {
                if let Ok(before) = appended {
                    appended = before.append(builder, view, part);
                }
            });
            appended?.finish(view)
        })
    }
}

/// How much of a frozen list is in a builder.
#[derive(Clone, Copy, Debug)]
struct Appended {
    /// Pages still to come.
    left: u64,
    /// The page behind the run before. Before the first run: a number that no page has.
    end: u64,
}

impl Appended {
    fn append(
        self,
        builder: &mut Builder,
        view: &View,
        part: Part<'_>,
    ) -> Result<Self, ExtendError> {
        match part {
            Part::Chunk(chunk) => {
                let run = run_of(view.granule, chunk);
                let after = self.after(view, run.pfn, run.nr_pages, run.pfn + run.nr_pages)?;
                builder.append(chunk.paddr, chunk.length)?;
                Ok(after)
            }
            Part::Block(decoded, range) => {
                let (mut pfns, mut lengths) = ([0; BLOCK], [0; BLOCK]);
                let count = range.len();
                let (mut nr_pages, mut end, mut touch) = (0, u64::MAX, false);
                let runs = decoded.runs(range.start, range.end);
                for ((pfn, length), run) in pfns.iter_mut().zip(&mut lengths).zip(runs) {
                    (*pfn, *length) = (run.pfn, run.nr_pages);
                    touch |= run.pfn == end;
                    end = run.pfn + run.nr_pages;
                    nr_pages += run.nr_pages;
                }
                if touch {
                    return Err(not_of(view).into());
                }
                let after = self.after(view, pfns[0], nr_pages, end)?;
                let (Some(pfns), Some(lengths)) = (pfns.get(..count), lengths.get(..count)) else {
                    return Err(not_of(view).into());
                };
                if nr_pages == count as u64 {
                    builder.push_pages(pfns, 0)?;
                } else {
                    builder.push_ranges(pfns, lengths, 0)?;
                }
                Ok(after)
            }
        }
    }

    /// The same after more runs, of so many pages, from page `pfn` on and to page `end`.
    fn after(self, view: &View, pfn: u64, nr_pages: u64, end: u64) -> Result<Self, ExtendError> {
        match self.left.checked_sub(nr_pages) {
            Some(left) if pfn != self.end => Ok(Self { left, end }),
            _ => Err(not_of(view).into()),
        }
    }

    fn finish(self, view: &View) -> Result<(), ExtendError> {
        if self.left == 0 { Ok(()) } else { Err(not_of(view).into()) }
    }
}

/// The error for words that are not those of the list whose view this is.
fn not_of(view: &View) -> FormatError {
    FormatError::Changed { length: view.length }
}

impl Frozen {
    /// The same list as a [`Phyr`]. O(n).
    ///
    /// # Errors
    ///
    /// [`FormatError::Changed`] if the words are not those of a list, which can happen only if others
    /// own them; [`FormatError::NoMemory`].
    pub fn thaw(&self) -> Result<Phyr, FormatError> {
        let view = match &self.0 {
            Form::Kept(phyr) => return Ok(phyr.clone()),
            Form::Archived(view) => view,
        };
        let mut builder = Builder::with(view.granule, view.kind);
        let made = builder.extend_frozen(self).and_then(|()| Ok(builder.try_finish()?));
        made.map_err(|why| match why {
            ExtendError::List(Error::NoMemory { bytes }) => FormatError::NoMemory { bytes },
            // Any list may follow nothing.
            ExtendError::List(_) => not_of(view),
            ExtendError::Words(why) => why,
        })
    }
}
