//! Growing a chain: words are appended only, and written nodes never move.
//!
//! Each step allocates memory before it changes anything, so a step that fails leaves the chain as
//! it was. [`Writer::rewind`] to a [`Mark`] takes back the steps before.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::error::NoMemory;
use crate::storage::chain::{
    Branch, Chain, LEAF_WORDS, LIMB_SLOTS, LeafSlot, Quarters, Root, Slot, TWIG_SLOTS, Tree, sum,
};
use crate::storage::entry::{Entry, Run};
use crate::storage::leaf::{OpenLeaf, push_pages, push_ranges};
use crate::storage::shared::Shared;
use crate::storage::words::{self, Found};

/// A chain under construction: the open node of each level. A full node stays open until another
/// entry follows it.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    open: OpenLeaf,
    /// The open twig, and the open limb of each level above the twig.
    twig: Vec<LeafSlot>,
    limbs: Limbs,
    closed: Closed,
}

/// Totals of the closed leaves.
#[derive(Clone, Copy, Debug, Default)]
struct Closed {
    nr_leaves: u64,
    nr_pages: u64,
    nr_chunks: u64,
    /// Chunks before the open twig.
    twig_chunk: u64,
    /// [`Chain::inner`] of the closed leaves.
    inner: u64,
}

/// The end of a chain at some time, to go back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    closed: Closed,
    /// The open leaf at that time.
    words: usize,
    nr_pages: u64,
    nr_escapes: usize,
}

impl Writer {
    /// Appends a run that can be encoded and does not touch the run before it. If this fails,
    /// nothing has changed.
    #[inline]
    pub(crate) fn push(&mut self, run: Run) -> Result<(), NoMemory> {
        while !self.open.push(run) {
            self.open_leaf()?;
        }
        Ok(())
    }

    /// Appends the words of whole entries, of which the first does not touch the run before; returns
    /// their pages. If it fails, some were written.
    pub(crate) fn push_words(&mut self, mut words: &[u64]) -> Result<u64, NoMemory> {
        let mut nr_pages = 0;
        while !words.is_empty() {
            let len = words::whole(words, self.open.room());
            if len == 0 {
                self.open_leaf()?;
                continue;
            }
            let (fit, rest) = words.split_at_checked(len).unwrap_or((words, &[]));
            let sum = words::find(fit, Found::default(), |_, _| false);
            self.open.append(fit, sum.pages);
            // Each chunk has a word, and those of two one more.
            self.open.nr_escapes += len - usize::try_from(sum.chunks).unwrap_or(len);
            nr_pages += sum.pages;
            words = rest;
        }
        Ok(nr_pages)
    }

    /// As [`Self::push_words`], for words that each are a chunk and have so many pages together.
    pub(crate) fn push_plain(&mut self, words: &[u64], nr_pages: u64) -> Result<(), NoMemory> {
        if self.open.room() == 0 {
            self.open_leaf()?;
        }
        if self.open.room() < words.len() {
            return self.push_words(words).map(drop);
        }
        self.open.append(words, nr_pages);
        Ok(())
    }

    /// Appends to `run` one page for each item: page number `item >> shift`. A run is written when
    /// it ends; the last run is returned. If this fails, some runs may have been written.
    pub(crate) fn push_pages(
        &mut self,
        mut run: Run,
        mut items: &[u64],
        shift: u32,
    ) -> Result<Run, NoMemory> {
        loop {
            let open = core::mem::take(&mut self.open);
            let (open, last, rest) = push_pages(open, run, items, shift);
            self.open = open;
            (run, items) = (last, rest);
            if items.is_empty() {
                return Ok(run);
            }
            self.open_leaf()?;
        }
    }

    /// Appends to `run` ranges of whole pages, in units of `1 << lg2`. Runs are written as they end; the
    /// last one is returned, and the pages of all ranges. If it fails, some were written.
    pub(crate) fn push_ranges(
        &mut self,
        mut run: Run,
        mut paddrs: &[u64],
        mut lengths: &[u64],
        lg2: u32,
    ) -> Result<(Run, u64), NoMemory> {
        let mut nr_pages = 0;
        loop {
            let open = core::mem::take(&mut self.open);
            let (open, last, taken, pages) = push_ranges(open, run, paddrs, lengths, lg2);
            self.open = open;
            run = last;
            nr_pages += pages;
            paddrs = paddrs.get(taken..).unwrap_or_default();
            lengths = lengths.get(taken..).unwrap_or_default();
            if paddrs.is_empty() {
                return Ok((run, nr_pages));
            }
            self.open_leaf()?;
        }
    }

    /// The current end of the chain.
    pub(crate) fn mark(&self) -> Mark {
        let OpenLeaf { words, nr_pages, nr_escapes } = &self.open;
        let (closed, words) = (self.closed, words.len());
        Mark { closed, words, nr_pages: *nr_pages, nr_escapes: *nr_escapes }
    }

