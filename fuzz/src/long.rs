//! Lists of several nodes: a few bytes name a pattern of chunks that is repeated.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use phyr::desc::{Fill, Limits, Place, Table, from_phys_vecs, map_requests};
use phyr::{Builder, Chunk, FormatError, Frozen, Index, Kind, PageSizes, Phyr, Plan};

use crate::close::close;
use crate::source::{Said, Source, Words};

/// Chunks of a list: some nodes of them.
const MOST: u64 = 3000;

/// Makes a long list of the bytes; walks, searches, joins, cuts and copies it.
pub fn long(bytes: &[u8]) {
    let mut source = Source(bytes);
    let (phyr, chunks) = pattern(&mut source);
    phyr.validate().expect("a list as built");
    let frozen = phyr.freeze();
    let device = of_device(&phyr);
    assert!(device.freeze() != frozen && device != phyr && device.chunks().eq(phyr.chunks()));
    same(&phyr, &frozen, &mut source);
    blocks(&phyr, &frozen, &mut source);
    walks(&phyr, &frozen, &chunks, &mut source);
    searches(&phyr, &frozen, &chunks, &mut source);
    copies(&phyr, &frozen, &mut source);
    close(&mut source);
}

/// A list, and its chunks with their positions.
fn pattern(source: &mut Source<'_>) -> (Phyr, Vec<(u64, Chunk)>) {
    let granule = source.granule();
    // Now and then so many that nodes of nodes have nodes.
    let count = source.up_to(MOST) << if source.byte() > 250 { 5 } else { 0 };
    // Steps to the next chunk, and pages of chunks.
    let steps: Vec<(u64, u64)> = (0..=source.byte() % 5)
        .map(|_| (source.edge() | 1, 1 + (source.edge() >> (source.byte() & 31))))
        .collect();
    let mut builder = Builder::with(granule, Kind::Ram);
    let mut chunks: Vec<(u64, Chunk)> = Vec::new();
    let reach = u64::MAX >> 12;
    let mut pfn = source.edge() & reach;
    for (step, pages) in steps.into_iter().cycle().take(usize::try_from(count).expect("few")) {
        pfn = pfn.wrapping_add(step) & reach;
        let at = builder.length();
        if builder.append_pfns(pfn, pages).is_err() {
            continue;
        }
        let chunk = Chunk { paddr: pfn * granule.bytes(), length: pages * granule.bytes() };
        match chunks.last_mut() {
            Some((_, last)) if last.last().checked_add(1) == Some(chunk.paddr) => {
                last.length += chunk.length;
            }
            _ => chunks.push((at, chunk)),
        }
    }
    let phyr = builder.finish();
    (phyr, chunks)
}

fn of_device(phyr: &Phyr) -> Phyr {
    let mut builder = Builder::with(phyr.granule(), Kind::Mmio { provider: 0 });
    Extend::extend(&mut builder, phyr.chunks());
    builder.finish()
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// One list in all its forms: equal, with one hash, and one text.
fn same(phyr: &Phyr, frozen: &Frozen, source: &mut Source<'_>) {
    let bytes = frozen.to_bytes().expect("a list of our own");
    let words = bytes.chunks_exact(8).map(|word| word.try_into().expect("eight bytes"));
    let words: Arc<[AtomicU64]> = words.map(u64::from_ne_bytes).map(AtomicU64::new).collect();
    // A short list is frozen as it is.
    let shared = match Frozen::from_shared(Box::new(Words(words))) {
        Err(FormatError::Magic { .. } | FormatError::Size { .. }) => Frozen::from_bytes(&bytes),
        other => other,
    };
    let shared = shared.expect("bytes of our own");
    assert_eq!(shared.check(), Ok(()));
    let copy = Phyr::from_bytes(&phyr.to_bytes()).expect("bytes of our own");
    assert!(copy == *phyr && *frozen == *phyr && *phyr == shared && shared == *frozen);
    assert_eq!(Frozen::from(phyr), *frozen);
    assert!(
        frozen.storage() <= phyr.storage() + bytes.len() && shared.is_empty() == phyr.is_empty()
    );
    let texts = [frozen, &shared].map(|list| format!("{list:?}"));
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[0].replace("Frozen", "Phyr"), format!("{phyr:?}"));
    assert_eq!((digest(phyr), digest(frozen)), (digest(&copy), digest(&shared)));
    assert_eq!(digest(phyr), digest(frozen));
    // A list that differs in one chunk.
    let at = source.up_to(MOST);
    let changed = phyr.chunks().zip(0..).map(|(chunk, number)| match number == at {
        true => Chunk { paddr: chunk.paddr ^ 1 << 40, ..chunk },
        false => chunk,
    });
    if let Some(other) = Phyr::from_chunks(changed).said() {
        let differs = at < phyr.nr_chunks() || other.granule() != phyr.granule();
        assert!((other != *phyr) == differs && (*frozen != other) == differs);
        assert!((other.freeze() != *frozen) == differs);
    }
}

