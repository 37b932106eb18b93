//! Growing a chain: entries are only ever appended, and what is written never moves.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::chain::{Branch, Chain, LEAF_WORDS, LIMB_SLOTS, Leaf, Slot, TWIG_SLOTS, Tree};
use crate::entry::{Entry, Run};

/// A chain under construction: the open node of each level.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// The open leaf. Allocated with the first word, at full size.
    words: Vec<u64>,
    /// The open twig, and the open limb of each level above it.
    twig: Vec<Slot<Leaf>>,
    limbs: Vec<Vec<Slot<Branch>>>,
    /// Pages and chunks written so far, those of the open leaf included.
    nr_pages: u64,
    nr_chunks: u64,
    /// The same for the leaves before the open one.
    first_page: u64,
    first_chunk: u64,
}

impl Writer {
    /// Appends a run that can be encoded and does not touch the one before.
    #[inline]
    pub(crate) fn push(&mut self, run: Run) {
        let (entry, count) = Entry::pack(run);
        // An entry of two words never straddles nodes.
        if self.words.len() + usize::from(entry.is_escape()) >= LEAF_WORDS || self.words.is_empty()
        {
            self.open_leaf();
        }
        self.words.push(entry.word());
        if entry.is_escape() {
            self.words.push(count);
        }
        self.nr_pages += run.nr_pages;
        self.nr_chunks += 1;
    }

    /// Closes the open leaf, if there is one, and opens the next.
    #[cold]
    fn open_leaf(&mut self) {
        if !self.words.is_empty() {
            self.close_leaf();
        }
        self.words = Vec::with_capacity(LEAF_WORDS);
    }

    fn close_leaf(&mut self) {
        let slot = Slot {
            first_page: self.first_page,
            first_chunk: self.first_chunk,
            child: core::mem::take(&mut self.words).into_boxed_slice(),
        };
        (self.first_page, self.first_chunk) = (self.nr_pages, self.nr_chunks);
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

    /// The finished chain; every node trimmed to what it holds.
    pub(crate) fn finish(mut self) -> Chain {
        if self.twig.is_empty() && self.limbs.is_empty() {
            return match *self.words {
                [] => Chain::default(),
                [word] => Chain::Inline([word, 0]),
                [first, second] => Chain::Inline([first, second]),
                ref words => Chain::Node(Arc::from(words)),
            };
        }
        if !self.words.is_empty() {
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

/// Makes a branch of the open slots, leaving none; `None` if there are none.
fn close<T>(open: &mut Vec<Slot<T>>, branch: fn(Box<[Slot<T>]>) -> Branch) -> Option<Slot<Branch>> {
    let (first_page, first_chunk) = open.first().map(|slot| (slot.first_page, slot.first_chunk))?;
    let child = branch(core::mem::take(open).into_boxed_slice());
    Some(Slot { first_page, first_chunk, child })
}
