//! The plan of a linear mapping: which pages of an I/O page table map a list, in the fewest calls.
//!
//! ```text
//! list    |   chunk 0   |          chunk 1           | chunk 2 |     position
//! iova    |<----------------- one linear window ---------------->|   iova + position
//! calls   | 4 KiB x 3   | 4 KiB x 2 | 2 MiB x 3 | 4 KiB x 1 | ... |   a chunk is cut where
//!                                                                   a larger page becomes usable
//! ```

use core::fmt;
use core::iter::FusedIterator;

use crate::error::{Error, check_paddrs};
use crate::list::chunks::Chunk;
use crate::list::pages::Pages;
use crate::list::phyr::Phyr;
use crate::list::reading::{List, Steps};
use crate::pgsize::PageSizes;

/// One call to a domain: `pgcount` pages of `pgsize` bytes at `iova` map to those at `paddr`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MapCall {
    /// I/O virtual address of the first page.
    pub iova: u64,
    /// Physical address of the first page.
    pub paddr: u64,
    /// Bytes in a page.
    pub pgsize: u64,
    /// Pages, at least one.
    pub pgcount: u64,
}

impl MapCall {
    /// Bytes that the call maps.
    #[must_use]
    pub const fn length(self) -> u64 {
        // At most the length of the whole window, which fits in `u64`.
        self.pgsize * self.pgcount
    }
}

impl fmt::Debug for MapCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { iova, paddr, pgsize, pgcount } = self;
        write!(f, "{iova:#x} -> {paddr:#x}, {pgcount} of {pgsize:#x}")
    }
}

/// The calls that map a list linearly from an I/O virtual address on, in order.
///
/// Byte `i` of the list appears at `iova + i`. Only whole pages can be mapped, so the device can
/// also reach the rest of the first and of the last page. Each chunk is mapped by the rule of
/// [`PageSizes::fit`]: with the fewest page-table entries, and those in the fewest calls.
///
/// `next` is made for short walks. `fold`, and the methods that use it, walks whole nodes of the
/// list at a time. If a list is cut where a call begins, the plan of its first part is the calls
/// before that one.
///
/// # Examples
///
/// ```
/// use phyr::{Builder, MapCall, PageSizes, Plan};
///
/// let mut builder = Builder::new();
/// builder.append(0x7000, 0x1000)?;
/// builder.append(0x20_0000, 0x40_0000)?;
/// let phyr = builder.finish();
/// let sizes = PageSizes::new(1 << 12 | 1 << 21)?;
/// assert!(Plan::new(&phyr, 0x3f_f000, sizes)?.eq([
///     MapCall { iova: 0x3f_f000, paddr: 0x7000, pgsize: 0x1000, pgcount: 1 },
///     MapCall { iova: 0x40_0000, paddr: 0x20_0000, pgsize: 0x20_0000, pgcount: 2 },
/// ]));
/// # Ok::<(), phyr::Error>(())
/// ```
#[derive(Clone)]
pub struct Plan<'a, P: List = Phyr> {
    chunks: P::Walk<'a>,
    sizes: PageSizes,
    rest: Rest,
}

/// Chunks decoded at a time by `fold`.
const BLOCK_CHUNKS: usize = 128;

/// The rest of a chunk, in whole pages of the table.
#[derive(Clone, Copy)]
struct Rest {
    iova: u64,
    paddr: u64,
    left: u64,
}

impl<'a, P: List> Plan<'a, P> {
    /// Plans a mapping of `phyr` whose first byte is at `iova`.
    ///
    /// O(1). If the smallest page is larger than the list's granule: one walk to check the list.
    ///
    /// # Errors
    ///
    /// [`Error::Skew`] if `iova` and the list's first byte have different offsets inside the
    /// smallest page; [`Error::Block`] if a chunk starts or ends inside the list and inside a page;
    /// [`Error::UserAddresses`] for a list of kind `user`; [`Error::Window`] if the window passes 2^64,
    /// or would be all of the space.
    pub fn new(phyr: &'a P, iova: u64, sizes: PageSizes) -> Result<Self, Error> {
        Self::check(phyr, iova, sizes)?;
        Ok(Self::checked(phyr, iova, sizes))
    }

