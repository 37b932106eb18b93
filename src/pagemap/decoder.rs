//! Records of Linux's `/proc/PID/pagemap`, decoded into lists.
//!
//! A present page is RAM, a device's, or the shared page of zeros. The page number tells which: the
//! caller gives the ranges of each.

use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

use crate::error::{Error, NoMemory, expect_memory};
use crate::granule::Granule;
use crate::kind::Kind;
use crate::list::builder::Builder;
use crate::list::phyr::Phyr;
use crate::pagemap::records::{self, BLOCK_RECORDS, PFN, PRESENT};
use crate::storage::entry::Run;

/// The state of a stretch of virtual memory: where its pages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Pages of RAM.
    Ram,
    /// Pages of a device.
    Device,
    /// The shared page of zeros: memory that was read but never written.
    Zero,
    /// Pages in swap, or pages that the kernel is migrating.
    Swap,
    /// No page.
    Hole,
}

const STATES: [State; 5] = [State::Ram, State::Device, State::Zero, State::Swap, State::Hole];

/// A stretch of virtual memory in one state; from [`PagemapDecoder::finish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Virtual address of its first byte.
    pub uaddr: u64,
    /// Bytes.
    pub length: u64,
    /// The state of all its pages.
    pub state: State,
    /// Its pages, if they are RAM or a device's.
    pub phyr: Option<Phyr>,
}

/// A record that cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hidden {
    /// The page is present but its number is hidden: reading it needs `CAP_SYS_ADMIN`.
    Pfn {
        /// Virtual address of the page.
        uaddr: u64,
    },
    /// A page that no list can hold, or not next to the pages before it; or there is no memory.
    Page {
        /// Virtual address of the page.
        uaddr: u64,
        /// The reason.
        why: Error,
    },
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pfn { uaddr } => write!(
                f,
                "the page at {uaddr:#x} is present but the kernel hides its number: reading page \
                 numbers needs CAP_SYS_ADMIN"
            ),
            Self::Page { uaddr, why } => write!(f, "the page at {uaddr:#x}: {why}"),
        }
    }
}

impl core::error::Error for Hidden {}

/// Decodes page-map records, in any number of pieces, into extents.
///
/// # Examples
///
/// ```
/// use phyr::Granule;
/// use phyr::pagemap::{PagemapDecoder, State};
///
/// let present = |pfn: u64| 1 << 63 | pfn;
/// let mut decoder = PagemapDecoder::new(0x7f00_0000_0000, Granule::default());
/// decoder.feed(&[present(0x200), present(0x201), 0, present(9)])?;
/// let extents = decoder.finish();
/// assert_eq!(extents.len(), 3);
/// assert_eq!(extents[1].state, State::Hole);
/// assert_eq!(extents[2].uaddr, 0x7f00_0000_3000);
/// # Ok::<(), phyr::pagemap::Hidden>(())
/// ```
#[derive(Debug)]
pub struct PagemapDecoder {
    granule: Granule,
    uaddr: u64,
    /// Page numbers of RAM and of zero pages, sorted. If no RAM is named, every page is RAM.
    ram: Option<Vec<RangeInclusive<u64>>>,
    zero: Vec<RangeInclusive<u64>>,
    /// The range of RAM that held the last page; the next page is often in it too.
    hint: RangeInclusive<u64>,
    join: bool,
    /// Finished extents, and the open one of each state. More than one is open only if extents are
    /// joined.
    extents: Vec<Extent>,
    open: [Open; 5],
    current: Option<State>,
}

#[derive(Debug)]
struct Open {
    uaddr: u64,
    nr_pages: u64,
    builder: Builder,
}

impl PagemapDecoder {
    /// A decoder for records of the pages from virtual address `uaddr` on. `granule` is the page
    /// size of the kernel. All present pages count as RAM.
    #[must_use]
    pub fn new(uaddr: u64, granule: Granule) -> Self {
        Self {
            granule,
            uaddr,
            ram: None,
            zero: Vec::new(),
            hint: 0..=u64::MAX,
            join: false,
            extents: Vec::new(),
            open: STATES.map(|state| Open::new(granule, state)),
            current: None,
        }
    }

