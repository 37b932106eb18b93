//! Storage: entries in nodes of at most a page, and an index of page-sized nodes above them.
//!
//! ```text
//!                Branch::Limb  [first page, first chunk | *] ...            up to 102 slots
//!                                                         |
//!                Branch::Twig  [first page, first chunk | *] ...            up to 127 slots
//!                                                         |
//!                Leaf          [entry, entry, entry, ...]                   up to 510 words
//! ```
//!
//! A node's place (pages and chunks before it) stands in the slot that points to it, so a search
//! reads a few cache lines a level and no leaf but the one it wants. Of that it reads a quarter at
//! most: the slot says how many pages three of its quarters have. Where there are as many pages as
//! words, each is a page, and none is read but the one wanted.
//!
//! A billion entries bring no leaf deeper than four: walking and dropping need no deep recursion. One
//! list of up to 510 words is a single node, and one of up to two words needs no heap at all.

use alloc::boxed::Box;
use core::ops::Deref;

use crate::error::NoMemory;
use crate::storage::entry::Run;
use crate::storage::shared::Shared;
use crate::storage::words::{self, Found};

/// Largest single allocation, in bytes.
pub(crate) const NODE_BYTES: usize = 4096;
/// What an allocator, or sharing, may add to a node without leaving the page.
const NODE_HEADER: usize = 16;

/// Words in a full leaf.
pub(crate) const LEAF_WORDS: usize = (NODE_BYTES - NODE_HEADER) / size_of::<u64>();
/// Slots in a full twig: a node of the lowest index level.
pub(crate) const TWIG_SLOTS: usize = (NODE_BYTES - NODE_HEADER) / size_of::<LeafSlot>();
/// Slots in a full limb: a node of a higher index level.
pub(crate) const LIMB_SLOTS: usize = (NODE_BYTES - NODE_HEADER) / size_of::<Slot<Branch>>();

/// Words of a leaf whose pages its slot sums up, three times: a search reads a quarter at most.
pub(crate) const QUARTER: usize = 128;

/// A leaf, and what comes before it.
#[derive(Debug)]
pub(crate) struct LeafSlot {
    /// Pages before it in the chain.
    pub(crate) first_page: u64,
    /// Chunks before it in its twig.
    pub(crate) first_chunk: u16,
    pub(crate) quarters: Quarters,
    pub(crate) words: Box<[u64]>,
}

const _: () = assert!(size_of::<LeafSlot>() == 32);
const _: () = assert!(LEAF_WORDS * TWIG_SLOTS <= u16::MAX as usize);

/// Pages of each of the first three quarters of a leaf, less one; 0 where that is not known.
///
/// It is known of [`QUARTER`] words that are entries of their own, none after one that is not, with up
/// to 65,536 pages: 2 MiB an entry on average, where a page has 4 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quarters([u16; 3]);

impl Quarters {
    pub(crate) fn new(words: &[u64]) -> Self {
        Self::by(words, words::plain_pages)
    }

    /// The quarters of a leaf that has as many pages as words, each of which then is a page.
    pub(crate) fn of_single(words: &[u64]) -> Self {
        Self::by(words, |quarter| Some(quarter.len() as u64))
    }

    fn by(words: &[u64], pages: impl Fn(&[u64]) -> Option<u64>) -> Self {
        let mut quarters = Self::default();
        for (more, quarter) in quarters.0.iter_mut().zip(words.chunks_exact(QUARTER)) {
            // Each entry has a page, so what is known is not 0.
            let Some(Ok(known)) = pages(quarter).map(|pages| u16::try_from(pages - 1)) else {
                break;
            };
            *more = known;
        }
        quarters
    }

    /// The start of the last quarter that starts where `starts(pages, chunks)` holds, as far as is
    /// known; it holds for (0, 0), and not beyond where it does not.
    fn find(self, starts: impl Fn(u64, u64) -> bool) -> Found {
        let (mut found, mut at) = (Found::default(), Found::default());
        for more in self.0 {
            at.word += QUARTER;
            at.chunks += QUARTER as u64;
            at.pages += u64::from(more) + 1;
            // No branch: where the search ends cannot be foreseen.
            if more > 0 && starts(at.pages, at.chunks) {
                found = at;
            }
        }
        found
    }
}

/// A node below, and what comes before it in the chain.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    pub(crate) first_page: u64,
    pub(crate) first_chunk: u64,
    pub(crate) child: T,
}

#[derive(Debug)]
pub(crate) enum Branch {
    Twig(Box<[LeafSlot]>),
    Limb(Box<[Slot<Branch>]>),
}

impl LeafSlot {
    /// Bytes below, and allocations.
    pub(crate) fn storage(&self) -> (usize, usize) {
        (size_of_val(&*self.words), 1)
    }
}

impl Slot<Branch> {
    /// Bytes below, and allocations.
    pub(crate) fn storage(&self) -> (usize, usize) {
        self.child.storage()
    }
}

