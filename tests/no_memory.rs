//! Every allocation may fail: each operation then says so, changes nothing, and leaks nothing.
#![expect(clippy::unwrap_used, reason = "a test may")]

use phyr::desc::{DescError, from_phys_vecs};
use phyr::{Builder, Error, FormatError, Index, Phyr};

#[path = "support/failing.rs"]
mod failing;

use failing::{each, live, with};

fn is_memory(why: &Error) -> bool {
    matches!(why, Error::NoMemory { .. })
}

/// Page numbers of which no two neighbours touch; some runs need two words.
fn pfns(count: u64) -> Vec<u64> {
    (0..count).map(|number| number * 3 + 7).collect()
}

fn singles(count: u64) -> Phyr {
    let mut builder = Builder::new();
    builder.extend_pfns(&pfns(count)).unwrap();
    builder.finish()
}

/// Chunks of two words, an odd number of words a node.
fn long(count: u64) -> Phyr {
    let mut builder = Builder::new();
    builder.append(0x1800, 0x800).unwrap();
    for number in 1..=count {
        builder.append(number << 32, 2049 << 12).unwrap();
    }
    builder.finish()
}

fn lists() -> Vec<Phyr> {
    // No heap; one node; full nodes, and one more; a full index node, and one more.
    let mut lists: Vec<Phyr> =
        [0_u64, 1, 2, 3, 509, 510, 511, 1020, 1021, 5000].map(singles).to_vec();
    lists.extend([long(1), long(254), long(255), long(2000)]);
    let slice = lists[9].slice(0x10, 4000 << 12).unwrap();
    lists.push(slice);
    lists
}

#[test]
fn making_lists_of_lists_fails_without_memory_and_keeps_nothing() {
    for phyr in lists() {
        let (copy, _) = each(|| phyr.try_compact(), is_memory);
        copy.validate().unwrap();
        assert_eq!(copy, phyr);
        let offset = 1_i128 << 40;
        let (moved, _) = each(|| phyr.shift(offset), is_memory);
        moved.validate().unwrap();
        let (back, _) = each(|| moved.shift(-offset), is_memory);
        assert_eq!(back, phyr);
    }
    let (a, b) = (singles(3000), singles(2000).shift(1 << 44).unwrap());
    let (both, failed) = each(|| a.concat(&b), is_memory);
    assert!(failed > 10);
    assert_eq!(both.slice(0, a.length()).unwrap(), a);
    assert_eq!(both.slice(a.length(), both.length()).unwrap(), b);
}

#[test]
fn bytes_fail_without_memory_and_keep_nothing() {
    for phyr in lists() {
        let (bytes, _) = each(|| phyr.try_to_bytes(), is_memory);
        let (read, _) =
            each(|| Phyr::from_bytes(&bytes), |why| matches!(why, FormatError::NoMemory { .. }));
        read.validate().unwrap();
        assert_eq!(read, phyr);
        let records: Vec<u8> = phyr
            .chunks()
            .flat_map(|chunk| [chunk.paddr.to_le_bytes(), chunk.length.to_le_bytes()].concat())
            .collect();
        let (read, _) = each(
            || from_phys_vecs(&records, phyr.granule()),
            |why| matches!(why, DescError::NoMemory { .. }),
        );
        assert_eq!(read, phyr);
    }
}

/// A builder with so many chunks.
fn started(count: u64) -> Builder {
    let mut builder = Builder::new();
    builder.extend_pfns(&pfns(count)).unwrap();
    builder
}

/// Finishes a list, after each failure there can be.
fn finished(builder: &mut Builder) -> Phyr {
    let length = builder.length();
    for k in 0.. {
        if let Ok(phyr) = with(k, || builder.try_finish()) {
            assert_eq!((phyr.length(), builder.length()), (length, 0));
            return phyr;
        }
        assert_eq!(builder.length(), length, "allocation {k}");
    }
    unreachable!("there is a number of allocations")
}

/// Appends in one of several ways.
type Append<'a> = dyn Fn(&mut Builder) -> Result<(), Error> + 'a;

