//! Checks of every invariant of a list, from the storage up. Tests call them after every step.

use core::fmt;

use crate::list::phyr::Phyr;
use crate::storage::chain::{Branch, Chain, LEAF_WORDS, LIMB_SLOTS, Quarters, Slot, TWIG_SLOTS};
use crate::storage::entry::{Entry, Run};

/// An invariant that does not hold; the error of [`Phyr::validate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    what: &'static str,
    page: u64,
    chunk: u64,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at page {:#x}, chunk {} of the chain", self.what, self.page, self.chunk)
    }
}

impl core::error::Error for Invalid {}

/// The state of a walk over the whole chain.
#[derive(Default)]
struct Check {
    reach: u64,
    pages: u64,
    chunks: u64,
    previous: Option<Run>,
    /// The bitwise or of all words, except those of the first chunk and of the last so far, which
    /// are in `last`.
    inner: u64,
    last: u64,
}

impl Check {
    fn demand(&self, holds: bool, what: &'static str) -> Result<(), Invalid> {
        if holds { Ok(()) } else { Err(Invalid { what, page: self.pages, chunk: self.chunks }) }
    }

    fn slots<T>(
        &mut self,
        slots: &[Slot<T>],
        most: usize,
        mut below: impl FnMut(&mut Self, &T) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        self.demand((1..=most).contains(&slots.len()), "number of slots in an index node")?;
        for slot in slots {
            self.demand(slot.first_page == self.pages, "pages before a node")?;
            self.demand(slot.first_chunk == self.chunks, "chunks before a node")?;
            below(self, &slot.child)?;
        }
        Ok(())
    }

    fn branch(&mut self, branch: &Branch) -> Result<(), Invalid> {
        match branch {
            Branch::Limb(slots) => self.slots(slots, LIMB_SLOTS, Self::branch),
            Branch::Twig(slots) => {
                let number = (1..=TWIG_SLOTS).contains(&slots.len());
                self.demand(number, "number of slots in an index node")?;
                let before = self.chunks;
                for slot in slots {
                    self.demand(slot.first_page == self.pages, "pages before a node")?;
                    let first_chunk = before + u64::from(slot.first_chunk);
                    self.demand(first_chunk == self.chunks, "chunks before a node")?;
                    let quarters = Quarters::new(&slot.words);
                    self.demand(slot.quarters == quarters, "pages in quarters of a node")?;
                    self.leaf(&slot.words)?;
                }
                Ok(())
            }
        }
    }

    fn leaf(&mut self, words: &[u64]) -> Result<(), Invalid> {
        self.demand((1..=LEAF_WORDS).contains(&words.len()), "number of words in a leaf")?;
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let entry = Entry::from_word(word);
            self.demand(entry.is_some(), "a word without marker")?;
            let entry = Entry::stored(word);
            let second = if entry.is_escape() { words.next() } else { None };
            self.demand(entry.is_escape() == second.is_some(), "a chunk that straddles nodes")?;
            let nr_pages = entry.nr_pages_with(second.unwrap_or(0)).unwrap_or(u64::MAX);
            let run = Run { pfn: entry.pfn(), nr_pages };
            let canonical = Entry::encode(run.pfn, run.nr_pages) == Some((entry, second));
            self.demand(canonical, "a chunk not in its one encoding")?;
            self.demand(
                run.pfn + run.nr_pages <= self.reach,
                "a chunk beyond the granule's reach",
            )?;
            let touches = self.previous.is_some_and(|last| last.pfn + last.nr_pages == run.pfn);
            self.demand(!touches, "two chunks that touch")?;
            self.previous = Some(run);
            self.inner |= if self.chunks > 1 { self.last } else { 0 };
            self.last = word | second.unwrap_or(0);
            let pages = self.pages.checked_add(run.nr_pages);
            self.demand(pages.is_some(), "a count of pages that passes 2^64")?;
            self.pages = pages.unwrap_or(u64::MAX);
            self.chunks += 1;
        }
        Ok(())
    }
}

impl Phyr {
    /// Checks every invariant of the list and of the chain under it. O(chain).
    ///
    /// No input makes this fail. It serves the tests of phyr, and users who suspect faulty RAM.
    ///
    /// # Errors
    ///
    /// The first invariant that does not hold.
    pub fn validate(&self) -> Result<(), Invalid> {
        let granule = self.granule();
        let mut check = Check { reach: granule.reach(), ..Check::default() };
        match self.chain() {
            Chain::Inline([0, second]) => {
                check.demand(*second == 0, "a hole in an inline chain")?;
            }
            Chain::Inline([word, 0]) => check.leaf(&[*word])?,
            Chain::Inline(words) => check.leaf(words)?,
            Chain::Node(words) => check.leaf(words)?,
            Chain::Tree(tree) => {
                check.branch(&tree.root)?;
                check.demand(tree.nr_pages == check.pages, "total of pages")?;
                check.demand(tree.nr_chunks == check.chunks, "total of chunks")?;
            }
        }
        check.demand(check.pages == self.chain().nr_pages(), "pages counted")?;
        check.demand(check.inner == self.chain().inner(), "bits of all inner words")?;
        check.demand(check.pages <= granule.most(), "a length that passes 2^64")?;
        let end = self.offset().checked_add(self.length());
        let inside = end.is_some_and(|end| end <= granule.to_bytes(check.pages));
        check.demand(inside, "a view that leaves its chain")
    }
}