impl Branch {
    /// Bytes of this node and all below, and allocations.
    fn storage(&self) -> (usize, usize) {
        match self {
            Self::Twig(slots) => sum(size_of_val(&**slots), slots.iter().map(LeafSlot::storage)),
            Self::Limb(slots) => {
                sum(size_of_val(&**slots), slots.iter().map(Slot::<Branch>::storage))
            }
        }
    }
}

/// The bytes of one allocation and of all below it, and how many there are.
pub(crate) fn sum(own: usize, below: impl Iterator<Item = (usize, usize)>) -> (usize, usize) {
    below.fold((own, 1), |(bytes, nodes), (more, others)| (bytes + more, nodes + others))
}

#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: Branch,
    pub(crate) nr_pages: u64,
    pub(crate) nr_chunks: u64,
    /// As [`Chain::inner`] gives it.
    pub(crate) inner: u64,
}

/// A tree, immutable and shared.
#[derive(Clone, Debug)]
pub(crate) struct Root(Shared<Tree>);

impl Root {
    /// The tree that `make` makes, once there is memory for its root.
    pub(crate) fn try_new(make: impl FnOnce() -> Tree) -> Result<Self, NoMemory> {
        Shared::try_new(1, core::iter::once_with(make)).map(Self)
    }
}

impl Deref for Root {
    type Target = Tree;

    #[inline]
    fn deref(&self) -> &Tree {
        &self.0[0]
    }
}

/// Entries, immutable and shared. Cloning copies a pointer.
#[derive(Clone, Debug)]
pub(crate) enum Chain {
    /// Up to two words; 0 marks an unused one.
    Inline([u64; 2]),
    /// One node.
    Node(Shared<u64>),
    /// Many nodes.
    Tree(Root),
}

impl Default for Chain {
    fn default() -> Self {
        Self::Inline([0; 2])
    }
}

/// A leaf in its place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Node<'a> {
    pub(crate) words: &'a [u64],
    /// Pages before it in the chain.
    pub(crate) first_page: u64,
    /// Chunks before it in the chain.
    pub(crate) first_chunk: u64,
    /// Its neighbours under the same twig, so that walking seldom searches.
    before: &'a [LeafSlot],
    after: &'a [LeafSlot],
    /// Chunks before the twig in the chain.
    twig_chunk: u64,
    /// As in its slot.
    quarters: Quarters,
}

impl<'a> Node<'a> {
    /// Whether it is known, without a look at the words, that each is an entry of its own.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        let chunks =
            |next: &LeafSlot| self.twig_chunk + u64::from(next.first_chunk) - self.first_chunk;
        self.after.first().is_some_and(|next| chunks(next) == self.words.len() as u64)
    }

    fn of_slot(slot: &'a LeafSlot, twig_chunk: u64) -> Self {
        Self {
            words: &slot.words,
            first_page: slot.first_page,
            first_chunk: twig_chunk + u64::from(slot.first_chunk),
            twig_chunk,
            quarters: slot.quarters,
            ..Self::default()
        }
    }
}

impl Node<'_> {
    /// Pages of the chain up to its end, if its neighbour tells.
    pub(crate) fn end_page(&self) -> Option<u64> {
        self.after.first().map(|slot| slot.first_page)
    }

    /// The chunk `more` chunks behind `start`, which [`Quarters::find`] found, where the words from
    /// there to the end of that quarter are known to be as many pages: then each is one page.
    fn single(&self, start: Found, more: u64) -> Option<Found> {
        let (pages, words) = if let Some(&known) = self.quarters.0.get(start.word / QUARTER) {
            (u64::from(known) + 1, QUARTER)
        } else {
            // The last quarter ends where the next node starts.
            let end = self.end_page()? - self.first_page;
            (end - start.pages, self.words.len() - start.word)
        };
        // An entry of two words has more than two pages.
        (pages == words as u64).then(|| {
            let word = start.word + usize::try_from(more).unwrap_or_default();
            Found { word, chunks: start.chunks + more, pages: start.pages + more }
        })
    }
}

/// A chunk in its place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place<'a> {
    pub(crate) node: Node<'a>,
    /// Index of the chunk's first word in the node.
    pub(crate) word: usize,
    /// Chunks before it in the chain.
    pub(crate) number: u64,
    /// Pages before it in the chain.
    pub(crate) page: u64,
}

impl Place<'_> {
    /// The chunk.
    pub(crate) fn run(&self) -> Run {
        words::decode(self.node.words, self.word).0
    }
}

