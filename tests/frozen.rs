//! Every law of a list for a frozen one, against the oracle; and bytes of anywhere.
#![expect(clippy::cast_possible_truncation, reason = "the lists are small")]
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod archives;
#[path = "oracle/long.rs"]
mod long;
#[path = "archives/memory.rs"]
mod memory;
mod oracle;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use long::{any_models, frozen_part, long_models};
use memory::Memory;
use oracle::Model;
use phyr::{Builder, Chunk, FormatError, Frozen, Granule, Kind, Phyr};
use proptest::prelude::*;
use proptest::sample::Index;

fn hash(list: &impl std::hash::Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(list)
}

/// Looks for addresses of a list, whatever it holds now: no more than was asked for is found.
fn look(places: &phyr::Index, frozen: &Frozen) {
    for chunk in frozen.chunks().take(100) {
        for (first, last) in [(chunk.paddr, chunk.paddr), (chunk.paddr, chunk.last())] {
            for found in places.find_range(first, last) {
                assert!(found.length > 0 && found.list < 2);
                assert!(first <= found.paddr && found.length - 1 <= last - found.paddr);
            }
        }
    }
}

/// Reads all that can be read; whatever it is, each chunk is one that some list can hold.
fn exercise(frozen: &Frozen) {
    let (mut total, mut count) = (0_u64, 0);
    for chunk in frozen.chunks().take(2000) {
        let _ = chunk.last();
        assert!(chunk.length > 0);
        total = total.wrapping_add(chunk.length);
        count += 1;
    }
    assert!(count <= frozen.nr_chunks());
    let back = frozen.chunks().rev().take(2000).map(Chunk::last).fold(0, u64::wrapping_add);
    let nr_chunks = frozen.nr_chunks();
    for step in 0..40 {
        let position = frozen.length() / 40 * step;
        let _ = (frozen.translate(position), frozen.find(position));
        let _ = frozen.chunk(nr_chunks / 40 * step).map(|(_, chunk)| chunk.last());
    }
    let part = frozen.slice(frozen.length() / 3, frozen.length() / 2).unwrap();
    let folded = frozen.chunks().fold(0, |count, chunk| {
        let _ = chunk.last();
        assert!(chunk.length > 0);
        count + 1
    });
    assert!(folded <= nr_chunks);
    let _ = (part.nr_chunks(), part.chunks().take(2000).map(Chunk::last).max(), back, total);
    let _ = format!("{frozen:?}");
}

/// A list frozen, or as the part of a frozen one.
fn frozen(model: &Model, is_part: bool) -> Frozen {
    if is_part { frozen_part(model) } else { model.build().freeze() }
}

