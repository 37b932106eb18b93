//! Records made of segments, with links between blocks, written from any place on.

use core::{fmt, mem};

use super::limits::Cut;
use super::segments::{NOTHING, Segments, cut_one, take};
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
        // Clearing the memory for many chunks takes longer than a few records.
        let left = if count <= FEW {
            self.write::<FEW>(place, out)
        } else {
            self.write::<MANY>(place, out)
        };
        count * size - left
    }
}

/// Chunks read ahead where few records are wanted.
const FEW: usize = 8;
/// Chunks read ahead elsewhere: few enough to stay close.
const MANY: usize = 256;

impl<L: Layout> Table<L> {
    /// Fills `out`, which has room for no more records than there are; returns the bytes left. Reads
    /// up to `AHEAD` chunks at a time.
    fn write<const AHEAD: usize>(&self, place: &mut Place, mut out: &mut [u8]) -> usize {
        // A place of another table may lie beyond; there, nothing is left.
        let mut chunks = self.phyr.chunks_from(place.position.min(self.phyr.length()));
        let is_whole = self.is_whole;
        let mut ahead = [NOTHING; AHEAD];
        // Chunks read and not yet written, the first perhaps in part.
        let (mut at, mut end) = (0, 0);
        while !out.is_empty() {
            let room = out.len() / size_of::<L::Bytes>();
            let until = self.shape.data_until_link(place.record);
            let bulk = usize::try_from(until).unwrap_or(room).min(room);
            // The last record of all is made by itself, as links are.
            let bulk = bulk - usize::from(bulk > 0 && self.is_last(place.record + bulk as u64 - 1));
            if until > 0 && at == end {
                (at, end) = (0, chunks.read(&mut ahead[..room.min(AHEAD)]));
                if end == 0 {
                    break;
                }
            }
            let records = if bulk > 0 {
                let bytes = &mut out[..bulk * size_of::<L::Bytes>()];
                let (layout, cut, chunks) = (&self.layout, self.cut, &mut ahead[at..end]);
                let position = place.position;
                let encode = Encode { layout, cut, is_whole, chunks, out: bytes, position };
                let (taken, records);
                (taken, records, place.position) = wide::run(encode);
                at += taken;
                records
            } else {
                let odd = if until == 0 {
                    self.link(place.record)
                } else {
                    let segment = cut_one(self.cut, &mut ahead[at]);
                    at += usize::from(ahead[at].length == 0);
                    let last = self.layout.data(segment, place.position);
                    place.position += segment.length;
                    Some(self.layout.close(last))
                };
                if let Some(odd) = odd {
                    put(out, &self.layout.bytes(odd));
                }
                1
            };
            place.record += records as u64;
            out = &mut mem::take(&mut out)[records * size_of::<L::Bytes>()..];
        }
        out.len()
    }
}

/// Writes a record to the front of `out`.
#[inline(always)]
fn put<B: AsRef<[u8]>>(out: &mut [u8], bytes: &B) {
    out[..size_of::<B>()].copy_from_slice(bytes.as_ref());
}

/// The inner loop of `fill`: chunks to segments to bytes, until one side is used up.
struct Encode<'a, L> {
    layout: &'a L,
    cut: Cut,
    is_whole: bool,
    /// Those that are written lose their bytes if they had to be cut.
    chunks: &'a mut [Chunk],
    out: &'a mut [u8],
    position: u64,
}

impl<L: Layout> Wide for Encode<'_, L> {
    /// The chunks used up, the records written, and the position after them.
    type Output = (usize, usize, u64);

    #[inline(always)]
    fn run(self) -> (usize, usize, u64) {
        let Self { layout, cut, is_whole, chunks, out, mut position } = self;
        let room = out.len() / size_of::<L::Bytes>();
        let both = room.min(chunks.len());
        if is_whole || cut.leaves(&chunks[..both]) {
            for (slot, &chunk) in out.chunks_exact_mut(size_of::<L::Bytes>()).zip(&*chunks) {
                put(slot, &layout.bytes(layout.data(chunk, position)));
                position += chunk.length;
            }
            return (both, both, position);
        }
        let block = cut.block();
        let (mut taken, mut at) = (0, 0);
        for rest in chunks {
            // Whole blocks, and room to write over some of what follows them: no more questions.
            if let Some((mask, lg2)) = block
                && (rest.paddr | rest.length) & mask == 0
                && rest.length >> lg2 <= (room - at).saturating_sub(ROUND) as u64
            {
                let count = usize::try_from(rest.length >> lg2).unwrap_or(room);
                let out = &mut out[at * size_of::<L::Bytes>()..];
                let mut segment = Chunk { paddr: rest.paddr, length: mask + 1 };
                let rounds = out.chunks_exact_mut(ROUND * size_of::<L::Bytes>());
                let mut place = position;
                for out in rounds.take(count.div_ceil(ROUND)) {
                    write_run(layout, &mut segment, &mut place, out);
                }
                position += rest.length;
                at += count;
                taken += 1;
                continue;
            }
            while rest.length > 0 {
                if at == room {
                    return (taken, at, position);
                }
                let out = &mut out[at * size_of::<L::Bytes>()..];
                let steps = cut.step(rest.paddr).map(|step| (step, cut.steps(rest.length, step)));
                let (mut segment, count) = match steps {
                    Some((step, count @ 1..)) => {
                        let count = usize::try_from(count).unwrap_or(room).min(room - at);
                        (Chunk { paddr: rest.paddr, length: step.get() }, count)
                    }
                    _ => (Chunk { length: cut.length(*rest), ..*rest }, 1),
                };
                take(rest, segment.length * count as u64);
                let out = &mut out[..count * size_of::<L::Bytes>()];
                write_run(layout, &mut segment, &mut position, out);
                at += count;
            }
            taken += 1;
        }
        (taken, at, position)
    }
}

/// Records of a run written at a time: what is too much is written over.
const ROUND: usize = 8;

/// Fills `out` with segments of one length that follow each other; moves `segment` and `position`
/// past them.
#[inline(always)]
fn write_run<L: Layout>(layout: &L, segment: &mut Chunk, position: &mut u64, out: &mut [u8]) {
    for slot in out.chunks_exact_mut(size_of::<L::Bytes>()) {
        put(slot, &layout.bytes(layout.data(*segment, *position)));
        // Wraps only where nothing of the list is left.
        segment.paddr = segment.paddr.wrapping_add(segment.length);
        *position = position.wrapping_add(segment.length);
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
