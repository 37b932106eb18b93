//! Records made of segments, with links between blocks, written from any place on.

use core::{fmt, mem};

use super::limits::Cut;
use super::segments::{NOTHING, Segments};
use super::shape::Shape;
use crate::iter::Chunk;
use crate::phyr::Phyr;
use crate::wide::{self, Wide};

/// How segments become records of one fixed size.
pub trait Layout {
    /// A record, field by field.
    type Record: Copy + fmt::Debug + PartialEq;
    /// A record as bytes: an array of the record's size.
    type Bytes: AsRef<[u8]>;

    /// The record of a segment that starts at byte `position` of the list.
    fn data(&self, segment: Chunk, position: u64) -> Self::Record;

    /// The bytes of a record.
    fn bytes(&self, record: Self::Record) -> Self::Bytes;

    /// Records of a block, if blocks are chained.
    fn slots(&self) -> Option<u64> {
        None
    }

    /// The record that leads to block `block`, which holds `nr_records` and is the last or not.
    fn link(&self, _block: u64, _nr_records: u64, _is_last: bool) -> Option<Self::Record> {
        None
    }

    /// What the last record of the table is to be.
    fn close(&self, record: Self::Record) -> Self::Record {
        record
    }
}

/// How far a table has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Records written, links included.
    record: u64,
    /// Bytes of the list that they describe.
    position: u64,
}

impl Place {
    /// Records written, links included.
    #[must_use]
    pub fn record(self) -> u64 {
        self.record
    }

    /// Bytes of the list that those describe.
    #[must_use]
    pub fn position(self) -> u64 {
        self.position
    }
}

/// A table that can be written piece by piece, whatever its format.
pub trait Fill {
    /// Bytes of a record.
    fn record_size(&self) -> usize;

    /// Records, links included.
    fn nr_records(&self) -> u64;

    /// Records that stand for bytes of the list: the kernel's `nents` of a scatterlist.
    fn nr_data(&self) -> u64;

    /// Writes as many whole records as `out` has room for, from `place` on, and moves it.
    ///
    /// Returns the bytes written: 0 when `out` is shorter than a record, or all are written. Each
    /// call searches the list once, O(log n), then walks it.
    fn fill(&self, place: &mut Place, out: &mut [u8]) -> usize;
}

/// The records of a list in one format.
#[derive(Clone, Debug)]
pub struct Table<L> {
    phyr: Phyr,
    layout: L,
    cut: Cut,
    shape: Shape,
}

impl<L: Layout> Table<L> {
    /// A table of `nr_data` segments, which is what `cut` makes of the list.
    pub(crate) fn new(phyr: Phyr, layout: L, cut: Cut, nr_data: u64) -> Self {
        let shape = Shape::new(nr_data, layout.slots());
        Self { phyr, layout, cut, shape }
    }

    pub(crate) fn layout(&self) -> &L {
        &self.layout
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Blocks, the last of which may be short.
    #[must_use]
    pub fn nr_blocks(&self) -> u64 {
        self.shape.nr_blocks()
    }

    /// The records, links included, in order.
    #[must_use]
    pub fn records(&self) -> Records<'_, L> {
        let segments = Segments::from(&self.phyr, self.cut, 0);
        Records { table: self, segments, place: Place::default() }
    }

    /// The link that stands at `record`.
    fn link(&self, record: u64) -> Option<L::Record> {
        let next = self.shape.block_of(record) + 1;
        let is_last = next + 1 == self.shape.nr_blocks();
        self.layout.link(next, self.shape.records_in(next), is_last)
    }

    /// Whether nothing follows `record`.
    fn is_last(&self, record: u64) -> bool {
        record + 1 == self.shape.nr_records()
    }
}

impl<L: Layout> Fill for Table<L> {
    fn record_size(&self) -> usize {
        size_of::<L::Bytes>()
    }

    fn nr_records(&self) -> u64 {
        self.shape.nr_records()
    }

    fn nr_data(&self) -> u64 {
        self.shape.nr_data()
    }

    fn fill(&self, place: &mut Place, out: &mut [u8]) -> usize {
        let size = self.record_size();
        let left = self.nr_records().saturating_sub(place.record);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(out.len() / size);
        if count == 0 {
            return 0;
        }
        let mut segments = Segments::from(&self.phyr, self.cut, place.position);
        let mut batch = [NOTHING; BATCH];
        // Segments read and not yet written: never more than this call writes.
        let (mut at, mut end) = (0, 0);
        let last = self.shape.data_before(place.record + count as u64);
        let mut left = last - self.shape.data_before(place.record);
        let mut rest = &mut out[..count * size];
        while !rest.is_empty() {
            let until = self.shape.data_until_link(place.record);
            if until > 0 && at == end {
                let most = usize::try_from(left).unwrap_or(BATCH).min(BATCH);
                (at, end) = (0, segments.read(&mut batch[..most]));
                left -= end as u64;
                if end == 0 {
                    // A place of another table: there is nothing here.
                    break;
                }
            }
            let bulk = usize::try_from(until).unwrap_or(BATCH).min(end - at);
            // The last record of all is made by itself, as links are.
            let bulk = bulk - usize::from(bulk > 0 && self.is_last(place.record + bulk as u64 - 1));
            let (out, later) = mem::take(&mut rest).split_at_mut(bulk.max(1) * size);
            rest = later;
            if bulk > 0 {
                let (layout, position) = (&self.layout, place.position);
                let encode = Encode { layout, segments: &batch[at..at + bulk], out, position };
                place.position = wide::run(encode);
                place.record += bulk as u64;
                at += bulk;
                continue;
            }
            let odd = if until == 0 {
                self.link(place.record)
            } else {
                let segment = batch[at];
                at += 1;
                let last = self.layout.data(segment, place.position);
                place.position += segment.length;
                Some(self.layout.close(last))
            };
            if let Some(odd) = odd {
                out.copy_from_slice(self.layout.bytes(odd).as_ref());
            }
            place.record += 1;
        }
        count * size - rest.len()
    }
}

/// Segments cut, then written, at a time: few enough to stay close.
const BATCH: usize = 256;

/// The inner loop of `fill`: segments to bytes.
struct Encode<'a, L> {
    layout: &'a L,
    segments: &'a [Chunk],
    out: &'a mut [u8],
    position: u64,
}

impl<L: Layout> Wide for Encode<'_, L> {
    /// The position after the segments.
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let Self { layout, segments, out, mut position } = self;
        for (slot, &segment) in out.chunks_exact_mut(size_of::<L::Bytes>()).zip(segments) {
            slot.copy_from_slice(layout.bytes(layout.data(segment, position)).as_ref());
            position += segment.length;
        }
        position
    }
}

/// The records of a table, field by field; from [`Table::records`].
#[derive(Debug)]
pub struct Records<'a, L> {
    table: &'a Table<L>,
    segments: Segments<'a>,
    place: Place,
}

impl<L: Layout> Iterator for Records<'_, L> {
    type Item = L::Record;

    fn next(&mut self) -> Option<L::Record> {
        let Self { table, segments, place } = self;
        if place.record == table.nr_records() {
            return None;
        }
        let record = if table.shape.data_until_link(place.record) == 0 {
            table.link(place.record)?
        } else {
            let segment = segments.next()?;
            let record = table.layout.data(segment, place.position);
            place.position += segment.length;
            if table.is_last(place.record) { table.layout.close(record) } else { record }
        };
        place.record += 1;
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.table.nr_records() - self.place.record;
        match usize::try_from(left) {
            Ok(left) => (left, Some(left)),
            Err(_) => (usize::MAX, None),
        }
    }
}
