//! Growing a chain: entries are only ever appended, and what is written never moves.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::storage::chain::{
    Branch, Chain, LEAF_WORDS, LIMB_SLOTS, LeafSlot, Quarters, Slot, TWIG_SLOTS, Tree, sum,
};
use crate::storage::entry::{Entry, Run};
use crate::storage::words;
use crate::wide::{self, Wide};

/// A chain under construction: the open node of each level.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    open: OpenLeaf,
    /// The open twig, and the open limb of each level above it.
    twig: Vec<LeafSlot>,
    limbs: Vec<Vec<Slot<Branch>>>,
    /// Pages and chunks in closed leaves.
    nr_pages: u64,
    nr_chunks: u64,
    /// Chunks before the open twig.
    twig_chunk: u64,
    /// [`Chain::inner`] of closed leaves.
    inner: u64,
}

/// The leaf that is being written.
#[derive(Debug, Default)]
struct OpenLeaf {
    /// Has the capacity of a leaf, or none before the first entry.
    words: Vec<u64>,
    nr_pages: u64,
    /// Entries of two words.
    nr_escapes: usize,
}

impl OpenLeaf {
    /// Words that there is room for.
    #[inline(always)]
    fn room(&self) -> usize {
        self.words.capacity() - self.words.len()
    }

    /// Writes a run that can be encoded; `false` if it has no room.
    #[inline(always)]
    fn push(&mut self, run: Run) -> bool {
        let (entry, count) = Entry::pack(run);
        // An entry of two words never straddles nodes.
        if self.room() <= usize::from(entry.is_escape()) {
            return false;
        }
        self.words.push(entry.word());
        self.nr_pages += run.nr_pages;
        if entry.is_escape() {
            self.words.push(count);
            self.nr_escapes += 1;
        }
        true
    }

    /// Writes runs of one page, for which there is room.
    #[inline(always)]
    fn push_ones(&mut self, pfns: impl ExactSizeIterator<Item = u64>) {
        self.nr_pages += pfns.len() as u64;
        self.words.extend(pfns.map(Entry::one_page));
    }
}

impl Writer {
    /// Appends a run that can be encoded and does not touch the one before.
    #[inline]
    pub(crate) fn push(&mut self, run: Run) {
        while !self.open.push(run) {
            self.open_leaf();
        }
    }

    /// Appends to `run` the pages that `items` number: page `item >> shift` for each. Runs are
    /// written as they end; the last one is returned.
    pub(crate) fn push_pages(&mut self, mut run: Run, mut items: &[u64], shift: u32) -> Run {
        loop {
            let open = core::mem::take(&mut self.open);
            let (open, last, rest) = wide::run(PushPages { open, run, items, shift });
            self.open = open;
            (run, items) = (last, rest);
            if items.is_empty() {
                return run;
            }
            self.open_leaf();
        }
    }

    /// Closes the open leaf, if there is one, and opens the next.
    #[cold]
    fn open_leaf(&mut self) {
        if !self.open.words.is_empty() {
            self.close_leaf(false);
        }
        self.open.words.reserve_exact(LEAF_WORDS);
    }

    /// Closes the open leaf, which has entries; the chain ends in it or goes on.
    fn close_leaf(&mut self, is_last: bool) {
        let OpenLeaf { words, nr_pages, nr_escapes } = core::mem::take(&mut self.open);
        let first = if self.nr_chunks == 0 { words::decode(&words, 0).1 } else { 0 };
        let end = if is_last { words::before(&words, words.len()) } else { words.len() };
        self.inner |= words::any_bit(words.get(first..end).unwrap_or_default());
        if self.twig.is_empty() {
            self.twig_chunk = self.nr_chunks;
        }
        let slot = LeafSlot {
            first_page: self.nr_pages,
            first_chunk: u16::try_from(self.nr_chunks - self.twig_chunk).unwrap_or(u16::MAX),
            quarters: if nr_pages == words.len() as u64 {
                Quarters::of_single(&words)
            } else {
                Quarters::new(&words)
            },
            words: words.into_boxed_slice(),
        };
        self.nr_pages += nr_pages;
        self.nr_chunks += (slot.words.len() - nr_escapes) as u64;
        if self.twig.capacity() == 0 {
            self.twig.reserve_exact(TWIG_SLOTS);
        }
        self.twig.push(slot);
        if self.twig.len() == TWIG_SLOTS {
            self.close_twig();
        }
    }

    fn close_twig(&mut self) {
        if let Some(mut slot) = close_twig(&mut self.twig, self.twig_chunk) {
            for limb in &mut self.limbs {
                if limb.capacity() == 0 {
                    limb.reserve_exact(LIMB_SLOTS);
                }
                limb.push(slot);
                if limb.len() < LIMB_SLOTS {
                    return;
                }
                match close_limb(limb) {
                    Some(full) => slot = full,
                    None => return,
                }
            }
            let mut limb = Vec::new();
            limb.reserve_exact(LIMB_SLOTS);
            limb.push(slot);
            self.limbs.push(limb);
        }
    }