    /// Removes everything written since `mark` was made. Allocates nothing.
    #[cold]
    pub(crate) fn rewind(&mut self, mark: Mark) {
        while self.closed.nr_leaves > mark.closed.nr_leaves {
            match self.twig.pop() {
                Some(slot) => {
                    self.closed.nr_leaves -= 1;
                    self.open.words = slot.words.into_vec();
                }
                // There is a twig as long as a leaf is closed.
                None if self.reopen_twig() => {}
                None => break,
            }
        }
        while self.limbs.last().is_some_and(Vec::is_empty) {
            self.limbs.pop();
        }
        self.closed = mark.closed;
        self.open.words.truncate(mark.words);
        (self.open.nr_pages, self.open.nr_escapes) = (mark.nr_pages, mark.nr_escapes);
    }

    /// Opens the last closed twig again. Returns false if there is none.
    fn reopen_twig(&mut self) -> bool {
        let Some(lowest) = self.limbs.iter().position(|limb| !limb.is_empty()) else {
            return false;
        };
        // From above down: each limb takes the slots of the node that was opened above it.
        let mut opened = None;
        for limb in self.limbs.iter_mut().take(lowest + 1).rev() {
            if let Some(slots) = opened.take() {
                *limb = slots;
            }
            match limb.pop().map(|slot| slot.child) {
                Some(Branch::Limb(slots)) => opened = Some(slots.into_vec()),
                Some(Branch::Twig(slots)) => self.twig = slots.into_vec(),
                None => {}
            }
        }
        true
    }

    /// Closes the open leaf if it is full, and opens the next.
    #[cold]
    fn open_leaf(&mut self) -> Result<(), NoMemory> {
        if self.open.words.capacity() < LEAF_WORDS {
            // There is no leaf yet, or `finish` closed it and then failed.
            return reserve(&mut self.open.words, LEAF_WORDS);
        }
        let mut next = Vec::new();
        reserve(&mut next, LEAF_WORDS)?;
        self.close_leaf(false)?;
        self.open.words = next;
        Ok(())
    }

    /// Closes the open leaf, which has entries. `is_last` says that the chain ends in it.
    fn close_leaf(&mut self, is_last: bool) -> Result<(), NoMemory> {
        self.make_room()?;
        let words = close(&mut self.open.words)?;
        let OpenLeaf { nr_pages, nr_escapes, .. } = core::mem::take(&mut self.open);
        let closed = &mut self.closed;
        let first = if closed.nr_chunks == 0 { words::decode(&words, 0).1 } else { 0 };
        let end = if is_last { words::before(&words, words.len()) } else { words.len() };
        closed.inner |= words::any_bit(words.get(first..end).unwrap_or_default());
        if self.twig.is_empty() {
            closed.twig_chunk = closed.nr_chunks;
        }
        let slot = LeafSlot {
            first_page: closed.nr_pages,
            first_chunk: u16::try_from(closed.nr_chunks - closed.twig_chunk).unwrap_or(u16::MAX),
            quarters: if nr_pages == words.len() as u64 {
                Quarters::of_single(&words)
            } else {
                Quarters::new(&words)
            },
            words,
        };
        closed.nr_leaves += 1;
        closed.nr_pages += nr_pages;
        closed.nr_chunks += (slot.words.len() - nr_escapes) as u64;
        self.twig.push(slot);
        Ok(())
    }