    /// Returns the error of [`Self::new`]. A walk of a frozen list is large, and moving one around takes
    /// longer than the check.
    pub(crate) fn check(phyr: &P, iova: u64, sizes: PageSizes) -> Result<(), Error> {
        check_paddrs(phyr.kind())?;
        let low = sizes.granule() - 1;
        if let Some(more) = phyr.length().checked_sub(1) {
            let paddr = phyr.walk_from(0).next().map_or(iova, |chunk| chunk.paddr);
            if (iova ^ paddr) & low != 0 {
                return Err(Error::Skew { iova, paddr, align: sizes.granule() });
            }
            let wraps = Error::Window { iova, length: phyr.length() };
            let last = iova.checked_add(more).ok_or(wraps)?;
            if (last | low) - (iova & !low) == u64::MAX {
                return Err(wraps);
            }
            if low > phyr.granule().mask() {
                Pages::new(phyr, sizes.granule())?;
            }
        }
        Ok(())
    }

    /// A plan that [`Self::check`] has already checked, or the rest of one from where a call begins.
    pub(crate) fn checked(phyr: &'a P, iova: u64, sizes: PageSizes) -> Self {
        let iova = iova & !(sizes.granule() - 1);
        Self { chunks: phyr.walk_from(0), sizes, rest: Rest { iova, paddr: 0, left: 0 } }
    }

    /// The page sizes that the plan may use.
    #[must_use]
    pub fn sizes(&self) -> PageSizes {
        self.sizes
    }

    /// As `fold`, but passes blocks of single pages at once. In place, because the walk of a frozen list
    /// is large. The plan is at its end then.
    #[inline(always)]
    pub(crate) fn fold_parts<A>(&mut self, start: A, mut f: impl FnMut(A, Part<'_>) -> A) -> A {
        let Self { chunks, sizes, rest } = self;
        let (sizes, mut rest) = (*sizes, core::mem::replace(rest, Rest { left: 0, ..*rest }));
        let granule = sizes.granule();
        let (low, lg2) = (granule - 1, granule.trailing_zeros());
        // A rest is a single call if it is shorter than the second smallest size, or if its two
        // addresses have different offsets inside a page of that size.
        let second = sizes.above(granule).unwrap_or(u64::MAX);
        let second_low = second - 1;
        let mut acc = start;
        // Works on blocks of chunks, so that `f` is called in few places and can be inlined into
        // the loops. The rest of the current chunk is the first block.
        let mut block = [Chunk { paddr: rest.paddr, length: rest.left }; BLOCK_CHUNKS];
        let mut pages = [0; BLOCK_CHUNKS];
        let mut count = usize::from(rest.left > 0);
        loop {
            // Single pages only, as in fragmented memory.
            let mut nr_pages = 0;
            if count == 0 {
                nr_pages = chunks.read_blocks(granule, &mut pages);
                if nr_pages == 0 {
                    count = chunks.read(&mut block);
                    if count == 0 {
                        return acc;
                    }
                }
            }
            let ready = &block[..count];
            if nr_pages > 0 {
                acc = f(acc, Part::Pages(rest.iova, &pages[..nr_pages]));
                rest.iova = rest.iova.wrapping_add(granule * nr_pages as u64);
            } else {
                for &chunk in ready {
                    rest.begin(chunk, low);
                    while rest.left > 0 {
                        let Rest { iova, paddr, left } = rest;
                        let fit = if left < second || (iova ^ paddr) & second_low != 0 {
                            (granule, left >> lg2)
                        } else {
                            fit_of_many(sizes, iova, paddr, left)
                        };
                        acc = f(acc, Part::Call(rest.call(fit)));
                    }
                }
            }
            count = 0;
        }
    }
}

/// A part of a plan.
pub(crate) enum Part<'a> {
    /// A call.
    Call(MapCall),
    /// A call for each of these addresses: each maps one smallest page. The first is mapped at this
    /// I/O virtual address, the others right after it.
    Pages(u64, &'a [u64]),
}

impl Rest {
    /// Begins a chunk, in whole pages. `low` masks the lower bits of a page.
    #[inline(always)]
    fn begin(&mut self, chunk: Chunk, low: u64) {
        // Only the ends of the list grow, because chunks inside the list are whole pages. No chunk
        // is longer than the window, which is shorter than 2^64.
        self.paddr = chunk.paddr & !low;
        self.left = (chunk.last_of_list() | low).wrapping_sub(self.paddr).wrapping_add(1);
    }

