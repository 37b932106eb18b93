//! A map of I/O virtual addresses to lists, changed as a guest, or a driver, maps and unmaps.
//!
//! ```text
//! iova    0x10_0000       0x14_0000   0x16_0000       0x20_0000
//!         |---- list A ---|           |---- list B ---|
//!         |-------|   |---|                                after bytes 0x12_0000+0x1_0000 are unmapped:
//!          A[..b]     A[c..]                               two views of the same storage
//! ```
//!
//! Mapped areas are kept by their first address. An area is cut by slicing its list, so a partial
//! unmap copies nothing, however long the list.

use alloc::collections::BTreeMap;

use crate::error::Error;
use crate::list::phyr::Phyr;

/// The memory behind I/O virtual addresses. Each area also has a `tag`, such as a
/// [`Prot`](crate::Prot).
///
/// An area is all that one call of [`Self::map`] mapped, or a part of it that is left. Areas do not
/// overlap. Neighbours are not joined, so lists and tags stay as they were given.
///
/// With *n* areas of lists of *m* chunks: mapping takes O(log n), finding an address
/// O(log n + log m), unmapping O(log n) for each area it meets.
///
/// # Examples
///
/// ```
/// use phyr::{Builder, IovaMap, Prot};
///
/// let mut builder = Builder::new();
/// builder.extend_pfns(&[7, 9, 5])?;
/// let mut map = IovaMap::new();
/// map.map(0x10_0000, builder.finish(), Prot::READ)?;
/// assert_eq!(map.translate(0x10_1234), Some(0x9234));
/// assert_eq!(map.unmap(0x10_1000, 0x1000), 0x1000);
/// assert_eq!(map.translate(0x10_1234), None);
/// assert_eq!(map.translate(0x10_2000), Some(0x5000));
/// # Ok::<(), phyr::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct IovaMap<T = ()> {
    areas: BTreeMap<u64, Area<T>>,
}

/// The memory behind a stretch of addresses. Its key is its first address. It has bytes, and ends
/// below 2^64.
#[derive(Clone, Debug)]
struct Area<T> {
    phyr: Phyr,
    tag: T,
}

impl<T> Area<T> {
    /// The last address of an area that starts at `start`.
    fn last(&self, start: u64) -> u64 {
        start + (self.phyr.length() - 1)
    }
}

/// A mapped stretch of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped<T> {
    /// Its first I/O virtual address.
    pub iova: u64,
    /// The memory behind it; never empty.
    pub phyr: Phyr,
    /// The tag that it was mapped with.
    pub tag: T,
}

impl<T> Default for IovaMap<T> {
    fn default() -> Self {
        Self { areas: BTreeMap::new() }
    }
}

impl<T: Clone> IovaMap<T> {
    /// Makes an empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of areas.
    #[must_use]
    pub fn nr_areas(&self) -> usize {
        self.areas.len()
    }

    /// Maps `phyr` at the addresses from `iova` on. An empty list changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Wraps`] if the addresses pass 2^64; [`Error::Mapped`] if one of them is mapped.
    pub fn map(&mut self, iova: u64, phyr: Phyr, tag: T) -> Result<(), Error> {
        let length = phyr.length();
        let Some(more) = length.checked_sub(1) else { return Ok(()) };
        let Some(last) = iova.checked_add(more) else {
            return Err(Error::Wraps { paddr: iova, length });
        };
        if let Some((&start, area)) = self.areas.range(..=last).next_back() {
            if area.last(start) >= iova {
                let first = self.range(iova, length).next().map_or(start, |mapped| mapped.iova);
                return Err(Error::Mapped { iova, length, first });
            }
        }
        self.areas.insert(iova, Area { phyr, tag });
        Ok(())
    }

    /// Unmaps `length` addresses from `iova` on, areas and parts of areas. Returns how many bytes
    /// were mapped there.
    ///
    /// If both ends of an area stay, there is one area more, which may need an allocation;
    /// otherwise nothing is allocated. The parts that stay share the storage of the list.
    pub fn unmap(&mut self, iova: u64, length: u64) -> u64 {
        let mut bytes = 0;
        self.unmap_with(iova, length, |mapped| bytes += mapped.phyr.length());
        bytes
    }