    /// Makes room for a slot in the open twig.
    fn make_room(&mut self) -> Result<(), NoMemory> {
        if self.twig.len() < TWIG_SLOTS {
            return reserve(&mut self.twig, TWIG_SLOTS);
        }
        let limb = limb(&mut self.limbs, 0)?;
        let mut next = Vec::new();
        reserve(&mut next, TWIG_SLOTS)?;
        limb.extend(close_twig(&mut self.twig, self.closed.twig_chunk)?);
        self.twig = next;
        Ok(())
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

    /// The finished chain, with `last` appended if it has pages. Every node is trimmed to the
    /// entries it holds. The writer is then empty; if this fails, the writer is as before.
    pub(crate) fn finish(&mut self, last: Run) -> Result<Chain, NoMemory> {
        let chain = if let Some(chain) = self.finish_one(last)? {
            chain
        } else {
            let mark = self.mark();
            self.finish_tree(last).inspect_err(|_| self.rewind(mark))?
        };
        *self = Self::default();
        Ok(chain)
    }

    /// The chain, if it has at most one node.
    fn finish_one(&self, last: Run) -> Result<Option<Chain>, NoMemory> {
        if self.closed.nr_leaves > 0 {
            return Ok(None);
        }
        let more = (last.nr_pages > 0).then(|| Entry::pack(last));
        let more = more.map(|(entry, count)| ([entry.word(), count], entry.is_escape()));
        let more = match &more {
            Some((words, true)) => &words[..],
            Some((words, false)) => &words[..1],
            None => &[],
        };
        let words = &*self.open.words;
        Ok(match (words, more) {
            ([], []) => Some(Chain::default()),
            (&[word], []) | ([], &[word]) => Some(Chain::Inline([word, 0])),
            (&[first, second], []) | ([], &[first, second]) | (&[first], &[second]) => {
                Some(Chain::Inline([first, second]))
            }
            _ if words.len() + more.len() <= LEAF_WORDS => {
                Some(Chain::Node(Shared::try_join(words, more)?))
            }
            _ => None,
        })
    }

    /// The chain as a tree. If this fails, some nodes may be closed that are not full, and `last`
    /// may have been written.
    fn finish_tree(&mut self, last: Run) -> Result<Chain, NoMemory> {
        if last.nr_pages > 0 {
            self.push(last)?;
        }
        if !self.open.words.is_empty() {
            self.close_leaf(true)?;
        }
        // From the lowest level up, each open node becomes a slot of the level above, until one
        // slot is left.
        if !self.twig.is_empty() {
            let limb = limb(&mut self.limbs, 0)?;
            limb.extend(close_twig(&mut self.twig, self.closed.twig_chunk)?);
        }
        let mut level = 0;
        while let Some((lowest, above)) = self.limbs.get(level..).and_then(<[_]>::split_first) {
            if lowest.len() == 1 && above.iter().all(Vec::is_empty) {
                break;
            }
            if !lowest.is_empty() {
                // A single node needs no limb of its own.
                let is_single = lowest.len() == 1;
                close_into_next(&mut self.limbs, level, |limb| {
                    if is_single { Ok(limb.pop()) } else { close_limb(limb) }
                })?;
            }
            level += 1;
        }
        let Closed { nr_pages, nr_chunks, inner, .. } = self.closed;
        let limbs = &mut self.limbs;
        let root = Root::try_new(|| {
            // Without leaves there are no pages either.
            let none = || Branch::Twig(Box::default());
            let root = limbs.iter_mut().find_map(Vec::pop).map_or_else(none, |slot| slot.child);
            Tree { root, nr_pages, nr_chunks, inner }
        })?;
        Ok(Chain::Tree(root))
    }
}

/// The open limbs of all levels above the twig.
type Limbs = Vec<Vec<Slot<Branch>>>;

/// The open limb of a level, with room for a slot. The limb exists, or is a new one above all others.
fn limb(limbs: &mut Limbs, level: usize) -> Result<&mut Vec<Slot<Branch>>, NoMemory> {
    let none = NoMemory::of::<Slot<Branch>>(LIMB_SLOTS);
    match limbs.get(level).map(Vec::len) {
        None => {
            let count = limbs.len() + 1;
            reserve(limbs, count)?;
            let mut limb = Vec::new();
            reserve(&mut limb, LIMB_SLOTS)?;
            limbs.push(limb);
        }
        Some(LIMB_SLOTS..) => {
            let mut next = Vec::new();
            close_into_next(limbs, level, |limb| {
                reserve(&mut next, LIMB_SLOTS)?;
                close_limb(limb)
            })?;
            if let Some(limb) = limbs.get_mut(level) {
                *limb = next;
            }
        }
        Some(_) => {}
    }
    let limb = limbs.get_mut(level).ok_or(none)?;
    reserve(limb, LIMB_SLOTS)?;
    Ok(limb)
}

/// Moves what `close` makes of the open limb of a level to the limb above. If this fails, the limb
/// stays.
fn close_into_next(
    limbs: &mut Limbs,
    level: usize,
    close: impl FnOnce(&mut Vec<Slot<Branch>>) -> Result<Option<Slot<Branch>>, NoMemory>,
) -> Result<(), NoMemory> {
    limb(limbs, level + 1)?;
    if let Some([open, above]) = limbs.get_mut(level..).and_then(<[_]>::first_chunk_mut) {
        above.extend(close(open)?);
    }
    Ok(())
}

/// Makes room for exactly `len` items in all.
fn reserve<T>(items: &mut Vec<T>, len: usize) -> Result<(), NoMemory> {
    let more = len.saturating_sub(items.len());
    items.try_reserve_exact(more).map_err(|_| NoMemory::of::<T>(len))
}

/// Takes the items of an open node, trimmed. If this fails, the items stay.
fn close<T>(open: &mut Vec<T>) -> Result<Box<[T]>, NoMemory> {
    if open.len() == open.capacity() {
        return Ok(core::mem::take(open).into_boxed_slice());
    }
    // `Vec::shrink_to_fit` would abort the process if there is no memory.
    let mut items = Vec::new();
    reserve(&mut items, open.len())?;
    items.append(open);
    Ok(items.into_boxed_slice())
}

/// Makes a branch of the open leaves and leaves the twig empty. `None` if there are no open leaves.
fn close_twig(
    open: &mut Vec<LeafSlot>,
    first_chunk: u64,
) -> Result<Option<Slot<Branch>>, NoMemory> {
    let Some(first_page) = open.first().map(|slot| slot.first_page) else { return Ok(None) };
    let child = Branch::Twig(close(open)?);
    Ok(Some(Slot { first_page, first_chunk, child }))
}

/// Does the same for open branches.
fn close_limb(open: &mut Vec<Slot<Branch>>) -> Result<Option<Slot<Branch>>, NoMemory> {
    let Some(first) = open.first() else { return Ok(None) };
    let (first_page, first_chunk) = (first.first_page, first.first_chunk);
    let child = Branch::Limb(close(open)?);
    Ok(Some(Slot { first_page, first_chunk, child }))
}
