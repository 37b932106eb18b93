//! Immutable items with shared ownership: like `Arc<[T]>`, but a failed allocation is an error.
//!
//! ```text
//!  pointer -> | count of owners | item 0 | item 1 | ...       one allocation
//! ```
//!
//! `Arc` aborts the process if there is no memory, and its fallible constructors are not stable.
#![expect(unsafe_code, reason = "shared ownership is made of raw pointers")]

use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::error::NoMemory;

/// Items in one allocation, which is freed when its last owner is dropped.
pub(crate) struct Shared<T> {
    /// Start of the allocation: the count of owners.
    count: NonNull<AtomicUsize>,
    len: usize,
    items: PhantomData<T>,
}

// SAFETY: as for `Arc`: threads share the items by reference, and the last owner drops them on
// whatever thread it is.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as above; a shared reference can be cloned to an owner.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Bytes before the first item.
    pub(crate) const HEADER: usize = size_of::<AtomicUsize>();

    /// The layout of `len` items behind their count.
    fn layout(len: usize) -> Result<Layout, NoMemory> {
        const { assert!(align_of::<T>() <= Self::HEADER, "items follow the count") };
        let size = size_of::<T>().checked_mul(len).and_then(|size| size.checked_add(Self::HEADER));
        size.and_then(|size| Layout::from_size_align(size, align_of::<AtomicUsize>()).ok())
            .ok_or(NoMemory { bytes: u64::MAX })
    }

    /// Allocates memory for one item, then makes it. If the allocation fails, it is not made.
    ///
    /// # Errors
    ///
    /// There is no memory.
    #[inline]
    pub(crate) fn try_one(make: impl FnOnce() -> T) -> Result<Self, NoMemory> {
        let count = Self::allocate(1)?;
        let item = make();
        // SAFETY: the layout has room for one item, aligned as the count is, and it is nobody else's.
        unsafe { Self::first(count).write(item) };
        Ok(Self { count, len: 1, items: PhantomData })
    }

    /// Copies the items of two slices, one after the other.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub(crate) fn try_join(items: &[T], more: &[T]) -> Result<Self, NoMemory>
    where
        T: Clone,
    {
        // There is no layout of so many items that their number does not fit.
        let len = items.len().saturating_add(more.len());
        let count = Self::allocate(len)?;
        for (index, item) in items.iter().chain(more).enumerate() {
            // SAFETY: the layout has room for the count and `len` items; `index` is below that.
            let to = unsafe { Self::first(count).add(index) };
            // SAFETY: `to` is inside the allocation, aligned as the count is, and nobody else's.
            unsafe { to.write(item.clone()) };
        }
        Ok(Self { count, len, items: PhantomData })
    }

    /// Allocates memory for `len` items, and writes the count of one owner.
    #[expect(clippy::cast_ptr_alignment, reason = "the layout is aligned as the count is")]
    fn allocate(len: usize) -> Result<NonNull<AtomicUsize>, NoMemory> {
        let layout = Self::layout(len)?;
        // SAFETY: the layout has at least the bytes of the count.
        let start = unsafe { alloc(layout) };
        let count = NonNull::new(start.cast::<AtomicUsize>())
            .ok_or(NoMemory { bytes: layout.size() as u64 })?;
        // SAFETY: the layout starts with the count, and it is nobody else's.
        unsafe { count.write(AtomicUsize::new(1)) };
        Ok(count)
    }

    /// A pointer to the first item of an allocation.
    fn first(count: NonNull<AtomicUsize>) -> *mut T {
        // The result is inside the allocation, or at its end.
        count.as_ptr().wrapping_add(1).cast::<T>()
    }

    fn owners(&self) -> &AtomicUsize {
        // SAFETY: an owner keeps the allocation alive, and the count was written when it was made.
        unsafe { self.count.as_ref() }
    }

    /// Returns true if both share one allocation.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.count == other.count
    }
}

impl<T> Deref for Shared<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: all `len` items were written when this was made, nobody changes them, and an owner
        // keeps them alive.
        unsafe { slice::from_raw_parts(Self::first(self.count), self.len) }
    }
}

/// Shared ownership of one item.
#[derive(Debug)]
pub(crate) struct One<T>(Shared<T>);

