//! The system's allocator, with a count of what each thread asks of it.
//!
//! Counts are per thread, so tests that run at the same time do not see each other's.
#![expect(unsafe_code, reason = "an allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The allocator to install with `#[global_allocator]`.
#[derive(Debug)]
pub(crate) struct Counting;

/// The requests of a thread to the allocator between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Calls that gave a block; a block that was resized counts again.
    pub(crate) allocations: u64,
    /// Blocks given and not taken back. Negative where older ones were.
    pub(crate) blocks: i64,
    /// Bytes asked for in those blocks.
    pub(crate) asked: i64,
    /// Bytes those blocks take, allocator's header and rounding included.
    pub(crate) taken: i64,
    /// Bytes of the largest block asked for.
    pub(crate) largest: usize,
    /// The most bytes asked for in such blocks at any moment.
    pub(crate) peak: i64,
}

thread_local! {
    static COUNTS: Cell<Counts> = const {
        Cell::new(Counts { allocations: 0, blocks: 0, asked: 0, taken: 0, largest: 0, peak: 0 })
    };
}

/// Bytes that a block of `size` takes: a header of eight, rounded up to 16, and at least 32.
///
/// Source: `request2size()`, malloc/malloc.c, glibc.
fn taken(size: usize) -> i64 {
    i64::try_from((size + 8).next_multiple_of(16).max(32)).unwrap_or(i64::MAX)
}

/// Notes a block of `size` bytes that was given, or taken back.
fn note(size: usize, given: bool) {
    let mut counts = COUNTS.get();
    let sign = if given { 1 } else { -1 };
    counts.blocks += sign;
    counts.asked += sign * i64::try_from(size).unwrap_or(i64::MAX);
    counts.taken += sign * taken(size);
    if given {
        counts.allocations += 1;
        counts.largest = counts.largest.max(size);
        counts.peak = counts.peak.max(counts.asked);
    }
    COUNTS.set(counts);
}

/// Runs `work` and returns, beside its result, what this thread asked of the allocator meanwhile.
pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> (T, Counts) {
    let before = COUNTS.get();
    COUNTS.set(Counts { largest: 0, peak: before.asked, ..before });
    let result = work();
    let after = COUNTS.get();
    let (largest, peak) = (before.largest.max(after.largest), before.peak.max(after.peak));
    COUNTS.set(Counts { largest, peak, ..after });
    let counts = Counts {
        allocations: after.allocations - before.allocations,
        blocks: after.blocks - before.blocks,
        asked: after.asked - before.asked,
        taken: after.taken - before.taken,
        largest: after.largest,
        peak: after.peak - before.asked,
    };
    (result, counts)
}

// SAFETY: every call goes to `System` unchanged; counting neither allocates nor unwinds, since the
// thread's counts are initialised at compile time and have no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), true);
        // SAFETY: the caller answers for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), true);
        // SAFETY: the caller answers for the layout.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(layout.size(), false);
        // SAFETY: the caller answers for the block and the layout it was given with.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may exist for a moment.
        note(size, true);
        note(layout.size(), false);
        // SAFETY: the caller answers for the block, its layout and the new size.
        unsafe { System.realloc(block, layout, size) }
    }
}
