//! The list to keep: what can be asked of it.

use core::fmt;
use core::hash::{Hash, Hasher};

use super::chunks::FrozenChunks;
use super::view::{Form, View};
use crate::error::{Error, expect_memory};
use crate::granule::Granule;
use crate::kind::Kind;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::list::stats::run_of;
use crate::storage::digest::Digest;
use crate::storage::entry::{Entry, Run};
use crate::storage::frozen::{Header, Sizes, sound};

/// Words that an archive costs beside its own, in memory, and a header of `Phyr`'s bytes.
const OBJECT: usize = 16 + 6;

/// A list to keep: about half the bytes of a [`Phyr`], and the same answers.
///
/// Starts of chunks are kept as Elias-Fano does, addresses in as few bits as their block of 128
/// needs: 3.8 bytes a chunk on random pages of 1 TiB. The bytes hold no pointers, so they are also
/// a file, which many processes can map and read at once; see [`Self::to_bytes`].
///
/// A frozen list is cheap to clone and to slice, as a `Phyr` is, and never changes. It is equal to
/// every `Phyr` of the same chunks, and has its hash. Code that reads only a `Phyr` gets one by
/// [`Self::thaw`], at about the cost of a walk.
///
/// A list whose archive would be no smaller (a few chunks, or very many that have nothing in common)
/// stays the `Phyr` it was.
///
/// # Examples
///
/// ```
/// use phyr::{Builder, Frozen};
///
/// let mut builder = Builder::new();
/// builder.extend_pfns(&(0..1000).map(|i| i * 7919 % 65536).collect::<Vec<_>>())?;
/// let phyr = builder.finish();
/// let frozen = phyr.freeze();
/// assert!(frozen.storage() < phyr.storage() / 2);
/// assert_eq!(frozen, phyr);
/// assert_eq!(frozen.slice(0x1234, 0x5678)?, phyr.slice(0x1234, 0x5678)?);
/// assert_eq!(frozen.translate(0x5678)?, phyr.translate(0x5678)?);
/// assert_eq!(frozen.thaw(), Ok(phyr));
/// # Ok::<(), phyr::Error>(())
/// ```
#[derive(Clone)]
pub struct Frozen(pub(super) Form);

const _: () = assert!(size_of::<Frozen>() == size_of::<Phyr>());

impl Phyr {
    /// The same list in its frozen form. O(n), two walks. One allocation has the words, and a
    /// small one what all views share.
    ///
    /// # Panics
    ///
    /// Panics if there is no memory for it; [`Self::try_freeze`] does not.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        expect_memory(self.try_freeze())
    }

    /// As [`Self::freeze`], but returns an error if there is no memory.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn try_freeze(&self) -> Result<Frozen, Error> {
        let granule = self.granule();
        let runs = || self.chunks().map(|chunk| run_of(granule, chunk));
        let words = self.serialised_size() / size_of::<u64>();
        let Some(sizes) = Sizes::of(runs()).filter(|sizes| sizes.nr_words + OBJECT < words) else {
            let is_whole = self.granules() == (0, self.chain().nr_pages());
            return Ok(Frozen(Form::Kept(if is_whole {
                self.clone()
            } else {
                self.try_compact()?
            })));
        };
        let head = self.offset() & granule.mask();
        let header = Header { granule, kind: self.kind(), head, length: self.length() };
        Ok(Frozen(Form::Archived(View::new(sizes.write(runs(), &header)?, &header)?)))
    }
}

impl Frozen {
    /// Bytes in the list.
    #[must_use]
    pub fn length(&self) -> u64 {
        match &self.0 {
            Form::Kept(phyr) => phyr.length(),
            Form::Archived(view) => view.length,
        }
    }

