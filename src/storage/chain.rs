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
//! A slot holds the position of the node that it points to: the pages and chunks before that node.
//! So a search reads a few cache lines in each level, and only one leaf. In that leaf it reads a
//! quarter at most, because the slot also says how many pages three of the four quarters have. If a
//! leaf has as many pages as words, each word is one page, and the search reads only the word it
//! wants.
//!
//! A list of a billion entries has four levels, so walking and dropping need no deep recursion. A
//! list of up to 510 words is a single node. A list of up to two words needs no heap.

use alloc::boxed::Box;

use crate::storage::entry::Run;
use crate::storage::shared::{One, Shared};
use crate::storage::words::{self, Found};

/// Largest single allocation, in bytes.
pub(crate) const NODE_BYTES: usize = 4096;
/// Bytes that the allocator, or the count of owners, may add to a node; both fit in the page.
const NODE_HEADER: usize = 16;

/// Words in a full leaf.
pub(crate) const LEAF_WORDS: usize = (NODE_BYTES - NODE_HEADER) / size_of::<u64>();
/// Slots in a full twig: a node of the lowest index level.
pub(crate) const TWIG_SLOTS: usize = (NODE_BYTES - NODE_HEADER) / size_of::<LeafSlot>();
/// Slots in a full limb: a node of a higher index level.
pub(crate) const LIMB_SLOTS: usize = (NODE_BYTES - NODE_HEADER) / size_of::<Slot<Branch>>();

/// Words in a quarter of a leaf. A slot has the sums of the first three quarters, so a search reads
/// one quarter at most.
pub(crate) const QUARTER: usize = 128;

/// A leaf, and the number of pages and chunks before it.
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

/// Pages of each of the first three quarters of a leaf, less one; 0 if unknown.
///
/// The sum of a quarter is known if each of its [`QUARTER`] words is an entry of one word, the sums
/// of the quarters before it are known, and it has up to 65,536 pages. With pages of 4 KiB that is
/// an average of 2 MiB an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quarters([u16; 3]);

impl Quarters {
    pub(crate) fn new(words: &[u64]) -> Self {
        Self::by(words, words::plain_pages)
    }

    /// The quarters of a leaf that has as many pages as words, so that each word is one page.
    pub(crate) fn of_single(words: &[u64]) -> Self {
        Self::by(words, |quarter| Some(quarter.len() as u64))
    }

    fn by(words: &[u64], pages: impl Fn(&[u64]) -> Option<u64>) -> Self {
        let mut quarters = Self::default();
        for (more, quarter) in quarters.0.iter_mut().zip(words.chunks_exact(QUARTER)) {
            // Each entry has a page, so the sum of a known quarter is not 0.
            let Some(Ok(known)) = pages(quarter).map(|pages| u16::try_from(pages - 1)) else {
                break;
            };
            *more = known;
        }
        quarters
    }

    /// The start of the last quarter that starts where `starts(pages, chunks)` holds; quarters
    /// whose sums are unknown are left out. `starts` must hold for (0, 0) and, once false, stay
    /// false.
    fn find(self, starts: impl Fn(u64, u64) -> bool) -> Found {
        let (mut found, mut at) = (Found::default(), Found::default());
        for more in self.0 {
            at.word += QUARTER;
            at.chunks += QUARTER as u64;
            at.pages += u64::from(more) + 1;
            // No branch: the processor cannot predict where the search ends.
            if more > 0 && starts(at.pages, at.chunks) {
                found = at;
            }
        }
        found
    }
}

/// A node of a lower level, and the number of pages and chunks before it in the chain.
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
    /// Bytes and number of the allocations below this slot.
    pub(crate) fn storage(&self) -> (usize, usize) {
        (size_of_val(&*self.words), 1)
    }
}

impl Slot<Branch> {
    /// Bytes and number of the allocations below this slot.
    pub(crate) fn storage(&self) -> (usize, usize) {
        self.child.storage()
    }
}

impl Branch {
    /// Passes each leaf below to `f`. `first_chunk` chunks are before this branch.
    fn for_each_node<'a>(&'a self, first_chunk: u64, f: &mut impl FnMut(Node<'a>)) {
        match self {
            Self::Twig(slots) => {
                for (index, slot) in slots.iter().enumerate() {
                    let before = slots.get(..index).unwrap_or_default();
                    let after = slots.get(index + 1..).unwrap_or_default();
                    f(Node { before, after, ..Node::of_slot(slot, first_chunk) });
                }
            }
            Self::Limb(slots) => {
                slots.iter().for_each(|slot| slot.child.for_each_node(slot.first_chunk, f));
            }
        }
    }

    /// Bytes and number of the allocations of this node and below it.
    fn storage(&self) -> (usize, usize) {
        match self {
            Self::Twig(slots) => sum(size_of_val(&**slots), slots.iter().map(LeafSlot::storage)),
            Self::Limb(slots) => {
                sum(size_of_val(&**slots), slots.iter().map(Slot::<Branch>::storage))
            }
        }
    }
}

