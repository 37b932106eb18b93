//! The number of blocks and links in a chained table.

/// A table of data records in blocks of `slots` records. The last slot of a block links to the next
/// block. The last block has no link, so it may be full of data.
///
/// ```text
/// slots 4, 8 data records:   [d d d L] [d d d L] [d d]
/// slots 4, 7 data records:   [d d d L] [d d d d]
/// ```
///
/// Scatterlists, PRP lists and SGL segments all follow this rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    nr_data: u64,
    slots: u64,
    nr_blocks: u64,
}

impl Shape {
    /// `slots` is at least two; `None` for a table that has no blocks.
    pub(crate) fn new(nr_data: u64, slots: Option<u64>) -> Self {
        // No table has fewer. So the compiler sees that it divides by no 0.
        let slots = slots.unwrap_or(u64::MAX).max(2);
        let nr_blocks = match nr_data {
            0 => 0,
            // Every block but the last has one data record less than it has slots.
            _ => 1 + nr_data.saturating_sub(slots).div_ceil(slots - 1),
        };
        Self { nr_data, slots, nr_blocks }
    }

    /// Number of blocks.
    pub(crate) fn nr_blocks(self) -> u64 {
        self.nr_blocks
    }

    /// Number of records: data and links.
    pub(crate) fn nr_records(self) -> u64 {
        // There is one link for each block but the first.
        self.nr_data + self.nr_blocks.saturating_sub(1)
    }

    /// Number of records in a block, its link included. The table must have the block.
    pub(crate) fn records_in(self, block: u64) -> u64 {
        if block + 1 < self.nr_blocks { self.slots } else { self.nr_records() - block * self.slots }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// Blocks as the rule reads: fill a block, and link only if not all fits.
    fn oracle(nr_data: u64, slots: u64) -> Vec<u64> {
        let (mut left, mut blocks) = (nr_data, Vec::new());
        while left > slots {
            blocks.push(slots);
            left -= slots - 1;
        }
        if left > 0 {
            blocks.push(left);
        }
        blocks
    }

    #[test]
    fn a_link_is_there_only_where_not_all_fits() {
        for slots in [2, 3, 4, 128, 512] {
            for nr_data in 0..1200 {
                let (shape, blocks) = (Shape::new(nr_data, Some(slots)), oracle(nr_data, slots));
                assert_eq!(shape.nr_blocks(), blocks.len() as u64, "{nr_data} in {slots}");
                assert_eq!(shape.nr_records(), blocks.iter().sum::<u64>(), "{nr_data} in {slots}");
                for (block, &records) in (0..).zip(&blocks) {
                    assert_eq!(shape.records_in(block), records, "{nr_data} in {slots}");
                }
            }
        }
    }

    #[test]
    fn a_table_in_one_piece_has_no_links() {
        let shape = Shape::new(u64::MAX, None);
        assert_eq!((shape.nr_blocks(), shape.nr_records()), (1, u64::MAX));
    }
}
