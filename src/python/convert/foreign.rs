//! Memory of other owners, who may write or read it while it is copied.
//!
//! The owner of a buffer, another thread or a device may change it at any moment. So every access
//! is atomic and relaxed: the bytes can be anything, but the access is not a data race. Whole words
//! are copied where both sides are aligned. An ordinary copy moves several words at a time and takes
//! about half as long.
#![expect(unsafe_code, reason = "memory of others has only an address")]

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::slices;

const WORD: usize = size_of::<u64>();

/// Copies `count` bytes from foreign memory to our own.
///
/// # Safety
///
/// `count` bytes are readable from `from` on; other code writes to them only by atomic operations,
/// or outside the knowledge of Rust. `count` bytes are writable from `to` on, and no other code
/// uses them.
pub(crate) unsafe fn read(from: *const u8, to: *mut u8, count: usize) {
    let head = from.align_offset(WORD).min(count);
    let words = (count - head) / WORD;
    let tail = head + words * WORD;
    let byte = |at: usize| {
        // SAFETY: `at` is below `count`.
        let from = unsafe { from.add(at) };
        // SAFETY: a readable byte, which others write as the caller promises.
        let byte = unsafe { &*from.cast::<AtomicU8>() }.load(Ordering::Relaxed);
        // SAFETY: `at` is below `count`.
        let to = unsafe { to.add(at) };
        // SAFETY: a writable byte that nobody else has.
        unsafe { to.write(byte) };
    };
    (0..head).for_each(byte);
    for at in (head..tail).step_by(WORD) {
        // SAFETY: a whole word is left from `at` on, within `count`.
        let from = unsafe { from.add(at) };
        // SAFETY: a readable, aligned word, which others write as the caller promises.
        #[expect(clippy::cast_ptr_alignment, reason = "`head` bytes lead up to an aligned word")]
        let word = unsafe { &*from.cast::<AtomicU64>() }.load(Ordering::Relaxed);
        // SAFETY: as above.
        let to = unsafe { to.add(at) };
        // SAFETY: eight writable bytes that nobody else has, which need no alignment.
        unsafe {
            to.cast::<u64>().write_unaligned(word);
        };
    }
    (tail..count).for_each(byte);
}

/// A word of memory of others.
///
/// # Safety
///
/// As for [`read`], of eight bytes.
#[inline]
pub(crate) unsafe fn word(from: *const u8) -> u64 {
    #[expect(clippy::cast_ptr_alignment, reason = "used only where it is aligned")]
    let at = from.cast::<AtomicU64>();
    if at.is_aligned() {
        // SAFETY: a readable, aligned word, which others write as the caller promises.
        return unsafe { &*at }.load(Ordering::Relaxed);
    }
    let mut bytes = [0; WORD];
    // SAFETY: as the caller promises; `bytes` is ours, and as long.
    unsafe { read(from, bytes.as_mut_ptr(), WORD) };
    u64::from_ne_bytes(bytes)
}

/// Copies memory of ours to memory of others.
///
/// # Safety
///
/// As many bytes are writable from `to` on; other code accesses them only by atomic operations, or
/// outside the knowledge of Rust. They do not overlap `from`.
pub(crate) unsafe fn write(from: &[u8], to: *mut u8) {
    let head = to.align_offset(WORD).min(from.len());
    let (first, rest) = from.split_at(head);
    let (words, last) = slices::arrays::<_, WORD>(rest);
    let byte = |(at, &byte): (usize, &u8)| {
        // SAFETY: `at` is below the length of `from`.
        let to = unsafe { to.add(at) };
        // SAFETY: a writable byte, which others access as the caller promises.
        unsafe { &*to.cast::<AtomicU8>() }.store(byte, Ordering::Relaxed);
    };
    first.iter().enumerate().for_each(byte);
    for (number, word) in words.iter().enumerate() {
        // SAFETY: a whole word is left there, within the length of `from`.
        let to = unsafe { to.add(head + number * WORD) };
        // SAFETY: a writable, aligned word, which others access as the caller promises.
        #[expect(clippy::cast_ptr_alignment, reason = "`head` bytes lead up to an aligned word")]
        unsafe { &*to.cast::<AtomicU64>() }.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
    }
    last.iter().zip(head + words.len() * WORD..).map(|(byte, at)| (at, byte)).for_each(byte);
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    /// Every length and both alignments, beside a plain copy.
    #[test]
    fn copies_are_those_of_a_plain_copy() {
        let from: Vec<u8> = (1..=40).collect();
        for (start, skew, count) in cases() {
            let mut to = vec![0; 64];
            // SAFETY: both are of ours, and long enough.
            unsafe { super::read(from[start..].as_ptr(), to[skew..].as_mut_ptr(), count) };
            let mut plain = vec![0; 64];
            plain[skew..skew + count].copy_from_slice(&from[start..start + count]);
            assert_eq!(to, plain, "read {start} {skew} {count}");
            to.fill(0);
            // SAFETY: as above.
            unsafe { super::write(&from[start..start + count], to[skew..].as_mut_ptr()) };
            assert_eq!(to, plain, "write {start} {skew} {count}");
        }
    }

    fn cases() -> impl Iterator<Item = (usize, usize, usize)> {
        (0..9).flat_map(|start| {
            (0..9).flat_map(move |skew| (0..32).map(move |count| (start, skew, count)))
        })
    }
}
