//! From a physical address back to the places that hold it.
//!
//! The runs of all lists, sorted by address, are kept as an archive of their own. Its "pages" are
//! the addresses from the lowest on. Its "page numbers" say where a run starts among the pages of
//! all lists, one list after the other. The lists know how long each run is. Memory may be in many
//! lists, so a run may overlap the run before. Such runs are few: they lie beside the archive, as a
//! tree of intervals.

use alloc::vec::Vec;

use super::list::Frozen;
use crate::error::{Error, NoMemory, expect_memory};
use crate::granule::Granule;
use crate::kind::Kind;
use crate::list::chunks::Chunk;
use crate::list::stats::run_of;
use crate::storage::entry::Run;
use crate::storage::frozen::{Archive, Header, Sizes};

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

/// A run of a list, and where it starts among the pages of all lists.
#[derive(Clone, Copy, Debug)]
struct Item {
    pfn: u64,
    last: u64,
    page: u64,
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
    /// Pages before each list, and bytes of its first page before it.
    starts: Vec<(u64, u64)>,
    granule: Granule,
    /// Runs that do not overlap the one before, from page `lowest` on; to page `last`.
    archive: Option<Archive>,
    lowest: u64,
    last: u64,
    /// The other runs by address, and of each range of them that a search looks at, the last page.
    extras: Vec<Item>,
    furthest: Vec<u64>,
}

impl Index {
    /// An index of lists of one granule and one kind. O(n log n) for n chunks.
    ///
    /// # Errors
    ///
    /// [`Error::Granules`] or [`Error::Kinds`] where two lists differ; [`Error::TooLong`] if all lists
    /// together have more granules than can be numbered.
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
        let (granule, kind) =
            lists.first().map_or_else(Default::default, |list| (list.granule(), list.kind()));
        let mut items = Vec::new();
        let mut starts = Vec::new();
        reserve(&mut starts, lists.len())?;
        let mut page = 0_u64;
        for list in &lists {
            let of = list.granule();
            if of != granule {
                return Err(Error::Granules { left: granule.bytes(), right: of.bytes() });
            }
            if list.kind() != kind {
                return Err(Error::Kinds { left: kind, right: list.kind() });
            }
            let mut chunks = list.chunks();
            reserve(&mut items, chunks.len())?;
            let head = chunks.clone().next().map_or(0, |first| first.paddr & granule.mask());
            starts.push((page, head));
            let mut too_long = None;
            chunks.by_ref().for_each(|chunk| {
                let run = run_of(granule, chunk);
                if run.nr_pages >= granule.reach() - page {
                    too_long = Some(run.nr_pages);
                    return;
                }
                items.push(Item { pfn: run.pfn, last: run.pfn + (run.nr_pages - 1), page });
                page += run.nr_pages;
            });
            if let Some(nr_pages) = too_long {
                let (length, granule) = (granule.to_bytes(page), granule.bytes());
                return Err(Error::TooLong { length, nr_pages, granule });
            }
        }
        items.sort_unstable_by_key(|item| (item.pfn, item.page));
        Self::of_sorted(lists, starts, (granule, kind), items)
    }

    fn of_sorted(
        lists: Vec<Frozen>,
        starts: Vec<(u64, u64)>,
        (granule, kind): (Granule, Kind),
        mut items: Vec<Item>,
    ) -> Result<Self, Error> {
        // Those that do not overlap move to the front.
        let (mut kept, mut last, mut extras) = (0, None, Vec::new());
        for at in 0..items.len() {
            let item = items[at];
            if last.is_some_and(|last| item.pfn <= last) {
                reserve(&mut extras, 1)?;
                extras.push(item);
            } else {
                last = Some(item.last);
                items[kept] = item;
                kept += 1;
            }
        }
        items.truncate(kept);
        let lowest = items.first().map_or(0, |item| item.pfn);
        let last = last.unwrap_or_default();
        let runs = || {
            let ends = items.iter().skip(1).map(|item| item.pfn).chain([last + 1]);
            items
                .iter()
                .zip(ends)
                .map(|(item, end)| Run { pfn: item.page, nr_pages: end - item.pfn })
        };
        let header = Header { granule, kind, head: 0, length: 0 };
        let archive = Sizes::of(runs()).map(|sizes| sizes.write(runs(), &header)).transpose()?;
        let mut furthest = Vec::new();
        reserve(&mut furthest, extras.len())?;
        furthest.resize(extras.len(), 0);
        fill_furthest(&extras, &mut furthest);
        Ok(Self { lists, starts, granule, archive, lowest, last, extras, furthest })
    }

    /// The lists.
    #[must_use]
    pub fn lists(&self) -> &[Frozen] {
        &self.lists
    }

    /// Bytes of heap beside the lists.
    #[must_use]
    pub fn storage(&self) -> usize {
        self.archive.as_ref().map_or(0, Archive::storage)
            + size_of::<Item>() * self.extras.capacity()
            + size_of::<u64>() * self.furthest.capacity()
            + size_of::<(u64, u64)>() * self.starts.capacity()
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
        if first > last {
            return found;
        }
        let pages = (self.granule.floor(first), self.granule.floor(last));
        let mut add = |page: u64| {
            if let Some(holder) = self.holder(page, first, last) {
                found.push(holder);
            }
        };
        self.each_kept(pages, &mut add);
        each_extra(&self.extras, &self.furthest, pages, &mut add);
        found.sort_unstable();
        found
    }

    /// Hands out the runs of the archive that may have any of these pages.
    fn each_kept(&self, (first, last): (u64, u64), add: &mut impl FnMut(u64)) {
        let Some(archive) = &self.archive else { return };
        if last < self.lowest || first > self.last {
            return;
        }
        let mut place = archive.find_page(first.max(self.lowest) - self.lowest);
        loop {
            add(place.run.pfn);
            let next = place.number + 1;
            let end = place.page.saturating_add(place.run.nr_pages);
            if end > last - self.lowest || next == archive.nr_chunks() {
                return;
            }
            place = archive.find_chunk(next);
        }
    }

    /// Returns the part of the bytes `first` to `last` that one run holds; `None` if it holds none.
    /// `page` is where the run starts among the pages of all lists.
    fn holder(&self, page: u64, first: u64, last: u64) -> Option<Holder> {
        let number = self.starts.partition_point(|start| start.0 <= page).checked_sub(1)?;
        let (before, head) = self.starts[number];
        // The first run starts where the list does.
        let at = self.granule.to_bytes(page - before).saturating_sub(head);
        let (start, chunk) = self.lists[number].chunk_at(at).ok()?;
        let Chunk { paddr, .. } = chunk;
        let (from, to) = (first.max(paddr), last.min(chunk.last()));
        (from <= to).then(|| Holder {
            paddr: from,
            length: to - from + 1,
            list: number,
            position: start + (from - paddr),
        })
    }
}

