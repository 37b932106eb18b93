//! Values by number, in order, in blocks: like a `BTreeMap`, but a failed allocation is an error.
//!
//! ```text
//! firsts   3            90           400            the first key of each block
//!          |            |            |
//! blocks   3 7 20 61    90 91 105    400 512 513   at most `MOST` entries each, never none
//! ```
//!
//! A search takes O(log n). An insertion moves at most the entries of one block and, if the block was
//! full, the list of blocks. A removal allocates nothing.

use alloc::vec::Vec;

use crate::error::{NoMemory, expect_memory};

/// Bytes of a full block, unless a single entry is larger.
const BLOCK: usize = 4096;

/// A map from numbers to values.
#[derive(Debug)]
pub(crate) struct Sorted<V> {
    firsts: Vec<u64>,
    blocks: Vec<Vec<(u64, V)>>,
    /// Empty blocks, to be used before a new one is made.
    spare: Vec<Vec<(u64, V)>>,
    len: usize,
}

/// Where an entry is, or would be.
#[derive(Clone, Copy)]
struct Spot {
    block: usize,
    at: usize,
}

impl<V> Default for Sorted<V> {
    fn default() -> Self {
        Self { firsts: Vec::new(), blocks: Vec::new(), spare: Vec::new(), len: 0 }
    }
}

impl<V> Sorted<V> {
    /// Most entries of a block.
    const MOST: usize =
        if BLOCK / size_of::<(u64, V)>() > 8 { BLOCK / size_of::<(u64, V)>() } else { 8 };

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The place of the first entry of `key` or more, in the block where `key` belongs. It may be the
    /// end of that block.
    fn seek(&self, key: u64) -> Spot {
        let block = self.firsts.partition_point(|&first| first <= key).saturating_sub(1);
        let entries = self.blocks.get(block).map_or(&[][..], Vec::as_slice);
        Spot { block, at: entries.partition_point(|entry| entry.0 < key) }
    }

    /// The place of the last entry of at most `key`.
    fn seek_back(&self, key: u64) -> Option<Spot> {
        let block = self.firsts.partition_point(|&first| first <= key).checked_sub(1)?;
        // The block starts at or before the key, so at least one entry does.
        let entries = self.blocks.get(block)?;
        let at = entries.partition_point(|entry| entry.0 <= key).checked_sub(1)?;
        Some(Spot { block, at })
    }

    /// The last entry of at most `key`.
    pub(crate) fn at_or_before(&self, key: u64) -> Option<(u64, &V)> {
        let Spot { block, at } = self.seek_back(key)?;
        let (key, value) = self.blocks.get(block)?.get(at)?;
        Some((*key, value))
    }

    /// The first entry of at least `key`.
    pub(crate) fn at_or_after(&self, key: u64) -> Option<(u64, &V)> {
        self.from(key).next()
    }

    /// The entries of at least `key`, in order.
    pub(crate) fn from(&self, key: u64) -> impl Iterator<Item = (u64, &V)> {
        let Spot { block, at } = self.seek(key);
        let (first, rest) = match self.blocks.get(block..) {
            Some([first, rest @ ..]) => (first.get(at..).unwrap_or_default(), rest),
            _ => (&[][..], &[][..]),
        };
        first.iter().chain(rest.iter().flatten()).map(|(key, value)| (*key, value))
    }