    /// Returns true if the list has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length() == 0
    }

    /// The unit of the list's addresses and inner boundaries.
    #[must_use]
    pub fn granule(&self) -> Granule {
        match &self.0 {
            Form::Kept(phyr) => phyr.granule(),
            Form::Archived(view) => view.granule,
        }
    }

    /// The kind of memory that the list describes.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match &self.0 {
            Form::Kept(phyr) => phyr.kind(),
            Form::Archived(view) => view.kind,
        }
    }

    /// Bytes `start` to `end` of the list, `end` excluded. O(1): the slice shares the archive.
    ///
    /// # Errors
    ///
    /// [`Error::Outside`] unless `start <= end <= length`.
    pub fn slice(&self, start: u64, end: u64) -> Result<Self, Error> {
        Ok(Self(match &self.0 {
            Form::Kept(phyr) => Form::Kept(phyr.slice(start, end)?),
            Form::Archived(view) => {
                if start > end || end > view.length {
                    return Err(Error::Outside { start, end, length: view.length });
                }
                let offset = view.offset + start;
                Form::Archived(View { offset, length: end - start, ..view.clone() })
            }
        }))
    }

    /// The bytes before `position`, and those from it on. O(1).
    ///
    /// # Errors
    ///
    /// [`Error::Outside`] unless `position <= length`.
    pub fn split_at(&self, position: u64) -> Result<(Self, Self), Error> {
        Ok((self.slice(0, position)?, self.slice(position, self.length())?))
    }

    /// Physical address of the byte at `position`. O(log n).
    ///
    /// # Errors
    ///
    /// [`Error::Position`] unless `position < length`.
    #[inline]
    pub fn translate(&self, position: u64) -> Result<u64, Error> {
        match &self.0 {
            Form::Kept(phyr) => phyr.translate(position),
            Form::Archived(view) => Ok(view.translate(view.checked(position)?)),
        }
    }

    /// Number of the chunk that holds the byte at `position`. O(log n).
    ///
    /// # Errors
    ///
    /// [`Error::Position`] unless `position < length`.
    pub fn find(&self, position: u64) -> Result<u64, Error> {
        match &self.0 {
            Form::Kept(phyr) => phyr.find(position),
            Form::Archived(view) => {
                let at = view.checked(position)?;
                Ok(view.place(at).number.saturating_sub(view.place(view.offset).number))
            }
        }
    }

    /// The chunk that holds the byte at `position`, and the position where it starts. O(log n).
    ///
    /// # Errors
    ///
    /// [`Error::Position`] unless `position < length`.
    pub fn chunk_at(&self, position: u64) -> Result<(u64, Chunk), Error> {
        match &self.0 {
            Form::Kept(phyr) => phyr.chunk(phyr.find(position)?),
            Form::Archived(view) => {
                let place = view.place(view.checked(position)?);
                let (start, chunk) = view.trim(place.page, place.run);
                Ok((start.saturating_sub(view.offset), chunk))
            }
        }
    }

    /// How many chunks there are. O(log n).
    #[must_use]
    pub fn nr_chunks(&self) -> u64 {
        self.numbers().1
    }

    /// Chunk `number`, and the position where it starts. O(log n).
    ///
    /// # Errors
    ///
    /// [`Error::Number`] unless `number < nr_chunks`.
    pub fn chunk(&self, number: u64) -> Result<(u64, Chunk), Error> {
        let (first, nr_chunks) = self.numbers();
        if number >= nr_chunks {
            return Err(Error::Number { number, nr_chunks });
        }
        Ok(self.numbered(first + number))
    }

    /// As [`Phyr::numbers`], in what the list is a view of.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        match &self.0 {
            Form::Kept(phyr) => phyr.numbers(),
            Form::Archived(view) => {
                let (first, end) = view.numbers();
                (first, end - first)
            }
        }
    }

    /// As [`Phyr::numbered`].
    pub(crate) fn numbered(&self, number: u64) -> (u64, Chunk) {
        match &self.0 {
            Form::Kept(phyr) => phyr.numbered(number),
            Form::Archived(view) => {
                let place = view.archive().find_chunk(number);
                let (start, chunk) = view.trim(place.page, place.run);
                (start.saturating_sub(view.offset), chunk)
            }
        }
    }

    /// As [`Self::numbered`], without reading the address of the chunk, which is in granule `pfn`.
    pub(super) fn numbered_at(&self, number: u64, pfn: u64) -> (u64, Chunk) {
        match &self.0 {
            Form::Kept(phyr) => phyr.numbered(number),
            Form::Archived(view) => {
                // Words that others change may have had more runs.
                let last = view.archive().nr_chunks() - 1;
                let (page, nr_pages) = view.archive().run_pages(number.min(last));
                // The view may start in the run.
                let skip = view.granule.floor(view.offset).saturating_sub(page);
                let run = sound(Run { pfn: pfn.saturating_sub(skip), nr_pages }, view.granule);
                let (start, chunk) = view.trim(page, run);
                (start.saturating_sub(view.offset), chunk)
            }
        }
    }

    /// The chunks, in order, trimmed to the list.
    #[must_use]
    pub fn chunks(&self) -> FrozenChunks<'_> {
        FrozenChunks::new(&self.0, 0)
    }

    /// The list that this is, if it is no archive.
    pub(crate) fn as_phyr(&self) -> Option<&Phyr> {
        match &self.0 {
            Form::Kept(phyr) => Some(phyr),
            Form::Archived(_) => None,
        }
    }

    /// Returns true if others own the words, and may change them.
    #[must_use]
    pub fn may_change(&self) -> bool {
        match &self.0 {
            Form::Kept(_) => false,
            Form::Archived(view) => !view.archive().owns_words(),
        }
    }

    /// Bytes of heap that the list keeps alive. Other views may share all of them. Mapped words do
    /// not count.
    #[must_use]
    pub fn storage(&self) -> usize {
        match &self.0 {
            Form::Kept(phyr) => phyr.storage(),
            Form::Archived(view) => view.archive().storage(),
        }
    }
}

