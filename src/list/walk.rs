//! A walk over the chunks of a list. Only the first and the last chunk are trimmed.

use core::fmt;
use core::iter::FusedIterator;

use crate::granule::Granule;
use crate::storage::chain::{Chain, Located, Node};
use crate::storage::entry::{Entry, Run};
use crate::storage::words;

mod bulk;

/// One maximal run of a list: `length` bytes of memory from `paddr` on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// Physical or bus address of the first byte.
    pub paddr: u64,
    /// Bytes, at least one.
    pub length: u64,
}

impl Chunk {
    /// Address of the last byte. The address after it may not exist: it could be 2^64.
    ///
    /// # Panics
    ///
    /// If the chunk has no bytes or passes 2^64. No chunk of a list does.
    #[must_use]
    pub const fn last(self) -> u64 {
        match self.length.checked_sub(1) {
            Some(more) => self.paddr.checked_add(more).expect("a chunk ends below 2^64"),
            None => panic!("a chunk has bytes"),
        }
    }

    /// As [`Self::last`], for a chunk of a list: those have bytes and end in the address space.
    #[inline]
    pub(crate) const fn last_of_list(self) -> u64 {
        self.paddr.saturating_add(self.length.saturating_sub(1))
    }

    /// The chunk of a word that is a whole entry.
    #[inline(always)]
    pub(crate) fn of_word(granule: Granule, word: u64) -> Self {
        let entry = Entry::stored(word);
        Self::of_run(granule, Run { pfn: entry.pfn(), nr_pages: entry.nr_pages() })
    }

    /// As [`Self::of_word`] if the granule is 4096: then the compiler removes the shifts.
    #[inline(always)]
    pub(crate) fn of_usual_word(word: u64) -> Self {
        let (paddr, length) = Entry::stored(word).bytes();
        Self { paddr, length }
    }

    #[inline]
    fn of_run(granule: Granule, run: Run) -> Self {
        // A chunk is part of a list, whose length fits in `u64`, and ends at or below 2^64.
        Self { paddr: granule.to_bytes(run.pfn), length: granule.to_bytes(run.nr_pages) }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}+{:#x}", self.paddr, self.length)
    }
}

/// A position between two entries.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor<'a> {
    node: Node<'a>,
    word: usize,
    /// Chunks of the chain before this position.
    number: u64,
}

impl<'a> Cursor<'a> {
    /// The position just before a chunk.
    fn before(place: &Located<'a>) -> Self {
        Self { node: place.node, word: place.word, number: place.number }
    }

    /// Moves to the next node if the current one is used up.
    #[inline]
    fn enter(&mut self, chain: &'a Chain) {
        if self.word == self.node.words.len() {
            self.node = chain.next_node(self.node, self.number);
            self.word = 0;
        }
    }

    #[inline]
    fn next(&mut self, chain: &'a Chain) -> Run {
        self.enter(chain);
        let (run, len) = words::decode(self.node.words, self.word);
        self.word += len;
        self.number += 1;
        run
    }

    #[inline]
    fn previous(&mut self, chain: &'a Chain) -> Run {
        self.number -= 1;
        if self.word == 0 {
            self.node = chain.previous_node(self.node, self.number);
            self.word = self.node.words.len();
        }
        self.word = words::before(self.node.words, self.word);
        words::decode(self.node.words, self.word).0
    }
}

/// The walk under [`Walk`](crate::Walk), which also reads and passes whole nodes.
#[derive(Clone)]
#[expect(unnameable_types, reason = "a part of what walks by the block")]
pub struct Walk<'a> {
    chain: &'a Chain,
    granule: Granule,
    /// The walk still has to visit the chunks between the two cursors. The back cursor is found
    /// when it is first needed, because many walks never need it.
    front: Cursor<'a>,
    back: Cursor<'a>,
    has_back: bool,
    /// The bytes of the chain that are still to be visited.
    start: u64,
    end: u64,
    /// Bytes to remove from the start of the first chunk, and from the end of the last.
    skip: u64,
    cut: u64,
}

impl<'a> Walk<'a> {
    /// The chunks of bytes `start` to `end` of the chain, which must have those bytes.
    pub(crate) fn new(chain: &'a Chain, granule: Granule, start: u64, end: u64) -> Self {
        let (mut front, mut skip) = (Cursor::default(), 0);
        if start < end {
            let place = chain.find_page(granule.floor(start));
            front = Cursor::before(&place);
            skip = start - granule.to_bytes(place.page);
        }
        let (back, has_back) = (Cursor::default(), false);
        Self { chain, granule, front, back, has_back, start, end, skip, cut: 0 }
    }

    /// Finds the back cursor, unless that was done before. There must be a chunk.
    #[inline]
    fn locate_back(&mut self) {
        if !self.has_back {
            // By value, so that the compiler can keep the cursors in registers.
            (self.back, self.cut) = locate_end(self.chain, self.granule, self.end);
            self.has_back = true;
        }
    }

    /// Makes a chunk of the next run, trimmed.
    #[inline(always)]
    fn trim(&self, run: Run) -> Chunk {
        let Chunk { paddr, length } = Chunk::of_run(self.granule, run);
        let length = (length - self.skip).min(self.end - self.start);
        Chunk { paddr: paddr + self.skip, length }
    }

