//! Little memory: whatever allocation fails, an operation says so, changes nothing and keeps nothing.

use std::fmt::Display;

use phyr::desc::{DescError, from_iovecs, from_phys_vecs};
use phyr::pagemap::{Hidden, PagemapDecoder};
use phyr::{Builder, Chunk, Error, FormatError, Frozen, Index, IovaMap, Phyr};

use crate::failing::{each, live, with};
use crate::source::Source;

/// Chunks of a list: some nodes of them. Each operation is tried once for each of its allocations.
const MOST: u64 = 1300;

/// Makes lists of the bytes, and lets each allocation of what is done with them fail.
pub fn scarce(bytes: &[u8]) {
    let mut source = Source(bytes);
    let lists = [some_list(&mut source), some_list(&mut source)];
    for phyr in &lists {
        copies(phyr, &mut source);
        decoded(phyr, &mut source);
        positions(phyr, &mut source);
    }
    pairs(&lists);
    appended(&lists, &mut source);
    areas(&lists, &mut source);
}

/// A list of a few patterns, or of few odd chunks.
fn some_list(source: &mut Source<'_>) -> Phyr {
    if source.byte().is_multiple_of(4) {
        return source.list();
    }
    let mut builder = Builder::with(source.granule(), phyr::Kind::Ram);
    let (count, step, pages) = (source.up_to(MOST), source.edge() | 1, source.edge() | 1);
    for number in 0..count {
        // Runs of two words now and then.
        let long = if number % 64 == 63 { pages >> 3 } else { 1 + (pages & 1) };
        let _ = builder.append_pfns(number.wrapping_mul(step) & (u64::MAX >> 12), long.max(1));
    }
    builder.finish()
}

/// As `each`, and the error says what is missing.
fn tried<T, E: Display>(work: impl FnMut() -> Result<T, E>, is_memory: fn(&E) -> bool) -> T {
    let told = |why: &E| is_memory(why) && why.to_string().contains("no memory for");
    each(work, told).0
}

fn of_list(why: &Error) -> bool {
    matches!(why, Error::NoMemory { .. })
}

fn of_bytes(why: &FormatError) -> bool {
    matches!(why, FormatError::NoMemory { .. })
}

fn of_records(why: &DescError) -> bool {
    matches!(why, DescError::NoMemory { .. })
}

/// Copies in every form are the list.
fn copies(phyr: &Phyr, source: &mut Source<'_>) {
    assert!(tried(|| phyr.try_compact(), of_list) == *phyr);
    let bytes = tried(|| phyr.try_to_bytes(), of_list);
    assert!(tried(|| Phyr::from_bytes(&bytes), of_bytes) == *phyr);
    let frozen = tried(|| phyr.try_freeze(), of_list);
    let part = source.up_to(phyr.length().min(1 << 23));
    for kept in [frozen.clone(), frozen.slice(part, frozen.length()).expect("a part")] {
        let phyr = phyr.slice(phyr.length() - kept.length(), phyr.length()).expect("a part");
        assert!(tried(|| kept.thaw(), of_bytes) == phyr);
        let bytes = tried(|| kept.to_bytes(), of_bytes);
        assert!(tried(|| Frozen::from_bytes(&bytes), of_bytes) == phyr);
        tried(|| kept.overlap(&phyr), of_list);
    }
    let offset = 1_i128 << (source.byte() % 60);
    if let Ok(moved) = phyr.shift(offset) {
        assert!(tried(|| phyr.shift(offset), of_list) == moved);
    }
}

/// Work on two lists.
fn pairs([one, other]: &[Phyr; 2]) {
    if one.granule() != other.granule() {
        return;
    }
    if let Ok(both) = one.concat(other) {
        assert!(tried(|| one.concat(other), of_list) == both);
        assert!(tried(|| Phyr::join([one, other]), of_list) == both);
    }
    let bytes = tried(|| one.overlap(other), of_list);
    if let Ok(both) = one.intersect(other) {
        assert_eq!(both.length(), bytes);
        assert!(tried(|| one.intersect(other), of_list) == both);
    }
    let kept = [one.freeze(), other.freeze()];
    let make = || {
        let mut lists = Vec::new();
        lists.try_reserve(2).map_err(|_| Error::NoMemory { bytes: 0 })?;
        lists.extend(kept.iter().cloned());
        Index::try_new(lists)
    };
    if Index::try_new(kept.to_vec()).is_ok() {
        assert!(tried(make, of_list).lists() == kept);
    }
}

/// Records of the list, read again.
fn decoded(phyr: &Phyr, source: &mut Source<'_>) {
    let records = |chunk: Chunk| [chunk.paddr.to_le_bytes(), chunk.length.to_le_bytes()].concat();
    let records: Vec<u8> = phyr.chunks().flat_map(records).collect();
    assert!(tried(|| from_phys_vecs(&records, phyr.granule()), of_records) == *phyr);
    let same = || from_iovecs(&records, 0, phyr.granule());
    if let Ok(back) = same() {
        assert!(tried(same, of_records) == back);
    }
    let words: Vec<u64> = phyr.chunks().map(|chunk| chunk.paddr | 1 << 63).take(300).collect();
    let (last, cut) = (source.edge(), usize::from(source.byte()) + 1);
    let decode = || {
        let decoder = PagemapDecoder::new(0, phyr.granule());
        let no_memory = |why| Hidden::Page { uaddr: 0, why };
        let decoder = decoder.try_ram([(0, last)]).map_err(no_memory)?;
        let mut decoder = decoder.try_zero([(last / 2, last)]).map_err(no_memory)?;
        for piece in words.chunks(cut) {
            decoder.feed(piece)?;
        }
        decoder.try_finish().map_err(no_memory)
    };
    if let Ok(extents) = decode() {
        let is_memory = |why: &Hidden| matches!(why, Hidden::Page { why, .. } if of_list(why));
        assert_eq!(each(decode, is_memory).0, extents);
    }
}