    /// Only addresses in `ranges` (first and last byte) count as RAM; other present pages are a
    /// device's.
    ///
    /// # Panics
    ///
    /// Panics if there is no memory; [`Self::try_ram`] returns an error instead.
    #[must_use]
    pub fn ram(self, ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        expect_memory(self.try_ram(ranges))
    }

    /// As [`Self::ram`].
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn try_ram(mut self, ranges: impl IntoIterator<Item = (u64, u64)>) -> Result<Self, Error> {
        self.ram = Some(self.pfn_ranges(ranges)?);
        self.hint = RangeInclusive::new(1, 0);
        Ok(self)
    }

    /// Addresses in `ranges` (first and last byte) count as the shared page of zeros.
    ///
    /// # Panics
    ///
    /// Panics if there is no memory; [`Self::try_zero`] returns an error instead.
    #[must_use]
    pub fn zero(self, ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        expect_memory(self.try_zero(ranges))
    }

    /// As [`Self::zero`].
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn try_zero(mut self, ranges: impl IntoIterator<Item = (u64, u64)>) -> Result<Self, Error> {
        self.zero = self.pfn_ranges(ranges)?;
        Ok(self)
    }

    /// Joins all pages of one state into one extent, even if they are not neighbours.
    #[must_use]
    pub fn join(mut self) -> Self {
        self.join = true;
        self
    }

    /// The page numbers of ranges of addresses, sorted and merged, so that each page is in one range at
    /// most and pages in ranges can be counted.
    fn pfn_ranges(
        &self,
        ranges: impl IntoIterator<Item = (u64, u64)>,
    ) -> Result<Vec<RangeInclusive<u64>>, NoMemory> {
        let mut sorted: Vec<RangeInclusive<u64>> = Vec::new();
        for (first, last) in ranges {
            let range = self.granule.floor(first)..=self.granule.floor(last);
            if !range.is_empty() {
                let room = sorted.try_reserve(1);
                room.map_err(|_| NoMemory::of::<RangeInclusive<u64>>(sorted.len() + 1))?;
                sorted.push(range);
            }
        }
        sorted.sort_unstable_by_key(|range| *range.start());
        sorted.dedup_by(|next, last| {
            let joins = next.start() <= last.end();
            if joins {
                *last = *last.start()..=*last.end().max(next.end());
            }
            joins
        });
        Ok(sorted)
    }

    /// Decodes more records.
    ///
    /// # Errors
    ///
    /// [`Hidden::Pfn`] for a page that is present but whose number is hidden; [`Hidden::Page`] for
    /// a page that no list can hold. The records before that page are decoded.
    pub fn feed(&mut self, records: &[u64]) -> Result<(), Hidden> {
        records.chunks(BLOCK_RECORDS).try_for_each(|block| self.feed_block(block))
    }