#[test]
fn a_builder_is_as_it_was_after_each_failure() {
    let more = pfns(4000);
    let pages: Vec<u64> = more.iter().map(|pfn| pfn << 12).collect();
    let (list, odd) = (singles(4000), long(1500).slice(0x800, 1 << 33).unwrap());
    let by_pfn = |builder: &mut Builder| builder.extend_pfns(&more);
    let by_page = |builder: &mut Builder| builder.extend_pages(&pages);
    let by_list = |builder: &mut Builder| builder.extend(&list);
    let by_odd = |builder: &mut Builder| builder.extend(&odd);
    let by_chunk = |builder: &mut Builder| builder.append(1 << 50, 0x1000);
    let ways: [&Append; 5] = [&by_pfn, &by_page, &by_list, &by_odd, &by_chunk];
    for start in [0, 1, 2, 400, 509, 510, 511, 2000, 64_769, 64_771, 65_500] {
        for way in ways {
            let mut plain = started(start);
            way(&mut plain).unwrap();
            let plain = plain.finish();
            let mut builder = started(start);
            for k in 0.. {
                let (length, before) = (builder.length(), live());
                match with(k, || way(&mut builder)) {
                    Ok(()) => break,
                    Err(why) => assert!(is_memory(&why)),
                }
                assert_eq!(builder.length(), length, "allocation {k}");
                // An open node may stay, empty, for the next attempt.
                assert!(live() <= before + 4, "allocation {k}");
            }
            let phyr = finished(&mut builder);
            phyr.validate().unwrap();
            plain.validate().unwrap();
            assert_eq!(phyr, plain);
        }
    }
}

#[test]
fn a_failed_finish_leaves_a_builder_that_goes_on() {
    for count in [3, 510, 511, 1021, 64_770, 64_771, 130_000] {
        let phyr = finished(&mut started(count));
        phyr.validate().unwrap();
        assert_eq!(phyr, singles(count));

        // The same, and more appended after each failure.
        let mut builder = Builder::new();
        builder.extend_pfns(&pfns(count)).unwrap();
        let mut chunks = count;
        for k in 0..12 {
            if with(k, || builder.try_finish()).is_err() {
                builder.append((chunks * 3 + 7) << 12, 0x1000).unwrap();
                chunks += 1;
            } else {
                builder.extend_pfns(&pfns(chunks)).unwrap();
            }
        }
        let phyr = builder.finish();
        phyr.validate().unwrap();
        assert_eq!(phyr, singles(chunks));
    }
}

#[test]
fn nothing_is_left_when_all_is_dropped() {
    let before = live();
    drop(lists());
    let mut builder = Builder::new();
    builder.extend_pfns(&pfns(70_000)).unwrap();
    let _ = with(3, || builder.try_finish());
    drop(builder);
    assert_eq!(live(), before);
}

#[test]
fn overlaps_fail_without_memory_and_keep_nothing() {
    // Few runs are sorted; many close together are compared as bitmaps, and far apart sorted again.
    for (count, factor, steps) in [(20, 1, 3), (3000, 1, 5), (3000, 1 << 20, 3)] {
        let list = |first: u64| {
            let mut builder = Builder::new();
            (0..count).for_each(|at| builder.append_pfns(first + at * 3 * factor, 2).unwrap());
            builder.finish()
        };
        let (one, other) = (list(7), list(8));
        let (bytes, failed) = each(|| one.overlap(&other), is_memory);
        assert_eq!((bytes, failed), (count << 12, steps));
        let (both, _) = each(|| one.intersect(&other), is_memory);
        assert_eq!(both.length(), bytes);
        let kept = [one.freeze(), other.freeze(), one.freeze()];
        let make = || {
            let mut lists = Vec::new();
            lists.try_reserve(3).map_err(|_| Error::NoMemory { bytes: 0 })?;
            lists.extend(kept.iter().cloned());
            Index::try_new(lists)
        };
        let (index, failed) = each(make, is_memory);
        assert!(failed > 5);
        assert_eq!(index.find(8 << 12).len(), 3);
    }
}
