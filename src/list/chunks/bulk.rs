//! Chunks by the node: the loops over many that `fold`, columns, tables and comparisons are made of.

use alloc::vec::Vec;

use super::{Chunk, Chunks};
use crate::granule::Granule;
use crate::storage::entry::Entry;
use crate::storage::words;
use crate::wide::{self, Wide};

impl<'a> Chunks<'a> {
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
    pub(super) fn fold_with<A, F: FnMut(A, Chunk) -> A>(
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

    /// How many of the next chunks are known to be no longer than `most` bytes together, untrimmed
    /// and of one word each: all that is left of a node, or 0.
    pub(crate) fn short(&mut self, most: u64) -> usize {
        if self.skip > 0 || self.start == self.end {
            return 0;
        }
        self.front.enter(self.chain);
        let node = &self.front.node;
        let bytes = node.end_page().map(|end| self.granule.to_bytes(end - node.first_page));
        let is_short = node.is_plain() && bytes.is_some_and(|bytes| bytes <= most);
        if is_short { node.words.len() - self.front.word } else { 0 }
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
    pub fn extend(mut self, items: &mut Vec<u64>, of: impl Fn(Chunk) -> u64 + Copy) {
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
struct ExtendNode<'a, F> {
    words: &'a [u64],
    granule: Granule,
    items: &'a mut Vec<u64>,
    of: F,
}

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
