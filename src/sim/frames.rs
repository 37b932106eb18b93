//! The free pages of a memory, as runs in order.
//!
//! A frame that a table had can be given back without an allocation. It waits in a list that has
//! room for all frames that tables took, until another table takes it or the runs are changed for
//! another reason.

use alloc::vec::Vec;

use crate::error::NoMemory;
use crate::storage::sorted::Sorted;

/// The free page frames of a memory.
#[derive(Clone, Debug)]
pub(super) struct Frames {
    /// First page and number of pages of each run. Runs neither touch nor overlap.
    runs: Sorted<u64>,
    /// Number of free frames, those that wait included.
    nr_free: u64,
    /// Frames that tables gave back and that are not in a run yet, in any order.
    waiting: Vec<u64>,
    /// Frames that tables have, by [`table_key`]. Together with the waiting frames, they fit in `waiting`.
    tables: Sorted<()>,
}

impl Frames {
    /// Frames `first..end`, all free.
    pub(super) fn new(first: u64, end: u64) -> Result<Self, NoMemory> {
        let nr_free = end - first;
        let mut runs = Sorted::default();
        if nr_free > 0 {
            runs.insert(first, nr_free)?;
        }
        Ok(Self { runs, nr_free, waiting: Vec::new(), tables: Sorted::default() })
    }

    /// Number of free frames, contiguous or not.
    pub(super) fn nr_free(&self) -> u64 {
        self.nr_free
    }

    /// Number of runs, without the frames that wait.
    pub(super) fn nr_runs(&self) -> usize {
        self.runs.len()
    }

    /// Moves the waiting frames into the runs, so that the runs hold all free frames. If it fails,
    /// those that are left wait on.
    fn settle(&mut self) -> Result<(), NoMemory> {
        // The highest first: they are taken from the end.
        self.waiting.sort_unstable_by(|one, other| other.cmp(one));
        while let Some(&first) = self.waiting.last() {
            let run = self.waiting.chunk_by(|high, low| low + 1 == *high).next_back();
            let count = run.map_or(1, <[u64]>::len);
            self.add(first, count as u64)?;
            // The list keeps its capacity, which is needed again.
            self.waiting.truncate(self.waiting.len() - count);
        }
        Ok(())
    }

    /// Makes room, so that the next `count` calls of [`Self::take`] or [`Self::put`] cannot fail.
    pub(super) fn reserve(&mut self, count: usize) -> Result<(), NoMemory> {
        self.settle()?;
        self.runs.reserve(count)
    }

    /// Frees the room that was reserved and not used.
    pub(super) fn trim(&mut self) {
        self.runs.trim();
    }

    /// The run that holds frame `pfn`: its first frame, and the frame after its last.
    fn run_of(&self, pfn: u64) -> Option<(u64, u64)> {
        let (start, &count) = self.runs.at_or_before(pfn)?;
        (pfn < start + count).then_some((start, start + count))
    }

    /// Returns true if all these frames are free. Those that wait do not count: see
    /// [`Self::reserve`].
    pub(super) fn are_free(&self, pfn: u64, count: u64) -> bool {
        self.run_of(pfn).is_some_and(|(_, end)| count <= end - pfn)
    }

    /// Returns true if none of these frames is free. Those that wait do not count.
    pub(super) fn are_taken(&self, pfn: u64, count: u64) -> bool {
        let before = self.runs.at_or_before(pfn + count - 1);
        before.is_none_or(|(start, &nr_pages)| start + nr_pages <= pfn)
    }

    /// Takes these frames if all of them are free. Returns true if it did.
    pub(super) fn take(&mut self, pfn: u64, count: u64) -> Result<bool, NoMemory> {
        self.settle()?;
        let Some((start, end)) = self.run_of(pfn) else { return Ok(false) };
        if count > end - pfn {
            return Ok(false);
        }
        let (before, next) = (pfn - start, pfn + count);
        match (before, end - next) {
            (0, 0) => {
                self.runs.remove(start);
            }
            (0, after) => self.runs.replace(start, next, after),
            (_, 0) => self.runs.replace(start, start, before),
            (_, after) => {
                self.runs.insert(next, after)?;
                self.runs.replace(start, start, before);
            }
        }
        self.nr_free -= count;
        Ok(true)
    }