impl<T> One<T> {
    /// Makes the item after its memory was allocated.
    pub(crate) fn try_new(make: impl FnOnce() -> T) -> Result<Self, NoMemory> {
        Shared::try_one(make).map(Self)
    }

    /// Returns true if both share one allocation.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
    }
}

impl<T> Deref for One<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: there is one item: only `try_new` makes a `One`. The rest as for `Shared`.
        unsafe { &*Shared::first(self.0.count) }
    }
}

impl<T> Clone for One<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// More owners are possible only if clones were forgotten, not dropped. The count is then far from 0
/// for good, and the items are never dropped, as with the kernel's `refcount_t`.
const MOST_OWNERS: usize = usize::MAX / 2;
/// Above the number of owners by half of that, however many of them are dropped.
const SATURATED: usize = usize::MAX / 4 * 3;

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // The cloned reference keeps the items alive, so no memory ordering is needed.
        if self.owners().fetch_add(1, Ordering::Relaxed) > MOST_OWNERS {
            self.owners().store(SATURATED, Ordering::Relaxed);
        }
        Self { ..*self }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if self.owners().fetch_sub(1, Ordering::Release) > 1 {
            return;
        }
        // Everything that other owners did with the items happens before the items are dropped. A
        // fence would do as well, but ThreadSanitizer does not see those.
        self.owners().load(Ordering::Acquire);
        let items = ptr::slice_from_raw_parts_mut(Self::first(self.count), self.len);
        // SAFETY: this was the last owner, and the items are dropped nowhere else.
        unsafe { ptr::drop_in_place(items) };
        if let Ok(layout) = Self::layout(self.len) {
            // SAFETY: `allocate` made it, with the same layout.
            unsafe { dealloc(self.count.as_ptr().cast::<u8>(), layout) };
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::vec::Vec;
    use std::thread;

    use super::*;

    struct Counted<'a>(&'a AtomicUsize, usize);

    impl Clone for Counted<'_> {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Ordering::Relaxed);
            Self(self.0, self.1)
        }
    }

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn items_live_until_the_last_owner_is_dropped() {
        for len in [0, 1, 3, 510] {
            let alive = AtomicUsize::new(0);
            let make = |number| {
                alive.fetch_add(1, Ordering::Relaxed);
                Counted(&alive, number)
            };
            let items: Vec<_> = (0..len).map(make).collect();
            let (first, more) = items.split_at(len / 3);
            let shared = Shared::try_join(first, more).unwrap();
            assert_eq!(alive.load(Ordering::Relaxed), 2 * len);
            drop(items);
            let other = shared.clone();
            assert!(shared.is_same(&other));
            drop(shared);
            assert_eq!(alive.load(Ordering::Relaxed), len);
            assert!(other.iter().map(|item| item.1).eq(0..len));
            drop(other);
            assert_eq!(alive.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn threads_share_and_drop_the_items() {
        let shared = Shared::try_join(&[1_u64, 2, 3].map(Box::new), &[]).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || {
                    let sum = |shared: &Shared<Box<u64>>| -> u64 {
                        shared.iter().map(|item| **item).sum()
                    };
                    (0..1000).map(|_| sum(&shared.clone())).sum::<u64>()
                })
            })
            .collect();
        drop(shared);
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 6000));
    }

    #[test]
    fn items_with_too_many_owners_are_kept() {
        let alive = AtomicUsize::new(1);
        let shared = Shared::try_one(|| Counted(&alive, 0)).unwrap();
        for (owners, after) in [(MOST_OWNERS, MOST_OWNERS + 1), (MOST_OWNERS + 1, SATURATED)] {
            shared.owners().store(owners, Ordering::Relaxed);
            let other = shared.clone();
            assert_eq!(shared.owners().load(Ordering::Relaxed), after);
            drop(other);
            assert_eq!(shared.owners().load(Ordering::Relaxed), after - 1);
            assert_eq!(alive.load(Ordering::Relaxed), 1);
        }
        // There is one, in truth.
        shared.owners().store(1, Ordering::Relaxed);
        drop(shared);
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn more_than_there_can_be_is_an_error() {
        assert!(Shared::<u64>::allocate(usize::MAX).is_err());
        assert!(Shared::<u64>::allocate(usize::MAX / 16).is_err());
    }
}
