//! Runs of an index that do not overlap each other.

use super::extras::{Item, Pieces};
use crate::error::NoMemory;
use crate::storage::entry::Run;
use crate::storage::frozen::{Archive, ENTRY, Header, SHORT_ENTRY, Sizes};

/// Runs that do not overlap.
#[derive(Debug)]
pub(super) struct Layer {
    sorted: Sorted,
    /// Where the layer has runs, if that is in few places.
    pieces: Option<Pieces>,
}

impl Layer {
    /// These runs, which are sorted by address; `None` if there are none.
    pub(super) fn of(
        items: &[Item],
        header: &Header,
        is_sparse: bool,
    ) -> Result<Option<Self>, NoMemory> {
        let pieces = if is_sparse { Some(Pieces::of(items)?) } else { None };
        Ok(Sorted::of(items, header)?.map(|sorted| Self { sorted, pieces }))
    }

    /// Bytes of heap.
    pub(super) fn storage(&self) -> usize {
        self.sorted.storage() + self.pieces.as_ref().map_or(0, Pieces::storage)
    }

    /// Hands out the runs that may have any of these pages: the number and the first page of each.
    #[inline]
    pub(super) fn each<E>(
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
    #[inline]
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
    #[inline]
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