    /// Bytes of heap.
    pub(crate) fn storage(&self) -> usize {
        let open = size_of::<u64>() * self.open.words.capacity();
        let slots = size_of::<LeafSlot>() * self.twig.capacity();
        let twig = sum(slots, self.twig.iter().map(LeafSlot::storage)).0;
        let limb = |limb: &Vec<Slot<Branch>>| {
            let slots = size_of::<Slot<Branch>>() * limb.capacity();
            sum(slots, limb.iter().map(Slot::<Branch>::storage)).0
        };
        open + twig + self.limbs.iter().map(limb).sum::<usize>()
    }

    /// The finished chain, with one more run at its end, if it has pages; every node trimmed to what
    /// it holds.
    pub(crate) fn finish(mut self, last: Run) -> Chain {
        let in_one_node = self.twig.is_empty() && self.limbs.is_empty();
        if last.nr_pages > 0 {
            if in_one_node && self.open.words.is_empty() {
                // One chunk needs no heap, not even on the way.
                let (entry, count) = Entry::pack(last);
                return Chain::Inline([entry.word(), if entry.is_escape() { count } else { 0 }]);
            }
            self.push(last);
        }
        if self.twig.is_empty() && self.limbs.is_empty() {
            return match *self.open.words {
                [] => Chain::default(),
                [word] => Chain::Inline([word, 0]),
                [first, second] => Chain::Inline([first, second]),
                ref words => Chain::Node(Arc::from(words)),
            };
        }
        if !self.open.words.is_empty() {
            self.close_leaf(true);
        }
        // From the lowest level up, each open node goes into the one above; the last is the root.
        let mut open = close_twig(&mut self.twig, self.twig_chunk);
        for mut limb in self.limbs {
            limb.extend(open.take());
            open = if limb.len() == 1 { limb.pop() } else { close_limb(&mut limb) };
        }
        match open {
            Some(slot) => Chain::Tree(Arc::new(Tree {
                root: slot.child,
                nr_pages: self.nr_pages,
                nr_chunks: self.nr_chunks,
                inner: self.inner,
            })),
            None => Chain::default(),
        }
    }
}

/// The inner loop of [`Writer::push_pages`]. It owns what it writes to, so that it lies in registers.
struct PushPages<'a> {
    open: OpenLeaf,
    run: Run,
    items: &'a [u64],
    shift: u32,
}

impl<'a> Wide for PushPages<'a> {
    /// The leaf, the run that did not end or has no room in it, and the items that remain.
    type Output = (OpenLeaf, Run, &'a [u64]);

    #[inline(always)]
    fn run(self) -> Self::Output {
        let Self { mut open, run: Run { mut pfn, nr_pages }, items, shift } = self;
        let mut next = pfn + nr_pages;
        let blocks = items.as_chunks::<BLOCK>().0;
        for (number, block) in blocks.iter().enumerate() {
            let mut breaks = breaks(next, block, shift);
            if breaks == u32::MAX && next - pfn == 1 && open.room() >= BLOCK {
                let (last, ones) = (block[BLOCK - 1] >> shift, &block[..BLOCK - 1]);
                open.push_ones([pfn].into_iter());
                open.push_ones(ones.iter().map(|item| item >> shift));
                (pfn, next) = (last, last + 1);
                continue;
            }
            let mut from = 0;
            while breaks != 0 {
                let to = breaks.trailing_zeros() as usize % BLOCK;
                breaks &= breaks - 1;
                next += (to - from) as u64;
                let run = Run { pfn, nr_pages: next - pfn };
                if !open.push(run) {
                    return (open, run, &items[number * BLOCK + to..]);
                }
                pfn = block[to] >> shift;
                (next, from) = (pfn, to);
            }
            next += (BLOCK - from) as u64;
        }
        let done = blocks.len() * BLOCK;
        for (index, &item) in items.iter().enumerate().skip(done) {
            let page = item >> shift;
            if page != next {
                let run = Run { pfn, nr_pages: next - pfn };
                if !open.push(run) {
                    return (open, run, &items[index..]);
                }
                pfn = page;
            }
            next = page + 1;
        }
        (open, Run { pfn, nr_pages: next - pfn }, &[])
    }
}

/// Items looked at together: as many as the mask of their breaks has bits.
const BLOCK: usize = 32;

/// Bit i is set if item i does not continue what is before it, which for the first is page `next`.
///
/// Compares page numbers, not addresses: 0 does not follow the last page of the address space.
#[inline(always)]
fn breaks(next: u64, block: &[u64; BLOCK], shift: u32) -> u32 {
    let mut breaks = u32::from(block[0] >> shift != next);
    for index in 1..BLOCK {
        let follows = block[index] >> shift == (block[index - 1] >> shift) + 1;
        breaks |= u32::from(!follows) << index;
    }
    breaks
}

/// Makes a branch of the open leaves, leaving none; `None` if there are none.
fn close_twig(open: &mut Vec<LeafSlot>, first_chunk: u64) -> Option<Slot<Branch>> {
    let first_page = open.first()?.first_page;
    let child = Branch::Twig(core::mem::take(open).into_boxed_slice());
    Some(Slot { first_page, first_chunk, child })
}

/// The same of open branches.
fn close_limb(open: &mut Vec<Slot<Branch>>) -> Option<Slot<Branch>> {
    let (first_page, first_chunk) = open.first().map(|slot| (slot.first_page, slot.first_chunk))?;
    let child = Branch::Limb(core::mem::take(open).into_boxed_slice());
    Some(Slot { first_page, first_chunk, child })
}
