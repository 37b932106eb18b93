//! The common face of both forms of a list, so that code that only reads is written once.

use core::fmt;
use core::hash::Hash;
use core::iter::FusedIterator;

use crate::error::Error;
use crate::granule::Granule;
use crate::kind::Kind;
use crate::list::chunks::{Chunk, Chunks};
use crate::list::phyr::Phyr;
use crate::list::walk::Walk;

/// A list in either form: a [`Phyr`], or a [`Frozen`](crate::Frozen).
///
/// Descriptors, plans and mappings take both. Code that takes a `List` is compiled once for each form
/// that it is used with, so a `Phyr` costs what it would cost alone. No other type can be a `List`.
///
/// # Examples
///
/// ```
/// use phyr::{Builder, List};
///
/// fn largest(list: &impl List) -> u64 {
///     list.chunks().fold(0, |largest, chunk| chunk.length.max(largest))
/// }
///
/// let mut builder = Builder::new();
/// builder.extend_pfns(&[7, 8, 3])?;
/// let phyr = builder.finish();
/// assert_eq!((largest(&phyr), largest(&phyr.freeze())), (0x2000, 0x2000));
/// # Ok::<(), phyr::Error>(())
/// ```
pub trait List: Inner + Clone + Default + Eq + Hash + fmt::Debug + Send + Sync + 'static {
    /// The walk over the list's chunks.
    type Chunks<'a>: DoubleEndedIterator<Item = Chunk> + ExactSizeIterator + FusedIterator + Clone
    where
        Self: 'a;

    /// Bytes in the list.
    fn length(&self) -> u64;

    /// Returns true if the list has no bytes.
    fn is_empty(&self) -> bool {
        self.length() == 0
    }

    /// The unit of the list's addresses and inner boundaries.
    fn granule(&self) -> Granule;

    /// The kind of memory that the list describes.
    fn kind(&self) -> Kind;

    /// Bytes `start` to `end` of the list, `end` excluded. O(1).
    ///
    /// # Errors
    ///
    /// [`Error::Outside`] unless `start <= end <= length`.
    fn slice(&self, start: u64, end: u64) -> Result<Self, Error>;

    /// The bytes before `position`, and those from it on. O(1).
    ///
    /// # Errors
    ///
    /// [`Error::Outside`] unless `position <= length`.
    fn split_at(&self, position: u64) -> Result<(Self, Self), Error> {
        Ok((self.slice(0, position)?, self.slice(position, self.length())?))
    }

    /// Physical address of the byte at `position`. O(log n).
    ///
    /// # Errors
    ///
    /// [`Error::Position`] unless `position < length`.
    fn translate(&self, position: u64) -> Result<u64, Error>;

    /// Number of the chunk that holds the byte at `position`. O(log n).
    ///
    /// # Errors
    ///
    /// [`Error::Position`] unless `position < length`.
    fn find(&self, position: u64) -> Result<u64, Error>;

    /// How many chunks there are. O(log n).
    fn nr_chunks(&self) -> u64;

    /// Chunk `number`, and the position where it starts. O(log n).
    ///
    /// # Errors
    ///
    /// [`Error::Number`] unless `number < nr_chunks`.
    fn chunk(&self, number: u64) -> Result<(u64, Chunk), Error>;

    /// The chunks, in order, trimmed to the list.
    fn chunks(&self) -> Self::Chunks<'_>;
}

/// The part of the face that is for this crate.
#[expect(unnameable_types, reason = "so that no other type can be a list")]
pub trait Inner {
    /// The walk that also moves by many chunks at a time.
    type Walk<'a>: Steps
    where
        Self: 'a;

    /// The chunks from byte `position` on. `position` is at most the length.
    fn walk_from(&self, position: u64) -> Self::Walk<'_>;

    /// The list, whatever its form is best for.
    fn kept(phyr: Phyr) -> Self;

    /// Returns true if walks move by whole nodes. Counts then stay true, because nobody else can write
    /// the words.
    fn has_nodes(&self) -> bool;

    /// An upper bound on the addresses of the list.
    fn upper_bound(&self) -> u64;

    /// Addresses between which all chunks lie: none starts below the first, or ends above the last. Found
    /// in far less time than by a walk.
    fn span(&self) -> (u64, u64);

    /// Returns true if every boundary inside the list is known to be a multiple of `mask + 1`, a power
    /// of two. True is certain; false means look.
    fn is_aligned(&self, mask: u64) -> bool;
}

