//! Pages of bytes by page number, in a radix tree. A page is present after it was written.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::small::small;
use crate::slices;
use crate::wide::wide;

/// Bytes in a page.
pub(super) const PAGE: usize = 4096;

/// Log2 of the children of a node. A node has 1 KiB, so one page alone costs little more than
/// itself.
const FAN_LG2: u32 = 6;
const FAN: usize = 1 << FAN_LG2;

/// One page of simulated memory. Its words are little-endian, as in the simulated machine.
#[derive(Debug)]
pub(super) struct Page(Box<[u8; PAGE]>);

/// Removed pages that are kept, to be used again without an allocation.
const SPARE: usize = 1024;

impl Page {
    /// A page of zeros; `None` if there is no memory for it.
    pub(super) fn zeroed() -> Option<Self> {
        filled(|| 0).map(Self)
    }

    pub(super) fn bytes(&self) -> &[u8; PAGE] {
        &self.0
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8; PAGE] {
        &mut self.0
    }

    /// The page as the 512 words of a table.
    pub(super) fn words(&self) -> &[[u8; 8]] {
        slices::arrays(self.bytes()).0
    }

    /// Returns true if every byte is 0.
    pub(super) fn is_blank(&self) -> bool {
        are_zero(self.words())
    }

    #[inline]
    pub(super) fn words_mut(&mut self) -> &mut [[u8; 8]] {
        slices::arrays_mut(self.bytes_mut()).0
    }
}

wide! {
    fn are_zero(words: &[[u8; 8]]) -> bool {
        words.iter().fold(0, |any, &word| any | u64::from_le_bytes(word)) == 0
    }
}

/// An array of the results of `make`; `None` if there is no memory for it.
fn filled<T, const N: usize>(make: impl FnMut() -> T) -> Option<Box<[T; N]>> {
    let mut items = Vec::new();
    items.try_reserve_exact(N).ok()?;
    items.resize_with(N, make);
    items.into_boxed_slice().try_into().ok()
}

#[derive(Debug)]
enum Slot {
    Empty,
    Node(Box<[Slot; FAN]>),
    Page(Page),
}

/// All pages of a memory that were written.
#[derive(Debug)]
pub(super) struct Store {
    root: Slot,
    /// Levels of nodes above the pages.
    depth: u32,
    nr_pages: u64,
    /// Removed pages with old bytes, and removed pages of zeros.
    spare: Vec<Page>,
    blank: Vec<Page>,
}

fn index(pfn: u64, level: u32) -> usize {
    // The number has six bits.
    small(pfn >> (FAN_LG2 * level)) & (FAN - 1)
}

impl Store {
    /// An empty store for page numbers below `nr_pages`.
    pub(super) fn new(nr_pages: u64) -> Self {
        let bits = u64::BITS - nr_pages.saturating_sub(1).leading_zeros();
        let (spare, blank) = (Vec::new(), Vec::new());
        Self { root: Slot::Empty, depth: bits.div_ceil(FAN_LG2), nr_pages: 0, spare, blank }
    }

    /// Pages present.
    pub(super) fn nr_pages(&self) -> u64 {
        self.nr_pages
    }

    /// The page with a number, if it is present.
    #[inline]
    pub(super) fn get(&self, pfn: u64) -> Option<&Page> {
        let (mut slot, mut level) = (&self.root, self.depth);
        loop {
            match slot {
                Slot::Empty => return None,
                Slot::Page(page) => return Some(page),
                Slot::Node(node) => {
                    level -= 1;
                    slot = &node[index(pfn, level)];
                }
            }
        }
    }

    /// The page with a number, for writing, if it is present.
    #[inline]
    pub(super) fn get_mut(&mut self, pfn: u64) -> Option<&mut Page> {
        let (mut slot, mut level) = (&mut self.root, self.depth);
        loop {
            match slot {
                Slot::Empty => return None,
                Slot::Page(page) => return Some(page),
                Slot::Node(node) => {
                    level -= 1;
                    slot = &mut node[index(pfn, level)];
                }
            }
        }
    }