    /// Gives these frames back if none of them is free. Returns true if it did.
    pub(super) fn put(&mut self, pfn: u64, count: u64) -> Result<bool, NoMemory> {
        self.settle()?;
        if !self.are_taken(pfn, count) {
            return Ok(false);
        }
        self.add(pfn, count)?;
        self.nr_free += count;
        Ok(true)
    }

    /// Adds frames, none of which is in a run, to the runs.
    fn add(&mut self, pfn: u64, count: u64) -> Result<(), NoMemory> {
        let end = pfn + count;
        let before = self.runs.at_or_before(pfn).filter(|&(run, &nr)| run + nr == pfn);
        let before = before.map(|(run, &nr)| (run, nr));
        let after = self.runs.at_or_before(end).filter(|&(run, _)| run == end).map(|(_, &nr)| nr);
        match (before, after) {
            (Some((run, nr)), after) => {
                if after.is_some() {
                    self.runs.remove(end);
                }
                self.runs.replace(run, run, nr + count + after.unwrap_or(0));
            }
            (None, Some(after)) => self.runs.replace(end, pfn, count + after),
            (None, None) => self.runs.insert(pfn, count)?,
        }
        Ok(())
    }

    /// Takes the lowest run of `count` frames that starts at a multiple of `align` and ends at or
    /// before `end`. The time grows with the number of free runs.
    pub(super) fn first_fit(
        &mut self,
        count: u64,
        align: u64,
        end: u64,
    ) -> Result<Option<u64>, NoMemory> {
        self.settle()?;
        let fit = |(start, &nr_pages): (u64, &u64)| {
            let pfn = start.checked_next_multiple_of(align)?;
            let need = pfn.checked_add(count)?;
            (need <= end && need <= start + nr_pages).then_some(pfn)
        };
        let Some(pfn) = self.runs.iter().find_map(fit) else { return Ok(None) };
        self.take(pfn, count)?;
        Ok(Some(pfn))
    }

    /// Takes a frame for a table, and makes room to give it back: one that waits, else the highest
    /// free frame. Returns `None` if there is no free frame, or no memory for that room.
    pub(super) fn take_table(&mut self) -> Option<u64> {
        self.waiting.try_reserve(self.tables.len() + 1).ok()?;
        let waiting = self.waiting.last().copied();
        let (run, nr_pages) = match waiting {
            Some(pfn) => (pfn, 1),
            None => self.runs.at_or_before(u64::MAX).map(|(run, &nr_pages)| (run, nr_pages))?,
        };
        let pfn = run + nr_pages - 1;
        self.tables.insert(table_key(pfn), ()).ok()?;
        match (waiting, nr_pages) {
            (Some(_), _) => drop(self.waiting.pop()),
            (None, 1) => drop(self.runs.remove(run)),
            (None, _) => self.runs.replace(run, run, nr_pages - 1),
        }
        self.nr_free -= 1;
        Some(pfn)
    }

    /// Gives back a frame, if a table has it. Allocates nothing. Returns true if it did.
    ///
    /// A user who writes to the tables can make them name any frame, and one frame twice.
    pub(super) fn put_table(&mut self, pfn: u64) -> bool {
        // A user may have freed it.
        let is_table = self.tables.remove(table_key(pfn)).is_some() && self.run_of(pfn).is_none();
        if is_table {
            self.waiting.push(pfn);
            self.nr_free += 1;
        }
        is_table
    }

