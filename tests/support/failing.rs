//! An allocator that fails when a test says so.
#![expect(unsafe_code, reason = "the contract of an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

/// The system's allocator, which fails when told to.
struct Failing;

thread_local! {
    /// Allocations to come before those that fail.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    /// Allocations less deallocations.
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

/// Returns true if the next allocation is to succeed.
fn allows() -> bool {
    let left = LEFT.get();
    if left != usize::MAX {
        LEFT.set(left.saturating_sub(1));
    }
    left > 0
}

// SAFETY: does what the system's allocator does, or returns null, as an allocator may.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !allows() {
            return ptr::null_mut();
        }
        LIVE.set(LIVE.get() + 1);
        // SAFETY: the caller keeps the same contract with us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - 1);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !allows() {
            return ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// Allocations less deallocations, of this thread.
#[allow(dead_code, reason = "not every test file asks")]
pub(crate) fn live() -> i64 {
    LIVE.get()
}

/// Does `work` while all allocations but the first `k` fail.
pub(crate) fn with<T>(k: usize, work: impl FnOnce() -> T) -> T {
    LEFT.set(k);
    let result = work();
    LEFT.set(usize::MAX);
    result
}

/// Does `work` with ever more allocations until it succeeds, and gives the result and how often it
/// failed. Whatever failed has kept nothing.
pub(crate) fn each<T, E>(
    mut work: impl FnMut() -> Result<T, E>,
    is_memory: impl Fn(&E) -> bool,
) -> (T, usize) {
    for k in 0.. {
        let before = LIVE.get();
        match with(k, &mut work) {
            Ok(result) => return (result, k),
            Err(why) => {
                assert!(is_memory(&why), "allocation {k}");
                drop(why);
                assert_eq!(LIVE.get(), before, "allocation {k}");
            }
        }
    }
    unreachable!("there is a number of allocations")
}
