//! Iteration over the chunks of a list, made for loops: `next` decodes words of a slice.

use core::fmt;
use core::iter::FusedIterator;

use alloc::vec::Vec;

use crate::granule::Granule;
use crate::slices::Queue;
use crate::storage::entry::Entry;

pub use crate::list::walk::Chunk;
use crate::list::walk::Walk;

/// The chunks of a list, in order; from [`Phyr::chunks`](crate::Phyr::chunks).
///
/// `fold`, and the methods of the standard library that use it (`for_each`, `sum`, `max_by_key`, ...),
/// decodes with wide registers and is up to three times as fast as `next`.
#[derive(Clone)]
pub struct Chunks<'a> {
    ahead: Ahead<'a>,
    /// Stands behind `ahead`.
    walk: Walk<'a>,
}

/// The next chunks, each in one word. All but the first of a list are whole.
///
/// At most one of the queues has words, each of a form of its own: a loop then asks for no form.
#[derive(Clone)]
struct Ahead<'a> {
    /// Words of any chunks, if the granule is 4096.
    usual: Queue<'a>,
    blocks: Queue<'a>,
    /// Of each of the blocks: bits to invert in the word, which then is the address; and the length.
    low: u64,
    length: u64,
    /// Words of any chunks, if the granule is another.
    others: Queue<'a>,
    granule: Granule,
}

impl<'a> Ahead<'a> {
    fn none(granule: Granule) -> Self {
        let none = Queue::new(&[]);
        Self { usual: none.clone(), blocks: none.clone(), low: 0, length: 0, others: none, granule }
    }

    /// Words of which the first stands for this chunk, and the others for blocks of the same length.
    #[inline]
    fn blocks(words: &'a [u64], first: Chunk, granule: Granule) -> Self {
        let low = words.first().map_or(0, |word| word ^ first.paddr);
        Self { blocks: Queue::new(words), low, length: first.length, ..Self::none(granule) }
    }

    /// Words that have so many bytes together.
    fn of(words: &'a [u64], length: u64, granule: Granule) -> Self {
        if granule != Granule::default() {
            return Self { others: Queue::new(words), ..Self::none(granule) };
        }
        let first =
            words.first().map_or(Chunk { paddr: 0, length: 0 }, |&word| Chunk::of_usual_word(word));
        let order = first.length.trailing_zeros().saturating_sub(granule.lg2());
        let is_block = |&word: &u64| Entry::stored(word).as_block(order).1 == 0;
        // Blocks of one size have the same bits below their addresses. As many granules as words are
        // one each.
        if first.length.checked_mul(words.len() as u64) == Some(length)
            && (first.length == granule.bytes() || words.iter().all(is_block))
        {
            return Self::blocks(words, first, granule);
        }
        Self { usual: Queue::new(words), ..Self::none(granule) }
    }

    /// The usual words of a leaf, when all others are used up: sets all but the first ahead, and
    /// returns the chunk of the first. `None` if they need [`leaf`].
    #[inline(always)]
    fn take_usual(&mut self, words: &'a [u64], length: u64) -> Option<Chunk> {
        let (&word, rest) = words.split_first()?;
        let first = Chunk::of_usual_word(word);
        // They may be blocks of one size.
        let is_even = first.length.wrapping_mul(words.len() as u64) == length;
        if self.granule != Granule::default() || is_even {
            return None;
        }
        self.usual = Queue::new(rest);
        Some(first)
    }

    #[inline(always)]
    fn next(&mut self) -> Option<Chunk> {
        if let Some(word) = self.usual.next() {
            return Some(Chunk::of_usual_word(word));
        }
        if let Some(word) = self.blocks.next() {
            return Some(Chunk { paddr: word ^ self.low, length: self.length });
        }
        // Without this hint the compiler puts the usual words of a loop behind a jump.
        rarely();
        self.others.next().map(|word| Chunk::of_word(self.granule, word))
    }

