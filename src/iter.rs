//! Iteration over the chunks of a list: only the first and the last are trimmed.

#[cfg(feature = "python")]
use alloc::vec::Vec;
use core::fmt;
use core::iter::FusedIterator;

use crate::addr::Granule;
use crate::chain::{Chain, Node, Place};
use crate::entry::{Entry, Run};
use crate::wide::{self, Wide};
use crate::words;

/// One maximal run of a list: `length` bytes of memory from `paddr` on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// Physical, or bus, address of the first byte.
    pub paddr: u64,
    /// Bytes, at least one.
    pub length: u64,
}

impl Chunk {
    /// Address of the last byte. There may be no address after it.
    ///
    /// # Panics
    ///
    /// If the chunk has no bytes or passes 2^64, as no chunk of a list does.
    #[must_use]
    pub const fn last(self) -> u64 {
        match self.length.checked_sub(1) {
            Some(more) => self.paddr.checked_add(more).expect("a chunk ends below 2^64"),
            None => panic!("a chunk has bytes"),
        }
    }

    /// The chunk that a word is all of.
    #[inline]
    fn of_word(granule: Granule, word: u64) -> Self {
        let entry = Entry::stored(word);
        Self::of_run(granule, Run { pfn: entry.pfn(), nr_pages: entry.nr_pages() })
    }

    #[inline]
    fn of_run(granule: Granule, run: Run) -> Self {
        // A chunk lies in a list, whose length fits u64, and below 2^64.
        Self { paddr: granule.to_bytes(run.pfn), length: granule.to_bytes(run.nr_pages) }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}+{:#x}", self.paddr, self.length)
    }
}

/// A place between two entries.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor<'a> {
    node: Node<'a>,
    word: usize,
    /// Chunks of the chain before this place.
    number: u64,
}

impl<'a> Cursor<'a> {
    /// The place before a chunk.
    fn before(place: &Place<'a>) -> Self {
        Self { node: place.node, word: place.word, number: place.number }
    }

    /// Moves to the next node if this one is walked.
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

/// The chunks of a list, in order; from [`Phyr::chunks`](crate::Phyr::chunks).
///
/// `next` is made for short walks. `fold`, and what the standard library builds on it (`for_each`,
/// `sum`, `max_by_key`, ...), decodes whole nodes at a time and is several times as fast.
#[derive(Clone)]
pub struct Chunks<'a> {
    chain: &'a Chain,
    granule: Granule,
    /// What lies between the two cursors is still to come. The back one is searched for when it is
    /// first needed: many walks never do.
    front: Cursor<'a>,
    back: Cursor<'a>,
    has_back: bool,
    /// The bytes of the chain that are still to come.
    start: u64,
    end: u64,
    /// Bytes to take off the start of the first chunk, and off the end of the last.
    skip: u64,
    cut: u64,
}

impl<'a> Chunks<'a> {
    /// The chunks of the chain's bytes `start` to `end`, which it has.
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

    /// Searches for the back cursor, if that was not done before. There must be a chunk.
    #[inline]
    fn locate_back(&mut self) {
        if !self.has_back {
            // By value, so that a walk keeps its cursors in registers.
            (self.back, self.cut) = locate_end(self.chain, self.granule, self.end);
            self.has_back = true;
        }
    }

    /// Bytes of a granule.
    pub(crate) fn granule(&self) -> u64 {
        self.granule.bytes()
    }

    /// The chunk of the next run.
    #[inline(always)]
    fn trim(&self, run: Run) -> Chunk {
        let Chunk { paddr, length } = Chunk::of_run(self.granule, run);
        let length = (length - self.skip).min(self.end - self.start);
        Chunk { paddr: paddr + self.skip, length }
    }

    /// The next chunk, which stays the next.
    pub(crate) fn peek(&self) -> Option<Chunk> {
        let Cursor { node, word, .. } = self.front;
        if word < node.words.len() && self.start < self.end {
            return Some(self.trim(words::decode(node.words, word).0));
        }
        self.clone().next()
    }

    /// The byte of the chain where what is to come starts.
    pub(crate) fn position(&self) -> u64 {
        self.start
    }

    /// Chunks still to come. O(log n).
    pub(crate) fn remaining(&self) -> u64 {
        if self.start == self.end {
            0
        } else if self.has_back {
            self.back.number - self.front.number
        } else {
            locate_end(self.chain, self.granule, self.end).0.number - self.front.number
        }
    }

