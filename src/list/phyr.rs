//! The list: a view of a shared chain.

use core::fmt;
use core::hash::{Hash, Hasher};

use crate::error::Error;
use crate::granule::Granule;
use crate::kind::Kind;
use crate::list::chunks::{Chunk, Chunks};
use crate::list::walk::{Walk, find_last};
use crate::storage::chain::{Chain, Located};
use crate::storage::digest::Digest;

/// The physical memory under a buffer: a list of chunks that stands for the buffer.
///
/// ```text
///            offset                length
///          |------->|<------------------------------->|
///          +-----------------+    +----------+    +-----------+
///  chain   |     chunk 0     |    |  chunk 1 |    |  chunk 2  |  ...
///          +-----------------+    +----------+    +-----------+
///          ^ granule aligned      ^ every boundary inside is granule aligned
/// ```
///
/// A `Phyr` is cheap to clone and to slice: views share one immutable chain, and a view only notes
/// where it starts and how long it is. Positions count bytes from the start of the view, as in the
/// buffer. A list may be empty, as a buffer may; a chunk never is.
///
/// Two lists are equal if their granules, kinds and trimmed chunks are.
///
/// # Examples
///
/// ```
/// use phyr::{Builder, Chunk};
///
/// let mut builder = Builder::new();
/// builder.append(0x7000, 0x1000)?;
/// builder.append(0x20_0000, 0x20_0000)?;
/// let phyr = builder.finish();
/// assert_eq!(phyr.length(), 0x20_1000);
///
/// // The slice of the list is the list of the slice of the buffer.
/// let part = phyr.slice(0xf00, 0x1100)?;
/// assert!(part.chunks().eq([
///     Chunk { paddr: 0x7f00, length: 0x100 },
///     Chunk { paddr: 0x20_0000, length: 0x100 },
/// ]));
/// assert_eq!(part.translate(0x180)?, 0x20_0080);
/// # Ok::<(), phyr::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Phyr {
    chain: Chain,
    /// Bytes of the chain before the view.
    offset: u64,
    /// Bytes of the view. `offset + length` is at most the chain's length, which fits u64.
    length: u64,
    granule: Granule,
    kind: Kind,
}

impl Phyr {
    /// A view of a chain that holds at least `offset + length` bytes.
    pub(crate) fn new(
        chain: Chain,
        granule: Granule,
        kind: Kind,
        offset: u64,
        length: u64,
    ) -> Self {
        Self { chain, offset, length, granule, kind }
    }

    pub(crate) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Bytes of the chain before the start of the list.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Length of the list in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns true if the list has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The granule: the unit of the list's addresses and inner boundaries.
    #[must_use]
    pub fn granule(&self) -> Granule {
        self.granule
    }

    /// The kind of memory that the list describes.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Bytes `start` to `end` of the list, `end` excluded.
    ///
    /// O(1): the slice shares the chain. Slices of slices compose.
    ///
    /// # Errors
    ///
    /// [`Error::Outside`] unless `start <= end <= length`.
    pub fn slice(&self, start: u64, end: u64) -> Result<Self, Error> {
        if start > end || end > self.length {
            return Err(Error::Outside { start, end, length: self.length });
        }
        let chain = self.chain.clone();
        Ok(Self { chain, offset: self.offset + start, length: end - start, ..*self })
    }

    /// Splits the list in two: the bytes before `position`, and the bytes from `position` on. O(1).
    ///
    /// # Errors
    ///
    /// [`Error::Outside`] unless `position <= length`.
    pub fn split_at(&self, position: u64) -> Result<(Self, Self), Error> {
        Ok((self.slice(0, position)?, self.slice(position, self.length)?))
    }

    /// Physical address of the byte at `position`. O(log n).
    ///
    /// # Errors
    ///
    /// [`Error::Position`] unless `position < length`.
    pub fn translate(&self, position: u64) -> Result<u64, Error> {
        let at = self.checked(position)?;
        let place = self.chain.find_page(self.granule.floor(at));
        let into = at - self.granule.to_bytes(place.page);
        Ok(self.granule.to_bytes(place.run().pfn) + into)
    }

    /// Number of the chunk that holds the byte at `position`. O(log n).
    ///
    /// # Errors
    ///
    /// [`Error::Position`] unless `position < length`.
    pub fn find(&self, position: u64) -> Result<u64, Error> {
        let at = self.checked(position)?;
        Ok(self.place(at).number - self.place(self.offset).number)
    }