/// A walk over chunks that can also move by many chunks at a time.
///
/// The lengths of all chunks that `next` and `read` return are at most the bytes of the list,
/// whatever the words of a frozen list are.
#[allow(unnameable_types, unreachable_pub, reason = "walks have it; Rust 1.85 has no such lint")]
pub trait Steps:
    DoubleEndedIterator<Item = Chunk> + ExactSizeIterator + FusedIterator + Clone + fmt::Debug
{
    /// The byte where the walk stands, counted from some byte at or before the start of the list.
    fn at(&self) -> u64;

    /// The next chunk. The walk does not move.
    fn peek(&self) -> Option<Chunk>;

    /// Copies the next chunks to `out` and returns their number. A short count is not the end; zero
    /// is.
    fn read(&mut self, out: &mut [Chunk]) -> usize;

    /// Passes the next chunks to `write`, each with one of `slots` and the byte where it starts.
    /// Returns the number of chunks, as `read` does.
    fn write<T>(
        &mut self,
        slots: impl ExactSizeIterator<Item = T>,
        write: impl FnMut(T, Chunk, u64),
    ) -> usize;

    /// The number of next chunks that are known to have at most `most` bytes together, or 0.
    fn short(&mut self, most: u64) -> usize;

    /// Writes the addresses of the next chunks to `out`, as far as each is known to be one aligned
    /// block of `size` bytes; returns how many.
    fn read_blocks(&mut self, size: u64, out: &mut [u64]) -> usize;

    /// Returns true if every chunk still to come is known to be shorter than `length` bytes.
    fn are_shorter(&self, length: u64) -> bool;
}

/// Implements `List` by a type's own methods of the same names.
macro_rules! list {
    ($chunks:ident) => {
        type Chunks<'a> = $chunks<'a>;

        #[inline(always)]
        fn length(&self) -> u64 {
            self.length()
        }

        fn granule(&self) -> Granule {
            self.granule()
        }

        fn kind(&self) -> Kind {
            self.kind()
        }

        fn slice(&self, start: u64, end: u64) -> Result<Self, Error> {
            self.slice(start, end)
        }

        fn translate(&self, position: u64) -> Result<u64, Error> {
            self.translate(position)
        }

        fn find(&self, position: u64) -> Result<u64, Error> {
            self.find(position)
        }

        fn nr_chunks(&self) -> u64 {
            self.nr_chunks()
        }

        fn chunk(&self, number: u64) -> Result<(u64, Chunk), Error> {
            self.chunk(number)
        }

        fn chunks(&self) -> $chunks<'_> {
            self.chunks()
        }
    };
}
pub(crate) use list;

impl List for Phyr {
    list!(Chunks);
}

impl Inner for Phyr {
    type Walk<'a> = Walk<'a>;

    fn walk_from(&self, position: u64) -> Walk<'_> {
        self.walk_from(position)
    }

    fn kept(phyr: Phyr) -> Self {
        phyr
    }

    #[inline(always)]
    fn has_nodes(&self) -> bool {
        true
    }

    fn upper_bound(&self) -> u64 {
        self.upper_bound()
    }

    fn span(&self) -> (u64, u64) {
        (0, self.upper_bound())
    }

    fn is_aligned(&self, mask: u64) -> bool {
        self.is_aligned(mask)
    }
}

impl Steps for Walk<'_> {
    #[inline(always)]
    fn at(&self) -> u64 {
        Walk::position(self)
    }

    #[inline(always)]
    fn peek(&self) -> Option<Chunk> {
        self.peek()
    }

    #[inline(always)]
    fn read(&mut self, out: &mut [Chunk]) -> usize {
        self.read(out)
    }

    #[inline(always)]
    fn write<T>(
        &mut self,
        slots: impl ExactSizeIterator<Item = T>,
        write: impl FnMut(T, Chunk, u64),
    ) -> usize {
        self.write(slots, write)
    }

    #[inline(always)]
    fn short(&mut self, most: u64) -> usize {
        self.short(most)
    }

    #[inline(always)]
    fn read_blocks(&mut self, size: u64, out: &mut [u64]) -> usize {
        self.read_blocks(size, out)
    }

    #[inline(always)]
    fn are_shorter(&self, length: u64) -> bool {
        self.are_shorter(length)
    }
}
