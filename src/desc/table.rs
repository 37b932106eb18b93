//! Records made of segments, with links between blocks, written from any place on.

use core::{fmt, mem};

use super::encode::{Encode, write_run};
use super::limits::Cut;
use super::segments::{NOTHING, Segments, cut_one};
use super::shape::Shape;
use crate::iter::{Chunk, Chunks};
use crate::phyr::Phyr;
use crate::wide;

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

    /// The record that leads to block `block`, which holds `nr_records` and is the last or not.
    fn link(&self, _block: u64, _nr_records: u64, _is_last: bool) -> Option<Self::Record> {
        None
    }

    /// What the last record of the table is to be.
    fn close(&self, record: Self::Record) -> Self::Record {
        record
    }
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
    /// Whether every chunk is a segment, and none is cut.
    is_whole: bool,
}

impl<L: Layout> Table<L> {
    /// A table of `nr_data` segments, which is what `cut` makes of the list.
    pub(crate) fn new(phyr: Phyr, layout: L, cut: Cut, nr_data: u64) -> Self {
        let shape = Shape::new(nr_data, layout.slots());
        let is_whole = nr_data == phyr.nr_chunks();
        Self { phyr, layout, cut, shape, is_whole }
    }

    /// The same segments in another layout without links.
    pub(crate) fn with<M: Layout>(self, layout: impl FnOnce(L) -> M) -> Table<M> {
        let Self { phyr, cut, shape, is_whole, .. } = self;
        Table { phyr, layout: layout(self.layout), cut, shape, is_whole }
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
        let out = &mut out[..count * size];
        // A place of another table may lie beyond; there, nothing is left.
        let chunks = self.phyr.chunks_from(place.position.min(self.phyr.length()));
        // Clearing the memory for many chunks takes longer than a few records.
        let left = if self.is_whole {
            self.write_whole(chunks, place, out)
        } else if count <= FEW {
            self.write::<FEW>(chunks, place, out)
        } else {
            self.write::<MANY>(chunks, place, out)
        };
        count * size - left
    }
}

/// Chunks read ahead where few records are wanted.
const FEW: usize = 8;
/// Chunks read ahead elsewhere: few enough to stay close.
const MANY: usize = 256;

impl<L: Layout> Table<L> {
    /// How many of the next records are alike, where there is room for `room`: up to the next link,
    /// and without the last of all, which is made by itself as links are.
    fn bulk(&self, place: &Place, room: usize) -> usize {
        let until = self.shape.data_until_link(place.record);
        let bulk = usize::try_from(until).unwrap_or(room).min(room);
        bulk - usize::from(bulk > 0 && self.is_last(place.record + bulk as u64 - 1))
    }

    /// Writes a link, or the last record of all; `segment` is asked for the latter. Returns the bytes
    /// written.
    fn write_odd(
        &self,
        place: &mut Place,
        out: &mut [u8],
        segment: impl FnOnce() -> Option<Chunk>,
    ) -> usize {
        let record = if self.shape.data_until_link(place.record) == 0 {
            self.link(place.record)
        } else {
            segment().map(|segment| {
                let last = self.layout.data(segment, place.position);
                place.position += segment.length;
                self.layout.close(last)
            })
        };
        let Some(record) = record else { return 0 };
        put(out, &self.layout.bytes(record));
        place.record += 1;
        size_of::<L::Bytes>()
    }

    /// Fills `out`, which has room for no more records than there are, where every chunk is a
    /// segment; returns the bytes left.
    fn write_whole(&self, mut chunks: Chunks<'_>, place: &mut Place, mut out: &mut [u8]) -> usize {
        let size = size_of::<L::Bytes>();
        while !out.is_empty() {
            let bulk = self.bulk(place, out.len() / size);
            let written = if bulk > 0 {
                let slots = L::Bytes::slots(out)[..bulk].iter_mut();
                // The walk counts from the start of the chain, records from that of the list.
                let base = chunks.position().wrapping_sub(place.position);
                let records = chunks.write(slots, |slot, chunk, start| {
                    let position = start.wrapping_sub(base);
                    *slot = self.layout.bytes(self.layout.data(chunk, position));
                });
                place.record += records as u64;
                place.position = chunks.position().wrapping_sub(base);
                records * size
            } else {
                self.write_odd(place, out, || chunks.next())
            };
            if written == 0 {
                break;
            }
            out = &mut mem::take(&mut out)[written..];
        }
        out.len()
    }

    /// Fills `out`, which has room for no more records than there are; returns the bytes left. Reads
    /// up to `AHEAD` chunks at a time.
    fn write<const AHEAD: usize>(
        &self,
        mut chunks: Chunks<'_>,
        place: &mut Place,
        mut out: &mut [u8],
    ) -> usize {
        let size = size_of::<L::Bytes>();
        let mut ahead = [NOTHING; AHEAD];
        // Chunks read and not yet written, the first perhaps in part.
        let (mut at, mut end) = (0, 0);
        while !out.is_empty() {
            let room = out.len() / size;
            let bulk = self.bulk(place, room);
            if at == end {
                (at, end) = (0, chunks.read(&mut ahead[..room.min(AHEAD)]));
            }
            let written = if bulk > 0 && at < end {
                let out = &mut L::Bytes::slots(out)[..bulk];
                let (layout, cut, chunks) = (&self.layout, self.cut, &mut ahead[at..end]);
                let position = place.position;
                let (taken, records);
                (taken, records, place.position) =
                    wide::run(Encode { layout, cut, chunks, out, position });
                at += taken;
                place.record += records as u64;
                records * size
            } else {
                self.write_odd(place, out, || {
                    let rest = ahead[at..end].first_mut()?;
                    let segment = cut_one(self.cut, rest);
                    at += usize::from(rest.length == 0);
                    Some(segment)
                })
            };
            if written == 0 {
                break;
            }
            out = &mut mem::take(&mut out)[written..];
        }
        out.len()
    }
}

/// Writes a record to the front of `out`.
#[inline(always)]
fn put<B: RecordBytes>(out: &mut [u8], bytes: &B) {
    if let Some(slot) = B::slots(out).first_mut() {
        *slot = *bytes;
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
