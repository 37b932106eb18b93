//! Iteration over the chunks of a list, made for loops: `next` decodes words of a slice.

use core::fmt;
use core::iter::FusedIterator;
use core::slice;

use alloc::vec::Vec;

use crate::granule::Granule;
use crate::storage::entry::Entry;

pub use crate::list::walk::Chunk;
use crate::list::walk::Walk;

/// The chunks of a list, in order; from [`Phyr::chunks`](crate::Phyr::chunks).
///
/// `fold`, and the methods of the standard library that use it (`for_each`, `sum`, `max_by_key`, ...),
/// decodes with wide registers and is up to three times as fast as `next`.
#[derive(Clone)]
pub struct Chunks<'a> {
    /// The next chunks, each in one of these words. All but the first of a list are whole.
    ahead: slice::Iter<'a, u64>,
    form: Form,
    /// Stands behind `ahead`.
    walk: Walk<'a>,
}

/// How to decode the words ahead.
#[derive(Clone, Copy)]
enum Form {
    /// Chunks of this length; the address is the word with the bits `low` inverted.
    Blocks { low: u64, length: u64 },
    /// The granule is 4096.
    Usual,
    /// The granule is another.
    Other(Granule),
}

impl Form {
    /// The form of words of which the first stands for this chunk, and the others for blocks of the
    /// same length.
    #[inline]
    fn blocks(word: u64, Chunk { paddr, length }: Chunk) -> Self {
        Self::Blocks { low: word ^ paddr, length }
    }

    /// The form of words that have so many bytes together.
    fn of(words: &[u64], length: u64, granule: Granule) -> Self {
        let (Some(&word), Self::Usual) = (words.first(), Self::any(granule)) else {
            return Self::any(granule);
        };
        let first = Self::Usual.decode(word);
        let order = first.length.trailing_zeros() - granule.lg2();
        let is_block = |&word: &u64| Entry::stored(word).as_block(order).1 == 0;
        // Blocks of one size have the same bits below their addresses. As many granules as words are
        // one each.
        if first.length.checked_mul(words.len() as u64) == Some(length)
            && (first.length == granule.bytes() || words.iter().all(is_block))
        {
            return Self::blocks(word, first);
        }
        Self::Usual
    }

    /// The form of all words.
    fn any(granule: Granule) -> Self {
        if granule == Granule::default() { Self::Usual } else { Self::Other(granule) }
    }

    #[inline(always)]
    fn decode(self, word: u64) -> Chunk {
        match self {
            Self::Blocks { low, length } => Chunk { paddr: word ^ low, length },
            Self::Usual => {
                let (paddr, length) = Entry::stored(word).bytes();
                Chunk { paddr, length }
            }
            Self::Other(granule) => Chunk::of_word(granule, word),
        }
    }
}

impl<'a> Chunks<'a> {
    #[inline]
    pub(crate) fn new(mut walk: Walk<'a>) -> Self {
        // The first chunk may be trimmed. Any word can stand for it.
        let Some((chunk, words)) = walk.next_with_words() else {
            return Self { ahead: [].iter(), form: Form::Usual, walk };
        };
        let ahead = words.first_chunk::<1>().unwrap_or(&[0]);
        Self { ahead: ahead.iter(), form: Form::blocks(ahead[0], chunk), walk }
    }

    /// Appends `of(chunk)` to `items` for each chunk still to come, a whole node at a time.
    pub fn extend(self, items: &mut Vec<u64>, of: impl Fn(Chunk) -> u64 + Copy) {
        items.extend(self.ahead.map(|&word| of(self.form.decode(word))));
        self.walk.extend(items, of);
    }

    /// Number of chunks still to visit. O(log n).
    pub(crate) fn remaining(&self) -> u64 {
        self.ahead.len() as u64 + self.walk.remaining()
    }
}

/// The next chunk of a walk that is not done; and words of chunks behind it, which the walk has passed
/// too, and their form.
///
/// By value, so that the compiler can keep what `next` needs in registers.
#[cold]
#[inline(never)]
fn step(mut walk: Walk<'_>) -> (Walk<'_>, slice::Iter<'_, u64>, Form, Option<Chunk>) {
    let start = walk.position();
    let words = walk.pass_plain();
    let form = Form::of(words, walk.position() - start, walk.granule());
    let mut ahead = words.iter();
    let chunk = ahead.next().map(|&word| form.decode(word)).or_else(|| walk.next());
    (walk, ahead, form, chunk)
}

impl fmt::Debug for Chunks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks").field("remaining", &self.remaining()).finish_non_exhaustive()
    }
}

impl Iterator for Chunks<'_> {
    type Item = Chunk;

    #[inline(always)]
    fn next(&mut self) -> Option<Chunk> {
        if let Some(&word) = self.ahead.next() {
            return Some(self.form.decode(word));
        }
        if self.walk.is_done() {
            return None;
        }
        let chunk;
        (self.walk, self.ahead, self.form, chunk) = step(self.walk.clone());
        chunk
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Each chunk takes eight bytes of memory, so their number fits in `usize`.
        let remaining = usize::try_from(self.remaining()).unwrap_or(usize::MAX);
        (remaining, Some(remaining))
    }

    fn count(self) -> usize {
        self.len()
    }

    fn last(mut self) -> Option<Chunk> {
        self.next_back()
    }

    fn nth(&mut self, n: usize) -> Option<Chunk> {
        let ahead = self.ahead.len();
        if n < ahead {
            return self.ahead.nth(n).map(|&word| self.form.decode(word));
        }
        self.ahead = [].iter();
        self.walk.nth(n - ahead)
    }

    fn fold<A, F: FnMut(A, Chunk) -> A>(self, start: A, mut f: F) -> A {
        let start = self.ahead.fold(start, |acc, &word| f(acc, self.form.decode(word)));
        self.walk.fold(start, f)
    }
}

impl DoubleEndedIterator for Chunks<'_> {
    #[inline(always)]
    fn next_back(&mut self) -> Option<Chunk> {
        if self.walk.is_done() {
            return self.ahead.next_back().map(|&word| self.form.decode(word));
        }
        self.walk.next_back()
    }

    fn nth_back(&mut self, n: usize) -> Option<Chunk> {
        // Passes `n` chunks, or all of the walk.
        let behind = usize::try_from(self.walk.remaining()).unwrap_or(usize::MAX);
        let chunk = self.walk.nth_back(n);
        match n.checked_sub(behind) {
            None => chunk,
            Some(n) => self.ahead.nth_back(n).map(|&word| self.form.decode(word)),
        }
    }
}

impl ExactSizeIterator for Chunks<'_> {}
impl FusedIterator for Chunks<'_> {}