    /// Finds a free block of `count` frames that starts at a multiple of `count`, ends at or before
    /// `end` and does not start at `not`. Searches from frame `from` on, then from the start.
    ///
    /// Those that wait do not count.
    pub(super) fn block_from(&self, from: u64, count: u64, end: u64, not: u64) -> Option<u64> {
        let fit = |(start, &nr_pages): (u64, &u64)| {
            let limit = end.min(start + nr_pages);
            let mut pfn = start.checked_next_multiple_of(count)?;
            if pfn == not {
                pfn += count;
            }
            (pfn.checked_add(count)? <= limit).then_some(pfn)
        };
        // The run that holds `from` in its middle comes last: the second search finds it.
        let before = || self.runs.iter().take_while(|&(start, _)| start < from).find_map(fit);
        self.runs.from(from).find_map(fit).or_else(before)
    }
}

/// The key of a frame of a table. Tables take descending frames, and ascending keys are stored faster.
fn table_key(pfn: u64) -> u64 {
    u64::MAX - pfn
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// The oracle: one flag a frame.
    fn free(flags: &[bool]) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (pfn, _) in flags.iter().enumerate().filter(|(_, free)| **free) {
            let pfn = pfn as u64;
            match runs.last_mut() {
                Some((start, count)) if *start + *count == pfn => *count += 1,
                _ => runs.push((pfn, 1)),
            }
        }
        runs
    }

    #[test]
    fn taking_and_putting_agree_with_a_flag_a_frame() {
        let mut frames = Frames::new(1, 100).unwrap();
        let mut flags = [true; 100];
        flags[0] = false;
        let mut tables = [false; 100];
        let mut state = 9_u64;
        for _ in 0..5000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (pfn, count) = ((state >> 33) % 99 + 1, (state >> 50) % 8 + 1);
            let range = usize::try_from(pfn).unwrap()..usize::try_from(pfn + count).unwrap();
            let all = |wanted| {
                range.end <= 100 && flags[range.clone()].iter().all(|&free| free == wanted)
            };
            if state & 0xe_0000 == 0 {
                let waiting = frames.waiting.last().copied();
                if let Some(pfn) = frames.take_table() {
                    let highest = flags.iter().rposition(|&free| free);
                    assert_eq!(waiting.or(highest.map(|at| at as u64)), Some(pfn));
                    flags[usize::try_from(pfn).unwrap()] = false;
                    tables[usize::try_from(pfn).unwrap()] = true;
                }
            } else if state & 0xe_0000 == 0x2_0000 {
                let room = frames.waiting.capacity();
                let free = &mut flags[range.start];
                let done = frames.put_table(pfn);
                assert_eq!(done, core::mem::take(&mut tables[range.start]) && !*free);
                *free |= done;
                assert_eq!(room, frames.waiting.capacity());
            } else if state & 0x1_0000 == 0 {
                let done = frames.take(pfn, count).unwrap();
                assert_eq!(done, all(true));
                if done {
                    flags[range].fill(false);
                }
            } else if range.end <= 100 {
                let done = frames.put(pfn, count).unwrap();
                assert_eq!(done, all(false));
                if done {
                    flags[range].fill(true);
                }
            }
            assert_eq!(frames.nr_free(), flags.iter().filter(|free| **free).count() as u64);
            assert!(frames.waiting.len() + frames.tables.len() <= frames.waiting.capacity());
            let mut frames = frames.clone();
            frames.settle().unwrap();
            assert!(frames.runs.iter().map(|(a, &b)| (a, b)).eq(free(&flags)));
        }
    }

    #[test]
    fn first_fit_is_the_lowest_that_fits() {
        let mut frames = Frames::new(1, 64).unwrap();
        assert_eq!(frames.first_fit(2, 4, 64).unwrap(), Some(4));
        assert_eq!(frames.first_fit(3, 1, 64).unwrap(), Some(1));
        assert_eq!(frames.first_fit(3, 1, 8).unwrap(), None);
        assert_eq!(frames.first_fit(2, 1, 8).unwrap(), Some(6));
        assert_eq!(frames.take_table(), Some(63));
        assert_eq!(frames.first_fit(56, 1, 64).unwrap(), None);
        assert_eq!(frames.first_fit(55, 1, 64).unwrap(), Some(8));
        assert_eq!((frames.take_table(), frames.nr_free()), (None, 0));
    }
}