proptest! {
    #[test]
    fn chunks_are_those_of_the_pages(model in any_models(), is_part in any::<bool>()) {
        let frozen = frozen(&model, is_part);
        let expected = model.chunks();
        prop_assert_eq!(frozen.check(), Ok(()));
        prop_assert_eq!(frozen.length(), model.length());
        prop_assert_eq!(frozen.nr_chunks(), expected.len() as u64);
        prop_assert_eq!(frozen.chunks().len(), expected.len());
        prop_assert!(frozen.chunks().eq(expected.iter().copied()));
        prop_assert!(frozen.chunks().rev().eq(expected.iter().rev().copied()));
        let folded = frozen.chunks().fold(Vec::new(), |mut all, chunk| { all.push(chunk); all });
        prop_assert_eq!(folded, expected);
    }

    #[test]
    fn walking_from_both_ends_meets_in_the_middle(model in any_models(), is_part in any::<bool>(), turns in prop::collection::vec((any::<bool>(), 0_usize..70), 0..40)) {
        let frozen = frozen(&model, is_part);
        let expected = model.chunks();
        let mut chunks = frozen.chunks();
        let mut plain = expected.iter().copied();
        for (back, n) in turns {
            if back {
                prop_assert_eq!(chunks.nth_back(n), plain.nth_back(n));
            } else {
                prop_assert_eq!(chunks.nth(n), plain.nth(n));
            }
            prop_assert_eq!(chunks.len(), plain.len());
        }
        prop_assert_eq!(chunks.clone().last(), plain.clone().next_back());
        let rest = chunks.fold(Vec::new(), |mut all, chunk| { all.push(chunk); all });
        prop_assert!(rest.into_iter().eq(plain));
    }

    #[test]
    fn positions_translate_as_in_the_buffer(model in any_models(), is_part in any::<bool>(), at in prop::collection::vec(any::<Index>(), 1..20)) {
        let frozen = frozen(&model, is_part);
        let chunks = model.chunks();
        prop_assert!(frozen.translate(model.length()).is_err());
        prop_assert!(frozen.find(model.length()).is_err());
        prop_assert!(frozen.chunk(chunks.len() as u64).is_err());
        prop_assume!(model.length() > 0);
        for at in at {
            let at = at.index(model.length() as usize) as u64;
            prop_assert_eq!(frozen.translate(at), Ok(model.paddr(at)));
            let number = frozen.find(at).unwrap();
            let (position, chunk) = frozen.chunk(number).unwrap();
            prop_assert!(position <= at && at < position + chunk.length);
            prop_assert_eq!(chunk, chunks[number as usize]);
            prop_assert_eq!(position, chunks[..number as usize].iter().map(|c| c.length).sum::<u64>());
        }
    }

    #[test]
    fn slice_of_slice_is_slice(model in any_models(), a in any::<Index>(), b in any::<Index>()) {
        let size = model.length() as usize + 1;
        let (a, b) = (a.index(size) as u64, b.index(size) as u64);
        let (a, b) = (a.min(b), a.max(b));
        let whole = model.build().freeze();
        let part = whole.slice(a, b).unwrap();
        let direct = model.slice(a, b).build();
        prop_assert_eq!(&part, &direct);
        prop_assert_eq!(&direct, &part);
        prop_assert_eq!(&part, &direct.freeze());
        prop_assert_eq!(hash(&part), hash(&direct));
        prop_assert_eq!(part.to_bytes().unwrap(), direct.freeze().to_bytes().unwrap());
        prop_assert!(part.chunks().eq(model.slice(a, b).chunks()));
        prop_assert!(part.chunks().rev().eq(model.slice(a, b).chunks().into_iter().rev()));
        prop_assert_eq!(part.nr_chunks(), direct.nr_chunks());
        part.thaw().unwrap().validate().unwrap();
        let none = whole.slice(a, a).unwrap();
        none.thaw().unwrap().validate().unwrap();
        prop_assert_eq!(none.thaw().unwrap(), model.slice(a, a).build());
        let (before, after) = part.split_at((b - a) / 2).unwrap();
        prop_assert_eq!(before.length() + after.length(), part.length());
        prop_assert!(whole.slice(b, a).is_err() || a == b);
        prop_assert!(whole.slice(a, model.length() + 1).is_err());
    }

    #[test]
    fn freezing_and_thawing_change_nothing(model in any_models()) {
        let phyr = model.build();
        let frozen = phyr.freeze();
        let thawed = frozen.thaw().unwrap();
        thawed.validate().unwrap();
        prop_assert_eq!(&thawed, &phyr);
        prop_assert_eq!(thawed.to_bytes(), phyr.to_bytes());
        prop_assert_eq!(thawed.freeze().to_bytes().unwrap(), frozen.to_bytes().unwrap());
        prop_assert_eq!(hash(&frozen), hash(&phyr));
        prop_assert_eq!((frozen.granule(), frozen.kind()), (phyr.granule(), phyr.kind()));
        prop_assert!(frozen.storage() <= phyr.storage());
    }

    #[test]
    fn one_page_changed_makes_another_list(model in long_models(), at in any::<Index>(), flip in 0_u32..12) {
        prop_assume!(model.length() > 0);
        let mut other = model.clone();
        let at = (model.start + at.index(model.length() as usize) as u64) / model.granule;
        other.pfns[at as usize] ^= 1 << flip;
        let (a, b) = (model.build().freeze(), other.build().freeze());
        let same = model.chunks() == other.chunks();
        prop_assert_eq!(a == b, same);
        prop_assert_eq!(a == other.build(), same);
        prop_assert_eq!(hash(&a) == hash(&b), same);
        prop_assert_eq!(a.to_bytes().unwrap() == b.to_bytes().unwrap(), same);
    }

    #[test]
    fn bytes_round_trip(model in any_models()) {
        let phyr = model.build();
        let bytes = phyr.freeze().to_bytes().unwrap();
        let read = Frozen::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&read, &phyr);
        prop_assert_eq!(read.to_bytes().unwrap(), bytes.clone());
        prop_assert_eq!(Frozen::from_bytes(&phyr.to_bytes()).unwrap().to_bytes().unwrap(), bytes.clone());
        if bytes.starts_with(b"PHYF") {
            let shared = Frozen::from_shared(Box::new(Memory::new(&bytes))).unwrap();
            prop_assert_eq!(shared.check(), Ok(()));
            prop_assert_eq!(&shared, &phyr);
            prop_assert_eq!(shared.to_bytes().unwrap(), bytes);
        }
    }

    #[test]
    fn bytes_that_were_changed_are_refused(model in any_models(), at in any::<Index>(), flip in 1_u8..=255, cut in any::<Index>()) {
        let bytes = model.build().freeze().to_bytes().unwrap();
        let mut changed = bytes.clone();
        changed[at.index(bytes.len())] ^= flip;
        prop_assert!(Frozen::from_bytes(&changed).is_err());
        prop_assert!(Frozen::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
        prop_assert!(Frozen::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        prop_assert!(Frozen::from_bytes(&[&bytes[..], &[0; 8]].concat()).is_err());
    }

    #[test]
    fn words_that_change_are_wrong_answers_at_worst(
        model in long_models(),
        changes in prop::collection::vec((any::<Index>(), prop_oneof![any::<u64>(), 0_u64..1 << 30, Just(0), Just(u64::MAX)]), 1..20),
    ) {
        let bytes = model.build().freeze().to_bytes().unwrap();
        if !bytes.starts_with(b"PHYF") {
            return Ok(());
        }
        let memory = Memory::new(&bytes);
        let frozen = Frozen::from_shared(Box::new(memory.clone())).unwrap();
        let part = frozen.slice(frozen.length() / 3, frozen.length()).unwrap();
        let places = phyr::Index::new([frozen.clone(), part]).unwrap();
        for (at, word) in changes {
            let at = at.index(memory.0.len());
            memory.0[at].store(word, Ordering::Relaxed);
            exercise(&frozen);
            look(&places, &frozen);
            look(&phyr::Index::new(places.lists().to_vec()).unwrap(), &frozen);
            if let Ok(phyr) = frozen.thaw() {
                phyr.validate().unwrap();
            }
            if frozen.check().is_ok() {
                prop_assert_eq!(frozen.thaw().unwrap().freeze().to_bytes().unwrap(), frozen.to_bytes().unwrap());
            }
            if let Ok(other) = Frozen::from_shared(Box::new(memory.clone())) {
                exercise(&other);
            }
        }
    }

    #[test]
    fn any_words_under_a_right_digest_are_a_list_or_an_error(
        model in long_models(),
        changes in prop::collection::vec((any::<Index>(), 0_u32..64), 1..3),
    ) {
        let bytes = model.build().freeze().to_bytes().unwrap();
        if !bytes.starts_with(b"PHYF") {
            return Ok(());
        }
        let mut words: Vec<u64> = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        for (at, bit) in changes {
            let at = at.index(words.len());
            words[at] ^= 1 << bit;
        }
        words[7] = digest(&[&words[..7], &words[8..]].concat());
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        match Frozen::from_bytes(&bytes) {
            Ok(frozen) => {
                let phyr = frozen.thaw().unwrap();
                phyr.validate().unwrap();
                prop_assert_eq!(phyr.freeze().to_bytes().unwrap(), bytes);
            }
            Err(error) => prop_assert!(!matches!(error, FormatError::Check { .. }), "{error}"),
        }
    }

    #[test]
    fn kinds_and_granules_are_kept(model in any_models()) {
        let (phyr, part) = (model.build(), frozen_part(&model));
        let kept = (Granule::new(model.granule).unwrap(), model.kind);
        for frozen in [phyr.freeze(), part] {
            prop_assert_eq!((frozen.granule(), frozen.kind()), kept);
            prop_assert_eq!(&frozen, &phyr);
            let thawed = frozen.thaw().unwrap();
            prop_assert_eq!((thawed.granule(), thawed.kind()), kept);
            let read = Frozen::from_bytes(&frozen.to_bytes().unwrap()).unwrap();
            prop_assert_eq!((read.granule(), read.kind()), kept);
            prop_assert_eq!(read, phyr.clone());
        }
    }
}

#[test]
fn many_of_the_lists_have_archives() {
    archives::demand(&any_models(), Model::build);
    archives::demand(&long_models(), Model::build);
}

/// The digest as `docs/encoding.md` has it.
fn digest(words: &[u64]) -> u64 {
    let step = |x: u64| {
        let y = x.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        y ^ (y >> 32)
    };
    let mut lanes = [0; 8];
    for (index, word) in words.iter().enumerate() {
        lanes[index % 8] = step(lanes[index % 8] ^ word);
    }
    lanes.iter().fold(step(words.len() as u64), |total, lane| step(total ^ lane))
}

/// `count` runs of `nr_pages` pages; page numbers by `place`.
fn runs(granule: u64, count: u64, nr_pages: u64, place: impl Fn(u64) -> u64) -> Phyr {
    let mut builder = Builder::with(Granule::new(granule).unwrap(), Kind::Ram);
    (0..count).for_each(|index| builder.append_pfns(place(index), nr_pages).unwrap());
    builder.finish()
}

#[test]
fn edges_of_numbers_and_places() {
    let scattered = |index: u64| index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12;
    let last = (1 << 52) - 1;
    let lists = [
        Phyr::default(),
        runs(4096, 1, 1, |_| last),
        runs(4096, 1000, 1, |index| last - 2 * index),
        runs(4096, 1000, 1, |_| last),
        runs(4096, 1000, 1, |index| if index % 2 == 0 { last } else { 0 }),
        runs(1, 500, 2049, |index| scattered(index) >> 2),
        // Nearly all that a list can have.
        runs(1, 4095, 1 << 52, |_| 0),
        runs(4096, 4095, 1 << 40, |_| 0),
        runs(4096, 4095, (1 << 40) + 1, |_| last - (1 << 40)),
        runs(65536, 300, 7, |index| (1 << 48) - 7 - 11 * index),
    ];
    for phyr in lists {
        let frozen = phyr.freeze();
        frozen.check().unwrap();
        assert!(frozen.chunks().eq(phyr.chunks()), "{phyr:?}");
        assert!(frozen.chunks().rev().eq(phyr.chunks().rev()), "{phyr:?}");
        assert_eq!(frozen.thaw().unwrap(), phyr);
        assert_eq!(Frozen::from_bytes(&frozen.to_bytes().unwrap()).unwrap(), phyr);
        for step in 0..100 {
            let position = phyr.length() / 100 * step + step;
            assert_eq!(frozen.translate(position), phyr.translate(position), "{phyr:?}");
            assert_eq!(frozen.find(position), phyr.find(position), "{phyr:?}");
        }
        for number in 0..=phyr.nr_chunks() {
            assert_eq!(frozen.chunk(number), phyr.chunk(number), "{phyr:?}");
        }
    }
}

#[test]
fn runs_of_any_length_are_unpacked_or_searched() {
    // A block of 2^31 units and more is not unpacked: here, runs of 2^24 bytes on average.
    for (granule, lg2) in [(1, 22), (1, 23), (1, 24), (1, 25), (4096, 24), (4096, 31)] {
        for unit_lg2 in [0, 9] {
            let mut builder = Builder::with(Granule::new(granule).unwrap(), Kind::Ram);
            let mut state = lg2 + granule;
            let mut random = || {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                state >> 20
            };
            for _ in 0..500 {
                let length = random() % (2 << lg2) + 1;
                let pfn = random() % (1 << 35);
                builder.append_pfns(pfn << unit_lg2, length << unit_lg2).unwrap();
            }
            let phyr = builder.finish();
            let frozen = phyr.freeze();
            assert!(frozen.storage() < phyr.storage());
            frozen.check().unwrap();
            let chunks: Vec<Chunk> = phyr.chunks().collect();
            let folded = frozen.chunks().fold(Vec::new(), |mut all, chunk| {
                all.push(chunk);
                all
            });
            assert_eq!(folded, chunks);
            assert!(frozen.chunks().eq(chunks.iter().copied()));
            assert!(frozen.chunks().rev().eq(chunks.iter().rev().copied()));
            assert!(frozen.chunks().step_by(77).eq(chunks.iter().step_by(77).copied()));
            assert_eq!(frozen.thaw().unwrap(), phyr);
            let part = |list: &Phyr| list.slice(list.length() / 3, list.length() / 2).unwrap();
            assert_eq!(part(&phyr).freeze(), part(&phyr));
            assert_eq!(frozen.slice(phyr.length() / 3, phyr.length() / 2).unwrap(), part(&phyr));
        }
    }
}

#[test]
fn words_that_changed_are_said_to_have_changed() {
    let phyr = runs(4096, 5000, 1, |index| index * 7919 % 65536);
    let memory = Memory::new(&phyr.freeze().to_bytes().unwrap());
    let frozen = Frozen::from_shared(Box::new(memory.clone())).unwrap();
    assert_eq!(frozen.thaw().unwrap(), phyr);
    // All behind the header.
    memory.0[8..].iter().for_each(|word| word.store(0, Ordering::Relaxed));
    let length = phyr.length();
    assert_eq!(frozen.thaw(), Err(FormatError::Changed { length }));
    let part = frozen.slice(0x1000, 0x9000).unwrap();
    assert_eq!(part.to_bytes(), Err(FormatError::Changed { length: 0x8000 }));
    let told = FormatError::Changed { length: 0x8000 }.to_string();
    assert!(told.contains("0x8000 bytes") && told.contains("changed"), "{told}");
}

#[test]
fn frozen_lists_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Frozen>();
    let frozen = runs(4096, 5000, 1, |index| index * 7919 % 65536).freeze();
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for step in 0..4 {
            let frozen = frozen.slice(step * 4096, frozen.length()).unwrap();
            let found = &found;
            scope.spawn(move || found.lock().unwrap().push(frozen.nr_chunks() + step));
        }
    });
    assert_eq!(*found.lock().unwrap(), [5000; 4]);
}