    /// The words of the next node, up to where the back cursor stands; `None` when all are walked.
    fn next_slice(&mut self) -> Option<&'a [u64]> {
        if self.start == self.end {
            return None;
        }
        self.locate_back();
        let back = self.back;
        if self.front.number == back.number {
            return None;
        }
        self.front.enter(self.chain);
        let words = self.front.node.words;
        let is_last = core::ptr::eq(words, back.node.words);
        let end = if is_last { back.word } else { words.len() };
        Some(&words[self.front.word..end])
    }

    /// `fold`, for lists whose entries of one word `unpack` unpacks.
    #[inline(always)]
    fn fold_with<A, F: FnMut(A, Chunk) -> A>(
        mut self,
        start: A,
        mut f: F,
        unpack: impl Fn(u64) -> Chunk + Copy,
    ) -> A {
        // The ends, which may be trimmed, by the plain way; whole nodes for what is between.
        let mut acc = start;
        if let Some(first) = self.next() {
            acc = f(acc, first);
        }
        let last = self.next_back();
        while let Some(words) = self.next_slice() {
            let (granule, is_plain) = (self.granule, self.front.node.is_plain());
            let chunks;
            (acc, f, chunks) = wide::run(FoldNode { words, is_plain, granule, acc, f, unpack });
            self.advance(words.len(), chunks);
        }
        match last {
            Some(last) => f(acc, last),
            None => acc,
        }
    }

    /// How many chunks these words of the front node hold.
    fn chunks_in(&self, words: &[u64]) -> u64 {
        if self.front.node.is_plain() { words.len() as u64 } else { words::count(words) }
    }

    /// Notes that the front moved over this many words and chunks of its node.
    fn advance(&mut self, words: usize, chunks: u64) {
        self.front.word += words;
        self.front.number += chunks;
    }

    /// Copies the next chunks to `out`; returns how many. Fewer than fit do not mean that none are
    /// left, but none does.
    ///
    /// Stops and starts at little cost, and copies as fast as `fold` visits.
    pub(crate) fn read(&mut self, out: &mut [Chunk]) -> usize {
        self.write(out.iter_mut(), |slot, chunk, _| *slot = chunk)
    }

    /// Gives the next chunks to `write`, each with one of `slots` and the byte of the chain where it
    /// starts; returns how many. Fewer than there are slots do not mean that none are left, but none
    /// does.
    pub(crate) fn write<T>(
        &mut self,
        mut slots: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(T, Chunk, u64),
    ) -> usize {
        let (granule, start) = (self.granule, self.start);
        if self.skip == 0 && start < self.end {
            self.front.enter(self.chain);
            let mut words = &self.front.node.words[self.front.word..];
            // The rest of a node, with more to come: its end need not be worked out.
            let node = &self.front.node;
            let end = node.end_page().map(|page| granule.to_bytes(page));
            let end = end.filter(|&end| end < self.end && words.len() <= slots.len());
            if let Some(end) = end.filter(|_| node.is_plain()) {
                wide::run(WritePlain { words, granule, start, slots, write });
                self.advance(words.len(), words.len() as u64);
                self.start = end;
                return words.len();
            }
            let few = &words[..words.len().min(slots.len())];
            let bytes = words::plain_pages(few).map(|pages| granule.to_bytes(pages));
            if let Some(bytes) = bytes.filter(|&bytes| bytes <= self.end - start) {
                wide::run(WritePlain { words: few, granule, start, slots, write });
                self.advance(few.len(), few.len() as u64);
                self.start += bytes;
                return few.len();
            }
            // There are long runs, or the list ends here: up to the last chunk, which may be trimmed.
            self.locate_back();
            if core::ptr::eq(self.front.node.words, self.back.node.words) {
                words = &words[..words::before(words, self.back.word - self.front.word)];
            }
            if !words.is_empty() {
                let (taken, chunks);
                (taken, chunks, self.start) =
                    wide::run(WriteWords { words, granule, start, slots, write });
                self.advance(taken, chunks as u64);
                return chunks;
            }
        }
        let Some(slot) = slots.next() else { return 0 };
        let Some(chunk) = self.next() else { return 0 };
        write(slot, chunk, start);
        1
    }

    /// Writes the addresses of the next chunks to `out`, if each of them is one whole granule, and
    /// returns how many. 0 does not mean that none are left, but that [`Self::read`] goes on; what
    /// `out` holds then is of no use.
    pub(crate) fn read_granules(&mut self, out: &mut [u64]) -> usize {
        if self.skip > 0 || self.start == self.end {
            return 0;
        }
        self.front.enter(self.chain);
        let words = &self.front.node.words[self.front.word..];
        // No more than there is memory for, and none that is trimmed.
        let left = usize::try_from((self.end - self.start) >> self.granule.lg2());
        let count = words.len().min(out.len()).min(left.unwrap_or(usize::MAX));
        let (words, granule) = (&words[..count], self.granule);
        let is_one = |word: &u64| Entry::stored(*word).as_one_page().1 == 0;
        if !words.first().is_some_and(is_one)
            || !wide::run(WriteGranules { words, granule, out: &mut out[..count] })
        {
            return 0;
        }
        self.advance(count, count as u64);
        self.start += granule.to_bytes(count as u64);
        count
    }

    /// Appends what `of` makes of each chunk still to come to `items`, whole nodes at a time.
    #[cfg(feature = "python")]
    pub(crate) fn extend(mut self, items: &mut Vec<u64>, of: impl Fn(Chunk) -> u64 + Copy) {
        items.extend(self.next().map(of));
        let last = self.next_back().map(of);
        let granule = self.granule;
        self.for_each_slice(|words| wide::run(ExtendNode { words, granule, items, of }));
        items.extend(last);
    }

    /// Hands out the words of all chunks still to come, none of which is trimmed any more.
    pub(crate) fn for_each_slice(mut self, mut f: impl FnMut(&[u64])) {
        while let Some(words) = self.next_slice() {
            f(words);
            self.advance(words.len(), self.chunks_in(words));
        }
    }

    /// Whether it is plain that every chunk still to come is shorter than so many bytes, a multiple of
    /// the granule: faster than looking at each, and no more than a hint where it is not plain.
    pub(crate) fn are_shorter(&self, length: u64) -> bool {
        let limit = length >> self.granule.lg2();
        let mut node = self.front.node;
        while self.granule.to_bytes(node.first_page) < self.end {
            // One too far, or more, where chunks have two words: what lies between counts, then.
            let next = self.chain.next_node(node, node.first_chunk + node.words.len() as u64);
            let chunks = next.first_chunk - node.first_chunk;
            // One of them has all the pages but one for each other.
            let most = (next.first_page - node.first_page).saturating_sub(chunks.saturating_sub(1));
            let is_one = chunks == 0 || chunks == node.words.len() as u64;
            if (chunks == 0 || most >= limit) && !(is_one && words::are_shorter(node.words, limit))
            {
                return false;
            }
            if chunks == 0 {
                break;
            }
            node = next;
        }
        true
    }

    /// Whether the chunks still to come, none of which is trimmed any more, have the same words.
    pub(crate) fn same_words(mut self, mut other: Self) -> bool {
        while let (Some(a), Some(b)) = (self.next_slice(), other.next_slice()) {
            let len = a.len().min(b.len());
            if a[..len] != b[..len] {
                return false;
            }
            // Equal words of whole entries are as many chunks, wherever the nodes are cut.
            let chunks = self.chunks_in(&a[..len]);
            self.advance(len, chunks);
            other.advance(len, chunks);
        }
        self.remaining() == other.remaining()
    }
}

