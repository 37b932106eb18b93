//! Lists collected from iterators, by the traits of the standard library.
//!
//! A chunk may not fit, and these traits cannot say so: `collect` into a `Result` gathers items that are
//! results, and nobody but the standard library may give it another meaning. So they panic, with the
//! numbers of the chunk, and are for chunks that are known to fit, as those of a list are. For others there
//! are [`Phyr::from_chunks`], [`Builder::extend_chunks`] and [`Phyr::join`], which return an error.

use crate::error::Error;
use crate::list::builder::Builder;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;

/// Panics with the numbers of what does not fit.
#[track_caller]
fn expect_fit<T>(outcome: Result<T, Error>) -> T {
    outcome.unwrap_or_else(|why| panic!("a list cannot be collected: {why}"))
}

/// As [`Builder::extend_chunks`], but panics.
///
/// # Examples
///
/// ```
/// use phyr::{Builder, Chunk};
///
/// let mut builder = Builder::new();
/// Extend::extend(&mut builder, [Chunk { paddr: 0x7000, length: 0x1000 }]);
/// assert_eq!(builder.length(), 0x1000);
/// ```
impl Extend<Chunk> for Builder {
    /// # Panics
    ///
    /// If a chunk cannot follow, or for want of memory; the builder is then as before.
    fn extend<I: IntoIterator<Item = Chunk>>(&mut self, chunks: I) {
        expect_fit(self.extend_chunks(chunks));
    }
}

/// As [`Builder::extend`] of each list, but panics.
impl<'a> Extend<&'a Phyr> for Builder {
    /// # Panics
    ///
    /// If a list cannot follow, or for want of memory; the lists before it were appended.
    fn extend<I: IntoIterator<Item = &'a Phyr>>(&mut self, lists: I) {
        lists.into_iter().for_each(|phyr| expect_fit(Self::extend(self, phyr)));
    }
}

/// As [`Phyr::from_chunks`], but panics: for chunks that are known to fit.
///
/// # Examples
///
/// ```
/// use phyr::{Chunk, Phyr};
///
/// let phyr = Phyr::from_chunks([(0x7000, 0x1000), (0x20_0000, 0x20_0000)].map(|(paddr, length)| {
///     Chunk { paddr, length }
/// }))?;
/// let long: Phyr = phyr.chunks().filter(|chunk| chunk.length > 0x1000).collect();
/// assert_eq!(long.length(), 0x20_0000);
/// # Ok::<(), phyr::Error>(())
/// ```
impl FromIterator<Chunk> for Phyr {
    /// # Panics
    ///
    /// If a chunk cannot follow the one before, or for want of memory.
    fn from_iter<I: IntoIterator<Item = Chunk>>(chunks: I) -> Self {
        expect_fit(Self::from_chunks(chunks))
    }
}

/// As [`Phyr::join`], but panics: for lists that are known to fit.
impl<'a> FromIterator<&'a Self> for Phyr {
    /// # Panics
    ///
    /// If a list cannot follow the one before, or for want of memory.
    fn from_iter<I: IntoIterator<Item = &'a Self>>(lists: I) -> Self {
        expect_fit(Self::join(lists))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn chunks() -> Vec<Chunk> {
        (1..2000).map(|n| Chunk { paddr: n << 14, length: 0x1000 << (n % 3) }).collect()
    }

    #[test]
    fn chunks_and_lists_are_collected_as_they_are_appended() {
        let expected = Phyr::from_chunks(chunks()).unwrap();
        let collected: Phyr = chunks().into_iter().collect();
        assert_eq!(collected, expected);
        let halves = [0, 1].map(|half| {
            let start = half * (expected.length() >> 13 << 12);
            let end = if half == 0 { expected.length() >> 13 << 12 } else { expected.length() };
            expected.slice(start, end).unwrap()
        });
        assert_eq!(halves.iter().collect::<Phyr>(), expected);
        let mut builder = Builder::new();
        Extend::extend(&mut builder, &halves);
        assert_eq!(builder.finish(), expected);
        let mut builder = Builder::new();
        Extend::extend(&mut builder, chunks());
        assert_eq!(builder.finish(), expected);
    }

    #[test]
    #[should_panic(expected = "a list cannot be collected: ")]
    fn a_chunk_that_does_not_fit_panics() {
        let _: Phyr =
            [0x7000, 0x9001].map(|paddr| Chunk { paddr, length: 7 }).into_iter().collect();
    }
}
