//! Parts of a frozen list that lies in memory of others, checked by themselves.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

#[path = "archives/memory.rs"]
mod memory;

use std::sync::atomic::Ordering;

use memory::Memory;
use phyr::{Builder, Frozen, Phyr};
use proptest::prelude::*;
use proptest::sample::Index;

/// The archive of a list in such memory; `None` if freezing leaves the list as it is.
fn shared(phyr: &Phyr) -> Option<(Memory, Frozen)> {
    let bytes = phyr.freeze().to_bytes().unwrap();
    if !bytes.starts_with(b"PHYF") {
        return None;
    }
    let memory = Memory::new(&bytes);
    let frozen = Frozen::from_shared(Box::new(memory.clone())).unwrap();
    Some((memory, frozen))
}

/// Lists of many blocks: of runs of one size, or of several, far apart or close.
fn lists() -> impl Strategy<Value = Phyr> {
    let runs = prop::collection::vec((any::<u64>(), any::<u64>()), 300..1500);
    let most = prop_oneof![Just(1_u64), Just(2), Just(9), Just(300)];
    (runs, most, 12_u32..40, any::<bool>()).prop_map(|(runs, most, bits, is_even)| {
        let mut builder = Builder::new();
        for (number, (pfn, count)) in (0_u64..).zip(runs) {
            let pfn = (pfn % (1 << bits)) * 2 * most + number % 2;
            builder.append_pfns(pfn, if is_even { most } else { 1 + count % most }).unwrap();
        }
        builder.finish()
    })
}

/// Asserts that all that is read of a part is of one list.
fn is_of_one_list(part: &Frozen) -> Result<(), TestCaseError> {
    let thawed = part.thaw();
    prop_assert!(thawed.is_ok(), "{thawed:?}");
    let thawed = thawed.unwrap();
    prop_assert!(part.chunks().eq(thawed.chunks()));
    prop_assert!(part.chunks().rev().eq(thawed.chunks().rev()));
    prop_assert_eq!(part.nr_chunks(), thawed.nr_chunks());
    let mut start = 0;
    for (number, chunk) in (0..).zip(thawed.chunks()) {
        prop_assert_eq!(part.chunk(number), Ok((start, chunk)));
        for at in [0, chunk.length / 2, chunk.length - 1] {
            prop_assert_eq!(part.translate(start + at), Ok(chunk.paddr + at));
            prop_assert_eq!(part.find(start + at), Ok(number));
        }
        start += chunk.length;
    }
    prop_assert_eq!(start, part.length());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_part_that_was_checked_is_of_one_list(
        phyr in lists(),
        changes in prop::collection::vec(
            (any::<Index>(), prop_oneof![
                any::<u64>().prop_map(|word| (word, 0)),
                Just((0, 0)),
                Just((u64::MAX, 0)),
                (0_u32..64).prop_map(|bit| (0, 1 << bit)),
            ], any::<[Index; 2]>()),
            40,
        ),
    ) {
        let Some((memory, frozen)) = shared(&phyr) else { return Ok(()) };
        let length = phyr.length();
        for (at, (word, flip), ends) in changes {
            let ends = ends.map(|end| u64::try_from(end.index(usize::try_from(length).unwrap())).unwrap());
            let (start, end) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
            let part = frozen.slice(start, end).unwrap();
            prop_assert_eq!(part.check(), Ok(()));
            // Not the header, which says how much there is.
            let at = 8 + at.index(memory.0.len() - 8);
            let before = memory.0[at].load(Ordering::Relaxed);
            let after = if flip == 0 { word } else { before ^ flip };
            memory.0[at].store(after, Ordering::Relaxed);
            if part.check().is_ok() {
                is_of_one_list(&part)?;
            }
            memory.0[at].store(before, Ordering::Relaxed);
        }
        prop_assert_eq!(frozen.check(), Ok(()));
    }
}

#[test]
fn a_part_is_refused_for_its_own_words_only() {
    let mut builder = Builder::new();
    for run in 0..1280 {
        builder.append_pfns(run * 7919 % 4001 * 16, 1 + run % 9).unwrap();
    }
    let phyr = builder.finish();
    let (memory, frozen) = shared(&phyr).unwrap();
    // Ten blocks of 128 runs; the middle of the sixth.
    let (start, _) = phyr.chunk(128 * 5 + 40).unwrap();
    let (end, _) = phyr.chunk(128 * 5 + 80).unwrap();
    let part = frozen.slice(start, end).unwrap();
    let same = phyr.slice(start, end).unwrap();
    let (mut refused, mut others) = (0, 0);
    for at in 8..memory.0.len() {
        let before = memory.0[at].swap(u64::MAX, Ordering::Relaxed);
        assert!(frozen.check().is_err(), "word {at}");
        if part.check().is_err() {
            refused += 1;
        } else if part.thaw().unwrap() != same {
            // Any page numbers are those of some list, and only the whole has a digest.
            others += 1;
        }
        memory.0[at].store(before, Ordering::Relaxed);
    }
    // One of ten blocks, with two of its neighbours' words for each of its own in the index.
    assert!((10..80).contains(&refused), "{refused} of {} words", memory.0.len());
    assert!((1..60).contains(&others), "{others} of {} words", memory.0.len());
    assert_eq!((part.check(), frozen.slice(7, 7).unwrap().check()), (Ok(()), Ok(())));
}