/// The place after the chunk that holds the byte before byte `end` of the chain, and how many bytes of
/// that chunk come after.
#[cold]
fn locate_end(chain: &Chain, granule: Granule, end: u64) -> (Cursor<'_>, u64) {
    let last = chain.find_page(granule.floor(end - 1));
    let (run, len) = words::decode(last.node.words, last.word);
    let cut = granule.to_bytes(last.page + run.nr_pages) - end;
    (Cursor { node: last.node, word: last.word + len, number: last.number + 1 }, cut)
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
        // Each chunk takes eight bytes of memory, so their number fits.
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
            // Shifts by what the compiler knows are none.
            self.fold_with(start, f, |word| {
                let (paddr, length) = Entry::stored(word).bytes();
                Chunk { paddr, length }
            })
        } else {
            self.fold_with(start, f, move |word| Chunk::of_word(granule, word))
        }
    }
}

impl DoubleEndedIterator for Chunks<'_> {
    #[inline(always)]
    fn next_back(&mut self) -> Option<Chunk> {
        if self.start == self.end {
            return None;
        }
        self.locate_back();
        let mut chunk = Chunk::of_run(self.granule, self.back.previous(self.chain));
        chunk.length -= self.cut;
        self.cut = 0;
        // More than is to come: the first chunk, of which some was before the list.
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

impl ExactSizeIterator for Chunks<'_> {}
impl FusedIterator for Chunks<'_> {}

/// The inner loop of `fold`: untrimmed entries of one node.
struct FoldNode<'w, A, F, U> {
    words: &'w [u64],
    /// Whether all are known to be entries of their own.
    is_plain: bool,
    granule: Granule,
    acc: A,
    f: F,
    unpack: U,
}