    /// The next call, if bytes are left: as many pages as fit.
    #[inline(always)]
    fn call(&mut self, (pgsize, pgcount): (u64, u64)) -> MapCall {
        let Self { iova, paddr, left } = *self;
        let length = pgsize * pgcount;
        // Wraps only after the last page of the 64-bit space, where nothing follows.
        self.iova = iova.wrapping_add(length);
        self.paddr = paddr.wrapping_add(length);
        self.left = left - length;
        MapCall { iova, paddr, pgsize, pgcount }
    }
}

/// Page size and count of the call that maps the start of a rest.
fn fit(sizes: PageSizes, iova: u64, paddr: u64, left: u64) -> (u64, u64) {
    // A rest is whole pages at page-aligned addresses, so the smallest page always fits.
    sizes.fit(iova, paddr, left).unwrap_or((sizes.granule(), 1))
}

/// As [`fit`], but not inlined: this rare case must not slow down the common one.
#[cold]
#[inline(never)]
fn fit_of_many(sizes: PageSizes, iova: u64, paddr: u64, left: u64) -> (u64, u64) {
    fit(sizes, iova, paddr, left)
}

impl<P: List> fmt::Debug for Plan<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("iova", &format_args!("{:#x}", self.rest.iova))
            .field("sizes", &self.sizes)
            .field("chunks", &self.chunks)
            .finish_non_exhaustive()
    }
}

impl<P: List> Iterator for Plan<'_, P> {
    type Item = MapCall;

    #[inline]
    fn next(&mut self) -> Option<MapCall> {
        while self.rest.left == 0 {
            self.rest.begin(self.chunks.next()?, self.sizes.granule() - 1);
        }
        let Rest { iova, paddr, left } = self.rest;
        Some(self.rest.call(fit(self.sizes, iova, paddr, left)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.chunks.len(), None)
    }

    fn fold<A, F: FnMut(A, MapCall) -> A>(mut self, start: A, f: F) -> A {
        self.fold_calls(start, f)
    }
}

impl<P: List> Plan<'_, P> {
    /// As `fold`, in place. The plan is at its end then.
    #[inline]
    pub(crate) fn fold_calls<A>(&mut self, start: A, mut f: impl FnMut(A, MapCall) -> A) -> A {
        let pgsize = self.sizes.granule();
        self.fold_parts(start, |mut acc, part| match part {
            Part::Call(call) => f(acc, call),
            Part::Pages(mut iova, pages) => {
                for &paddr in pages {
                    acc = f(acc, MapCall { iova, paddr, pgsize, pgcount: 1 });
                    iova = iova.wrapping_add(pgsize);
                }
                acc
            }
        })
    }
}

