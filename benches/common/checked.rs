//! Readers of descriptors as one would write them by hand: one loop over the words, that makes a `Vec` of
//! addresses and lengths. It joins neighbours, and trusts the words no more than phyr does; but a wrong
//! record has no name, and links may form a circle.

use crate::common::workloads::PAGE;

const PAGE_BYTES: usize = 4096;

/// Bytes of a `struct page`.
const STRUCT_SIZE: u64 = 64;

/// Ranges joined where they touch. Each has bytes, ends in the address space, and starts and ends at a
/// page where it does not touch the next; all bytes are fewer than 2^64.
pub(crate) fn merge(ranges: impl Iterator<Item = (u64, u64)>) -> Option<Vec<(u64, u64)>> {
    let mut merged = Merged::default();
    for (start, bytes) in ranges {
        merged.push(start, bytes)?;
    }
    Some(merged.ranges)
}

#[derive(Default)]
struct Merged {
    ranges: Vec<(u64, u64)>,
    total: u64,
}

impl Merged {
    #[inline]
    fn push(&mut self, start: u64, bytes: u64) -> Option<()> {
        start.checked_add(bytes.checked_sub(1)?)?;
        self.total = self.total.checked_add(bytes)?;
        match self.ranges.last_mut() {
            Some((paddr, length)) if paddr.wrapping_add(*length) == start => *length += bytes,
            Some((paddr, length)) if (paddr.wrapping_add(*length) | start) % PAGE != 0 => {
                return None;
            }
            _ => self.ranges.push((start, bytes)),
        }
        Some(())
    }
}

/// A scatterlist whose links, if it has any, lead to the next entry.
pub(crate) fn scatterlist(bytes: &[u8], vmemmap: u64) -> Option<Vec<(u64, u64)>> {
    let mut merged = Merged::default();
    for record in bytes.chunks_exact(32) {
        let link = word(record, 0);
        if link & 1 != 0 {
            continue;
        }
        let at = (link & !3).wrapping_sub(vmemmap);
        if at % STRUCT_SIZE != 0 {
            return None;
        }
        let page = (at / STRUCT_SIZE).checked_mul(PAGE)?;
        let offset_and_length = word(record, 8);
        merged.push(page.checked_add(offset_and_length & LOW)?, offset_and_length >> 32)?;
        if link & 2 != 0 {
            return Some(merged.ranges);
        }
    }
    None
}

/// An array of `phys_vec`.
pub(crate) fn phys_vecs(bytes: &[u8]) -> Option<Vec<(u64, u64)>> {
    merge(bytes.chunks_exact(16).map(|record| (word(record, 0), word(record, 8))))
}

/// The lower half of a word.
const LOW: u64 = 0xffff_ffff;

/// An NVMe SGL, read a page at a time.
pub(crate) fn sgl<E>(
    sgl1: [u8; 16],
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Option<Vec<(u64, u64)>> {
    let (mut merged, mut piece) = (Merged::default(), [0; PAGE_BYTES]);
    piece[..16].copy_from_slice(&sgl1);
    let (mut at, mut left, mut len) = (0, 0_u64, 16);
    loop {
        for record in piece[..len].chunks_exact(16) {
            let (address, length) = (word(record, 0), word(record, 8) & LOW);
            match record[15] {
                0x00 => merged.push(address, length)?,
                0x20 | 0x30 if left == 0 && length % 16 == 0 => (at, left) = (address, length),
                _ => return None,
            }
        }
        if left == 0 {
            return Some(merged.ranges);
        }
        len = usize::try_from(left).ok()?.min(PAGE_BYTES);
        read(at, &mut piece[..len]).ok()?;
        (at, left) = (at.checked_add(len as u64)?, left - len as u64);
    }
}

/// The PRP lists of a transfer of three whole pages or more, read a page at a time.
pub(crate) fn prp<E>(
    prp1: u64,
    prp2: u64,
    length: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Option<Vec<(u64, u64)>> {
    let (mut merged, mut piece) = (Merged::default(), [0; PAGE_BYTES]);
    merged.push(prp1, PAGE)?;
    let (mut list, mut left) = (prp2, usize::try_from(length / PAGE - 1).ok()?);
    while left > 0 {
        let is_last = left <= PAGE_BYTES / 8;
        let len = left.min(PAGE_BYTES / 8) * 8;
        read(list, &mut piece[..len]).ok()?;
        let data = if is_last { len } else { len - 8 };
        for entry in piece[..data].chunks_exact(8) {
            let page = word(entry, 0);
            if page % PAGE != 0 {
                return None;
            }
            merged.push(page, PAGE)?;
        }
        left -= data / 8;
        list = word(&piece, PAGE_BYTES - 8);
    }
    Some(merged.ranges)
}

fn word(record: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(record[at..at + 8].try_into().expect("eight bytes"))
}