/// Bytes and number of one allocation and all those below it.
pub(crate) fn sum(own: usize, below: impl Iterator<Item = (usize, usize)>) -> (usize, usize) {
    below.fold((own, 1), |(bytes, nodes), (more, others)| (bytes + more, nodes + others))
}

#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: Branch,
    pub(crate) nr_pages: u64,
    pub(crate) nr_chunks: u64,
    /// The result of [`Chain::inner`].
    pub(crate) inner: u64,
}

/// A tree, immutable and shared.
pub(crate) type Root = One<Tree>;

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

/// A leaf, and where it lies in the chain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Node<'a> {
    pub(crate) words: &'a [u64],
    /// Pages before it in the chain.
    pub(crate) first_page: u64,
    /// Chunks before it in the chain.
    pub(crate) first_chunk: u64,
    /// The slots before and after this leaf under the same twig: a walk finds the next leaf there
    /// and seldom searches.
    before: &'a [LeafSlot],
    after: &'a [LeafSlot],
    /// Chunks before the twig in the chain.
    twig_chunk: u64,
    /// The quarters from the slot of this leaf.
    quarters: Quarters,
}

impl<'a> Node<'a> {
    /// The chunk that holds page `target` of the chain, which must be in this leaf.
    #[inline]
    pub(crate) fn find_page(self, target: u64) -> Located<'a> {
        let target = target - self.first_page;
        if target == 0 {
            return Chain::place(self, Found::default());
        }
        let start = self.quarters.find(|pages, _| pages <= target);
        let found = self.single(start, target - start.pages);
        let find = || words::find(self.words, start, |pages, _| pages > target);
        Chain::place(self, found.unwrap_or_else(find))
    }

    /// Returns true if each word is known to be an entry of one word. True is certain; false means
    /// look. Reads no word.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        let chunks =
            |next: &LeafSlot| self.twig_chunk + u64::from(next.first_chunk) - self.first_chunk;
        self.after.first().is_some_and(|next| chunks(next) == self.words.len() as u64)
    }

    /// The leaf after this one under the same twig.
    #[inline(always)]
    pub(crate) fn next_in_twig(&self) -> Option<Self> {
        // One slice of the whole twig, in place of two halves, would need the same arithmetic.
        let (slot, after) = self.after.split_first()?;
        Some(Self { after, ..Self::of_slot(slot, self.twig_chunk) })
    }

    #[inline(always)]
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
    /// Pages of the chain up to the end of this leaf, if the slot after it says so.
    pub(crate) fn end_page(&self) -> Option<u64> {
        self.after.first().map(|slot| slot.first_page)
    }

    /// Returns true if each word is known to be one page. True is certain; false means look. Reads no
    /// word.
    pub(crate) fn is_single(&self) -> bool {
        // An entry of two words has more than two pages.
        self.end_page().is_some_and(|end| end - self.first_page == self.words.len() as u64)
    }

    /// The chunk `more` chunks after `start`, if each word from there to the end of its quarter is
    /// known to be one page. `start` comes from [`Quarters::find`].
    fn single(&self, start: Found, more: u64) -> Option<Found> {
        let (pages, words) = if let Some(&known) = self.quarters.0.get(start.word / QUARTER) {
            (u64::from(known) + 1, QUARTER)
        } else {
            // The last quarter ends where the next node starts.
            let end = self.end_page()? - self.first_page;
            (end - start.pages, self.words.len() - start.word)
        };
        // An entry of two words has more than two pages, so equal numbers mean that each word is
        // one page.
        (pages == words as u64).then(|| {
            let word = start.word + usize::try_from(more).unwrap_or_default();
            Found { word, chunks: start.chunks + more, pages: start.pages + more }
        })
    }
}

/// A chunk, and where it lies in the chain.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Located<'a> {
    pub(crate) node: Node<'a>,
    /// Index of the chunk's first word in the node.
    pub(crate) word: usize,
    /// Chunks before it in the chain.
    pub(crate) number: u64,
    /// Pages before it in the chain.
    pub(crate) page: u64,
}

impl Located<'_> {
    /// The chunk.
    pub(crate) fn run(&self) -> Run {
        words::decode(self.node.words, self.word).0
    }
}

