//! Growing a chain: entries are only ever appended, and what is written never moves.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::chain::{Branch, Chain, LEAF_WORDS, LIMB_SLOTS, Leaf, Slot, TWIG_SLOTS, Tree, sum};
use crate::entry::{Entry, Run};
use crate::wide::{self, Wide};
use crate::words;

/// A chain under construction: the open node of each level.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    open: OpenLeaf,
    /// The open twig, and the open limb of each level above it.
    twig: Vec<Slot<Leaf>>,
    limbs: Vec<Vec<Slot<Branch>>>,
    /// Pages and chunks in closed leaves. Those of the open one are counted when it is closed, which
    /// is cheaper than to keep count.
    nr_pages: u64,
    nr_chunks: u64,
}

/// The leaf that is being written.
#[derive(Debug, Default)]
struct OpenLeaf {
    /// All of the leaf, or nothing before the first entry.
    words: Vec<u64>,
    /// Words written.
    len: usize,
}

impl OpenLeaf {
    /// Writes a run that can be encoded; `false` if it has no room.
    #[inline(always)]
    fn push(&mut self, run: Run) -> bool {
        let (entry, count) = Entry::pack(run);
        if entry.is_escape() {
            // An entry of two words never straddles nodes.
            let Some(slots) = self.words.get_mut(self.len..self.len + 2) else { return false };
            slots.copy_from_slice(&[entry.word(), count]);
            self.len += 2;
        } else {
            let Some(slot) = self.words.get_mut(self.len) else { return false };
            *slot = entry.word();
            self.len += 1;
        }
        true
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
        if self.open.len > 0 {
            self.close_leaf();
        }
        self.open.words.reserve_exact(LEAF_WORDS);
        self.open.words.resize(LEAF_WORDS, 0);
    }

    fn close_leaf(&mut self) {
        let OpenLeaf { mut words, len } = core::mem::take(&mut self.open);
        words.truncate(len);
        let words = words.into_boxed_slice();
        let all = words::find(&words, |_, _| false);
        let slot = Slot { first_page: self.nr_pages, first_chunk: self.nr_chunks, child: words };
        self.nr_pages += all.pages;
        self.nr_chunks += all.chunks;
        if self.twig.capacity() == 0 {
            self.twig.reserve_exact(TWIG_SLOTS);
        }
        self.twig.push(slot);
        if self.twig.len() == TWIG_SLOTS {
            self.close_twig();
        }
    }

    fn close_twig(&mut self) {
        if let Some(mut slot) = close(&mut self.twig, Branch::Twig) {
            for limb in &mut self.limbs {
                if limb.capacity() == 0 {
                    limb.reserve_exact(LIMB_SLOTS);
                }
                limb.push(slot);
                if limb.len() < LIMB_SLOTS {
                    return;
                }
                match close(limb, Branch::Limb) {
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
        let slots = size_of::<Slot<Leaf>>() * self.twig.capacity();
        let twig = sum(slots, self.twig.iter().map(Slot::<Leaf>::storage)).0;
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
            if in_one_node && self.open.len == 0 {
                // One chunk needs no heap, not even on the way.
                let (entry, count) = Entry::pack(last);
                return Chain::Inline([entry.word(), if entry.is_escape() { count } else { 0 }]);
            }
            self.push(last);
        }
        if self.twig.is_empty() && self.limbs.is_empty() {
            return match self.open.words[..self.open.len] {
                [] => Chain::default(),
                [word] => Chain::Inline([word, 0]),
                [first, second] => Chain::Inline([first, second]),
                ref words => Chain::Node(Arc::from(words)),
            };
        }
        if self.open.len > 0 {
            self.close_leaf();
        }
        // From the lowest level up, each open node goes into the one above; the last is the root.
        let mut open = close(&mut self.twig, Branch::Twig);
        for mut limb in self.limbs {
            limb.extend(open.take());
            open = if limb.len() == 1 { limb.pop() } else { close(&mut limb, Branch::Limb) };
        }
        match open {
            Some(slot) => Chain::Tree(Arc::new(Tree {
                root: slot.child,
                nr_pages: self.nr_pages,
                nr_chunks: self.nr_chunks,
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
        for (index, &item) in items.iter().enumerate() {
            let page = item >> shift;
            if page != next {
                if !open.push(Run { pfn, nr_pages: next - pfn }) {
                    return (open, Run { pfn, nr_pages: next - pfn }, &items[index..]);
                }
                pfn = page;
            }
            next = page + 1;
        }
        (open, Run { pfn, nr_pages: next - pfn }, &[])
    }
}

/// Makes a branch of the open slots, leaving none; `None` if there are none.
fn close<T>(open: &mut Vec<Slot<T>>, branch: fn(Box<[Slot<T>]>) -> Branch) -> Option<Slot<Branch>> {
    let (first_page, first_chunk) = open.first().map(|slot| (slot.first_page, slot.first_chunk))?;
    let child = branch(core::mem::take(open).into_boxed_slice());
    Some(Slot { first_page, first_chunk, child })
}