fn limits(source: &mut Source<'_>) -> Limits {
    Limits {
        max_segment_size: source.edge() | 1 << 12,
        seg_boundary_mask: source.edge() | 0xfff,
        virt_boundary_mask: 0,
    }
}

/// Requests of both forms, one for each chunk.
fn requests(phyr: &Phyr, frozen: &Frozen) {
    let (Some(list), Some(kept)) =
        (map_requests(phyr, 0, 1, u64::MAX).said(), map_requests(frozen, 0, 1, u64::MAX).said())
    else {
        return;
    };
    let mut bytes =
        [vec![0; phyr.nr_chunks() as usize * 24], vec![0; phyr.nr_chunks() as usize * 24]];
    list.fill(&mut Place::default(), &mut bytes[0]);
    kept.fill(&mut Place::default(), &mut bytes[1]);
    assert_eq!(bytes[0], bytes[1]);
    assert!(
        list.records().map(|request| request.length).eq(phyr.chunks().map(|chunk| chunk.length))
    );
}

/// Blocks of any size that fit, at once and one by one; and what a plan makes of both forms.
fn blocks(phyr: &Phyr, frozen: &Frozen, source: &mut Source<'_>) {
    let size = 1 << (source.byte() % 24);
    let (list, kept) = (phyr.pages(size).said(), frozen.pages(size).said());
    assert_eq!(list.is_some(), kept.is_some());
    if let (Some(list), Some(kept)) = (list, kept)
        && list.remaining() <= 8 * MOST
    {
        let pages: Vec<u64> = list.clone().collect();
        assert_eq!((list.size_hint().0, list.remaining()), (pages.len(), pages.len() as u64));
        let (mut one, mut other) = (list.clone(), kept.clone());
        let first = usize::from(source.byte()).min(pages.len());
        let mut part = vec![0; first];
        assert_eq!((one.read(&mut part), part.as_slice()), (first, &pages[..first]));
        assert!(one.eq(pages[first..].iter().copied()));
        let mut read = vec![0; pages.len() + 1];
        assert_eq!((other.read(&mut read), &read[..pages.len()]), (pages.len(), &pages[..]));
        let sum = |sum: u64, page: u64| sum.wrapping_mul(5).wrapping_add(page);
        let total = pages.iter().copied().fold(7, sum);
        assert_eq!((list.fold(7, sum), kept.fold(7, sum)), (total, total));
    }
    let (iova, bitmap) = (source.edge(), phyr.granule().bytes() | 1 << (source.byte() % 40));
    let sizes = PageSizes::new(bitmap).expect("a granule at least");
    assert_eq!(phyr.alignment(sizes), frozen.alignment(sizes));
    for iova in [iova, phyr.alignment(sizes).residue] {
        let (list, kept) = (Plan::new(phyr, iova, sizes), Plan::new(frozen, iova, sizes));
        assert_eq!(list.is_ok(), kept.is_ok());
        if let (Some(list), Some(kept)) = (list.said(), kept.said()) {
            let calls: Vec<_> = list.clone().collect();
            assert!(
                kept.clone().eq(calls.iter().copied()) && calls.len() >= list.size_hint().0.min(1)
            );
            let mut unmaps = list.unmaps();
            let one_by_one: Vec<_> = std::iter::from_fn(|| unmaps.next()).collect();
            let mut at_once = Vec::new();
            kept.unmaps().for_each(|call| at_once.push(call));
            assert_eq!(one_by_one, at_once);
            let bytes: u64 = calls.iter().map(|call| call.length()).sum();
            assert_eq!(at_once.iter().map(|call| call.pgsize * call.pgcount).sum::<u64>(), bytes);
        }
    }
    requests(phyr, frozen);
    let limits = if source.byte().is_multiple_of(2) { Limits::default() } else { limits(source) };
    let (list, kept) = (Table::phys_vecs(phyr, limits), Table::phys_vecs(frozen, limits));
    if let (Some(list), Some(kept)) = (list.said(), kept.said())
        && list.least() <= 8 * MOST
    {
        let length = list.count().records as usize * 16;
        let (mut one, mut other) = (vec![0; length], vec![0; length]);
        list.fill(&mut Place::default(), &mut one);
        let (mut place, mut at) = (Place::default(), 0);
        while at < length {
            let end = length.min(at + 16 + usize::from(source.byte()) * 16);
            at += kept.fill(&mut place, &mut other[at..end]);
        }
        assert_eq!((place.record(), place.position()), (list.count().records, phyr.length()));
        assert!(one == other && list.records().count() * 16 == length);
        assert_eq!(from_phys_vecs(&one, phyr.granule()).as_ref(), Ok(phyr));
    }
}