    /// All of them.
    fn rest(&self) -> impl DoubleEndedIterator<Item = Chunk> + 'a {
        let &Self { low, length, granule, .. } = self;
        let usual = self.usual.as_slice().iter().map(|&word| Chunk::of_usual_word(word));
        let blocks =
            self.blocks.as_slice().iter().map(move |&word| Chunk { paddr: word ^ low, length });
        let others = self.others.as_slice().iter().map(move |&word| Chunk::of_word(granule, word));
        usual.chain(blocks).chain(others)
    }

    fn nth(&mut self, n: usize) -> Option<Chunk> {
        let chunk = self.rest().nth(n);
        self.keep(|words| words.get(n.saturating_add(1)..));
        chunk
    }

    fn nth_back(&mut self, n: usize) -> Option<Chunk> {
        let chunk = self.rest().nth_back(n);
        self.keep(|words| words.get(..words.len().checked_sub(n)?.checked_sub(1)?));
        chunk
    }

    /// Keeps a part of the words that are ahead.
    fn keep(&mut self, part: impl Fn(&'a [u64]) -> Option<&'a [u64]>) {
        for queue in [&mut self.usual, &mut self.blocks, &mut self.others] {
            *queue = Queue::new(part(queue.as_slice()).unwrap_or_default());
        }
    }

    fn len(&self) -> usize {
        [&self.usual, &self.blocks, &self.others].map(|queue| queue.as_slice().len()).iter().sum()
    }
}

/// Tells the compiler that what follows a call is rare. The call itself vanishes.
#[cold]
#[inline(never)]
fn rarely() {}

impl<'a> Chunks<'a> {
    #[inline]
    pub(crate) fn new(mut walk: Walk<'a>) -> Self {
        // The first chunk may be trimmed. Any word can stand for it.
        let Some((chunk, words)) = walk.next_with_words() else {
            return Self { ahead: Ahead::none(walk.granule()), walk };
        };
        let word = words.first_chunk::<1>().unwrap_or(&[0]);
        Self { ahead: Ahead::blocks(word, chunk, walk.granule()), walk }
    }

    /// Appends `of(chunk)` to `items` for each chunk still to come, a whole node at a time.
    pub fn extend(self, items: &mut Vec<u64>, of: impl Fn(Chunk) -> u64 + Copy) {
        items.extend(self.ahead.rest().map(of));
        self.walk.extend(items, of);
    }

    /// Number of chunks still to visit. O(log n).
    pub(crate) fn remaining(&self) -> u64 {
        self.ahead.len() as u64 + self.walk.remaining()
    }
}

/// The first chunk of the words of a leaf, which have so many bytes together; and the others.
#[cold]
#[inline(never)]
fn leaf(words: &[u64], bytes: u64, granule: Granule) -> (Ahead<'_>, Option<Chunk>) {
    let mut ahead = Ahead::of(words, bytes, granule);
    let chunk = ahead.next();
    (ahead, chunk)
}

/// The next chunk of a walk that is not done; and words of chunks behind it, which the walk has passed
/// too, and their form.
///
/// By value, so that the compiler can keep what `next` needs in registers.
#[cold]
#[inline(never)]
fn step(mut walk: Walk<'_>) -> (Walk<'_>, Ahead<'_>, Option<Chunk>) {
    let start = walk.position();
    let words = walk.pass_plain();
    let mut ahead = Ahead::of(words, walk.position() - start, walk.granule());
    let chunk = ahead.next().or_else(|| walk.next());
    (walk, ahead, chunk)
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
        if let Some(chunk) = self.ahead.next() {
            return Some(chunk);
        }
        if self.walk.is_done() {
            return None;
        }
        let chunk;
        if let Some((words, bytes)) = self.walk.pass_leaf() {
            // Most leaves that are not of one size need no call.
            if let Some(first) = self.ahead.take_usual(words, bytes) {
                return Some(first);
            }
            (self.ahead, chunk) = leaf(words, bytes, self.walk.granule());
            return chunk;
        }
        (self.walk, self.ahead, chunk) = step(self.walk.clone());
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
            return self.ahead.nth(n);
        }
        self.ahead = Ahead::none(self.ahead.granule);
        self.walk.nth(n - ahead)
    }

    fn fold<A, F: FnMut(A, Chunk) -> A>(self, start: A, mut f: F) -> A {
        let start = self.ahead.rest().fold(start, &mut f);
        self.walk.fold(start, f)
    }
}

impl DoubleEndedIterator for Chunks<'_> {
    #[inline(always)]
    fn next_back(&mut self) -> Option<Chunk> {
        if self.walk.is_done() {
            return self.ahead.nth_back(0);
        }
        self.walk.next_back()
    }

    fn nth_back(&mut self, n: usize) -> Option<Chunk> {
        // Passes `n` chunks, or all of the walk.
        let behind = usize::try_from(self.walk.remaining()).unwrap_or(usize::MAX);
        let chunk = self.walk.nth_back(n);
        match n.checked_sub(behind) {
            None => chunk,
            Some(n) => self.ahead.nth_back(n),
        }
    }
}

impl ExactSizeIterator for Chunks<'_> {}
impl FusedIterator for Chunks<'_> {}
