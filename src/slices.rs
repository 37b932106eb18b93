//! Steps on slices that the standard library does not take, or only in versions newer than the oldest one
//! that phyr supports.

use core::marker::PhantomData;
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

/// As [`bytes`], to write to.
#[inline(always)]
#[expect(unsafe_code, reason = "no safe function makes bytes of words")]
pub(crate) fn bytes_mut(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: as in `bytes`; any bytes are a word, and nothing else uses it from here on.
    unsafe { slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

/// Bytes that are copied at once. A C library may copy kilobytes by `rep movsb`, which on some processors
/// takes ten times as long where the two ends are not aligned alike.
pub(crate) const COPIED: usize = 512;

/// Copies as many bytes as both have.
#[inline]
pub(crate) fn copy(from: &[u8], to: &mut [u8]) {
    for (from, to) in from.chunks(COPIED).zip(to.chunks_mut(COPIED)) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }
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

/// Words of a slice, taken from the front. A loop takes an instruction less for each word than with
/// `slice::Iter`: the step to the next word also tells whether there is one.
#[derive(Clone)]
pub(crate) struct Queue<'a> {
    /// The end of the slice.
    end: *const u64,
    /// The words that are left, and one, below zero: the index from `end` of the word before the next.
    before: isize,
    words: PhantomData<&'a [u64]>,
}

// SAFETY: it stands for a shared slice of words, which all threads may read.
#[expect(unsafe_code, reason = "a slice may go to other threads")]
unsafe impl Send for Queue<'_> {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "as above")]
unsafe impl Sync for Queue<'_> {}

impl<'a> Queue<'a> {
    #[inline(always)]
    pub(crate) fn new(words: &'a [u64]) -> Self {
        let before = (-1_isize).wrapping_sub_unsigned(words.len());
        Self { end: words.as_ptr_range().end, before, words: PhantomData }
    }

    /// The words that are left.
    #[inline]
    #[expect(unsafe_code, reason = "no safe type counts up to the end of a slice")]
    pub(crate) fn as_slice(&self) -> &'a [u64] {
        let left = (!self.before).unsigned_abs();
        // SAFETY: `end` is the end of a slice that lives for `'a`, and so many of its words are left.
        unsafe { slice::from_raw_parts(self.end.wrapping_sub(left), left) }
    }

    /// Takes a word.
    #[inline(always)]
    #[expect(unsafe_code, reason = "no safe type counts up to the end of a slice")]
    pub(crate) fn next(&mut self) -> Option<u64> {
        let at = self.before.wrapping_add(1);
        if at == 0 {
            return None;
        }
        self.before = at;
        // SAFETY: the word is in the slice, which lives for `'a`: `at` is -1 for its last word, and for
        // its first what it was in `new`, or more.
        Some(unsafe { *self.end.wrapping_offset(at) })
    }
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
    use super::{COPIED, Queue, arrays, arrays_mut, copy, take_mut};

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
    fn a_queue_gives_each_word_once_in_order() {
        let words: [u64; 5] = core::array::from_fn(|at| at as u64 + 7);
        for len in 0..=words.len() {
            let mut queue = Queue::new(&words[..len]);
            for taken in 0..len {
                assert_eq!(queue.as_slice(), &words[taken..len]);
                assert_eq!(queue.clone().next(), Some(words[taken]));
                assert_eq!(queue.next(), Some(words[taken]));
            }
            for _ in 0..3 {
                assert_eq!(queue.next(), None);
                assert!(queue.as_slice().is_empty());
            }
        }
    }

    #[test]
    fn a_copy_is_as_long_as_the_shorter_of_both() {
        let from: [u8; 3 * COPIED] = core::array::from_fn(|at| at.to_le_bytes()[0] | 1);
        for (given, room) in
            [(0, 9), (9, 0), (COPIED, COPIED), (COPIED + 1, 2 * COPIED), (1500, 1100)]
        {
            let mut to = [0; 3 * COPIED];
            copy(&from[..given], &mut to[..room]);
            let copied = given.min(room);
            assert_eq!(to[..copied], from[..copied]);
            assert!(to[copied..].iter().all(|&byte| byte == 0));
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
