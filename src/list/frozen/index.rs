//! From a physical address back to the places that hold it.
//!
//! The runs of all lists, sorted by address, are kept as an archive of their own. Its "pages" are
//! the addresses from the lowest on. Its "page numbers" are the numbers of the runs, those of one
//! list after those of the other. The lists know where each run starts, and how long it is.
//!
//! Memory may be in many lists, so a run may overlap the run before. Such runs are in a second archive,
//! those that overlap there too in a third, and so on. Where few are left, they lie beside all archives,
//! as a tree:
//!
//! ```text
//! archive 0   |---| |--||-----|   |---|
//! archive 1     |------|  |-|       |--|
//! tree                |-----------------|
//! ```

use alloc::vec;
use alloc::vec::Vec;
use core::convert::Infallible;

use super::extras::{Extras, Item, Pieces};
use super::list::Frozen;
use crate::error::{Error, NoMemory, expect_memory, reserve};
use crate::granule::{Granule, check_alike};
use crate::list::chunks::Chunk;
use crate::list::stats::run_of;
use crate::storage::entry::Run;
use crate::storage::frozen::{Archive, ENTRY, Header, SHORT_ENTRY, Sizes};

/// A place that holds memory: from [`Index::find`] and [`Index::find_range`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// Address of the first byte that was asked for and is held.
    pub paddr: u64,
    /// Bytes.
    pub length: u64,
    /// Number of the list, from 0, in the order given.
    pub list: usize,
    /// Position of that byte in the list.
    pub position: u64,
}

/// Places that are found between two calls of `after`.
const FOUND: usize = 1 << 16;

/// Runs that are handled between two calls of `after`, at least.
const HANDLED: usize = 1 << 20;

/// Runs that are sorted at once. Sorting fewer together takes longer in all.
const SORTED: usize = 1 << 22;

/// A list among others.
#[derive(Clone, Copy, Debug)]
struct Start {
    /// Runs of the lists before it.
    before: u64,
    /// Runs before its own in what it is a view of.
    first: u64,
    even: Option<Even>,
}

/// A list whose runs have one size. Where one is follows from its number, so the list is not read.
#[derive(Clone, Copy, Debug)]
struct Even {
    /// Granules of a run.
    nr_pages: u64,
    /// Bytes of the first granule before the list.
    head: u64,
    /// Those, and the bytes of the list.
    end: u64,
}

impl Even {
    /// The list, if it has `count` runs of `nr_pages` granules, the first and the last with all granules
    /// that they touch.
    fn of(list: &Frozen, nr_pages: u64, count: u64) -> Option<Self> {
        let granule = list.granule();
        let head = list.chunks().next()?.paddr & granule.mask();
        let end = head.checked_add(list.length())?;
        // Not so if the words of a file are no list: then a chunk may have fewer bytes than granules.
        let is_even = count.checked_mul(nr_pages) == Some(granule.floor(end.checked_sub(1)?) + 1);
        is_even.then_some(Self { nr_pages, head, end })
    }

    /// Chunk `number`, which starts in granule `pfn`, and the position where it starts.
    fn chunk(self, granule: Granule, number: u64, pfn: u64) -> (u64, Chunk) {
        let at = granule.to_bytes(number * self.nr_pages);
        let start = at.max(self.head);
        let most = granule.to_bytes(self.nr_pages) - (start - at);
        let paddr = granule.to_bytes(pfn) + (start - at);
        (start - self.head, Chunk { paddr, length: most.min(self.end - start) })
    }
}

/// Lists, and the way back from an address to them.
///
/// # Examples
///
/// ```
/// use phyr::{Builder, Index};
///
/// let mut one = Builder::new();
/// one.extend_pfns(&[7, 8, 3])?;
/// let mut other = Builder::new();
/// other.extend_pfns(&[9, 3])?;
/// let index = Index::new([one.finish().freeze(), other.finish().freeze()])?;
///
/// let places = index.find(0x3004);
/// assert_eq!(places.len(), 2);
/// assert_eq!((places[0].list, places[0].position), (0, 0x2004));
/// assert_eq!((places[1].list, places[1].position), (1, 0x1004));
/// assert!(index.find(0x4000).is_empty());
/// # Ok::<(), phyr::Error>(())
/// ```
#[derive(Debug)]
pub struct Index {
    lists: Vec<Frozen>,
    starts: Vec<Start>,
    granule: Granule,
    /// Those of the first do not overlap the run before, those of the second no other that does, and so
    /// on.
    layers: Vec<Layer>,
    extras: Extras,
}

