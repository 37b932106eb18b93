//! Records of a page map, cut into any pieces: the same extents as one by one.

use phyr::Granule;
use phyr::pagemap::{Extent, Hidden, PagemapDecoder};

use crate::source::Source;

/// Reads the bytes as records, in blocks and one by one.
pub fn records(bytes: &[u8]) {
    let mut source = Source(bytes);
    let (cut, repeat) = (usize::from(source.byte()) + 1, usize::from(source.byte() % 8) + 1);
    let uaddr = source.edge() & 0xffff_ffff_f000;
    let (start, size) = (source.edge() & !0xfff, source.edge() | 0xfff);
    let mut some = Vec::new();
    while !source.is_empty() {
        // A record, and how many follow that count up from it, as a kernel that hands out runs gives.
        let (record, more) = (source.number(), u64::from(source.byte()));
        some.extend((0..=more).map(|add| record.wrapping_add(add)));
    }
    let some = some.repeat(repeat);
    let some = &some[..some.len().min(1 << 14)];
    let ranges = || start.checked_add(size).map(|last| (start, last));
    let decode = |cut: usize| -> Result<Vec<Extent>, Hidden> {
        let decoder = PagemapDecoder::new(uaddr, Granule::default());
        let mut decoder = match ranges() {
            Some(range) if repeat % 2 == 0 => decoder.ram([range]),
            Some(range) => decoder.zero([range]),
            None => decoder,
        };
        for piece in some.chunks(cut) {
            decoder.feed(piece)?;
        }
        Ok(decoder.finish())
    };
    let (whole, pieces, single) = (decode(1 << 14), decode(cut), decode(1));
    assert_eq!(whole, single);
    assert_eq!(pieces, single);
    let Ok(extents) = whole else { return };
    assert_eq!(extents.iter().map(|extent| extent.length).sum::<u64>(), 4096 * some.len() as u64);
    for phyr in extents.iter().filter_map(|extent| extent.phyr.as_ref()) {
        phyr.validate().expect("a list that was read");
    }
}
