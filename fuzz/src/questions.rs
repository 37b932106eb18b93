//! All questions that a list answers, in both forms, against its chunks one by one.

use phyr::{Chunk, Frozen, Index, IovaMap, Phyr};

use crate::source::{Said, Source};

/// Blocks that are counted.
const MOST: u64 = 1 << 12;

/// Makes two lists of the bytes and asks all about them.
pub fn questions(bytes: &[u8]) {
    let mut source = Source(bytes);
    let (one, other) = (source.list(), source.list());
    let frozen = one.freeze();
    walks(&one, &frozen, &mut source);
    places(&one, &frozen, &mut source);
    blocks(&one, &frozen, &mut source);
    common(&one, &other, &frozen);
    index(&one, &other, &mut source);
    window(&one, &other, &mut source);
}

/// Each chunk and its position.
fn chunks(list: &Phyr) -> Vec<(u64, Chunk)> {
    let mut at = 0;
    let placed = |chunk: Chunk| {
        at += chunk.length;
        (at - chunk.length, chunk)
    };
    list.chunks().map(placed).collect()
}

fn walks(one: &Phyr, frozen: &Frozen, source: &mut Source<'_>) {
    assert_eq!(frozen.thaw().as_ref(), Ok(one));
    assert!(frozen.chunks().eq(one.chunks()) && frozen.chunks().rev().eq(one.chunks().rev()));
    let chunks = chunks(one);
    for ((number, &(at, chunk)), steps) in (0..).zip(&chunks).zip([3, 0, 1, 7].into_iter().cycle())
    {
        assert_eq!(one.chunk(number), Ok((at, chunk)));
        assert_eq!(frozen.chunk(number), Ok((at, chunk)));
        let (mut a, mut b) = (one.chunks(), frozen.chunks());
        let next = chunks.get(steps + number as usize).map(|found| found.1);
        assert_eq!((a.nth(number as usize + steps), b.nth(number as usize + steps)), (next, next));
        assert!(a.eq(b));
    }
    assert!(one.chunk(chunks.len() as u64).is_err() && frozen.chunk(chunks.len() as u64).is_err());
    let (a, b) = (one.stats(), frozen.stats());
    assert_eq!((a.length, a.nr_chunks, a.largest), (b.length, b.nr_chunks, b.largest));
    assert_eq!(a.largest, one.chunks().map(|chunk| chunk.length).max().unwrap_or(0));
    assert_eq!(one.orders(), frozen.orders());
    assert_eq!(a.storage, one.storage() as u64);
    let (start, end) = (source.up_to(one.length()), source.up_to(one.length()));
    let (start, end) = (start.min(end), start.max(end));
    let part = frozen.slice(start, end).expect("a slice inside");
    assert_eq!(part.thaw(), Ok(one.slice(start, end).expect("a slice inside")));
    let (a, b) = frozen.split_at(start).expect("a place inside");
    assert_eq!((a.length(), a.length() + b.length()), (start, one.length()));
    assert!(
        frozen.slice(start, one.length().saturating_add(1)).is_err() || one.length() == u64::MAX
    );
    let last = source.edge();
    let beyond = (0..).zip(&chunks).find(|(_, (_, chunk))| chunk.last() > last);
    let beyond = beyond.map(|(number, &(_, chunk))| (number, chunk));
    assert_eq!((one.first_beyond(last), frozen.first_beyond(last)), (beyond, beyond));
}

fn places(one: &Phyr, frozen: &Frozen, source: &mut Source<'_>) {
    let mut positions: Vec<u64> = (0..source.byte()).map(|_| source.up_to(one.length())).collect();
    if source.byte().is_multiple_of(2) {
        positions.sort_unstable();
    }
    let mut found = positions.clone();
    let all = one.translate_all(&mut found);
    assert_eq!(all.is_err(), positions.iter().any(|&position| position >= one.length()));
    for (position, address) in positions.into_iter().zip(found) {
        assert_eq!(one.translate(position), frozen.translate(position));
        assert_eq!(one.find(position), frozen.find(position));
        let expected = one.translate(position);
        assert_eq!(address, if all.is_ok() { expected.expect("inside") } else { position });
        if let Ok((at, chunk)) = frozen.chunk_at(position) {
            assert!(at <= position && position - at < chunk.length);
            assert_eq!(expected, Ok(chunk.paddr + (position - at)));
        }
    }
}

fn blocks(one: &Phyr, frozen: &Frozen, source: &mut Source<'_>) {
    let size = 1 << (source.byte() % 64);
    let pages = one.pages(size);
    assert_eq!(pages.is_ok(), frozen.pages(size).is_ok());
    let Some(pages) = pages.said() else { return };
    let mut expected = Vec::new();
    for chunk in one.chunks() {
        if chunk.length / size > MOST {
            return;
        }
        expected.extend((chunk.paddr / size..=chunk.last() / size).map(|number| number * size));
    }
    assert_eq!(pages.remaining(), expected.len() as u64);
    assert!(pages.eq(expected.iter().copied()));
    let mut read = vec![0; expected.len()];
    let mut pages = frozen.pages(size).expect("as above");
    assert_eq!(pages.read(&mut read), expected.len());
    assert_eq!(read, expected);
}