/// The middle of a range of a tree, and what it is split into.
fn middle(len: usize) -> usize {
    len / 2
}

/// Writes, for each range that a search looks at, the range's last page to its middle.
fn fill_furthest(items: &[Item], furthest: &mut [u64]) -> u64 {
    let at = middle(items.len());
    let Some(item) = items.get(at) else { return 0 };
    let (left, right) = furthest.split_at_mut(at);
    let below = fill_furthest(&items[..at], left);
    let above = fill_furthest(&items[at + 1..], &mut right[1..]);
    right[0] = item.last.max(below).max(above);
    right[0]
}

/// Hands out the runs that have any of these pages. As deep as the logarithm of their number.
fn each_extra(items: &[Item], furthest: &[u64], pages: (u64, u64), add: &mut impl FnMut(u64)) {
    let at = middle(items.len());
    let Some(item) = items.get(at) else { return };
    if furthest[at] < pages.0 {
        return;
    }
    each_extra(&items[..at], &furthest[..at], pages, add);
    if item.pfn <= pages.1 {
        if item.last >= pages.0 {
            add(item.page);
        }
        each_extra(&items[at + 1..], &furthest[at + 1..], pages, add);
    }
}

/// Makes room for more items.
fn reserve<T>(items: &mut Vec<T>, more: usize) -> Result<(), NoMemory> {
    items.try_reserve(more).map_err(|_| NoMemory::of::<T>(more))
}