    /// The page with a number. If it was not present, it is made of zeros; `None` if there is no
    /// memory for it.
    #[inline]
    pub(super) fn make(&mut self, pfn: u64) -> Option<&mut Page> {
        let mut slot = &mut self.root;
        for level in (0..self.depth).rev() {
            if matches!(slot, Slot::Empty) {
                *slot = Slot::Node(filled(|| Slot::Empty)?);
            }
            slot = match slot {
                Slot::Node(node) => &mut node[index(pfn, level)],
                other => other,
            };
        }
        if matches!(slot, Slot::Empty) {
            // Grow the lists here, so that removing pages does not need memory.
            for kept in [&mut self.spare, &mut self.blank] {
                kept.try_reserve_exact(SPARE - kept.len()).ok()?;
            }
            let spare = || {
                let mut page = self.spare.pop()?;
                page.bytes_mut().fill(0);
                Some(page)
            };
            let page = self.blank.pop().or_else(spare);
            *slot = Slot::Page(page.or_else(Page::zeroed)?);
            self.nr_pages += 1;
        }
        match slot {
            Slot::Page(page) => Some(page),
            Slot::Empty | Slot::Node(_) => unreachable!("page {pfn:#x} was just made"),
        }
    }

    /// Removes the pages `first..=last`, which must be in the store's range. The time grows with
    /// the pages present, not with the range. Allocates nothing.
    pub(super) fn remove(&mut self, first: u64, last: u64) {
        self.remove_to(first, last, |store| &mut store.spare);
    }

    /// As [`Self::remove`], for one page that the caller knows to hold only zeros.
    pub(super) fn remove_blank(&mut self, pfn: u64) {
        self.remove_to(pfn, pfn, |store| &mut store.blank);
    }

    fn remove_to(&mut self, first: u64, last: u64, kept: fn(&mut Self) -> &mut Vec<Page>) {
        // Taken out, because the tree is borrowed meanwhile.
        let mut pages = core::mem::take(kept(self));
        self.nr_pages -= clear(&mut self.root, self.depth, 0, (first, last), &mut |page| {
            if pages.len() < pages.capacity() {
                pages.push(page);
            }
        });
        *kept(self) = pages;
    }
}

/// Removes the pages in `range` (first and last page) from the slot whose pages start at `base`.
/// Passes each to `take` and returns their number.
fn clear(
    slot: &mut Slot,
    level: u32,
    base: u64,
    range: (u64, u64),
    take: &mut impl FnMut(Page),
) -> u64 {
    let mut removed = 0;
    if let Slot::Node(node) = slot {
        let span = 1_u64 << (FAN_LG2 * (level - 1));
        // The caller made sure that the range and the node have pages in common.
        let first = index(range.0.max(base), level - 1);
        let last = index(range.1.min(base + (span * FAN as u64 - 1)), level - 1);
        for (child, number) in node[first..=last].iter_mut().zip(first as u64..) {
            removed += clear(child, level - 1, base + number * span, range, take);
        }
        // From the end, because tables, which come and go, are the highest pages.
        if node.iter().rev().any(|child| !matches!(child, Slot::Empty)) {
            return removed;
        }
    }
    if let Slot::Page(page) = core::mem::replace(slot, Slot::Empty) {
        take(page);
        removed = 1;
    }
    removed
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn pages_appear_when_made_and_go_when_removed() {
        for nr_pages in [1, 2, 64, 65, 1 << 12, 1 << 40] {
            let mut store = Store::new(nr_pages);
            let mut oracle = BTreeSet::new();
            let mut state = 1_u64;
            for _ in 0..300 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let pfn = (state >> 20) % nr_pages;
                store.make(pfn).unwrap().bytes_mut()[7] = 1;
                oracle.insert(pfn);
                let last = pfn.saturating_add(state & 3).min(nr_pages - 1);
                if state & 0x100 != 0 {
                    store.remove(pfn, last);
                    oracle.retain(|&at| at < pfn || at > last);
                }
                assert_eq!(store.get(pfn).is_some(), oracle.contains(&pfn));
                assert_eq!(store.nr_pages(), oracle.len() as u64);
            }
            assert!(oracle.iter().all(|&pfn| store.get(pfn).unwrap().bytes()[7] == 1));
            store.remove(0, nr_pages - 1);
            assert!(matches!(store.root, Slot::Empty));
        }
    }
}
