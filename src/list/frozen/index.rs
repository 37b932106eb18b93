//! From a physical address back to the places that hold it.
//!
//! The runs of all lists, sorted by address, are kept as an archive of their own. Its "pages" are
//! the addresses from the lowest on. Its "page numbers" are the numbers of the runs, those of one
//! list after those of the other. The lists know where each run starts, and how long it is.
//!
//! Memory may be in many lists, so a run may overlap the run before. Such runs are in a second archive,
//! those that overlap there too in a third, and so on. Few runs are no archive: they lie in a tree:
//!
//! ```text
//! archive 0   |---| |--||-----|   |---|
//! archive 1     |------|  |-|       |--|
//! tree                |-----------------|
//! ```

use alloc::vec;
use alloc::vec::Vec;
use core::convert::Infallible;

use super::extras::{Extras, Item};
use super::layer::Layer;
use super::list::Frozen;
use crate::error::{Error, NoMemory, expect_memory, reserve};
use crate::granule::{Granule, check_alike};
use crate::list::chunks::Chunk;
use crate::list::stats::run_of;
use crate::slices::take_mut;
use crate::storage::frozen::Header;

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
    /// Runs that overlap none before them; of the others, those that overlap none of these; and so on.
    layers: Vec<Layer>,
    extras: Extras,
}

/// Layers at most. The rest is in the tree.
const MOST_LAYERS: usize = 1 << 10;

/// Bit of a run's number from which on its layer is noted, while layers are made.
const LAYER: u32 = 52;

/// So few runs are no layer: they are in the tree, which takes 34 bytes for each.
const FEW: usize = 16;

/// A layer with a quarter as many runs as another, or more, is searched without a look whether it has runs
/// there. The bits that say so take two bytes for each of its runs.
const SPARSE: usize = 4;

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
        let mut others = overlapping(&mut items).map_err(Error::from)?;
        handled(items.len() + others.len())?;
        spread(&mut others, &mut handled)?;
        sort(&mut others, &mut handled)?;
        let parts = [&mut *items, &mut *others];
        let (layers, mut extras) = layered(parts, &header, &mut handled)?;
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

    /// The places that hold the byte at `paddr`, by list and position. O(log n) for each, and for each
    /// archive that has no run there: one for each time that some memory is held, 1024 at most.
    #[must_use]
    pub fn find(&self, paddr: u64) -> Vec<Holder> {
        self.find_range(paddr, paddr)
    }

    /// The places that hold bytes from `first` to `last`, the latter included, by address, list and
    /// position. As fast as [`Self::find`] for each.
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

/// Notes the layer of each run that overlaps one of layer 0: the first layer where it overlaps none before
/// it. Runs are sorted by address.
fn spread<E>(
    items: &mut [Item],
    handled: &mut impl FnMut(usize) -> Result<(), E>,
) -> Result<(), E> {
    // For each layer but 0, the page where its next run may start.
    let (mut free, mut count) = ([0; MOST_LAYERS - 1], 0);
    for some in items.chunks_mut(1 << 14) {
        for item in &mut *some {
            let used = free.get(..count).unwrap_or_default();
            let layer = used.iter().position(|&free| free <= item.pfn).unwrap_or(count);
            if let Some(free) = free.get_mut(layer) {
                *free = item.last + 1;
                count = count.max(layer + 1);
            }
            // With all layers used, it is that behind the last.
            item.number |= (layer as u64 + 1) << LAYER;
        }
        handled(some.len())?;
    }
    Ok(())
}

/// The archives of runs whose layers are noted, and the runs of the tree. Each part has the runs of a layer
/// side by side.
fn layered<E: From<Error>>(
    parts: [&mut [Item]; 2],
    header: &Header,
    handled: &mut impl FnMut(usize) -> Result<(), E>,
) -> Result<(Vec<Layer>, Vec<Item>), E> {
    let (mut layers, mut extras, mut most) = (Vec::new(), Vec::new(), 0);
    let layer_of = |item: &Item| item.number >> LAYER;
    for mut rest in parts {
        while let Some(number) = rest.first().map(layer_of) {
            let count = rest.iter().take_while(|item| layer_of(item) == number).count();
            // So many there are, and one at least.
            let Some(layer) = take_mut(&mut rest, count) else { break };
            for item in &mut *layer {
                item.number &= (1 << LAYER) - 1;
            }
            handled(layer.len())?;
            if layer.len() < FEW || number == MOST_LAYERS as u64 {
                reserve(&mut extras, layer.len()).map_err(Error::from)?;
                extras.extend_from_slice(layer);
                continue;
            }
            most = layer.len().max(most);
            let is_sparse = layer.len() < most / SPARSE;
            let made = Layer::of(layer, header, is_sparse).map_err(Error::from)?;
            let room = layers.try_reserve_exact(1);
            room.map_err(|_| Error::from(NoMemory::of::<Layer>(1)))?;
            layers.extend(made);
        }
    }
    Ok((layers, extras))
}

/// Sorts runs by layer, address and number. Says how many are `handled` whenever some more are in order.
fn sort<E>(items: &mut [Item], handled: &mut impl FnMut(usize) -> Result<(), E>) -> Result<(), E> {
    let key = |item: &Item| (item.number >> LAYER, item.pfn, item.number);
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