fn walks(phyr: &Phyr, frozen: &Frozen, chunks: &[(u64, Chunk)], source: &mut Source<'_>) {
    let all = || chunks.iter().map(|&(_, chunk)| chunk);
    assert!(phyr.chunks().eq(all()) && phyr.chunks().rev().eq(all().rev()));
    assert!(frozen.chunks().eq(all()) && frozen.chunks().rev().eq(all().rev()));
    assert_eq!((phyr.nr_chunks(), phyr.chunks().count()), (chunks.len() as u64, chunks.len()));
    assert_eq!(
        (phyr.chunks().last(), frozen.chunks().last()),
        (all().next_back(), all().next_back())
    );
    assert_eq!(frozen.chunks().count(), chunks.len());
    let (a, b) = (source.up_to(MOST) as usize, source.up_to(MOST) as usize);
    let (mut list, mut kept, mut model) = (phyr.chunks(), frozen.chunks(), all());
    // From both ends in turn, until they meet.
    for (front, back) in [(a, b), (1, 1), (0, b / 3), (a / 3, 0), (b, a)] {
        let next = model.nth(front);
        assert_eq!((list.nth(front), kept.nth(front)), (next, next));
        let next = model.nth_back(back);
        assert_eq!((list.nth_back(back), kept.nth_back(back)), (next, next));
        assert_eq!((list.size_hint(), kept.size_hint().0), (model.size_hint(), model.len()));
    }
    let sum = |total: u64, chunk: Chunk| total.wrapping_mul(3).wrapping_add(chunk.paddr);
    let total = model.fold(1, sum);
    assert_eq!((list.fold(1, sum), kept.fold(1, sum)), (total, total));
    let (one, other) = (phyr.stats(), frozen.stats());
    assert_eq!(
        (one.length, one.nr_chunks, one.largest),
        (other.length, other.nr_chunks, other.largest)
    );
    assert_eq!(phyr.orders(), frozen.orders());
    let size = phyr.granule().bytes();
    if phyr.length() / size <= 4 * MOST {
        let mut pages = vec![0; (phyr.length() / size) as usize];
        let found = phyr.pages(size).expect("granules").read(&mut pages);
        assert_eq!(found, pages.len());
        assert!(frozen.pages(size).expect("granules").eq(pages));
    }
}

fn searches(phyr: &Phyr, frozen: &Frozen, chunks: &[(u64, Chunk)], source: &mut Source<'_>) {
    let Some(&(last, chunk)) = chunks.last() else { return };
    assert_eq!(last + chunk.length, phyr.length());
    let mut positions = Vec::new();
    for _ in 0..=source.byte() % 8 {
        // Places near each other, and far from each other.
        let (at, step) = (source.number() % phyr.length(), source.edge());
        let count = 1 + usize::from(source.byte()) * 4;
        let next = |position: &u64| Some(position.wrapping_add(step) % phyr.length());
        positions.extend(core::iter::successors(Some(at), next).take(count));
    }
    if source.byte().is_multiple_of(2) {
        positions.sort_unstable();
    }
    let mut found = positions.clone();
    phyr.translate_all(&mut found).expect("positions inside");
    for (&position, paddr) in positions.iter().zip(found) {
        let number = chunks.partition_point(|&(at, _)| at <= position) - 1;
        let (at, chunk) = chunks[number];
        assert_eq!(paddr, chunk.paddr + (position - at));
        if number.is_multiple_of(5) {
            let number = number as u64;
            assert_eq!((phyr.find(position), frozen.find(position)), (Ok(number), Ok(number)));
            assert_eq!(
                (phyr.chunk(number), frozen.chunk(number)),
                (Ok((at, chunk)), Ok((at, chunk)))
            );
            assert_eq!(frozen.chunk_at(position), Ok((at, chunk)));
            assert_eq!(
                (phyr.translate(position), frozen.translate(position)),
                (Ok(paddr), Ok(paddr))
            );
        }
    }
    let highest = source.edge();
    let beyond = (0..).zip(chunks).find(|(_, (_, chunk))| chunk.last() > highest);
    let beyond = beyond.map(|(number, &(_, chunk))| (number, chunk));
    assert_eq!((phyr.first_beyond(highest), frozen.first_beyond(highest)), (beyond, beyond));
}

