//! Counts of what a domain did so far.

/// Counts of the calls to a [`SimDomain`](super::SimDomain) and of its work, since it was made.
///
/// A call that failed counts as a call only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls that map one run of pages.
    pub map_calls: u64,
    /// Calls that map a whole plan.
    pub batch_calls: u64,
    /// Calls that unmap.
    pub unmap_calls: u64,
    /// Table entries filled: leaves, and entries that point to a table.
    pub ptes_written: u64,
    /// Table entries emptied.
    pub ptes_cleared: u64,
    /// Pages that hold tables now, the root table included.
    pub table_pages: u64,
    /// Translations that were found in the IOTLB.
    pub iotlb_hits: u64,
    /// Translations that needed a walk of the tables.
    pub iotlb_misses: u64,
    /// Accesses that faulted.
    pub faults: u64,
}