    /// The chunks, in order, trimmed to the list. A search, O(log n), to begin.
    #[must_use]
    #[inline]
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks::new(self.walk())
    }

    /// The chunks, for walks that take whole nodes or look ahead.
    pub(crate) fn walk(&self) -> Walk<'_> {
        self.walk_from(0)
    }

    /// The chunks from byte `position` on. `position` is at most the length.
    pub(crate) fn walk_from(&self, position: u64) -> Walk<'_> {
        Walk::new(&self.chain, self.granule, self.offset + position, self.offset + self.length)
    }

    /// Number of chunks. O(log n).
    #[must_use]
    pub fn nr_chunks(&self) -> u64 {
        self.numbers().1
    }

    /// The number that the chain gives to the first chunk, and how many chunks the list has. O(log
    /// n).
    pub(crate) fn numbers(&self) -> (u64, u64) {
        // A list that is a whole chain needs no search.
        if let Some((nr_pages, nr_chunks)) = self.chain.totals() {
            if self.granules() == (0, nr_pages) {
                return (0, nr_chunks);
            }
        }
        self.ends().map_or((0, 0), |(first, last)| (first.number, last.number - first.number + 1))
    }

    /// Chunk `number` of the list, and the position where it starts. O(log n).
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

    /// The chunk with the number `number` in the chain, and the position in the list where it
    /// starts. The list must have that chunk. O(log n).
    pub(crate) fn numbered(&self, number: u64) -> (u64, Chunk) {
        let place = self.chain.find_chunk(number);
        let run = place.run();
        let granule = self.granule;
        // In bytes of the chain. The end of the chain fits in `u64`, so all of these do.
        let start = granule.to_bytes(place.page).max(self.offset);
        let end = granule.to_bytes(place.page + run.nr_pages).min(self.offset + self.length);
        let paddr = granule.to_bytes(run.pfn) + (start - granule.to_bytes(place.page));
        (start - self.offset, Chunk { paddr, length: end - start })
    }

    /// Finds the chunk that holds byte `at` of the chain.
    fn place(&self, at: u64) -> Located<'_> {
        self.chain.find_page(self.granule.floor(at))
    }

    /// The chunks that hold the first and the last byte; `None` if the list is empty.
    pub(crate) fn ends(&self) -> Option<(Located<'_>, Located<'_>)> {
        let more = self.length.checked_sub(1)?;
        let first = self.place(self.offset);
        // If both bytes are in one chunk, one search is enough.
        let end = self.granule.to_bytes(first.page + first.run().nr_pages);
        let is_one = end - self.offset > more;
        let last = || find_last(&self.chain, self.granule.floor(self.offset + more));
        Some((first, if is_one { first } else { last() }))
    }

    /// Turns a position in the list into one in the chain, after a check.
    fn checked(&self, position: u64) -> Result<u64, Error> {
        if position < self.length {
            Ok(self.offset + position)
        } else {
            Err(Error::Position { position, length: self.length })
        }
    }

    /// The granules of the chain before the list, and the granules that the list touches.
    pub(crate) fn granules(&self) -> (u64, u64) {
        let Some(more) = self.length.checked_sub(1) else { return (0, 0) };
        let first = self.granule.floor(self.offset);
        (first, self.granule.floor(self.offset + more) - first + 1)
    }
}

impl PartialEq for Phyr {
    fn eq(&self, other: &Self) -> bool {
        if (self.length, self.granule, self.kind) != (other.length, other.granule, other.kind) {
            return false;
        }
        if self.length == 0 || self.offset == other.offset && self.chain.is_same(&other.chain) {
            return true;
        }
        // The chunks of both lists are maximal runs, so equal bytes mean equal chunks.
        let (mut a, mut b) = (self.walk(), other.walk());
        a.next() == b.next()
            && a.next_back() == b.next_back()
            && a.remaining() == b.remaining()
            && a.same_words(b)
    }
}

impl Eq for Phyr {}

impl Hash for Phyr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.length, self.granule, self.kind).hash(state);
        let mut digest = Digest::default();
        let mut chunks = self.walk();
        for end in [chunks.next(), chunks.next_back()].into_iter().flatten() {
            digest.write(&[end.paddr, end.length]);
        }
        chunks.for_each_slice(|words| digest.write(words));
        state.write_u64(digest.finish());
    }
}

impl fmt::Debug for Phyr {
    /// Shows the length and a few chunks, so that the text of a long list stays short.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;

        let mut chunks = self.walk();
        write!(f, "Phyr({:#x} bytes, granule {}, ", self.length, self.granule.bytes())?;
        if self.kind != Kind::Ram {
            write!(f, "{}, ", self.kind)?;
        }
        let plural = if chunks.remaining() == 1 { "" } else { "s" };
        write!(f, "{} chunk{plural}:", chunks.remaining())?;
        for chunk in chunks.by_ref().take(SHOWN) {
            write!(f, " {chunk:?}")?;
        }
        match chunks.next_back() {
            Some(last) if chunks.remaining() > 0 => write!(f, " ... {last:?})"),
            Some(last) => write!(f, " {last:?})"),
            None => f.write_str(")"),
        }
    }
}