/// Layers at most. Where more places hold the same memory, the rest is in the tree.
const MOST_LAYERS: usize = 256;

/// So few runs are no layer: they are in the tree, which takes 34 bytes for each.
const FEW: usize = 16;

/// A layer with an eighth as many runs as another, or more, is searched without a look whether it has
/// runs there. The bits that say so take two bytes for each of its runs.
const SPARSE: usize = 8;

impl Index {
    /// An index of lists of one granule and one kind. O(n log n) for n chunks.
    ///
    /// # Errors
    ///
    /// [`Error::Granules`] or [`Error::Kinds`] where two lists differ.
    ///
    /// # Panics
    ///
    /// Panics if there is no memory for it; [`Self::try_new`] does not.
    pub fn new(lists: impl IntoIterator<Item = Frozen>) -> Result<Self, Error> {
        match Self::try_new(lists.into_iter().collect()) {
            Err(why @ Error::NoMemory { .. }) => expect_memory(Err(why)),
            made => made,
        }
    }

    /// As [`Self::new`], but returns an error if there is no memory.
    ///
    /// # Errors
    ///
    /// As for [`Self::new`], and [`Error::NoMemory`].
    pub fn try_new(lists: Vec<Frozen>) -> Result<Self, Error> {
        Self::by_parts(lists, || Ok(()))
    }

    /// As [`Self::try_new`], and calls `after` whenever [`HANDLED`] runs more are handled. Its error
    /// ends the work.
    pub(crate) fn by_parts<E: From<Error>>(
        lists: Vec<Frozen>,
        mut after: impl FnMut() -> Result<(), E>,
    ) -> Result<Self, E> {
        let (granule, kind) =
            lists.first().map_or_else(Default::default, |list| (list.granule(), list.kind()));
        let mut count = 0;
        let mut handled = |more: usize| {
            count += more;
            if count < HANDLED {
                return Ok(());
            }
            count = 0;
            after()
        };
        let mut items = Vec::new();
        let mut starts = Vec::new();
        reserve(&mut starts, lists.len()).map_err(Error::from)?;
        for list in &lists {
            check_alike((granule, kind), (list.granule(), list.kind()))?;
            let (chunks, before) = (list.chunks(), items.len());
            reserve(&mut items, chunks.len()).map_err(Error::from)?;
            let (mut least, mut most) = (u64::MAX, 0);
            chunks.for_each(|chunk| {
                let (run, number) = (run_of(granule, chunk), items.len() as u64);
                items.push(Item { pfn: run.pfn, last: run.pfn + (run.nr_pages - 1), number });
                (least, most) = (least.min(run.nr_pages), most.max(run.nr_pages));
            });
            let nr_runs = (items.len() - before) as u64;
            let even = if least == most { Even::of(list, most, nr_runs) } else { None };
            starts.push(Start { before: before as u64, first: list.numbers().0, even });
            handled(items.len() - before)?;
        }
        sort(&mut items, &mut handled)?;
        let header = Header { granule, kind, head: 0, length: 0 };
        let (mut layers, mut extras, mut most) = (Vec::new(), Vec::new(), 0);
        for _ in 0..MOST_LAYERS {
            let others = overlapping(&mut items).map_err(Error::from)?;
            handled(items.len() + others.len())?;
            if items.len() >= FEW {
                most = items.len().max(most);
                let is_sparse = items.len() < most / SPARSE;
                let layer = Layer::of(&items, &header, is_sparse).map_err(Error::from)?;
                // No more than are needed: most indexes have one or two.
                let room = layers.try_reserve_exact(1);
                room.map_err(|_| Error::from(NoMemory::of::<Layer>(1)))?;
                layers.extend(layer);
                handled(items.len())?;
                items = others;
            } else {
                reserve(&mut extras, items.len()).map_err(Error::from)?;
                extras.append(&mut items);
                items = others;
            }
        }
        reserve(&mut extras, items.len()).map_err(Error::from)?;
        extras.append(&mut items);
        sort(&mut extras, &mut handled)?;
        let extras = Extras::new(extras).map_err(Error::from)?;
        Ok(Self { lists, starts, granule, layers, extras })
    }