fn copies(phyr: &Phyr, frozen: &Frozen, source: &mut Source<'_>) {
    let end = |source: &mut Source<'_>| match phyr.length() {
        0 => 0,
        length => source.number() % length,
    };
    let (a, b) = (end(source), end(source));
    let (a, b) = (a.min(b), a.max(b));
    let part = phyr.slice(a, b).expect("a slice inside");
    part.validate().expect("a slice");
    assert_eq!(frozen.slice(a, b).expect("a slice inside").thaw().as_ref(), Ok(&part));
    assert!(part.compact() == part && part.chunks().eq(part.compact().chunks()));
    assert_eq!(Phyr::from_bytes(&part.to_bytes()).as_ref(), Ok(&part));
    let bytes = frozen.to_bytes().expect("a list of our own");
    assert_eq!(Frozen::from_bytes(&bytes).as_ref(), Ok(frozen));
    // All of it again, of its parts.
    let parts = [phyr.slice(0, a), phyr.slice(a, b), phyr.slice(b, phyr.length())];
    let parts = parts.map(|part| part.expect("a slice inside"));
    assert_eq!(Phyr::join(&parts).as_ref(), Ok(phyr));
    // Chunks are collected in a list of the usual granule.
    if phyr.granule().bytes() >= 4096 {
        let collected: Phyr = phyr.chunks().collect();
        assert!(collected.chunks().eq(phyr.chunks()));
    }
    let mut builder = Builder::with(phyr.granule(), phyr.kind());
    for part in &parts {
        builder.extend(part).expect("parts in their order");
    }
    assert!(builder.finish() == *phyr);
    let offset = i128::from(source.edge()) & -(i128::from(phyr.granule().bytes()));
    for offset in [offset, -offset] {
        if let Ok(moved) = phyr.shift(offset) {
            moved.validate().expect("a list that was shifted");
            let back = |chunk: Chunk| i128::from(chunk.paddr) - offset;
            assert!(
                moved.chunks().map(back).eq(phyr.chunks().map(|chunk| i128::from(chunk.paddr)))
            );
        }
    }
    let parts = parts.map(|part| part.freeze());
    if let Some(index) = Index::new(parts.clone()).said() {
        assert!(index.lists() == parts && (index.storage() > 0 || phyr.is_empty()));
        for _ in 0..4 {
            let first = match phyr.translate(end(source)) {
                Ok(paddr) => paddr,
                Err(_) => source.edge(),
            };
            let last = first.saturating_add(source.edge() >> (source.byte() & 63));
            let found = index.find_range(first, last);
            let mut found: Vec<_> = found
                .into_iter()
                .map(|each| (each.list, each.position, each.paddr, each.length))
                .collect();
            found.sort_unstable();
            let each = |(number, list): (usize, &Frozen)| {
                let parts = list.within(first, last).expect("memory");
                parts.into_iter().map(move |(at, part)| (number, at, part.paddr, part.length))
            };
            let expected: Vec<_> = parts.iter().enumerate().flat_map(each).collect();
            assert_eq!(found, expected);
            assert_eq!(phyr.within(first, last), frozen.within(first, last));
        }
    }
    // Each byte of the part is in the list; bytes that come twice count once.
    let both = phyr.intersect(&part).map(|both| both.length());
    assert!(both.is_err() || both == phyr.overlap(&part));
    assert_eq!(frozen.overlap(&part), phyr.overlap(&part));
    assert_eq!(part.freeze().overlap(frozen), frozen.overlap(&part));
    refused(phyr, source);
}

/// A long list is as it was after pages that cannot be appended.
fn refused(phyr: &Phyr, source: &mut Source<'_>) {
    let mut builder = Builder::with(phyr.granule(), phyr.kind());
    builder.extend(phyr).expect("a list of the same kind");
    let (before, size) = (builder.length(), phyr.granule().bytes());
    let is_whole = phyr.chunks().next_back().is_none_or(|last| last.last() % size == size - 1);
    assert!(is_whole || before == 0 || builder.append_pfns(0, 1).is_err());
    let pages = source.up_to(4 * MOST);
    let (first, step) = (source.edge() >> 12, source.edge() | 1);
    let pages = (0..pages).map(|page| first.wrapping_add(page * (step % 1000)) % (1 << 40));
    let pages: Vec<u64> = pages.collect();
    // The last page, or the last chunk, is what no list can hold.
    let mut wrong = pages.clone();
    wrong.push(u64::MAX);
    assert!(builder.extend_pfns(&wrong).said().is_none());
    assert!(builder.extend_pages(&wrong).said().is_none());
    let chunks = pages.iter().map(|&page| Chunk { paddr: page * size, length: size });
    let end = Chunk { paddr: 0, length: 0 };
    let refused = builder.extend_chunks(chunks.clone().chain([end])).said();
    assert!(refused.is_none() && builder.length() == before);
    let taken = builder.extend_chunks(chunks);
    let all = builder.finish();
    all.validate().expect("a list after what was refused");
    assert_eq!(all.length(), before + if taken.is_ok() { pages.len() as u64 * size } else { 0 });
    assert!(all.slice(0, before).expect("a slice inside") == *phyr);
}