impl Chain {
    /// The last node whose first page and chunk satisfy `starts`, which must hold for (0, 0).
    pub(crate) fn node(&self, starts: impl Fn(u64, u64) -> bool) -> Node<'_> {
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
                            let slot = slots.get(after.saturating_sub(1));
                            // Each limb has a slot.
                            let Some(slot) = slot else { return Node::default() };
                            (branch, base) = (&slot.child, slot.first_chunk);
                        }
                        Branch::Twig(slots) => {
                            let after = slots.partition_point(|slot| {
                                starts(slot.first_page, base + u64::from(slot.first_chunk))
                            });
                            let found = slots.split_at_checked(after.saturating_sub(1));
                            let (before, rest) = found.unwrap_or_default();
                            // So has each twig.
                            let Some((slot, after)) = rest.split_first() else {
                                return Node::default();
                            };
                            return Node { before, after, ..Node::of_slot(slot, base) };
                        }
                    }
                }
            }
        }
    }

    /// The chunk that holds page `target` of the chain, which must have that page.
    pub(crate) fn find_page(&self, target: u64) -> Located<'_> {
        let node = self.node(|first_page, _| first_page <= target);
        let is_inline = matches!(self, Self::Inline(_));
        if is_inline && target < words::decode(node.words, 0).0.nr_pages {
            return Self::place(node, Found::default());
        }
        node.find_page(target)
    }

    /// Passes each node to `f`, in order.
    pub(crate) fn for_each_node<'a>(&'a self, mut f: impl FnMut(Node<'a>)) {
        match self {
            Self::Tree(tree) => tree.root.for_each_node(0, &mut f),
            _ => f(self.node(|_, _| true)),
        }
    }

    /// Moves `place`, which is not behind page `target`, to the chunk that holds it, and returns that
    /// chunk: as [`Self::find_page`], and faster where it is near.
    pub(crate) fn advance<'a>(&'a self, place: &mut Located<'a>, target: u64) -> Run {
        /// Chunks looked at one by one before a search.
        const NEAR: usize = 4;

        let is_inside = match place.node.end_page() {
            Some(end) => target < end,
            // The only node, once a place in it is known.
            None => !matches!(self, Self::Tree(_)) && !place.node.words.is_empty(),
        };
        if !is_inside {
            *place = self.find_page(target);
            return place.run();
        }
        // So the words do not end before the target.
        for _ in 0..NEAR {
            let (run, len) = words::decode(place.node.words, place.word);
            if place.page + run.nr_pages > target {
                return run;
            }
            place.word += len;
            place.number += 1;
            place.page += run.nr_pages;
        }
        let Located { node, word, number, page } = *place;
        let into = target - node.first_page;
        let at = Found { word, chunks: number - node.first_chunk, pages: page - node.first_page };
        let start = node.quarters.find(|pages, _| pages <= into);
        let start = if start.pages > at.pages { start } else { at };
        *place = Self::place(node, words::find(node.words, start, |pages, _| pages > into));
        place.run()
    }

    /// The chunk number `target` of the chain, which must have that chunk.
    pub(crate) fn find_chunk(&self, target: u64) -> Located<'_> {
        let node = self.node(|_, first_chunk| first_chunk <= target);
        let target = target - node.first_chunk;
        let start = node.quarters.find(|_, chunks| chunks <= target);
        let found = node.single(start, target - start.chunks);
        let find = || words::find(node.words, start, |_, chunks| chunks > target);
        Self::place(node, found.unwrap_or_else(find))
    }

    fn place(node: Node<'_>, found: Found) -> Located<'_> {
        Located {
            node,
            word: found.word,
            number: node.first_chunk + found.chunks,
            page: node.first_page + found.pages,
        }
    }

    /// The node after `node`; the first chunk of the result has the number `number`.
    #[cold]
    pub(crate) fn next_node<'a>(&'a self, node: Node<'a>, number: u64) -> Node<'a> {
        match node.next_in_twig() {
            Some(next) => next,
            None => self.node(|_, first_chunk| first_chunk <= number),
        }
    }

    /// The node before `node`; the last chunk of the result has the number `number`.
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

    /// Pages and chunks of the whole chain, if it is a tree.
    pub(crate) fn totals(&self) -> Option<(u64, u64)> {
        match self {
            Self::Tree(tree) => Some((tree.nr_pages, tree.nr_chunks)),
            _ => None,
        }
    }

    /// The bitwise or of all words of the chunks between the first and the last.
    ///
    /// The marker bit in a word shows how well both ends of the chunk are aligned, and the bits
    /// above the marker are the address. So this one word bounds the alignments and addresses of
    /// all inner chunks without a walk. The second word of a long chunk counts as an entry that is
    /// less aligned than the chunk, so the bound stays true.
    pub(crate) fn inner(&self) -> u64 {
        if let Self::Tree(tree) = self {
            return tree.inner;
        }
        let words = self.node(|_, _| true).words;
        if words.is_empty() {
            return 0;
        }
        let (from, to) = (words::decode(words, 0).1, words::before(words, words.len()));
        // A list of one chunk has no inner chunk: the first chunk is the last.
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

    /// Returns true if both chains share the same storage. Equal entries are not enough.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Inline(a), Self::Inline(b)) => a == b,
            (Self::Node(a), Self::Node(b)) => a.is_same(b),
            (Self::Tree(a), Self::Tree(b)) => a.is_same(b),
            _ => false,
        }
    }
}