    /// Decodes a block at once if all its pages are absent in one way, are one run, or are all RAM,
    /// as in most blocks. Otherwise decodes it in smaller pieces.
    fn feed_block(&mut self, block: &[u64]) -> Result<(), Hidden> {
        let Some(&record) = block.first() else { return Ok(()) };
        if record & PRESENT == 0 && records::is_one_state(block) {
            return self.add(absent(record), block.len() as u64, None);
        }
        if records::is_one_run(block) {
            return self.add_present(Run { pfn: record & PFN, nr_pages: block.len() as u64 });
        }
        let mut pfns = [0; BLOCK_RECORDS];
        let pfns = &mut pfns[..block.len().min(BLOCK_RECORDS)];
        let all_ram = records::is_all_ram(block, pfns, self.ram.as_deref(), &self.zero);
        if all_ram && self.add_ram(pfns).is_ok() || self.add_among_holes(block, pfns) {
            return Ok(());
        }
        // The block is mixed, or has a page that no list can hold; decoding one by one finds that
        // page.
        let mut rest = block;
        while let Some(&record) = rest.first() {
            let count = if record & PRESENT == 0 {
                let state = absent(record);
                let same = |r: &&u64| **r & PRESENT == 0 && absent(**r) == state;
                let count = rest.iter().take_while(same).count();
                self.add(state, count as u64, None)?;
                count
            } else {
                let mut expected = record & (PRESENT | PFN);
                let mut count = 0;
                // A run that grows past 55 bits ends there, because no masked record equals such a
                // number.
                while rest.get(count).is_some_and(|r| r & (PRESENT | PFN) == expected) {
                    expected += 1;
                    count += 1;
                }
                self.add_present(Run { pfn: record & PFN, nr_pages: count as u64 })?;
                count
            };
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Takes the next `nr_pages` as a hole, without their records: the kernel's `PAGEMAP_SCAN` says
    /// where nothing is.
    ///
    /// # Errors
    ///
    /// [`Hidden::Page`]: there is no memory. Nothing was taken then.
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::Granule;
    /// use phyr::pagemap::{PagemapDecoder, State};
    ///
    /// let mut decoder = PagemapDecoder::new(0, Granule::default());
    /// decoder.skip(1 << 31)?;
    /// decoder.feed(&[1 << 63 | 0x200])?;
    /// let extents = decoder.finish();
    /// assert_eq!((extents[0].state, extents[0].length), (State::Hole, 8 << 40));
    /// assert_eq!((extents[1].state, extents[1].uaddr), (State::Ram, 8 << 40));
    /// # Ok::<(), phyr::pagemap::Hidden>(())
    /// ```
    pub fn skip(&mut self, nr_pages: u64) -> Result<(), Hidden> {
        if nr_pages > 0 {
            let uaddr = self.uaddr;
            self.enter(State::Hole).map_err(|why| Hidden::Page { uaddr, why })?;
            self.advance(State::Hole, nr_pages);
        }
        Ok(())
    }

    /// Adds pages if all of them are RAM, else nothing.
    fn add_ram(&mut self, pfns: &[u64]) -> Result<(), Error> {
        self.enter(State::Ram)?;
        self.open[State::Ram as usize].builder.extend_pfns(pfns)?;
        self.advance(State::Ram, pfns.len() as u64);
        Ok(())
    }

    /// Adds a block of nothing but RAM and holes if extents are joined and both have begun: then it
    /// does not matter which page is where. Otherwise adds nothing, and returns false.
    fn add_among_holes(&mut self, block: &[u64], pfns: &mut [u64]) -> bool {
        let has_begun = |state| self.open[state as usize].nr_pages > 0;
        if !(self.join && has_begun(State::Ram) && has_begun(State::Hole)) {
            return false;
        }
        let mut present = [0; BLOCK_RECORDS];
        let (mut count, mut is_swapped) = (0, false);
        for &record in block {
            // Below that: a mask that changes nothing says so to the compiler.
            present[count % BLOCK_RECORDS] = record;
            count += usize::from(record & PRESENT != 0);
            is_swapped |= record & PRESENT == 0 && records::is_swapped(record);
        }
        let pfns = pfns.get_mut(..count).unwrap_or_default();
        let present = present.get(..count).unwrap_or_default();
        let all_ram = records::is_all_ram(present, pfns, self.ram.as_deref(), &self.zero);
        if is_swapped || !all_ram || self.add_ram(pfns).is_err() {
            return false;
        }
        self.advance(State::Hole, (block.len() - count) as u64);
        true
    }

    /// All extents in the order of their addresses. If extents are joined: one for each state that
    /// occurs.
    ///
    /// # Panics
    ///
    /// Panics if there is no memory; [`Self::try_finish`] returns an error instead.
    #[must_use]
    pub fn finish(mut self) -> Vec<Extent> {
        expect_memory(self.try_finish())
    }

    /// As [`Self::finish`]. The decoder then has no extents, and goes on at the next address.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]; the decoder keeps all that it decoded.
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::Granule;
    /// use phyr::pagemap::PagemapDecoder;
    ///
    /// let mut decoder = PagemapDecoder::new(0x1000, Granule::default());
    /// decoder.feed(&[1 << 63 | 7])?;
    /// assert_eq!(decoder.try_finish()?.len(), 1);
    /// decoder.feed(&[1 << 63 | 9])?;
    /// assert_eq!(decoder.try_finish()?[0].uaddr, 0x2000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_finish(&mut self) -> Result<Vec<Extent>, Error> {
        for state in STATES {
            self.close(state)?;
        }
        self.current = None;
        let mut extents = core::mem::take(&mut self.extents);
        // A stable sort would allocate. No two extents have one address.
        extents.sort_unstable_by_key(|extent| extent.uaddr);
        Ok(extents)
    }

    /// Adds present pages, split by state.
    fn add_present(&mut self, mut run: Run) -> Result<(), Hidden> {
        if run.pfn == 0 {
            return Err(Hidden::Pfn { uaddr: self.uaddr });
        }
        while run.nr_pages > 0 {
            let (state, last) = self.classify(run.pfn);
            // Up to the last that a list can hold, so that the error names the first it cannot.
            let held = self.granule.reach().saturating_sub(run.pfn).max(1);
            let nr_pages = run.nr_pages.min((last - run.pfn).saturating_add(1)).min(held);
            self.add(state, nr_pages, Some(run.pfn))?;
            run = Run { pfn: run.pfn + nr_pages, nr_pages: run.nr_pages - nr_pages };
        }
        Ok(())
    }

    /// The state of page `pfn`, and the last page up to which that state holds.
    fn classify(&mut self, pfn: u64) -> (State, u64) {
        let mut last = u64::MAX;
        for zero in &self.zero {
            if zero.contains(&pfn) {
                return (State::Zero, *zero.end());
            }
            if *zero.start() > pfn {
                last = last.min(zero.start() - 1);
            }
        }
        if self.hint.contains(&pfn) {
            return (State::Ram, last.min(*self.hint.end()));
        }
        // If there are no ranges, the hint covers everything.
        let ram = self.ram.as_deref().unwrap_or_default();
        let next = ram.partition_point(|range| *range.start() <= pfn);
        if let Some(range) = ram[..next].last().filter(|range| range.contains(&pfn)) {
            self.hint = range.clone();
            return (State::Ram, last.min(*range.end()));
        }
        let until = ram.get(next).map_or(u64::MAX, |range| range.start() - 1);
        (State::Device, last.min(until))
    }

    /// Adds pages of one state, and their numbers if the state has pages.
    fn add(&mut self, state: State, nr_pages: u64, pfn: Option<u64>) -> Result<(), Hidden> {
        let uaddr = self.uaddr;
        self.enter(state).map_err(|why| Hidden::Page { uaddr, why })?;
        if let Some(pfn) = pfn.filter(|_| matches!(state, State::Ram | State::Device)) {
            let pages = self.open[state as usize].builder.append_pfns(pfn, nr_pages);
            pages.map_err(|why| Hidden::Page { uaddr, why })?;
        }
        self.advance(state, nr_pages);
        Ok(())
    }

    /// Makes `state` the current one. If it fails, nothing has changed.
    fn enter(&mut self, state: State) -> Result<(), Error> {
        if self.current != Some(state) {
            if let Some(current) = self.current.filter(|_| !self.join) {
                self.close(current)?;
            }
            self.current = Some(state);
        }
        let open = &mut self.open[state as usize];
        if open.nr_pages == 0 {
            open.uaddr = self.uaddr;
        }
        Ok(())
    }

    fn advance(&mut self, state: State, nr_pages: u64) {
        let open = &mut self.open[state as usize];
        open.nr_pages = open.nr_pages.saturating_add(nr_pages);
        let bytes = nr_pages.saturating_mul(self.granule.bytes());
        self.uaddr = self.uaddr.saturating_add(bytes);
    }

    /// Ends the open extent of a state. If it fails, nothing has changed.
    fn close(&mut self, state: State) -> Result<(), Error> {
        let Open { uaddr, nr_pages, ref mut builder } = self.open[state as usize];
        if nr_pages > 0 {
            let room = self.extents.try_reserve(1);
            room.map_err(|_| NoMemory::of::<Extent>(self.extents.len() + 1))?;
            let listed = matches!(state, State::Ram | State::Device);
            let phyr = if listed { Some(builder.try_finish()?) } else { None };
            // More pages of holes than there are addresses end with the addresses.
            let length = self.granule.to_bytes(nr_pages.min(u64::MAX >> self.granule.lg2()));
            self.extents.push(Extent { uaddr, length, state, phyr });
            self.open[state as usize].nr_pages = 0;
        }
        Ok(())
    }
}

/// The state of a page that is not present.
fn absent(record: u64) -> State {
    if records::is_swapped(record) { State::Swap } else { State::Hole }
}

impl Open {
    fn new(granule: Granule, state: State) -> Self {
        let kind = match state {
            State::Device => Kind::Mmio { provider: 0 },
            _ => Kind::Ram,
        };
        Self { uaddr: 0, nr_pages: 0, builder: Builder::with(granule, kind) }
    }
}