impl<P: List> FusedIterator for Plan<'_, P> {}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::granule::Granule;
    use crate::kind::Kind;
    use crate::list::builder::Builder;

    fn list(granule: u64, chunks: &[(u64, u64)]) -> Phyr {
        let mut builder = Builder::with(Granule::new(granule).unwrap(), Kind::Ram);
        for &(paddr, length) in chunks {
            builder.append(paddr, length).unwrap();
        }
        builder.finish()
    }

    fn sizes(bitmap: u64) -> PageSizes {
        PageSizes::new(bitmap).unwrap()
    }

    /// The fewest (entries, calls) that map one chunk, by trying every page at every place.
    fn fewest(bitmap: u64, iova: u64, paddr: u64, length: u64) -> (u64, u64) {
        // Best way to map what comes before each place, for each size of the last page.
        let length = usize::try_from(length).unwrap();
        let mut best = vec![[None; 64]; length + 1];
        best[0][63] = Some((0, 0));
        for (at, place) in (0..length).zip(0..) {
            for last in 0..64 {
                let Some((entries, calls)) = best[at][last] else { continue };
                for lg2 in (0..63).filter(|lg2| bitmap >> lg2 & 1 == 1) {
                    let aligned = ((iova + place) | (paddr + place)) % (1 << lg2) == 0;
                    if aligned && at + (1 << lg2) <= length {
                        let found = (entries + 1, calls + u64::from(last != lg2));
                        let slot = &mut best[at + (1 << lg2)][lg2];
                        *slot = Some(slot.map_or(found, |known: (u64, u64)| known.min(found)));
                    }
                }
            }
        }
        best[length].iter().flatten().min().copied().unwrap()
    }

    #[test]
    fn an_empty_list_needs_no_calls_wherever_it_would_be() {
        for iova in [0, 1, u64::MAX] {
            assert_eq!(Plan::new(&Phyr::default(), iova, sizes(1 << 12)).unwrap().next(), None);
        }
    }

    #[test]
    fn whole_pages_are_mapped_at_both_ends() {
        let phyr = list(4096, &[(0x7ff0, 0x10), (0x3000, 0x1)]);
        let calls: Vec<_> = Plan::new(&phyr, 0xff0, sizes(1 << 12)).unwrap().collect();
        assert_eq!(
            calls,
            [
                MapCall { iova: 0, paddr: 0x7000, pgsize: 4096, pgcount: 1 },
                MapCall { iova: 0x1000, paddr: 0x3000, pgsize: 4096, pgcount: 1 },
            ]
        );
    }

    #[test]
    fn the_last_page_of_either_space_can_be_mapped() {
        let top = u64::MAX - 0xfff;
        let phyr = list(4096, &[(0x1000, 0x1000), (top, 0x1000)]);
        let calls: Vec<_> = Plan::new(&phyr, top - 0x1000, sizes(1 << 12)).unwrap().collect();
        assert_eq!(calls[1], MapCall { iova: top, paddr: top, pgsize: 4096, pgcount: 1 });
        assert_eq!(
            Plan::new(&phyr, top, sizes(1 << 12)).err(),
            Some(Error::Window { iova: top, length: 0x2000 })
        );
    }

    #[test]
    fn a_window_of_all_addresses_is_refused() {
        let phyr = list(4096, &[(0, u64::MAX - 0xfff)]);
        assert!(Plan::new(&phyr, 0, sizes(1 << 12)).is_ok());
        let refused = Plan::new(&phyr, 0, sizes(1 << 20)).err();
        assert_eq!(refused, Some(Error::Window { iova: 0, length: u64::MAX - 0xfff }));
    }

    #[test]
    fn addresses_out_of_step_inside_the_smallest_page_are_refused() {
        let phyr = list(4096, &[(0x7010, 0x10)]);
        assert_eq!(
            Plan::new(&phyr, 0x1000, sizes(1 << 12)).err(),
            Some(Error::Skew { iova: 0x1000, paddr: 0x7010, align: 4096 })
        );
        assert!(Plan::new(&phyr, 0x1000, sizes(1 << 4)).is_ok());
    }

    #[test]
    fn chunks_that_end_inside_a_larger_page_cannot_be_mapped_linearly() {
        let phyr = list(4096, &[(0x1_f000, 0x1000), (0x3_0000, 0x1000), (0x5_0000, 0x1000)]);
        assert_eq!(
            Plan::new(&phyr, 0xf000, sizes(1 << 16)).err(),
            Some(Error::Block { paddr: 0x3_0000, length: 0x1000, align: 0x1_0000 })
        );
        let phyr = list(4096, &[(0x1_f000, 0x1000), (0x3_0000, 0x1000)]);
        assert_eq!(Plan::new(&phyr, 0xf000, sizes(1 << 16)).unwrap().count(), 2);
    }

    #[test]
    fn fold_goes_on_where_next_stopped() {
        let phyr = list(4096, &[(0x1f_d000, 0x100_0000), (0x9000, 0x1000)]);
        let plan = Plan::new(&phyr, 0x1f_d000, sizes(1 << 12 | 1 << 21)).unwrap();
        let calls: Vec<_> = plan.clone().fold(Vec::new(), |mut calls, call| {
            calls.push(call);
            calls
        });
        assert_eq!(calls.len(), 4);
        for taken in 0..4 {
            let mut rest = plan.clone();
            let mut found: Vec<_> = rest.by_ref().take(taken).collect();
            rest.for_each(|call| found.push(call));
            assert_eq!(found, calls);
        }
    }

    prop_compose! {
        /// Chunks of a list of granule 1, small enough to be tried byte by byte.
        fn layouts()(pieces in proptest::collection::vec((0_u64..512, 1_u64..90), 1..6))
            -> Vec<(u64, u64)> { pieces }
    }

    proptest! {
        #[test]
        fn a_plan_maps_every_byte_with_the_fewest_entries_and_calls(
            pieces in layouts(), bitmap in 0_u64..1 << 8, step in 0_u64..4, near in any::<bool>(),
        ) {
            let bitmap = bitmap | 1;
            let phyr = list(1, &pieces);
            let iova = if near { pieces[0].0 + (step << 6) } else { step * 33 };
            let plan = Plan::new(&phyr, iova, sizes(bitmap)).unwrap();
            let mut at = 0;
            let mut found = (0, 0);
            for call in plan.clone() {
                prop_assert_eq!(call.iova, iova + at);
                prop_assert!(bitmap & call.pgsize != 0 && call.pgcount > 0);
                prop_assert_eq!((call.iova | call.paddr) % call.pgsize, 0);
                for byte in 0..call.length() {
                    prop_assert_eq!(phyr.translate(at + byte), Ok(call.paddr + byte));
                }
                at += call.length();
                found = (found.0 + call.pgcount, found.1 + 1);
            }
            prop_assert_eq!(at, phyr.length());
            let mut position = 0;
            let fewest = phyr.chunks().fold((0, 0), |(entries, calls), chunk| {
                let (e, c) = fewest(bitmap, iova + position, chunk.paddr, chunk.length);
                position += chunk.length;
                (entries + e, calls + c)
            });
            prop_assert_eq!(found, fewest);
        }

        #[test]
        fn both_walks_agree(
            pieces in layouts(), bitmap in 0_u64..1 << 8, iova in 0_u64..300,
        ) {
            let phyr = list(1, &pieces);
            let plan = Plan::new(&phyr, iova, sizes(bitmap | 1)).unwrap();
            let mut calls = Vec::new();
            plan.clone().for_each(|call| calls.push(call));
            prop_assert!(plan.eq(calls));
        }

        #[test]
        fn the_plan_of_the_first_bytes_is_the_first_calls(
            pieces in layouts(), bitmap in 0_u64..1 << 8, iova in 0_u64..300,
        ) {
            let (phyr, sizes) = (list(1, &pieces), sizes(bitmap | 1));
            let calls: Vec<_> = Plan::new(&phyr, iova, sizes).unwrap().collect();
            for (number, call) in calls.iter().enumerate() {
                let done = call.iova - iova;
                let (before, after) = phyr.split_at(done).unwrap();
                prop_assert!(Plan::checked(&before, iova, sizes).eq(calls[..number].to_vec()));
                prop_assert!(
                    Plan::checked(&after, iova + done, sizes).eq(calls[number..].to_vec())
                );
            }
        }
    }
}
