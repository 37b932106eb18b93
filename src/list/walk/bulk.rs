//! Chunks by the node: the loops under `fold`, columns, tables and comparisons.

use alloc::vec::Vec;

use super::{Chunk, Cursor, Walk};
use crate::granule::Granule;
use crate::storage::entry::Entry;
use crate::storage::words;
use crate::wide::wide;

impl<'a> Walk<'a> {
    /// The words of the next node, up to the back cursor; `None` when all are visited.
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
        words.get(self.front.word..end)
    }

    /// At the end of a leaf: passes the next leaf under the same twig, and returns its words and their
    /// bytes. `None`, and the walk does not move, if a word is not known to be a whole chunk, or if the
    /// list ends in that leaf.
    ///
    /// This is a part of the loop of its caller, so it changes the walk where that loop keeps it. A
    /// call would copy the walk there and back.
    #[inline(always)]
    pub(crate) fn pass_leaf(&mut self) -> Option<(&'a [u64], u64)> {
        if self.front.word != self.front.node.words.len() {
            return None;
        }
        let node = self.front.node.next_in_twig()?;
        let end = self.granule.to_bytes(node.end_page()?);
        if end >= self.end || !node.is_plain() {
            return None;
        }
        let word = node.words.len();
        self.front = Cursor { node, word, number: self.front.number + word as u64 };
        let bytes = end - self.start;
        self.start = end;
        Some((node.words, bytes))
    }

    /// Passes the next words that each are a whole chunk, none of them trimmed, as far as that is
    /// cheap to know: the rest of a node, a part of it, or none.
    pub(crate) fn pass_plain(&mut self) -> &'a [u64] {
        /// Words that are looked at together.
        const FEW: usize = 128;

        let granule = self.granule;
        if self.skip > 0 || self.is_done() {
            return &[];
        }
        self.front.enter(self.chain);
        let node = self.front.node;
        let words = node.words.get(self.front.word..).unwrap_or_default();
        let end = node.end_page().map(|page| granule.to_bytes(page));
        if let Some(end) = end.filter(|&end| end < self.end && node.is_plain()) {
            self.advance(words.len(), words.len() as u64);
            self.start = end;
            return words;
        }
        self.locate_back();
        let mut most = FEW;
        if core::ptr::eq(node.words, self.back.node.words) {
            // The last chunk may be trimmed.
            most = words::before(words, self.back.word - self.front.word);
            if most == 0 {
                return &[];
            }
            if most as u64 == self.back.number - self.front.number - 1 {
                // Each of the others has one word, and their bytes follow from the end.
                let (last, _) = words::decode(words, most);
                self.start = self.end + self.cut - granule.to_bytes(last.nr_pages);
                self.advance(most, most as u64);
                return words.get(..most).unwrap_or_default();
            }
        }
        let mut few = words.get(..most.min(FEW)).unwrap_or(words);
        let pages = words::plain_pages(few).unwrap_or_else(|| {
            let is_escape = |&word: &u64| Entry::stored(word).is_escape();
            few = few.split(is_escape).next().unwrap_or_default();
            words::plain_pages(few).unwrap_or_default()
        });
        self.start += granule.to_bytes(pages);
        self.advance(few.len(), few.len() as u64);
        few
    }

    /// `fold`, where `unpack` decodes entries of one word.
    #[inline(always)]
    pub(super) fn fold_with<A, F: FnMut(A, Chunk) -> A>(
        mut self,
        start: A,
        mut f: F,
        unpack: impl Fn(u64) -> Chunk + Copy,
    ) -> A {
        // Visits the ends, which may be trimmed, with `next`, and the nodes between them as a
        // whole.
        let mut acc = start;
        if let Some(first) = self.next() {
            acc = f(acc, first);
        }
        let last = self.next_back();
        while let Some(words) = self.next_slice() {
            let (granule, is_plain) = (self.granule, self.front.node.is_plain());
            let chunks;
            (acc, f, chunks) = fold_node(words, is_plain, granule, acc, f, unpack);
            self.advance(words.len(), chunks);
        }
        match last {
            Some(last) => f(acc, last),
            None => acc,
        }
    }

    /// The number of chunks in these words of the front node.
    fn chunks_in(&self, words: &[u64]) -> u64 {
        if self.front.node.is_plain() { words.len() as u64 } else { words::count(words) }
    }

    /// Moves the front cursor over so many words and chunks of its node.
    fn advance(&mut self, words: usize, chunks: u64) {
        self.front.word += words;
        self.front.number += chunks;
    }

    /// Copies the next chunks to `out` and returns their number. A short count is not the end; zero
    /// is.
    ///
    /// A call has little overhead, and copies chunks as fast as `fold` visits them.
    pub(crate) fn read(&mut self, out: &mut [Chunk]) -> usize {
        self.write(out.iter_mut(), |slot, chunk, _| *slot = chunk)
    }

    /// Passes the next chunks to `write`, each with one of `slots` and the byte of the chain where
    /// the chunk starts. Returns the number of chunks. A short count is not the end; zero is.
    pub(crate) fn write<T>(
        &mut self,
        mut slots: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(T, Chunk, u64),
    ) -> usize {
        let (granule, start) = (self.granule, self.start);
        if self.skip == 0 && start < self.end {
            self.front.enter(self.chain);
            let mut words = self.front.node.words.get(self.front.word..).unwrap_or_default();
            // Write the rest of this node. More nodes follow, so the back cursor is not needed.
            let node = &self.front.node;
            let end = node.end_page().map(|page| granule.to_bytes(page));
            let end = end.filter(|&end| end < self.end && words.len() <= slots.len());
            if let Some(end) = end.filter(|_| node.is_plain()) {
                write_plain(words, granule, start, slots, write);
                self.advance(words.len(), words.len() as u64);
                self.start = end;
                return words.len();
            }
            let few = &words[..words.len().min(slots.len())];
            let bytes = words::plain_pages(few).map(|pages| granule.to_bytes(pages));
            if let Some(bytes) = bytes.filter(|&bytes| bytes <= self.end - start) {
                write_plain(few, granule, start, slots, write);
                self.advance(few.len(), few.len() as u64);
                self.start += bytes;
                return few.len();
            }
            // Some chunks have two words, or the list ends in this node: go on to the last chunk,
            // which may be trimmed.
            self.locate_back();
            if core::ptr::eq(self.front.node.words, self.back.node.words) {
                words = words
                    .get(..words::before(words, self.back.word - self.front.word))
                    .unwrap_or_default();
            }
            if !words.is_empty() {
                let (taken, chunks);
                (taken, chunks, self.start) = write_words(words, granule, start, slots, write);
                self.advance(taken, chunks as u64);
                return chunks;
            }
        }
        let Some(slot) = slots.next() else { return 0 };
        let Some(chunk) = self.next() else { return 0 };
        write(slot, chunk, start);
        1
    }

    /// The number of next chunks that are known to have one word each, no trimming, and at most
    /// `most` bytes together: all the rest of a node, or 0.
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

    /// Writes the addresses of the next chunks to `out`, as far as each is one aligned block of `size`
    /// bytes, a power of two; returns how many. It stops early, at the end of a node at the latest; 0
    /// says that [`Self::read`] or `next` goes on. `out` may be written behind that.
    pub(crate) fn read_blocks(&mut self, size: u64, out: &mut [u64]) -> usize {
        let granule = self.granule;
        let Some(order) = size.trailing_zeros().checked_sub(granule.lg2()) else { return 0 };
        if self.skip > 0 || self.start == self.end || order > Entry::MAX_ORDER {
            return 0;
        }
        self.front.enter(self.chain);
        let words = &self.front.node.words[self.front.word..];
        // No more than there is memory for, and none that is trimmed.
        let left = usize::try_from((self.end - self.start) >> size.trailing_zeros());
        let count = words.len().min(out.len()).min(left.unwrap_or(usize::MAX));
        let (words, out) = (&words[..count], &mut out[..count]);
        let is_block = |word: &u64| Entry::stored(*word).as_block(order).1 == 0;
        if !words.first().is_some_and(is_block) {
            return 0;
        }
        let count = write_blocks(words, order, granule, out);
        self.advance(count, count as u64);
        self.start += size * count as u64;
        count
    }

    /// Appends `of(chunk)` to `items` for each chunk still to come, a whole node at a time.
    pub(crate) fn extend(mut self, items: &mut Vec<u64>, of: impl Fn(Chunk) -> u64 + Copy) {
        items.extend(self.next().map(of));
        let last = self.next_back().map(of);
        let granule = self.granule;
        self.for_each_slice(|words| extend_node(words, granule, items, of));
        items.extend(last);
    }

    /// Passes the words of all chunks still to come to `f`, node by node. None of the chunks may be
    /// trimmed.
    pub(crate) fn for_each_slice(mut self, mut f: impl FnMut(&[u64])) {
        while let Some(words) = self.next_slice() {
            f(words);
            self.advance(words.len(), self.chunks_in(words));
        }
    }

    /// Returns true if every chunk still to come is known to be shorter than `length` bytes, a
    /// multiple of the granule. True is certain; false means look. This is faster than a look at
    /// each chunk.
    pub(crate) fn are_shorter(&self, length: u64) -> bool {
        let limit = length >> self.granule.lg2();
        let mut node = self.front.node;
        while self.granule.to_bytes(node.first_page) < self.end {
            // If chunks have two words, the number of the next node's first chunk is too high here,
            // and the node found may be a later one. The bound then covers all nodes between.
            let next = self.chain.next_node(node, node.first_chunk + node.words.len() as u64);
            let chunks = next.first_chunk - node.first_chunk;
            // Each chunk has a page at least, so none has more than all the pages less one for each
            // other chunk.
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

    /// Returns true if both walks have the same words to come. None of their chunks may be trimmed.
    pub(crate) fn same_words(mut self, mut other: Self) -> bool {
        while let (Some(a), Some(b)) = (self.next_slice(), other.next_slice()) {
            let len = a.len().min(b.len());
            if a[..len] != b[..len] {
                return false;
            }
            // Equal words of whole entries are the same number of chunks, even if the nodes are
            // split differently.
            let chunks = self.chunks_in(&a[..len]);
            self.advance(len, chunks);
            other.advance(len, chunks);
        }
        self.remaining() == other.remaining()
    }
}

wide! {
    /// The inner loop of `fold`: entries of one node, none of them trimmed. `is_plain` is true if all are
    /// known to have one word.
    ///
    /// The closure is passed by value, so that the compiler can keep its captures in registers.
    fn fold_node[A, F: FnMut(A, Chunk) -> A](
        words: &[u64],
        is_plain: bool,
        granule: Granule,
        acc: A,
        f: F,
        unpack: impl Fn(u64) -> Chunk,
    ) -> (A, F, u64) {
        let (mut acc, mut f) = (acc, f);
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

wide! {
    /// The inner loop of `extend`.
    fn extend_node(words: &[u64], granule: Granule, items: &mut Vec<u64>, of: impl Fn(Chunk) -> u64) {
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

wide! {
    /// The inner loop of `write` for entries of one word. None is trimmed, and each has a slot.
    fn write_plain[T](
        words: &[u64],
        granule: Granule,
        start: u64,
        slots: impl Iterator<Item = T>,
        write: impl FnMut(T, Chunk, u64),
    ) {
        let (mut start, mut write) = (start, write);
        for (slot, &word) in slots.zip(words) {
            let chunk = Chunk::of_word(granule, word);
            write(slot, chunk, start);
            start += chunk.length;
        }
    }
}

wide! {
    /// The inner loop of `write` for entries of one node, none of them trimmed, as many as there are
    /// slots. Returns the words and the chunks used, and where the next chunk starts.
    fn write_words[T](
        words: &[u64],
        granule: Granule,
        start: u64,
        slots: impl Iterator<Item = T>,
        write: impl FnMut(T, Chunk, u64),
    ) -> (usize, usize, u64) {
        let (mut start, mut write) = (start, write);
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

wide! {
    /// Writes the addresses of entries, as far as each is one block of 2^order granules. Returns how many
    /// are known to be such blocks, from the first on.
    fn write_blocks(words: &[u64], order: u32, granule: Granule, out: &mut [u64]) -> usize {
        /// Entries looked at together.
        const FEW: usize = 64;

        let mut count = 0;
        for (out, words) in out.chunks_mut(FEW).zip(words.chunks(FEW)) {
            let mut odd = 0;
            for (slot, &word) in out.iter_mut().zip(words) {
                let (pfn, other) = Entry::stored(word).as_block(order);
                odd |= other;
                *slot = granule.to_bytes(pfn);
            }
            if odd != 0 {
                break;
            }
            count += words.len();
        }
        count
    }
}