    /// The lists.
    #[must_use]
    pub fn lists(&self) -> &[Frozen] {
        &self.lists
    }

    /// Bytes of heap beside the lists.
    #[must_use]
    pub fn storage(&self) -> usize {
        self.layers.iter().map(Layer::storage).sum::<usize>()
            + size_of::<Layer>() * self.layers.capacity()
            + self.extras.storage()
            + size_of::<Start>() * self.starts.capacity()
    }

    /// The places that hold the byte at `paddr`, by list and position. O(log n) for each.
    #[must_use]
    pub fn find(&self, paddr: u64) -> Vec<Holder> {
        self.find_range(paddr, paddr)
    }

    /// The places that hold bytes from `first` to `last`, the latter included, by address, list and
    /// position. O(log n) for each.
    #[must_use]
    pub fn find_range(&self, first: u64, last: u64) -> Vec<Holder> {
        let mut found = Vec::new();
        let Ok(()) = self.find_parts(first, last, &mut found, || Ok::<_, Infallible>(()));
        found
    }

    /// Adds to `found`, which is empty, what [`Self::find_range`] returns. Calls `after` whenever [`FOUND`]
    /// places more are found; its error ends the search.
    pub(crate) fn find_parts<E>(
        &self,
        first: u64,
        last: u64,
        found: &mut Vec<Holder>,
        mut after: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        if first > last {
            return Ok(());
        }
        let pages = (self.granule.floor(first), self.granule.floor(last));
        let mut add = |number: u64, pfn: u64| {
            if let Some(holder) = self.holder((number, pfn), first, last) {
                // Most memory is in one place. So a vector of one needs no room to grow.
                if found.is_empty() {
                    *found = vec![holder];
                } else {
                    found.push(holder);
                    if found.len() % FOUND == 0 {
                        return after();
                    }
                }
            }
            Ok(())
        };
        for layer in &self.layers {
            layer.each(pages, &mut add)?;
        }
        self.extras.each(pages.0, pages.1, &mut add)?;
        found.sort_unstable_by_key(|holder| (holder.paddr, holder.list, holder.position));
        Ok(())
    }

    /// Returns the part of the bytes `first` to `last` that run `number` of all lists holds, which starts in
    /// granule `pfn`; `None` if it holds none.
    fn holder(&self, (number, pfn): (u64, u64), first: u64, last: u64) -> Option<Holder> {
        let at = self.starts.partition_point(|start| start.before <= number).checked_sub(1)?;
        let nr_lists = self.lists.len();
        debug_assert_eq!(self.starts.len(), nr_lists, "list {at}, where {number} is");
        let (start, frozen) = (self.starts.get(at)?, self.lists.get(at)?);
        let number = number - start.before;
        let (position, chunk) = match start.even {
            Some(even) => even.chunk(self.granule, number, pfn),
            None => frozen.numbered_at(start.first.saturating_add(number), pfn),
        };
        let (from, to) = (first.max(chunk.paddr), last.min(chunk.last_of_list()));
        (from <= to).then(|| Holder {
            paddr: from,
            length: to - from + 1,
            list: at,
            position: position.wrapping_add(from - chunk.paddr),
        })
    }
}

/// Sorts runs by address and number. Says how many are `handled` whenever some more are in order.
fn sort<E>(items: &mut [Item], handled: &mut impl FnMut(usize) -> Result<(), E>) -> Result<(), E> {
    let key = |item: &Item| (item.pfn, item.number);
    if items.len() <= SORTED {
        items.sort_unstable_by_key(key);
        return handled(items.len());
    }
    if items.is_sorted_by_key(key) {
        return handled(items.len());
    }
    // The lower half goes before the others. This takes a little longer than one sort of all.
    let (lower, _, upper) = items.select_nth_unstable_by_key(items.len() / 2, key);
    handled(lower.len() + upper.len())?;
    sort(lower, handled)?;
    sort(upper, handled)
}

/// Takes the runs that overlap one before out of runs by address.
fn overlapping(items: &mut Vec<Item>) -> Result<Vec<Item>, NoMemory> {
    let mut overlaps = {
        let mut last = None;
        move |item: &Item| {
            let overlaps = last.is_some_and(|last| item.pfn <= last);
            last = if overlaps { last } else { Some(item.last) };
            overlaps
        }
    };
    let mut again = overlaps;
    let count = items.iter().filter(|item| again(item)).count();
    let mut out = Vec::new();
    out.try_reserve_exact(count).map_err(|_| NoMemory::of::<Item>(count))?;
    items.retain(|item| {
        let is_out = overlaps(item);
        if is_out {
            out.push(*item);
        }
        !is_out
    });
    Ok(out)
}