    /// All entries, in order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &V)> {
        self.blocks.iter().flatten().map(|(key, value)| (*key, value))
    }

    /// Makes room, so that the next `count` insertions cannot fail, with any removals in between.
    ///
    /// Only a full block is cut, into halves. So each block is cut once at most, and each half only
    /// after half a block's insertions; the last block may be left full at its end instead.
    ///
    /// # Errors
    ///
    /// There is no memory; nothing has changed.
    pub(crate) fn reserve(&mut self, count: usize) -> Result<(), NoMemory> {
        let cuts = (self.blocks.len() + 1).saturating_add(count.div_ceil(Self::MOST / 3));
        let wanted = count.min(cuts);
        if self.spare.len() >= wanted {
            return Ok(());
        }
        room(&mut self.firsts, wanted)?;
        room(&mut self.blocks, wanted)?;
        // Room for every block, so that none is lost when it becomes empty.
        let nr_blocks = self.blocks.len() + wanted;
        let more = nr_blocks.saturating_sub(self.spare.len());
        room(&mut self.spare, more)?;
        while self.spare.len() < wanted {
            let mut entries = Vec::new();
            let made = entries.try_reserve_exact(Self::MOST);
            made.map_err(|_| NoMemory::of::<(u64, V)>(Self::MOST))?;
            self.spare.push(entries);
        }
        Ok(())
    }

    /// Frees the room that was reserved and not used.
    #[cfg(feature = "sim")]
    pub(crate) fn trim(&mut self) {
        self.spare.truncate(2);
    }

    /// Inserts a value, or replaces that of the key.
    ///
    /// # Errors
    ///
    /// There is no memory; nothing has changed.
    pub(crate) fn insert(&mut self, key: u64, value: V) -> Result<(), NoMemory> {
        let Spot { block, at } = self.seek(key);
        let known = self.blocks.get_mut(block).and_then(|entries| entries.get_mut(at));
        if let Some(known) = known.filter(|known| known.0 == key) {
            known.1 = value;
            return Ok(());
        }
        self.reserve(1)?;
        self.len += 1;
        let nr_blocks = self.blocks.len();
        match self.blocks.get_mut(block) {
            Some(entries) if entries.len() < Self::MOST => {
                insert(entries, at, (key, value));
                self.note_first(block);
            }
            Some(first) => {
                let second = self.spare.pop().unwrap_or_default();
                let is_last = block + 1 == nr_blocks;
                let second = Self::cut(first, second, is_last, at, (key, value));
                insert(&mut self.firsts, block + 1, second.first().map_or(key, |entry| entry.0));
                insert(&mut self.blocks, block + 1, second);
                self.note_first(block);
            }
            None => {
                let mut entries = self.spare.pop().unwrap_or_default();
                entries.push((key, value));
                self.firsts.push(key);
                self.blocks.push(entries);
            }
        }
        Ok(())
    }

    /// Inserts an entry at `at` into a full block, which is cut in two. Returns the second, which is made
    /// of an empty block with room.
    #[cold]
    fn cut(
        first: &mut Vec<(u64, V)>,
        mut second: Vec<(u64, V)>,
        is_last: bool,
        at: usize,
        entry: (u64, V),
    ) -> Vec<(u64, V)> {
        // Entries that come in ascending order leave full blocks behind them.
        let len = first.len();
        let cut = if is_last && at >= len { len } else { len / 2 };
        second.extend(first.drain(cut..));
        if at < cut {
            insert(first, at, entry);
        } else {
            insert(&mut second, at - cut, entry);
        }
        second
    }

    /// Writes down the first key of a block again, if it has entries.
    fn note_first(&mut self, block: usize) {
        let entry = self.blocks.get(block).and_then(|entries| entries.first());
        if let (Some(first), Some(entry)) = (self.firsts.get_mut(block), entry) {
            *first = entry.0;
        }
    }

    /// Removes the entry of `key`. Allocates nothing.
    pub(crate) fn remove(&mut self, key: u64) -> Option<V> {
        let Spot { block, at } = self.seek(key);
        let entries = self.blocks.get_mut(block)?;
        if entries.get(at)?.0 != key {
            return None;
        }
        let (_, value) = entries.remove(at);
        self.len -= 1;
        if !entries.is_empty() {
            self.note_first(block);
        } else if block < self.firsts.len() && block < self.blocks.len() {
            self.firsts.remove(block);
            let empty = self.blocks.remove(block);
            if self.spare.len() < self.spare.capacity() {
                self.spare.push(empty);
            }
        }
        Some(value)
    }

    /// Gives the entry of `key`, which must be there, another key and value. There must be no entry in
    /// between. Allocates nothing.
    pub(crate) fn replace(&mut self, key: u64, new: u64, value: V) {
        let Spot { block, at } = self.seek(key);
        let entry = self.blocks.get_mut(block).and_then(|entries| entries.get_mut(at));
        let known = entry.as_ref().map(|entry| entry.0);
        debug_assert_eq!(known, Some(key), "entry {at} of block {block}");
        if let Some(entry) = entry {
            *entry = (new, value);
        }
        self.note_first(block);
    }

    /// The same map with copies of the values.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub(crate) fn try_clone(&self) -> Result<Self, NoMemory>
    where
        V: Clone,
    {
        let mut copy = Self::default();
        for (key, value) in self.iter() {
            copy.insert(key, value.clone())?;
        }
        Ok(copy)
    }
}