    /// As [`Self::unmap`], and passes the removed parts to `take`, in order of addresses.
    pub fn unmap_with(&mut self, iova: u64, length: u64, mut take: impl FnMut(Mapped<T>)) {
        let Some(last) = last_of(iova, length) else { return };
        // An area that begins before the range and overlaps it keeps its start.
        let before = self.areas.range_mut(..iova).next_back();
        if let Some((&start, area)) = before.filter(|(start, area)| area.last(**start) >= iova) {
            if let Ok((before, rest)) = area.phyr.split_at(iova - start) {
                area.phyr = before;
                let rest = Area { phyr: rest, tag: area.tag.clone() };
                take(self.keep_end(iova, last, rest));
            }
        }
        while let Some((&start, _)) = self.areas.range(iova..=last).next() {
            let Some(area) = self.areas.remove(&start) else { break };
            take(self.keep_end(start, last, area));
        }
    }

    /// Puts back the part after `last` of a removed area that starts at `start`. Returns the rest.
    fn keep_end(&mut self, start: u64, last: u64, area: Area<T>) -> Mapped<T> {
        let Area { mut phyr, tag } = area;
        if phyr.length() - 1 > last - start {
            if let Ok((before, after)) = phyr.split_at(last - start + 1) {
                self.areas.insert(last + 1, Area { phyr: after, tag: tag.clone() });
                phyr = before;
            }
        }
        Mapped { iova: start, phyr, tag }
    }

    /// Returns true if each area is completely inside or completely outside of `length` addresses
    /// from `iova` on. Unmapping those then splits no area.
    ///
    /// A virtio-iommu refuses to split (virtio specification, IOMMU device, UNMAP).
    #[must_use]
    pub fn is_whole(&self, iova: u64, length: u64) -> bool {
        let Some(last) = last_of(iova, length) else { return true };
        let reaches_over = |(&start, area): (&u64, &Area<T>), edge| area.last(start) > edge;
        let before = self.areas.range(..iova).next_back();
        let end = self.areas.range(iova..=last).next_back();
        !before.is_some_and(|area| reaches_over(area, iova - 1))
            && !end.is_some_and(|area| reaches_over(area, last))
    }

    /// The physical address behind `iova`; `None` if nothing is mapped there.
    #[must_use]
    pub fn translate(&self, iova: u64) -> Option<u64> {
        let (start, area) = self.areas.range(..=iova).next_back()?;
        area.phyr.translate(iova - start).ok()
    }

    /// The area that holds `iova`, as a whole.
    #[must_use]
    pub fn area(&self, iova: u64) -> Option<Mapped<&T>> {
        let (&start, area) = self.areas.range(..=iova).next_back()?;
        let mapped = || Mapped { iova: start, phyr: area.phyr.clone(), tag: &area.tag };
        (area.last(start) >= iova).then(mapped)
    }

    /// The mapped parts of `length` addresses from `iova` on, in order.
    ///
    /// O(log n) to begin; each step is a slice.
    pub fn range(&self, iova: u64, length: u64) -> impl Iterator<Item = Mapped<&T>> {
        let ends = last_of(iova, length);
        // BTreeMap refuses a range that holds nothing.
        let (first, last) = ends.map_or((0, 0), |last| (iova, last));
        let before = self.areas.range(..first).next_back();
        let inside = self.areas.range(first..=last);
        let areas = before.into_iter().chain(inside).take_while(move |_| ends.is_some());
        areas.filter_map(move |(&start, area)| {
            let cut = first.saturating_sub(start);
            let end = area.last(start).min(last).checked_sub(start)?;
            // An area that ends before the range is left out.
            let phyr = area.phyr.slice(cut, end + 1).ok().filter(|phyr| !phyr.is_empty())?;
            Some(Mapped { iova: start + cut, phyr, tag: &area.tag })
        })
    }

    /// All areas, in order.
    #[must_use]
    pub fn areas(&self) -> impl DoubleEndedIterator<Item = Mapped<&T>> {
        let mapped = |(&iova, area)| {
            let Area { phyr, tag }: &Area<T> = area;
            Mapped { iova, phyr: phyr.clone(), tag }
        };
        self.areas.iter().map(mapped)
    }
}

/// The last of `length` addresses from `iova` on, at most 2^64 - 1; `None` if there are none.
fn last_of(iova: u64, length: u64) -> Option<u64> {
    Some(iova.saturating_add(length.checked_sub(1)?))
}
