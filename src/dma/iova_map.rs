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

use crate::error::{Error, expect_memory};
use crate::list::phyr::Phyr;
use crate::list::reading::List;
use crate::storage::sorted::Sorted;

/// The memory behind I/O virtual addresses. Each area also has a `tag`, such as a
/// [`Prot`](crate::Prot).
///
/// An area is all that one call of [`Self::map`] mapped, or a part of it that is left. Areas do not
/// overlap. Neighbours are not joined, so lists and tags stay as they were given.
///
/// With *n* areas of lists of *m* chunks: finding an address takes O(log n + log m). Mapping an area
/// and unmapping one take O(log n), and move the entries of a block of 4096 bytes.
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
pub struct IovaMap<T = (), P: List = Phyr> {
    areas: Sorted<Area<T, P>>,
}

/// The memory behind a stretch of addresses. Its key is its first address. It has bytes, and ends
/// below 2^64.
#[derive(Clone, Debug)]
struct Area<T, P> {
    phyr: P,
    tag: T,
}

impl<T, P: List> Area<T, P> {
    /// The last address of an area that starts at `start`.
    fn last(&self, start: u64) -> u64 {
        start + (self.phyr.length() - 1)
    }
}

/// A mapped stretch of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped<T, P: List = Phyr> {
    /// Its first I/O virtual address.
    pub iova: u64,
    /// The memory behind it; never empty.
    pub phyr: P,
    /// The tag that it was mapped with.
    pub tag: T,
}

impl<T, P: List> Default for IovaMap<T, P> {
    fn default() -> Self {
        Self { areas: Sorted::default() }
    }
}

impl<T: Clone, P: List> IovaMap<T, P> {
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
    /// [`Error::Wraps`] if the addresses pass 2^64; [`Error::Mapped`] if one of them is mapped;
    /// [`Error::NoMemory`]. Nothing has changed then.
    pub fn map(&mut self, iova: u64, phyr: P, tag: T) -> Result<(), Error> {
        let length = phyr.length();
        let Some(more) = length.checked_sub(1) else { return Ok(()) };
        let Some(last) = iova.checked_add(more) else {
            return Err(Error::Wraps { paddr: iova, length });
        };
        if let Some((start, area)) = self.areas.at_or_before(last) {
            if area.last(start) >= iova {
                let first = self.range(iova, length).next().map_or(start, |mapped| mapped.iova);
                return Err(Error::Mapped { iova, length, first });
            }
        }
        Ok(self.areas.insert(iova, Area { phyr, tag })?)
    }

    /// Unmaps `length` addresses from `iova` on, areas and parts of areas. Returns how many bytes
    /// were mapped there.
    ///
    /// The parts that stay share the storage of the list.
    ///
    /// # Panics
    ///
    /// Panics if both ends of an area stay, so that there is one area more, and there is no memory for
    /// it; [`Self::try_unmap`] returns an error instead.
    pub fn unmap(&mut self, iova: u64, length: u64) -> u64 {
        expect_memory(self.try_unmap(iova, length))
    }

    /// As [`Self::unmap`].
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; nothing has changed then. Only an unmap that leaves both ends of an area
    /// allocates.
    pub fn try_unmap(&mut self, iova: u64, length: u64) -> Result<u64, Error> {
        let mut bytes = 0;
        self.try_unmap_with(iova, length, |mapped| bytes += mapped.phyr.length())?;
        Ok(bytes)
    }

    /// As [`Self::unmap`], and passes the removed parts to `take`, in order of addresses.
    ///
    /// # Panics
    ///
    /// As [`Self::unmap`].
    pub fn unmap_with(&mut self, iova: u64, length: u64, take: impl FnMut(Mapped<T, P>)) {
        expect_memory(self.try_unmap_with(iova, length, take));
    }