    /// The next chunk, and the words of its node.
    pub(crate) fn next_with_words(&mut self) -> Option<(Chunk, &'a [u64])> {
        let chunk = self.next()?;
        Some((chunk, self.front.node.words))
    }

    /// The next chunk. The walk does not move.
    pub(crate) fn peek(&self) -> Option<Chunk> {
        let Cursor { node, word, .. } = self.front;
        if word < node.words.len() && self.start < self.end {
            return Some(self.trim(words::decode(node.words, word).0));
        }
        self.clone().next()
    }

    pub(crate) fn granule(&self) -> Granule {
        self.granule
    }

    /// Returns true if all chunks are visited.
    #[inline(always)]
    pub(crate) fn is_done(&self) -> bool {
        self.start == self.end
    }

    /// The byte of the chain where the walk stands.
    pub(crate) fn position(&self) -> u64 {
        self.start
    }

    /// Number of chunks still to visit. O(log n).
    pub(crate) fn remaining(&self) -> u64 {
        if self.start == self.end {
            0
        } else if self.has_back {
            self.back.number - self.front.number
        } else {
            locate_end(self.chain, self.granule, self.end).0.number - self.front.number
        }
    }
}

/// The position after the chunk that holds byte `end - 1` of the chain, and the number of bytes of
/// that chunk that come after byte `end - 1`.
#[cold]
fn locate_end(chain: &Chain, granule: Granule, end: u64) -> (Cursor<'_>, u64) {
    let last = find_last(chain, granule.floor(end - 1));
    let (run, len) = words::decode(last.node.words, last.word);
    let cut = granule.to_bytes(last.page + run.nr_pages) - end;
    (Cursor { node: last.node, word: last.word + len, number: last.number + 1 }, cut)
}

/// The chunk that holds page `target` of the chain: as [`Chain::find_page`], and faster if that is the
/// chain's last page, where most lists end.
pub(crate) fn find_last(chain: &Chain, target: u64) -> Located<'_> {
    /// Words that are summed up before it is known that this helps.
    const FEW: usize = 128;

    let totals = chain.totals();
    if totals.is_none_or(|(nr_pages, _)| target + 1 == nr_pages) {
        let node = chain.node(|_, _| true);
        if totals.is_some() || node.words.len() <= FEW {
            let word = words::before(node.words, node.words.len());
            let (run, _) = words::decode(node.words, word);
            // In a single node, words and chunks count from 0.
            let number = totals.map_or(word as u64, |(_, nr_chunks)| nr_chunks - 1);
            let pages = || node.words.get(..word).and_then(words::plain_pages);
            let page = totals.map_or_else(pages, |(nr_pages, _)| Some(nr_pages - run.nr_pages));
            if let Some(page) = page.filter(|page| page + run.nr_pages == target + 1) {
                return Located { node, word, number, page };
            }
        }
    }
    chain.find_page(target)
}

impl fmt::Debug for Walk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks").field("remaining", &self.remaining()).finish_non_exhaustive()
    }
}

impl Iterator for Walk<'_> {
    type Item = Chunk;

    #[inline(always)]
    fn next(&mut self) -> Option<Chunk> {
        if self.start == self.end {
            return None;
        }
        let run = self.front.next(self.chain);
        let chunk = self.trim(run);
        self.start += chunk.length;
        self.skip = 0;
        Some(chunk)
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
        let n = n as u64;
        if n >= self.remaining() {
            self.start = self.end;
            return None;
        }
        if n > 0 {
            let place = self.chain.find_chunk(self.front.number + n);
            self.front = Cursor::before(&place);
            self.start = self.granule.to_bytes(place.page);
            self.skip = 0;
        }
        self.next()
    }

    fn fold<A, F: FnMut(A, Chunk) -> A>(self, start: A, f: F) -> A {
        let granule = self.granule;
        if granule == Granule::default() {
            self.fold_with(start, f, Chunk::of_usual_word)
        } else {
            self.fold_with(start, f, move |word| Chunk::of_word(granule, word))
        }
    }
}

impl DoubleEndedIterator for Walk<'_> {
    #[inline(always)]
    fn next_back(&mut self) -> Option<Chunk> {
        if self.start == self.end {
            return None;
        }
        self.locate_back();
        let mut chunk = Chunk::of_run(self.granule, self.back.previous(self.chain));
        chunk.length -= self.cut;
        self.cut = 0;
        // A chunk longer than the remaining bytes is the first chunk, and part of it lies before
        // the list.
        let more = chunk.length.saturating_sub(self.end - self.start);
        chunk.paddr += more;
        chunk.length -= more;
        self.end -= chunk.length;
        Some(chunk)
    }

    fn nth_back(&mut self, n: usize) -> Option<Chunk> {
        let n = n as u64;
        if n >= self.remaining() {
            self.start = self.end;
            return None;
        }
        if n > 0 {
            self.locate_back();
            let place = self.chain.find_chunk(self.back.number - n);
            self.back = Cursor::before(&place);
            self.end = self.granule.to_bytes(place.page);
            self.cut = 0;
        }
        self.next_back()
    }
}

impl ExactSizeIterator for Walk<'_> {}
impl FusedIterator for Walk<'_> {}
