//! Records made of segments, with links between blocks. Writing can stop and go on at any record.

use core::iter::Peekable;

use super::encode::encode;
use super::layout::{Layout, RecordBytes};
use super::limits::Cut;
use super::segments::{NOTHING, Segments, cut_one};
use super::shape::Shape;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::list::reading::{List, Steps};

/// How far a table has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Records written, links included.
    record: u64,
    /// Bytes of the list that they describe.
    position: u64,
}

impl Place {
    pub(super) fn at(record: u64, position: u64) -> Self {
        Self { record, position }
    }

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

/// The number of records in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// All records, links included.
    pub records: u64,
    /// Records that stand for bytes of the list: `nents` in a kernel's scatterlist.
    pub data: u64,
}

/// A table that can be written in pieces, whatever its format.
pub trait Fill {
    /// Bytes of a record.
    fn record_size(&self) -> usize;

    /// The number of records, if it is known without a walk: no limit can cut a chunk. O(log n).
    fn find_count(&self) -> Option<Count>;

    /// A lower bound on the record count, within a factor of six. It tells how much memory to
    /// reserve. O(log n).
    fn least(&self) -> u64;

    /// The number of records. O(log n), or one walk. Writing does not need this number.
    fn count(&self) -> Count;

    /// Returns true if all records are written.
    fn is_done(&self, place: &Place) -> bool;

    /// Writes as many whole records as fit in `out`, from `place` on, and moves `place`. Bytes of
    /// `out` after them do not change.
    ///
    /// Returns the number of bytes written: 0 if `out` is shorter than a record or nothing is left.
    /// Each call searches the list once, O(log n), then walks it.
    fn fill(&self, place: &mut Place, out: &mut [u8]) -> usize;
}

/// The records of a list in one format.
#[derive(Clone, Debug)]
pub struct Table<L, P: List = Phyr> {
    list: P,
    layout: L,
    cut: Cut,
    /// True if every chunk is known to be one segment, so that none is cut.
    is_whole: bool,
}

impl<L: Layout, P: List> Table<L, P> {
    /// A table of the segments into which `cut` cuts the list.
    pub(crate) fn new(list: P, layout: L, cut: Cut) -> Self {
        let is_whole = list.has_nodes()
            && (cut.is_idle(list.length())
                || cut.find_count(&list).is_some_and(|count| count == list.nr_chunks()));
        Self { list, layout, cut, is_whole }
    }

    /// The same segments in another layout.
    pub(crate) fn with<M: Layout>(self, layout: impl FnOnce(L) -> M) -> Table<M, P> {
        let Self { list, cut, is_whole, .. } = self;
        Table { list, layout: layout(self.layout), cut, is_whole }
    }

    pub(crate) fn layout(&self) -> &L {
        &self.layout
    }

    /// The shape of a table of `nr_data` segments.
    fn shape(&self, nr_data: u64) -> Shape {
        Shape::new(nr_data, self.layout.slots())
    }

    /// Number of blocks; the last may be short. O(log n), or one walk.
    #[must_use]
    pub fn nr_blocks(&self) -> u64 {
        self.shape(self.cut.count(&self.list)).nr_blocks()
    }

    /// The records, links included, in order.
    #[must_use]
    pub fn records(&self) -> Records<'_, L, P> {
        let segments = Segments::from(&self.list, self.cut, 0).peekable();
        Records { table: self, segments, place: Place::default() }
    }

    /// Returns true if nothing follows a segment that starts at byte `position`.
    fn is_last(&self, segment: Chunk, position: u64) -> bool {
        position + segment.length == self.list.length()
    }

    /// The number of records before the next slot that holds a link, if the list is long enough; 0
    /// at such a slot.
    fn until_link(&self, record: u64) -> u64 {
        self.layout.slots().map_or(u64::MAX, |slots| slots - 1 - record % slots)
    }

    /// The link at number `record`.
    fn link(&self, record: u64) -> Option<L::Record> {
        self.layout.slots().and_then(|slots| self.layout.link(record / slots + 1))
    }
}

impl<L: Layout, P: List> Fill for Table<L, P> {
    fn record_size(&self) -> usize {
        size_of::<L::Bytes>()
    }

    fn find_count(&self) -> Option<Count> {
        let data = self.cut.find_count(&self.list)?;
        Some(Count { data, records: self.shape(data).nr_records() })
    }

    fn least(&self) -> u64 {
        self.cut.least(&self.list)
    }

    fn count(&self) -> Count {
        let data = self.cut.count(&self.list);
        Count { data, records: self.shape(data).nr_records() }
    }

    fn is_done(&self, place: &Place) -> bool {
        // A `Place` of another table may lie past the end. Then nothing is left.
        place.position >= self.list.length()
    }

    fn fill(&self, place: &mut Place, out: &mut [u8]) -> usize {
        let out = L::Bytes::slots(out);
        if out.is_empty() || self.is_done(place) {
            return 0;
        }
        let chunks = &mut self.list.walk_from(place.position);
        // For a few records, clearing memory for many chunks would take longer than the records.
        let written = if self.is_whole {
            self.write_whole(chunks, place, out)
        } else if out.len() <= FEW {
            self.write::<FEW>(chunks, place, out)
        } else {
            self.write::<MANY>(chunks, place, out)
        };
        if self.is_done(place) {
            if let Some(last) = out[..written].last_mut() {
                self.layout.close_bytes(last);
            }
        }
        written * size_of::<L::Bytes>()
    }
}

