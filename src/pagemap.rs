//! Records of Linux's `/proc/PID/pagemap`, decoded into lists.
//!
//! ```text
//! bit 63  the page is present: bits 0-54 are its page frame number
//! bit 62  the page is swapped out
//! bit 58  the page is a guard: nothing, for ever (such a record also has bit 62)
//! ```
//!
//! Source: `Documentation/admin-guide/mm/pagemap.rst`, `pagemap_read()` in `fs/proc/task_mmu.c`.

use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

use crate::addr::Granule;
use crate::builder::Builder;
use crate::entry::Run;
use crate::error::Error;
use crate::kind::Kind;
use crate::phyr::Phyr;

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const GUARD: u64 = 1 << 58;
const PFN: u64 = (1 << 55) - 1;

/// What stands behind a stretch of virtual memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Pages of RAM.
    Ram,
    /// Pages of a device.
    Device,
    /// The shared page of zeros: memory that was read but never written.
    Zero,
    /// Pages in swap, or on their way to another place.
    Swap,
    /// Nothing.
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
    /// What stands behind it.
    pub state: State,
    /// Its pages, where they are RAM or a device's.
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
    /// No list can hold the page, or its neighbours.
    Page {
        /// Virtual address of the page.
        uaddr: u64,
        /// Why not.
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
/// use phyr::{Granule, PagemapDecoder, State};
///
/// let present = |pfn: u64| 1 << 63 | pfn;
/// let mut decoder = PagemapDecoder::new(0x7f00_0000_0000, Granule::default());
/// decoder.feed(&[present(0x200), present(0x201), 0, present(9)])?;
/// let extents = decoder.finish();
/// assert_eq!(extents.len(), 3);
/// assert_eq!(extents[1].state, State::Hole);
/// assert_eq!(extents[2].uaddr, 0x7f00_0000_3000);
/// # Ok::<(), phyr::Hidden>(())
/// ```
#[derive(Debug)]
pub struct PagemapDecoder {
    granule: Granule,
    uaddr: u64,
    /// Page numbers of RAM and of zero pages, sorted; all is RAM where no RAM is named.
    ram: Option<Vec<RangeInclusive<u64>>>,
    zero: Vec<RangeInclusive<u64>>,
    /// The range of RAM that the last page was in.
    hint: RangeInclusive<u64>,
    join: bool,
    /// Finished extents, and the open one of each state; only one is open unless all are joined.
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
    /// A decoder for records of the pages from virtual address `uaddr` on; `granule` is the page
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

    /// Takes only addresses in `ranges` (first and last byte) for RAM, others for a device's.
    #[must_use]
    pub fn ram(mut self, ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        self.ram = Some(self.pfn_ranges(ranges));
        self.hint = RangeInclusive::new(1, 0);
        self
    }

    /// Takes addresses in `ranges` (first and last byte) for shared pages of zeros.
    #[must_use]
    pub fn zero(mut self, ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        self.zero = self.pfn_ranges(ranges);
        self
    }

    /// Joins what is in one state into one extent, wherever it lies.
    #[must_use]
    pub fn join(mut self) -> Self {
        self.join = true;
        self
    }

    fn pfn_ranges(&self, ranges: impl IntoIterator<Item = (u64, u64)>) -> Vec<RangeInclusive<u64>> {
        let pfn = |paddr| self.granule.floor(paddr);
        let mut ranges: Vec<_> =
            ranges.into_iter().map(|(first, last)| pfn(first)..=pfn(last)).collect();
        ranges.sort_by_key(|range| *range.start());
        ranges
    }

    /// Decodes more records.
    ///
    /// # Errors
    ///
    /// [`Hidden::Pfn`] at a page that is present but whose number is hidden, [`Hidden::Page`] at
    /// one that no list can hold; the records before it are decoded.
    pub fn feed(&mut self, records: &[u64]) -> Result<(), Hidden> {
        let mut rest = records;
        while let Some(&record) = rest.first() {
            let count = if record & PRESENT == 0 {
                let state = match record & (SWAPPED | GUARD) {
                    SWAPPED => State::Swap,
                    _ => State::Hole,
                };
                let kind = PRESENT | SWAPPED | GUARD;
                let same = |other: &&u64| **other & kind == record & kind;
                let count = rest.iter().take_while(same).count();
                self.add(state, count as u64, None)?;
                count
            } else {
                let mut expected = record & (PRESENT | PFN);
                let mut count = 0;
                // A run that grows out of the 55 bits ends there, since no masked record matches.
                while rest.get(count).is_some_and(|r| r & (PRESENT | PFN) == expected) {
                    expected += 1;
                    count += 1;
                }
                self.add_present(Run { pfn: record & PFN, nr_pages: count as u64 })?;
                count
            };
            rest = &rest[count..];
        }
        Ok(())
    }

    /// All extents, in the order of their addresses; joined, one for each state that occurs.
    #[must_use]
    pub fn finish(mut self) -> Vec<Extent> {
        for state in STATES {
            self.close(state);
        }
        self.extents
    }

    /// Adds present pages, sorted by what they are.
    fn add_present(&mut self, mut run: Run) -> Result<(), Hidden> {
        if run.pfn == 0 {
            return Err(Hidden::Pfn { uaddr: self.uaddr });
        }
        while run.nr_pages > 0 {
            let (state, last) = self.classify(run.pfn);
            let nr_pages = run.nr_pages.min((last - run.pfn).saturating_add(1));
            self.add(state, nr_pages, Some(run.pfn))?;
            run = Run { pfn: run.pfn + nr_pages, nr_pages: run.nr_pages - nr_pages };
        }
        Ok(())
    }

    /// What page `pfn` is, and the last page up to which that holds.
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
        // Without ranges, the hint covers everything.
        let ram = self.ram.as_deref().unwrap_or_default();
        let next = ram.partition_point(|range| *range.start() <= pfn);
        if let Some(range) = ram[..next].last().filter(|range| range.contains(&pfn)) {
            self.hint = range.clone();
            return (State::Ram, last.min(*range.end()));
        }
        let until = ram.get(next).map_or(u64::MAX, |range| range.start() - 1);
        (State::Device, last.min(until))
    }

    /// Adds pages of one state, and their numbers where they count.
    fn add(&mut self, state: State, nr_pages: u64, pfn: Option<u64>) -> Result<(), Hidden> {
        if self.current != Some(state) {
            if let Some(current) = self.current.filter(|_| !self.join) {
                self.close(current);
            }
            self.current = Some(state);
        }
        let uaddr = self.uaddr;
        let open = &mut self.open[state as usize];
        if open.nr_pages == 0 {
            open.uaddr = uaddr;
        }
        if let Some(pfn) = pfn.filter(|_| matches!(state, State::Ram | State::Device)) {
            let pages = open.builder.append_pfns(pfn, nr_pages);
            pages.map_err(|why| Hidden::Page { uaddr, why })?;
        }
        open.nr_pages = open.nr_pages.saturating_add(nr_pages);
        self.uaddr = uaddr.saturating_add(self.granule.to_bytes(nr_pages));
        Ok(())
    }

    fn close(&mut self, state: State) {
        let fresh = Open::new(self.granule, state);
        let Open { uaddr, nr_pages, builder } =
            core::mem::replace(&mut self.open[state as usize], fresh);
        if nr_pages > 0 {
            let listed = matches!(state, State::Ram | State::Device);
            let phyr = listed.then(|| builder.finish());
            let length = self.granule.to_bytes(nr_pages);
            self.extents.push(Extent { uaddr, length, state, phyr });
        }
    }
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