/// Runs that do not overlap.
#[derive(Debug)]
struct Layer {
    sorted: Sorted,
    /// Where the layer has runs, if that is in few places.
    pieces: Option<Pieces>,
}

impl Layer {
    /// These runs, which are sorted by address; `None` if there are none.
    fn of(items: &[Item], header: &Header, is_sparse: bool) -> Result<Option<Self>, NoMemory> {
        let pieces = if is_sparse { Some(Pieces::of(items)?) } else { None };
        Ok(Sorted::of(items, header)?.map(|sorted| Self { sorted, pieces }))
    }

    /// Bytes of heap.
    fn storage(&self) -> usize {
        self.sorted.storage() + self.pieces.as_ref().map_or(0, Pieces::storage)
    }

    /// Hands out the runs that may have any of these pages: the number and the first page of each.
    fn each<E>(
        &self,
        pages: (u64, u64),
        add: &mut impl FnMut(u64, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.pieces.as_ref().is_none_or(|here| here.may_have(pages)) {
            self.sorted.each(pages, add)?;
        }
        Ok(())
    }
}

/// The runs of a layer, as an archive; of its two forms, the smaller.
#[derive(Debug)]
enum Sorted {
    /// Most neighbours in memory are neighbours in a list: their numbers have few bits above the lowest.
    Ordered(Runs<ENTRY>),
    /// Numbers have all their bits, whatever the lowest of a block is.
    Scattered(Runs<SHORT_ENTRY>),
}

impl Sorted {
    /// As [`Layer::of`].
    fn of(items: &[Item], header: &Header) -> Result<Option<Self>, NoMemory> {
        let lowest = items.first().map_or(0, |item| item.pfn);
        let last = items.last().map_or(0, |item| item.last);
        let runs = || {
            let ends = items.iter().skip(1).map(|item| item.pfn).chain([last + 1]);
            let pairs = items.iter().zip(ends);
            pairs.map(|(item, end)| Run { pfn: item.number, nr_pages: end - item.pfn })
        };
        let (Some(ordered), Some(scattered)) = (Sizes::of(runs()), Sizes::of(runs())) else {
            debug_assert!(items.is_empty(), "{} runs are more than an archive holds", items.len());
            return Ok(None);
        };
        Ok(Some(if ordered.nr_words < scattered.nr_words {
            Self::Ordered(Runs { archive: ordered.write(runs(), header)?, lowest, last })
        } else {
            Self::Scattered(Runs { archive: scattered.write(runs(), header)?, lowest, last })
        }))
    }

    /// Bytes of heap.
    fn storage(&self) -> usize {
        match self {
            Self::Ordered(runs) => runs.archive.bytes(),
            Self::Scattered(runs) => runs.archive.bytes(),
        }
    }

    /// As [`Layer::each`].
    fn each<E>(
        &self,
        pages: (u64, u64),
        add: &mut impl FnMut(u64, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Ordered(runs) => runs.each(pages, add),
            Self::Scattered(runs) => runs.each(pages, add),
        }
    }
}

/// The archive of a layer, with index entries of `WORDS` words.
#[derive(Debug)]
struct Runs<const WORDS: usize> {
    archive: Archive<WORDS>,
    /// The page where the archive starts, and the last one of all runs.
    lowest: u64,
    last: u64,
}

impl<const WORDS: usize> Runs<WORDS> {
    /// As [`Layer::each`].
    fn each<E>(
        &self,
        (first, last): (u64, u64),
        add: &mut impl FnMut(u64, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        if last < self.lowest || first > self.last {
            return Ok(());
        }
        let page = first.max(self.lowest) - self.lowest;
        if first == last {
            let (number, start) = self.archive.find_start(page);
            return add(number, self.lowest + start);
        }
        let mut place = self.archive.find_page(page);
        loop {
            add(place.run.pfn, self.lowest + place.page)?;
            let next = place.number + 1;
            let end = place.page.saturating_add(place.run.nr_pages);
            if end > last - self.lowest || next == self.archive.nr_chunks() {
                return Ok(());
            }
            place = self.archive.find_chunk(next);
        }
    }
}
