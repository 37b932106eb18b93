//! Steps on slices that the standard library does not take, or only in versions newer than the oldest one
//! that phyr supports.

use core::mem;
use core::slice;

/// The whole arrays of `N` items at the start of a slice, and the items that are left.
///
/// As `slice::as_chunks` of Rust 1.88.
#[inline(always)]
#[expect(unsafe_code, reason = "no safe function of Rust 1.85 makes arrays of a slice")]
pub(crate) fn arrays<T, const N: usize>(items: &[T]) -> (&[[T; N]], &[T]) {
    const { assert!(N > 0, "arrays without items") };
    let nr_arrays = items.len() / N;
    let (whole, rest) = items.split_at(nr_arrays * N);
    // SAFETY: `whole` has `nr_arrays * N` items, which lie as in so many arrays of `N`.
    (unsafe { slice::from_raw_parts(whole.as_ptr().cast(), nr_arrays) }, rest)
}

/// The bytes of words, as they lie in memory.
#[inline(always)]
#[expect(unsafe_code, reason = "no safe function makes bytes of words")]
pub(crate) fn bytes(words: &[u64]) -> &[u8] {
    // SAFETY: a word is so many bytes, each of them set, and bytes may lie anywhere.
    unsafe { slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

/// As [`arrays`], to write to.
#[inline(always)]
#[expect(unsafe_code, reason = "no safe function of Rust 1.85 makes arrays of a slice")]
pub(crate) fn arrays_mut<T, const N: usize>(items: &mut [T]) -> (&mut [[T; N]], &mut [T]) {
    const { assert!(N > 0, "arrays without items") };
    let nr_arrays = items.len() / N;
    let (whole, rest) = items.split_at_mut(nr_arrays * N);
    // SAFETY: `whole` has `nr_arrays * N` items, which lie as in so many arrays of `N`; nothing else
    // uses it from here on.
    (unsafe { slice::from_raw_parts_mut(whole.as_mut_ptr().cast(), nr_arrays) }, rest)
}

/// Asks for the cache line of item `at`, which will be read or written soon. Without effect on machines
/// that cannot be asked.
#[inline(always)]
#[cfg_attr(
    all(target_arch = "x86_64", target_feature = "sse"),
    expect(unsafe_code, reason = "no safe function of Rust 1.85 asks for a cache line")
)]
pub(crate) fn fetch<T>(items: &[T], at: usize) {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse"))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the target has the instruction, and no address is wrong for it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(items.as_ptr().wrapping_add(at).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse")))]
    let _ = (items, at);
}

/// Takes `count` items off the start of a slice. Returns `None`, and takes nothing, if it has fewer.
///
/// As `split_off(..count)` of Rust 1.87.
#[cfg(feature = "sim")]
#[inline]
pub(crate) fn take<'a, T>(items: &mut &'a [T], count: usize) -> Option<&'a [T]> {
    if count > items.len() {
        return None;
    }
    let (first, rest) = items.split_at(count);
    *items = rest;
    Some(first)
}

/// As [`take`], to write to.
#[inline]
#[expect(clippy::mut_mut, reason = "the slice becomes a shorter one")]
pub(crate) fn take_mut<'a, T>(items: &mut &'a mut [T], count: usize) -> Option<&'a mut [T]> {
    if count > items.len() {
        return None;
    }
    let (first, rest) = mem::take(items).split_at_mut(count);
    *items = rest;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::{arrays, arrays_mut, take_mut};

    #[test]
    fn a_slice_is_whole_arrays_and_a_rest() {
        for len in 0..12 {
            let mut items: [u64; 12] = core::array::from_fn(|at| at as u64);
            let items = &mut items[..len];
            let (whole, rest) = arrays::<_, 4>(items);
            assert_eq!((whole.len(), rest.len()), (len / 4, len % 4));
            assert_eq!([whole.as_flattened(), rest].concat(), items);
            let copy = items.to_vec();
            let (whole, rest) = arrays_mut::<_, 4>(items);
            whole.iter_mut().flatten().chain(rest).for_each(|item| *item += 1);
            assert!(items.iter().zip(copy).all(|(new, old)| *new == old + 1));
        }
    }

    #[test]
    fn items_are_taken_off_the_start() {
        let mut items = [1, 2, 3];
        let mut rest = &mut items[..];
        assert_eq!(take_mut(&mut rest, 2), Some(&mut [1, 2][..]));
        assert_eq!(take_mut(&mut rest, 0), Some(&mut [][..]));
        assert_eq!(rest, [3]);
        assert_eq!(take_mut(&mut rest, 2), None);
        assert_eq!(rest, [3]);
    }
}
