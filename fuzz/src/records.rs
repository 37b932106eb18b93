//! Records of a page map, cut into any pieces: the same extents as one by one.

use phyr::Granule;
use phyr::pagemap::{Extent, FolioTally, Hidden, PagemapDecoder, State};

use crate::source::{Said, Source};

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
    tally(some, cut);
    joined(some, uaddr, cut, start, size);
    let (whole, pieces, single) = (decode(1 << 14), decode(cut), decode(1));
    assert_eq!(whole, single);
    assert_eq!(pieces, single);
    let Some(extents) = whole.said() else { return };
    assert_eq!(extents.iter().map(|extent| extent.length).sum::<u64>(), 4096 * some.len() as u64);
    for phyr in extents.iter().filter_map(|extent| extent.phyr.as_ref()) {
        phyr.validate().expect("a list that was read");
    }
}

/// Pages of one state joined, with a hole that is skipped: as many bytes in each state, cut as it may be.
fn joined(some: &[u64], uaddr: u64, cut: usize, start: u64, size: u64) {
    let decode = |cut: usize, join: bool| -> Result<Vec<Extent>, Hidden> {
        let last = start.saturating_add(size);
        let decoder = PagemapDecoder::new(uaddr, Granule::default());
        let ranges = [(last / 2, last), (0, start), (start / 2, start.saturating_add(1 << 12))];
        let mut decoder = decoder.ram(ranges);
        if join {
            decoder = decoder.join();
        }
        for piece in some.chunks(cut) {
            decoder.feed(piece)?;
            decoder.skip(0)?;
        }
        decoder.skip(some.len() as u64)?;
        Ok(decoder.finish())
    };
    let (whole, pieces, apart) = (decode(1 << 14, true), decode(cut, true), decode(cut, false));
    assert_eq!(whole, pieces);
    let (Some(whole), Some(apart)) = (whole.said(), apart.said()) else { return };
    let bytes = |extents: &[Extent], state: State| -> u64 {
        extents.iter().filter(|each| each.state == state).map(|each| each.length).sum()
    };
    for state in [State::Ram, State::Device, State::Zero, State::Swap, State::Hole] {
        assert_eq!(bytes(&whole, state), bytes(&apart, state));
        assert!(whole.iter().filter(|each| each.state == state).count() <= 1);
    }
}

/// The words as flags of pages, of which each is counted once, however they are cut.
fn tally(words: &[u64], cut: usize) {
    // KPF_THP, _COMPOUND_HEAD, _COMPOUND_TAIL, _ANON, _HUGE, _NOPAGE, _KSM and _ZERO_PAGE.
    const FLAGS: [u32; 8] = [22, 15, 16, 12, 17, 20, 21, 24];
    let flags =
        |&word: &u64| FLAGS.iter().zip(0..).map(|(flag, bit)| (word >> bit & 1) << flag).sum();
    let flags: Vec<u64> = words.iter().take(1 << 10).map(flags).collect();
    let (Some((_, pages)), Some(first)) = (flags.split_last(), words.first()) else { return };
    let mut tally = FolioTally::new([0, 4, 9, 64]);
    let (mut at, place) = (0, first & 0xffff_ffff);
    for piece in pages.chunks(cut) {
        let next = &flags[at..=at + piece.len()];
        tally.add(at as u64, place + at as u64, next);
        at += piece.len();
    }
    let cut = tally.finish();
    let mut tally = FolioTally::new([0, 4, 9, 64]);
    tally.add(0, place, &flags);
    let whole = tally.finish();
    assert_eq!(cut, whole);
    let large: u64 = whole.large.iter().map(|each| each.nr_pages).sum();
    let all = large + whole.anon + whole.file + whole.ksm + whole.zero + whole.device;
    assert!(all <= pages.len() as u64);
}