/// Without memory, positions are looked up one by one, and an answer is the same.
fn positions(phyr: &Phyr, source: &mut Source<'_>) {
    let Some(most) = phyr.length().checked_sub(1) else { return };
    let count = usize::from(source.byte()) * 16;
    let step = source.number() | 1;
    let next = |at: &u64| Some(at.wrapping_mul(5).wrapping_add(step));
    let mut some: Vec<u64> = core::iter::successors(Some(step), next).take(count).collect();
    some.iter_mut().for_each(|at| *at %= most + 1);
    let mut with_memory = some.clone();
    phyr.translate_all(&mut with_memory).expect("positions inside");
    let mut without = some.clone();
    with(usize::from(source.byte() % 4), || phyr.translate_all(&mut without)).expect("inside");
    assert_eq!(with_memory, without);
    // One that is outside: it is named, and all are as they were.
    let (at, beyond) = (source.up_to(count as u64) as usize, most.saturating_add(1));
    if beyond > most {
        some.insert(at, beyond);
        let mut refused = some.clone();
        let outside = Error::Position { position: beyond, length: most + 1 };
        assert_eq!(phyr.translate_all(&mut refused), Err(outside));
        assert_eq!(refused, some);
    }
}

/// Appends in one of several ways.
type Append<'a> = dyn Fn(&mut Builder) -> Result<(), Error> + 'a;

/// A builder is as it was after each failure, and then takes all.
fn appended([one, other]: &[Phyr; 2], source: &mut Source<'_>) {
    let granule = one.granule();
    let pfns: Vec<u64> = (0..source.up_to(MOST)).map(|number| number * 3 + 1).collect();
    let pages: Vec<u64> = pfns.iter().map(|pfn| pfn * granule.bytes()).collect();
    let chunks = || pages.iter().map(|&paddr| Chunk { paddr, length: granule.bytes() });
    let by_pfn = |builder: &mut Builder| builder.extend_pfns(&pfns);
    let by_page = |builder: &mut Builder| builder.extend_pages(&pages);
    let by_chunk = |builder: &mut Builder| builder.extend_chunks(chunks());
    let by_list = |builder: &mut Builder| builder.extend(other);
    let ways: [&Append; 4] = [&by_pfn, &by_page, &by_chunk, &by_list];
    let way = ways[usize::from(source.byte() % 4)];
    let start = || {
        let mut builder = Builder::with(granule, one.kind());
        builder.extend(one).map(|()| builder)
    };
    let Ok(mut plain) = start() else { return };
    if way(&mut plain).is_err() {
        return;
    }
    let plain = plain.finish();
    let mut builder = start().expect("as before");
    let length = builder.length();
    for k in 0.. {
        let before = live();
        match with(k, || way(&mut builder)) {
            Ok(()) => break,
            Err(why) => assert!(of_list(&why), "allocation {k}: {why}"),
        }
        // An open node may stay, empty, for the next attempt.
        assert!(builder.length() == length && live() <= before + 4, "allocation {k}");
    }
    let length = builder.length();
    for k in 0.. {
        match with(k, || builder.try_finish()) {
            Ok(phyr) => {
                phyr.validate().expect("a list after failures");
                assert!(phyr == plain && builder.length() == 0);
                break;
            }
            Err(why) => assert!(of_list(&why) && builder.length() == length, "allocation {k}"),
        }
    }
}

/// A map of lists is as it was after each failure.
fn areas(lists: &[Phyr; 2], source: &mut Source<'_>) {
    let mut map = IovaMap::new();
    let (mut iova, step) = (source.edge() >> 8, source.edge() >> 16);
    for number in 0..usize::from(source.byte() % 40) {
        let phyr = &lists[number % 2];
        let before = map.nr_areas();
        for k in 0.. {
            match with(k, || map.map(iova, phyr.clone(), number)) {
                Err(why) if of_list(&why) => assert_eq!(map.nr_areas(), before),
                _ => break,
            }
        }
        // Out of the midst of an area, which leaves two.
        let middle = iova.saturating_add(phyr.length() / 2);
        for k in 0.. {
            let count: u64 = map.range(middle, 1).map(|mapped| mapped.phyr.length()).sum();
            match with(k, || map.try_unmap(middle, 1)) {
                Ok(bytes) => {
                    assert_eq!(bytes, count);
                    break;
                }
                Err(why) => assert!(of_list(&why), "allocation {k}: {why}"),
            }
        }
        iova = iova.saturating_add(phyr.length()).saturating_add(step);
    }
    let bytes: u64 = map.areas().map(|area| area.phyr.length()).sum();
    assert_eq!(map.range(0, u64::MAX).map(|mapped| mapped.phyr.length()).sum::<u64>(), bytes);
}