impl Default for Frozen {
    /// The empty list.
    fn default() -> Self {
        Self(Form::Kept(Phyr::default()))
    }
}

impl PartialEq for Frozen {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Form::Kept(a), Form::Kept(b)) => a == b,
            (Form::Archived(a), Form::Archived(b))
                if a.archive.is_same(&b.archive)
                    && (a.offset, a.length) == (b.offset, b.length) =>
            {
                true
            }
            _ => {
                (self.length(), self.granule(), self.kind())
                    == (other.length(), other.granule(), other.kind())
                    && self.chunks().eq(other.chunks())
            }
        }
    }
}

impl Eq for Frozen {}

impl PartialEq<Phyr> for Frozen {
    fn eq(&self, other: &Phyr) -> bool {
        match &self.0 {
            Form::Kept(phyr) => phyr == other,
            Form::Archived(view) => {
                (view.length, view.granule, view.kind)
                    == (other.length(), other.granule(), other.kind())
                    && self.chunks().eq(other.chunks())
            }
        }
    }
}

impl PartialEq<Frozen> for Phyr {
    fn eq(&self, other: &Frozen) -> bool {
        other == self
    }
}

impl Hash for Frozen {
    /// As a [`Phyr`] of the same chunks.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let view = match &self.0 {
            Form::Kept(phyr) => return phyr.hash(state),
            Form::Archived(view) => view,
        };
        (view.length, view.granule, view.kind).hash(state);
        let mut digest = Digest::default();
        let mut chunks = self.chunks();
        for end in [chunks.next(), chunks.next_back()].into_iter().flatten() {
            digest.write(&[end.paddr, end.length]);
        }
        chunks.for_each(|chunk| {
            let (entry, count) = Entry::pack(run_of(view.granule, chunk));
            digest.write_one(entry.word());
            if entry.is_escape() {
                digest.write_one(count);
            }
        });
        state.write_u64(digest.finish());
    }
}

impl From<&Phyr> for Frozen {
    fn from(phyr: &Phyr) -> Self {
        phyr.freeze()
    }
}

impl fmt::Debug for Frozen {
    /// As a `Phyr` has it: the length and a few chunks, however many there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;

        let mut chunks = self.chunks();
        write!(f, "Frozen({:#x} bytes, granule {}, ", self.length(), self.granule().bytes())?;
        if self.kind() != Kind::Ram {
            write!(f, "{}, ", self.kind())?;
        }
        let plural = if chunks.len() == 1 { "" } else { "s" };
        write!(f, "{} chunk{plural}:", chunks.len())?;
        for chunk in chunks.by_ref().take(SHOWN) {
            write!(f, " {chunk:?}")?;
        }
        match chunks.next_back() {
            Some(last) if chunks.len() > 0 => write!(f, " ... {last:?})"),
            Some(last) => write!(f, " {last:?})"),
            None => f.write_str(")"),
        }
    }
}