impl<A, F: FnMut(A, Chunk) -> A, U: Fn(u64) -> Chunk> Wide for FoldNode<'_, A, F, U> {
    /// The closure travels by value, so that what it captures can live in registers.
    type Output = (A, F, u64);

    #[inline(always)]
    fn run(self) -> (A, F, u64) {
        let Self { words, is_plain, granule, mut acc, mut f, unpack } = self;
        if is_plain || words::is_plain(words) {
            for &word in words {
                acc = f(acc, unpack(word));
            }
            return (acc, f, words.len() as u64);
        }
        let (mut word, mut chunks) = (0, 0);
        while word < words.len() {
            let (run, len) = words::decode(words, word);
            acc = f(acc, Chunk::of_run(granule, run));
            word += len;
            chunks += 1;
        }
        (acc, f, chunks)
    }
}

/// The inner loop of `extend`.
#[cfg(feature = "python")]
struct ExtendNode<'a, F> {
    words: &'a [u64],
    granule: Granule,
    items: &'a mut Vec<u64>,
    of: F,
}

#[cfg(feature = "python")]
impl<F: Fn(Chunk) -> u64> Wide for ExtendNode<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { words, granule, items, of } = self;
        if words::is_plain(words) {
            items.extend(words.iter().map(|&word| of(Chunk::of_word(granule, word))));
            return;
        }
        let mut word = 0;
        while word < words.len() {
            let (run, len) = words::decode(words, word);
            items.push(of(Chunk::of_run(granule, run)));
            word += len;
        }
    }
}

/// The inner loop of `write` over untrimmed entries of one word, for each of which there is a slot.
struct WritePlain<'w, S, F> {
    words: &'w [u64],
    granule: Granule,
    start: u64,
    slots: S,
    write: F,
}

impl<T, S: Iterator<Item = T>, F: FnMut(T, Chunk, u64)> Wide for WritePlain<'_, S, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { words, granule, mut start, slots, mut write } = self;
        for (slot, &word) in slots.zip(words) {
            let chunk = Chunk::of_word(granule, word);
            write(slot, chunk, start);
            start += chunk.length;
        }
    }
}

/// The inner loop of `write` over any untrimmed entries of one node, as many as there are slots.
struct WriteWords<'w, S, F> {
    words: &'w [u64],
    granule: Granule,
    start: u64,
    slots: S,
    write: F,
}

impl<T, S: Iterator<Item = T>, F: FnMut(T, Chunk, u64)> Wide for WriteWords<'_, S, F> {
    /// The words and chunks taken, and where the next chunk starts.
    type Output = (usize, usize, u64);

    #[inline(always)]
    fn run(self) -> (usize, usize, u64) {
        let Self { words, granule, mut start, slots, mut write } = self;
        let (mut word, mut chunks) = (0, 0);
        for slot in slots {
            if word == words.len() {
                break;
            }
            let (run, len) = words::decode(words, word);
            let chunk = Chunk::of_run(granule, run);
            write(slot, chunk, start);
            start += chunk.length;
            word += len;
            chunks += 1;
        }
        (word, chunks, start)
    }
}

/// The addresses of entries, as far as each is one granule: whether all are.
struct WriteGranules<'a> {
    words: &'a [u64],
    granule: Granule,
    out: &'a mut [u64],
}

impl Wide for WriteGranules<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Self { words, granule, out } = self;
        let mut odd = 0;
        for (slot, &word) in out.iter_mut().zip(words) {
            let (pfn, other) = Entry::stored(word).as_one_page();
            odd |= other;
            *slot = granule.to_bytes(pfn);
        }
        odd == 0
    }
}