/// The bytes of a list, each once: first and last addresses.
fn spans(list: &Phyr) -> Vec<(u64, u64)> {
    let mut spans: Vec<_> = list.chunks().map(|chunk| (chunk.paddr, chunk.last())).collect();
    spans.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (first, last) in spans {
        match joined.last_mut() {
            Some(span) if first <= span.1 => span.1 = span.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

fn common(one: &Phyr, other: &Phyr, frozen: &Frozen) {
    let found = one.overlap(other);
    assert_eq!(found.is_ok(), one.granule() == other.granule());
    assert_eq!(frozen.overlap(other), found);
    let Some(bytes) = found.said() else { return };
    let mut expected = 0;
    for (first, last) in spans(one) {
        for (start, end) in spans(other) {
            let (low, high) = (first.max(start), last.min(end));
            expected += if low <= high { high - low + 1 } else { 0 };
        }
    }
    assert_eq!(bytes, expected);
    if let Some(both) = one.intersect(other).said() {
        both.validate().expect("a list");
        assert_eq!(both.length(), bytes);
        assert!(other.intersect(one).expect("as the other way round").chunks().eq(both.chunks()));
        assert!(frozen.intersect(&other.freeze()).expect("as above") == both);
    }
}

/// The parts of a list at some addresses.
fn within(list: &Phyr, first: u64, last: u64) -> Vec<(u64, Chunk)> {
    let part = |(at, chunk): (u64, Chunk)| {
        let (low, high) = (chunk.paddr.max(first), chunk.last().min(last));
        (low <= high)
            .then(|| (at + (low - chunk.paddr), Chunk { paddr: low, length: high - low + 1 }))
    };
    chunks(list).into_iter().filter_map(part).collect()
}

fn index(one: &Phyr, other: &Phyr, source: &mut Source<'_>) {
    let lists = [one.freeze(), other.freeze(), one.freeze()];
    let Some(index) = Index::new(lists).said() else { return };
    assert_eq!(index.lists().len(), 3);
    for _ in 0..4 {
        let first = match one.translate(source.up_to(one.length())) {
            Ok(paddr) if source.byte().is_multiple_of(2) => paddr,
            _ => source.edge(),
        };
        let last = first.saturating_add(source.edge() >> (source.byte() % 64));
        let mut expected = Vec::new();
        for (number, list) in [one, other, one].into_iter().enumerate() {
            let parts = within(list, first, last);
            assert_eq!(list.within(first, last).as_ref(), Ok(&parts));
            assert_eq!(list.freeze().within(first, last).as_ref(), Ok(&parts));
            expected.extend(parts.into_iter().map(|(at, part)| (number, at, part)));
        }
        let found = index.find_range(first, last);
        let mut found: Vec<_> = (found.into_iter())
            .map(|each| {
                (each.list, each.position, Chunk { paddr: each.paddr, length: each.length })
            })
            .collect();
        found.sort_unstable_by_key(|&(list, at, _)| (list, at));
        assert_eq!(found, expected);
        assert_eq!(index.find(first).len(), index.find_range(first, first).len());
    }
}

/// Lists at I/O virtual addresses: mapped, found, cut, unmapped.
fn window(one: &Phyr, other: &Phyr, source: &mut Source<'_>) {
    let mut map = IovaMap::new();
    let mut mapped: Vec<(u64, &Phyr)> = Vec::new();
    for (number, list) in [one, other, one, other].into_iter().enumerate() {
        let iova = source.edge();
        let fits = |&(at, there): &(u64, &Phyr)| {
            iova > at + (there.length() - 1) || at > iova.saturating_add(list.length() - 1)
        };
        let is_taken = list.is_empty()
            || (iova.checked_add(list.length() - 1).is_some() && mapped.iter().all(fits));
        assert_eq!(map.map(iova, list.clone(), number).is_ok(), is_taken);
        if is_taken && !list.is_empty() {
            mapped.push((iova, list));
        }
    }
    assert_eq!(map.nr_areas(), mapped.len());
    assert_eq!(map.areas().count(), map.areas().rev().count());
    for &(iova, list) in &mapped {
        let at = source.up_to(list.length() - 1);
        assert_eq!(map.translate(iova + at), list.translate(at).ok());
        assert_eq!(map.area(iova + at).expect("mapped").phyr, *list);
        assert!(map.is_whole(iova, list.length()));
    }
    let (from, length) = (source.edge(), source.edge());
    let last = u128::from(from) + u128::from(length);
    let mut expected = 0;
    for &(iova, list) in &mapped {
        let (low, high) =
            (u128::from(iova.max(from)), last.min(u128::from(iova) + u128::from(list.length())));
        expected += high.saturating_sub(low) as u64;
    }
    let found: u64 = map.range(from, length).map(|each| each.phyr.length()).sum();
    let mut rest = map.clone();
    assert_eq!(rest.unmap(from, length), expected);
    assert!(found >= expected || length == 0);
    assert!(length == 0 || rest.translate(from).is_none());
    for &(iova, list) in &mapped {
        let at = source.up_to(list.length() - 1);
        let is_gone = from <= iova + at && u128::from(iova + at) < last;
        let expected = if is_gone { None } else { list.translate(at).ok() };
        assert_eq!(rest.translate(iova + at), expected);
    }
}
