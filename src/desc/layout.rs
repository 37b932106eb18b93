//! How one segment becomes one record: the trait that every format implements.

use core::{array, fmt};

use crate::list::chunks::Chunk;

/// How segments become records of one fixed size.
pub trait Layout {
    /// A record, field by field.
    type Record: Copy + fmt::Debug + PartialEq;
    /// A record as bytes: an array of the record's size.
    type Bytes: RecordBytes;

    /// The record of a segment that starts at byte `position` of the list.
    fn data(&self, segment: Chunk, position: u64) -> Self::Record;

    /// The bytes of a record.
    fn bytes(&self, record: Self::Record) -> Self::Bytes;

    /// Fills `out` with the bytes of segments that follow each other, each as long as `first`, which
    /// starts at byte `position` of the list.
    #[inline(always)]
    fn run(&self, first: Chunk, position: u64, out: &mut [Self::Bytes]) {
        write_run(first, position, out, |segment, position| {
            self.bytes(self.data(segment, position))
        });
    }

    /// Records of a block, if blocks are chained.
    fn slots(&self) -> Option<u64> {
        None
    }

    /// The record that leads to block `block`, which the table has.
    fn link(&self, _block: u64) -> Option<Self::Record> {
        None
    }

    /// What the last record of the table is to be.
    fn close(&self, record: Self::Record) -> Self::Record {
        record
    }

    /// The same of its bytes.
    fn close_bytes(&self, _bytes: &mut Self::Bytes) {}
}

/// The bytes of a record: an array of any size.
pub trait RecordBytes: Copy {
    /// The memory of as many whole records as fit. Their size is known to the compiler, so a loop over
    /// them may use wide registers.
    fn slots(out: &mut [u8]) -> &mut [Self];
}

impl<const N: usize> RecordBytes for [u8; N] {
    fn slots(out: &mut [u8]) -> &mut [Self] {
        out.as_chunks_mut().0
    }
}

/// Records of a run made at a time.
pub(super) const ROUND: usize = 4;

/// Fills `out` with what `make` makes of segments that follow each other, each as long as `first`.
#[inline(always)]
pub(super) fn write_run<B>(
    first: Chunk,
    mut position: u64,
    out: &mut [B],
    make: impl Fn(Chunk, u64) -> B,
) {
    let Chunk { mut paddr, length } = first;
    // Sums wrap only where nothing of the list is left.
    let (rounds, rest) = out.as_chunks_mut::<ROUND>();
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
