//! Records of Linux's `/proc/PID/pagemap`, and tests of whole blocks of them.
//!
//! ```text
//! bit 63     the page is present
//! bit 62     the page is swapped out
//! bit 58     the page is a guard: never present (such a record also has bit 62)
//! bits 54-0  the page frame number of a present page, 0 where it is hidden
//! ```
//!
//! Source: `Documentation/admin-guide/mm/pagemap.rst`, `pagemap_read()` in `fs/proc/task_mmu.c`.

use core::ops::RangeInclusive;

use crate::wide::wide;

pub(crate) const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const GUARD: u64 = 1 << 58;
pub(crate) const PFN: u64 = (1 << 55) - 1;

/// Records decoded at a time: as many as a page table has.
pub(crate) const BLOCK_RECORDS: usize = 512;

/// Returns true if the page of this record, which is not present, is in swap.
pub(crate) fn is_swapped(record: u64) -> bool {
    record & (SWAPPED | GUARD) == SWAPPED
}

/// Returns true if no page of a block is present, all for the same reason.
pub(crate) fn is_one_state(block: &[u64]) -> bool {
    block.first().is_some_and(|&record| record & PRESENT == 0 && is_like(block, record))
}

wide! {
    /// Returns true if all pages of a block are as that of `record`, which is not present.
    fn is_like(block: &[u64], record: u64) -> bool {
        let differ = block.iter().fold(0, |differ, other| differ | (other ^ record));
        differ & (PRESENT | SWAPPED | GUARD) == 0
    }
}

wide! {
    /// Returns true if a block is one run of present pages.
    pub(crate) fn is_one_run(block: &[u64]) -> bool {
        let Some(&first) = block.first() else { return false };
        let last = block[block.len() - 1];
        let first = first & (PRESENT | PFN);
        let more = block.len() as u64 - 1;
        // The first and the last record rule out most blocks that are not a run.
        if first & PRESENT == 0 || last & (PRESENT | PFN) != first.wrapping_add(more) {
            return false;
        }
        let mut expected = first;
        let mut differ = 0;
        for record in block {
            differ |= (record & (PRESENT | PFN)) ^ expected;
            expected = expected.wrapping_add(1);
        }
        differ == 0
    }
}

wide! {
    /// Returns true if all pages of a block are present, in `ram` (sorted ranges; anywhere if not
    /// given) and not in `zero`. Then `pfns`, which is as long as the block, holds their numbers.
    #[expect(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "55 bits fit")]
    pub(crate) fn is_all_ram(
        block: &[u64],
        pfns: &mut [u64],
        ram: Option<&[RangeInclusive<u64>]>,
        zero: &[RangeInclusive<u64>],
    ) -> bool {
        let (mut all, mut low, mut high) = (u64::MAX, i64::MAX, 0_i64);
        for (pfn, record) in pfns.iter_mut().zip(block) {
            *pfn = record & PFN;
            all &= record;
            // Signed, because wide registers compare signed numbers. 55 bits fit.
            low = low.min(*pfn as i64);
            high = high.max(*pfn as i64);
        }
        if all & PRESENT == 0 || low == 0 {
            return false;
        }
        let (low, high) = (low as u64, high as u64);
        let within = |range: &RangeInclusive<u64>| {
            let (start, size) = (*range.start(), range.end() - range.start());
            if low > *range.end() || high < start {
                return 0;
            }
            pfns.iter().map(|pfn| u64::from(pfn.wrapping_sub(start) <= size)).sum()
        };
        if zero.iter().map(within).sum::<u64>() != 0 {
            return false;
        }
        ram.is_none_or(|ram| {
            ram.iter().any(|range| *range.start() <= low && high <= *range.end())
                || ram.iter().map(within).sum::<u64>() == pfns.len() as u64
        })
    }
}