impl<V: Clone> Clone for Sorted<V> {
    /// Copies the map.
    ///
    /// # Panics
    ///
    /// Panics if there is no memory.
    fn clone(&self) -> Self {
        expect_memory(self.try_clone().map_err(Into::into))
    }
}

/// Inserts an item before item `at`, or as the last one if there are no more.
fn insert<T>(items: &mut Vec<T>, at: usize, item: T) {
    debug_assert!(at <= items.len(), "item {at} of {}", items.len());
    items.insert(at.min(items.len()), item);
}

/// Makes room for so many items more.
fn room<T>(items: &mut Vec<T>, more: usize) -> Result<(), NoMemory> {
    items.try_reserve(more).map_err(|_| NoMemory::of::<T>(items.len() + more))
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;

    /// Values so large that a block has 8 entries.
    type Large = [u64; 90];

    fn check(sorted: &Sorted<Large>, oracle: &BTreeMap<u64, Large>) {
        assert_eq!(sorted.len(), oracle.len());
        assert!(sorted.iter().eq(oracle.iter().map(|(&key, value)| (key, value))));
        assert!(sorted.iter().rev().eq(oracle.iter().rev().map(|(&key, value)| (key, value))));
        assert!(sorted.firsts.iter().eq(sorted.blocks.iter().map(|entries| &entries[0].0)));
        assert!(sorted.blocks.iter().all(|entries| entries.len() <= Sorted::<Large>::MOST));
    }

    #[test]
    fn it_agrees_with_the_map_of_the_library() {
        let mut sorted = Sorted::<Large>::default();
        let mut oracle = BTreeMap::new();
        let mut state = 5_u64;
        for step in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (key, value) = ((state >> 40) % 300, [state; 90]);
            // First it grows, later it shrinks.
            if (state >> 33) % 100 < if step < 10_000 { 55 } else { 40 } {
                sorted.insert(key, value).unwrap();
                oracle.insert(key, value);
            } else {
                assert_eq!(sorted.remove(key), oracle.remove(&key));
            }
            let known = oracle.range(..=key).next_back().map(|(&key, value)| (key, value));
            assert_eq!(sorted.at_or_before(key), known);
            let known = oracle.range(key..).map(|(&key, value)| (key, value));
            assert!(sorted.from(key).eq(known));
            if step % 64 == 0 {
                check(&sorted, &oracle);
                check(&sorted.clone(), &oracle);
            }
        }
    }

    #[test]
    fn entries_in_order_fill_their_blocks() {
        let mut sorted = Sorted::<u64>::default();
        (0..10_000).for_each(|key| sorted.insert(key, key).unwrap());
        assert_eq!(sorted.blocks.len(), 10_000_usize.div_ceil(Sorted::<u64>::MOST));
        sorted.replace(256, 256, 9);
        assert_eq!(sorted.at_or_before(256), Some((256, &9)));
    }

    #[test]
    fn reserved_insertions_allocate_nothing() {
        for count in [1_u64, 2, 7, 100, 5000] {
            let mut state = count;
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 30) % 2000
            };
            let mut sorted = Sorted::<Large>::default();
            (0..500).for_each(|_| sorted.insert(next(), [0; 90]).unwrap());
            sorted.reserve(usize::try_from(count).unwrap()).unwrap();
            let (blocks, firsts) =
                (sorted.blocks.len() + sorted.spare.len(), sorted.firsts.capacity());
            for _ in 0..count {
                sorted.insert(next(), [0; 90]).unwrap();
                sorted.remove(next());
                sorted.remove(next());
            }
            assert_eq!(sorted.blocks.len() + sorted.spare.len(), blocks);
            assert_eq!(sorted.firsts.capacity(), firsts);
            sorted.trim();
            assert!(sorted.spare.len() <= 2);
        }
    }
}