impl Chain {
    /// The last node for whose first page and chunk `starts` holds; it must hold for (0, 0).
    fn node(&self, starts: impl Fn(u64, u64) -> bool) -> Node<'_> {
        match self {
            Self::Inline(words) => {
                let used = words.iter().position(|&word| word == 0).unwrap_or(words.len());
                Node { words: &words[..used], ..Node::default() }
            }
            Self::Node(words) => Node { words, ..Node::default() },
            Self::Tree(tree) => {
                let (mut branch, mut base) = (&tree.root, 0);
                loop {
                    match branch {
                        Branch::Limb(slots) => {
                            // The first slot always starts at or before the target.
                            let after = slots
                                .partition_point(|slot| starts(slot.first_page, slot.first_chunk));
                            let slot = &slots[after.saturating_sub(1)];
                            (branch, base) = (&slot.child, slot.first_chunk);
                        }
                        Branch::Twig(slots) => {
                            let after = slots.partition_point(|slot| {
                                starts(slot.first_page, base + u64::from(slot.first_chunk))
                            });
                            let (before, rest) = slots.split_at(after.saturating_sub(1));
                            let (slot, after) = (&rest[0], &rest[1..]);
                            return Node { before, after, ..Node::of_slot(slot, base) };
                        }
                    }
                }
            }
        }
    }

    /// The chunk that holds page `target`, counted from the start of the chain and inside it.
    pub(crate) fn find_page(&self, target: u64) -> Place<'_> {
        let node = self.node(|first_page, _| first_page <= target);
        let target = target - node.first_page;
        let is_inline = matches!(self, Self::Inline(_));
        if target == 0 || is_inline && target < words::decode(node.words, 0).0.nr_pages {
            return Self::place(node, Found::default());
        }
        let start = node.quarters.find(|pages, _| pages <= target);
        let found = node.single(start, target - start.pages);
        let find = || words::find(node.words, start, |pages, _| pages > target);
        Self::place(node, found.unwrap_or_else(find))
    }

    /// The chunk with `target` chunks before it, which the chain must have.
    pub(crate) fn find_chunk(&self, target: u64) -> Place<'_> {
        let node = self.node(|_, first_chunk| first_chunk <= target);
        let target = target - node.first_chunk;
        let start = node.quarters.find(|_, chunks| chunks <= target);
        let found = node.single(start, target - start.chunks);
        let find = || words::find(node.words, start, |_, chunks| chunks > target);
        Self::place(node, found.unwrap_or_else(find))
    }

    fn place(node: Node<'_>, found: Found) -> Place<'_> {
        Place {
            node,
            word: found.word,
            number: node.first_chunk + found.chunks,
            page: node.first_page + found.pages,
        }
    }

    /// The node after `node`, whose first chunk is `number`.
    #[cold]
    pub(crate) fn next_node<'a>(&'a self, node: Node<'a>, number: u64) -> Node<'a> {
        // One twig as a slice would spare the two halves, but not the arithmetic.
        match node.after.split_first() {
            Some((slot, after)) => Node { after, ..Node::of_slot(slot, node.twig_chunk) },
            None => self.node(|_, first_chunk| first_chunk <= number),
        }
    }

    /// The node before `node`, whose last chunk is `number`.
    #[cold]
    pub(crate) fn previous_node<'a>(&'a self, node: Node<'a>, number: u64) -> Node<'a> {
        match node.before.split_last() {
            Some((slot, before)) => Node { before, ..Node::of_slot(slot, node.twig_chunk) },
            None => self.node(|_, first_chunk| first_chunk <= number),
        }
    }

    /// Pages of all chunks.
    pub(crate) fn nr_pages(&self) -> u64 {
        match self {
            Self::Tree(tree) => tree.nr_pages,
            _ => words::find(self.node(|_, _| true).words, Found::default(), |_, _| false).pages,
        }
    }

    /// Pages and chunks of all nodes, where there are many.
    pub(crate) fn totals(&self) -> Option<(u64, u64)> {
        match self {
            Self::Tree(tree) => Some((tree.nr_pages, tree.nr_chunks)),
            _ => None,
        }
    }

    /// The bits set in any word of the chunks between the first and the last.
    ///
    /// A marker's place says how well both ends of its chunk are aligned, and what is above it is the
    /// address: so this one word bounds all of these chunks, without a walk. A second word reads as
    /// less aligned than its chunk, and bounds it all the same.
    pub(crate) fn inner(&self) -> u64 {
        if let Self::Tree(tree) = self {
            return tree.inner;
        }
        let words = self.node(|_, _| true).words;
        if words.is_empty() {
            return 0;
        }
        let (from, to) = (words::decode(words, 0).1, words::before(words, words.len()));
        // One chunk is the first and the last.
        words::any_bit(words.get(from..to).unwrap_or_default())
    }

    /// Bytes of heap, counts of owners included, and the number of allocations.
    pub(crate) fn storage(&self) -> (usize, usize) {
        const COUNTS: usize = Shared::<u64>::HEADER;

        match self {
            Self::Inline(_) => (0, 0),
            Self::Node(words) => (COUNTS + size_of_val(&**words), 1),
            Self::Tree(tree) => {
                let (bytes, nodes) = tree.root.storage();
                (COUNTS + size_of::<Tree>() + bytes, nodes + 1)
            }
        }
    }

    /// Whether both are the same storage, not only the same entries.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Inline(a), Self::Inline(b)) => a == b,
            (Self::Node(a), Self::Node(b)) => a.is_same(b),
            (Self::Tree(a), Self::Tree(b)) => a.0.is_same(&b.0),
            _ => false,
        }
    }
}