/// Number of chunks read ahead if few records are wanted.
const FEW: usize = 8;
/// Number of chunks read ahead otherwise: few enough to stay in the cache.
const MANY: usize = 256;

impl<L: Layout, P: List> Table<L, P> {
    /// The number of next records that are not links, if `out` has `room` for so many.
    fn bulk(&self, place: &Place, room: usize) -> usize {
        usize::try_from(self.until_link(place.record)).unwrap_or(room).min(room)
    }

    /// Writes the last record of a block: a link, or `segment` if nothing follows it. Returns true
    /// if it wrote the segment.
    fn write_odd(&self, place: &mut Place, slot: &mut L::Bytes, segment: Chunk) -> bool {
        let is_last = self.is_last(segment, place.position);
        let Some(link) = (if is_last { None } else { self.link(place.record) }) else {
            self.write_one(place, slot, segment);
            return true;
        };
        *slot = self.layout.bytes(link);
        place.record += 1;
        false
    }

    /// Writes the record of one segment.
    fn write_one(&self, place: &mut Place, slot: &mut L::Bytes, segment: Chunk) {
        *slot = self.layout.bytes(self.layout.data(segment, place.position));
        place.record += 1;
        place.position += segment.length;
    }

    /// Writes records of the next chunks, none of which is cut. Returns their number. A short count
    /// is not the end; zero is.
    fn write_run(
        &self,
        chunks: &mut P::Walk<'_>,
        place: &mut Place,
        out: &mut [L::Bytes],
    ) -> usize {
        // The walk counts bytes from the start of the chain, records count from the start of the
        // list.
        let base = chunks.at().wrapping_sub(place.position);
        let records = chunks.write(out.iter_mut(), |slot, chunk, start| {
            let position = start.wrapping_sub(base);
            *slot = self.layout.bytes(self.layout.data(chunk, position));
        });
        place.record += records as u64;
        place.position = chunks.at().wrapping_sub(base);
        records
    }

    /// Fills `out` if every chunk is one segment. Returns the number of records written.
    fn write_whole(
        &self,
        chunks: &mut P::Walk<'_>,
        place: &mut Place,
        out: &mut [L::Bytes],
    ) -> usize {
        let mut at = 0;
        while at < out.len() && !self.is_done(place) {
            let bulk = self.bulk(place, out.len() - at);
            if bulk > 0 && at == 0 {
                // For one record, starting a wide loop would take longer than the record.
                let Some(chunk) = chunks.next() else { break };
                self.write_one(place, &mut out[0], chunk);
                at = 1;
            } else if bulk > 0 {
                let records = self.write_run(chunks, place, &mut out[at..at + bulk]);
                at += records;
                if records == 0 {
                    break;
                }
            } else {
                let Some(chunk) = chunks.peek() else { break };
                if self.write_odd(place, &mut out[at], chunk) {
                    chunks.next();
                }
                at += 1;
            }
        }
        at
    }

    /// Fills `out`. Returns the number of records written. Reads up to `AHEAD` chunks at a time.
    fn write<const AHEAD: usize>(
        &self,
        chunks: &mut P::Walk<'_>,
        place: &mut Place,
        out: &mut [L::Bytes],
    ) -> usize {
        let mut ahead = [NOTHING; AHEAD];
        // Chunks that were read and not yet written; the first may be written in part.
        let (mut from, mut to) = (0, 0);
        let mut at = 0;
        while at < out.len() {
            let bulk = self.bulk(place, out.len() - at);
            if bulk == 0 {
                let next = if from < to { Some(ahead[from]) } else { chunks.peek() };
                let Some(mut rest) = next else { break };
                let segment = cut_one(self.cut, &mut rest);
                if self.write_odd(place, &mut out[at], segment) {
                    if from == to {
                        chunks.next();
                        (from, to) = (0, 1);
                    }
                    ahead[from] = rest;
                    from += usize::from(rest.length == 0);
                }
                at += 1;
                continue;
            }
            if from == to {
                let short = chunks.short(self.cut.uncut()).min(bulk);
                if short > 0 {
                    at += self.write_run(chunks, place, &mut out[at..at + short]);
                    continue;
                }
                (from, to) = (0, chunks.read(&mut ahead[..AHEAD.min(out.len() - at)]));
                if from == to {
                    break;
                }
            }
            let out = &mut out[at..at + bulk];
            let (layout, cut, chunks) = (&self.layout, self.cut, &mut ahead[from..to]);
            let position = place.position;
            let (taken, records);
            (taken, records, place.position) = encode(layout, cut, chunks, out, position);
            from += taken;
            place.record += records as u64;
            at += records;
        }
        at
    }
}

/// The records of a table, field by field; from [`Table::records`].
#[derive(Debug)]
pub struct Records<'a, L, P: List = Phyr> {
    table: &'a Table<L, P>,
    segments: Peekable<Segments<'a, P>>,
    place: Place,
}

impl<L: Layout, P: List> Iterator for Records<'_, L, P> {
    type Item = L::Record;

    fn next(&mut self) -> Option<L::Record> {
        let Self { table, segments, place } = self;
        let &segment = segments.peek()?;
        let (record, is_last) = (place.record, table.is_last(segment, place.position));
        place.record += 1;
        if !is_last && table.until_link(record) == 0 {
            if let Some(link) = table.link(record) {
                return Some(link);
            }
        }
        let record = table.layout.data(segment, place.position);
        segments.next();
        place.position += segment.length;
        Some(if is_last { table.layout.close(record) } else { record })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // There are at least as many records as segments. Only a count could tell the number of
        // links.
        self.segments.size_hint()
    }
}