    /// As [`Self::try_unmap`], and passes the removed parts to `take`, in order of addresses.
    ///
    /// # Errors
    ///
    /// As [`Self::try_unmap`].
    pub fn try_unmap_with(
        &mut self,
        iova: u64,
        length: u64,
        mut take: impl FnMut(Mapped<T, P>),
    ) -> Result<(), Error> {
        let Some(last) = last_of(iova, length) else { return Ok(()) };
        // An area that begins before the range and overlaps it keeps its start.
        let before = iova.checked_sub(1).and_then(|before| self.areas.at_or_before(before));
        if let Some((start, area)) = before.filter(|(start, area)| area.last(*start) >= iova) {
            let tag = area.tag.clone();
            let (kept, rest) = area.phyr.split_at(iova - start)?;
            let (phyr, end) = cut_after(rest, iova, last)?;
            // If it keeps its end too, the end is one area more. That is all that may fail.
            if let Some(end) = end {
                self.areas.insert(last + 1, Area { phyr: end, tag: tag.clone() })?;
            }
            self.areas.replace(start, start, Area { phyr: kept, tag: tag.clone() });
            take(Mapped { iova, phyr, tag });
        }
        while let Some((start, area)) = self.areas.at_or_after(iova).filter(|at| at.0 <= last) {
            let tag = area.tag.clone();
            let (phyr, end) = cut_after(area.phyr.clone(), start, last)?;
            match end {
                Some(end) => {
                    self.areas.replace(start, last + 1, Area { phyr: end, tag: tag.clone() });
                }
                None => drop(self.areas.remove(start)),
            }
            take(Mapped { iova: start, phyr, tag });
        }
        Ok(())
    }

    /// Returns true if each area is completely inside or completely outside of `length` addresses
    /// from `iova` on. Unmapping those then splits no area.
    ///
    /// A virtio-iommu refuses to split (virtio specification, IOMMU device, UNMAP).
    #[must_use]
    pub fn is_whole(&self, iova: u64, length: u64) -> bool {
        let Some(last) = last_of(iova, length) else { return true };
        let reaches_over = |edge| {
            let area = self.areas.at_or_before(edge);
            area.is_some_and(|(start, area)| area.last(start) > edge)
        };
        !iova.checked_sub(1).is_some_and(reaches_over) && !reaches_over(last)
    }

    /// The physical address behind `iova`; `None` if nothing is mapped there.
    #[must_use]
    pub fn translate(&self, iova: u64) -> Option<u64> {
        let (start, area) = self.areas.at_or_before(iova)?;
        area.phyr.translate(iova - start).ok()
    }

    /// The area that holds `iova`, as a whole.
    #[must_use]
    pub fn area(&self, iova: u64) -> Option<Mapped<&T, P>> {
        let (start, area) = self.areas.at_or_before(iova)?;
        let mapped = || Mapped { iova: start, phyr: area.phyr.clone(), tag: &area.tag };
        (area.last(start) >= iova).then(mapped)
    }

    /// The mapped parts of `length` addresses from `iova` on, in order.
    ///
    /// O(log n) to begin; each step is a slice.
    pub fn range(&self, iova: u64, length: u64) -> impl Iterator<Item = Mapped<&T, P>> {
        let last = last_of(iova, length);
        let before = iova.checked_sub(1).and_then(|before| self.areas.at_or_before(before));
        let areas = before.into_iter().chain(self.areas.from(iova));
        let areas = areas.take_while(move |&(start, _)| last.is_some_and(|last| start <= last));
        areas.filter_map(move |(start, area)| {
            let last = last?;
            let cut = iova.saturating_sub(start);
            let end = area.last(start).min(last).checked_sub(start)?;
            // An area that ends before the range is left out.
            let phyr = area.phyr.slice(cut, end + 1).ok().filter(|phyr| !phyr.is_empty())?;
            Some(Mapped { iova: start + cut, phyr, tag: &area.tag })
        })
    }

    /// All areas, in order.
    #[must_use]
    pub fn areas(&self) -> impl DoubleEndedIterator<Item = Mapped<&T, P>> {
        let mapped = |(iova, area)| {
            let Area { phyr, tag }: &Area<T, P> = area;
            Mapped { iova, phyr: phyr.clone(), tag }
        };
        self.areas.iter().map(mapped)
    }
}

/// The part of an area's list up to address `last`, and the part after it, if there is any. The area
/// starts at `start`.
fn cut_after<P: List>(phyr: P, start: u64, last: u64) -> Result<(P, Option<P>), Error> {
    if phyr.length() - 1 <= last - start {
        return Ok((phyr, None));
    }
    let (before, after) = phyr.split_at(last - start + 1)?;
    Ok((before, Some(after)))
}

/// The last of `length` addresses from `iova` on, at most 2^64 - 1; `None` if there are none.
fn last_of(iova: u64, length: u64) -> Option<u64> {
    Some(iova.saturating_add(length.checked_sub(1)?))
}
