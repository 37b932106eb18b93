//! How one segment becomes one record: the trait of all formats.

use core::{array, fmt};

use crate::list::chunks::Chunk;
use crate::slices;

/// How segments become records of one fixed size.
pub trait Layout {
    /// A record, field by field.
    type Record: Copy + fmt::Debug + PartialEq;
    /// A record as bytes: an array of the record's size.
    type Bytes: RecordBytes;

    /// The record of a segment. The segment starts at byte `position` of the list.
    fn data(&self, segment: Chunk, position: u64) -> Self::Record;

    /// The bytes of a record.
    fn bytes(&self, record: Self::Record) -> Self::Bytes;

    /// Fills `out` with the bytes of records. The segments follow each other, each as long as
    /// `first`, which starts at byte `position` of the list.
    #[inline(always)]
    fn run(&self, first: Chunk, position: u64, out: &mut [Self::Bytes]) {
        write_run(first, position, out, |segment, position| {
            self.bytes(self.data(segment, position))
        });
    }

    /// The number of records in a block, if blocks are linked.
    fn slots(&self) -> Option<u64> {
        None
    }

    /// The record that links to block `block`; the table must have that block.
    fn link(&self, _block: u64) -> Option<Self::Record> {
        None
    }

    /// Turns the last record of the table into its final form, such as one with an end mark.
    fn close(&self, record: Self::Record) -> Self::Record {
        record
    }

    /// Does the same to the bytes of the last record.
    fn close_bytes(&self, _bytes: &mut Self::Bytes) {}
}

/// The bytes of a record: an array of any size.
pub trait RecordBytes: Copy {
    /// The memory as slots for whole records; a rest that is too short is left out. The compiler
    /// knows the size of a slot, so a loop over slots can use wide registers.
    fn slots(out: &mut [u8]) -> &mut [Self];
}

impl<const N: usize> RecordBytes for [u8; N] {
    fn slots(out: &mut [u8]) -> &mut [Self] {
        slices::arrays_mut(out).0
    }
}

/// Number of records of a run that are made at a time.
pub(super) const ROUND: usize = 4;

/// Fills `out` with the results of `make` for segments that follow each other, each as long as
/// `first`.
#[inline(always)]
pub(super) fn write_run<B>(
    first: Chunk,
    mut position: u64,
    out: &mut [B],
    make: impl Fn(Chunk, u64) -> B,
) {
    let Chunk { mut paddr, length } = first;
    // The sums wrap only after the end of the list, where they are not used.
    let (rounds, rest) = slices::arrays_mut::<_, ROUND>(out);
    for round in rounds {
        *round = array::from_fn(|number| {
            let past = length.wrapping_mul(number as u64);
            let segment = Chunk { paddr: paddr.wrapping_add(past), length };
            make(segment, position.wrapping_add(past))
        });
        paddr = paddr.wrapping_add(length.wrapping_mul(ROUND as u64));
        position = position.wrapping_add(length.wrapping_mul(ROUND as u64));
    }
    for slot in rest {
        *slot = make(Chunk { paddr, length }, position);
        paddr = paddr.wrapping_add(length);
        position = position.wrapping_add(length);
    }
}
