//! PRP lists and SGLs of many records, read together where all is well: the list, or the name of the first
//! wrong record, is that of reading one record after another.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::convert::Infallible;

use phyr::desc::{DescError, ReadError, from_prp, from_sgl};
use phyr::{Builder, Granule, Kind, Phyr};
use proptest::prelude::*;

/// Where descriptors lie in memory.
const LISTS: u64 = 1 << 60;
const PAGE: u64 = 4096;

/// Appends a range, or names its record.
fn append(builder: &mut Builder, index: u64, paddr: u64, length: u64) -> Result<(), DescError> {
    builder.append(paddr, length).map_err(|why| DescError::List { index, why })
}

/// Reads memory that starts at [`LISTS`].
fn memory(words: &[u64]) -> impl FnMut(u64, &mut [u8]) -> Result<(), Infallible> {
    |at, out| {
        for (word, at) in out.chunks_exact_mut(8).zip((at - LISTS) / 8..) {
            word.copy_from_slice(&words[usize::try_from(at).unwrap()].to_le_bytes());
        }
        Ok(())
    }
}

/// The oracle: entries one after another. Number 1 is the pointer to the first list.
fn prps(entries: &[u64], mut left: u64, granule: Granule) -> Result<Phyr, DescError> {
    let mut builder = Builder::with(granule, Kind::Ram);
    for (index, &entry) in [0].into_iter().chain(2..).zip(entries) {
        if entry % if index == 0 { 4 } else { PAGE } != 0 {
            return Err(DescError::Record { index, field: "offset", value: entry });
        }
        let length = left.min(PAGE - entry % PAGE);
        append(&mut builder, index, entry, length)?;
        left -= length;
    }
    Ok(builder.finish())
}

/// The oracle: data blocks of address, length and type, one after another.
fn blocks(records: &[(u64, u64, u8)], most: u64, granule: Granule) -> Result<Phyr, DescError> {
    let mut builder = Builder::with(granule, Kind::Ram);
    for (index, &(paddr, length, kind)) in (1..).zip(records) {
        if kind != 0 {
            return Err(DescError::Record { index, field: "identifier", value: kind.into() });
        }
        if builder.length() + length > most {
            let length = builder.length() + length;
            return Err(DescError::TooLong { index, length, max_length: most });
        }
        if length > 0 {
            append(&mut builder, index, paddr, length)?;
        }
    }
    Ok(builder.finish())
}

/// Page numbers, some of which follow the one before.
fn pfns(count: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec((1_u64..1 << 40, any::<bool>()), count).prop_map(|draws| {
        let mut last = 0;
        let mut next = |(pfn, follows): (u64, bool)| {
            last = if follows { last + 1 } else { pfn };
            last
        };
        draws.into_iter().map(&mut next).collect()
    })
}

fn granules() -> impl Strategy<Value = Granule> {
    // The last is larger than a page.
    prop_oneof![Just(4096), Just(512), Just(1), Just(8192)]
        .prop_map(|size| Granule::new(size).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn prp_entries_are_read_as_one_after_another(
        pfns in pfns(3..1400),
        wrong in prop::collection::vec(
            (any::<prop::sample::Index>(), prop_oneof![Just(8_u64), Just(1 << 63)]), 0..3
        ),
        ends in (0_u64..1024, 0_u64..4096),
        granule in granules(),
    ) {
        let mut entries: Vec<u64> = pfns.iter().map(|pfn| pfn * PAGE).collect();
        for (index, bits) in wrong {
            *index.get_mut(&mut entries) |= bits;
        }
        entries[0] += ends.0 * 4 % PAGE;
        let length = entries.len() as u64 * PAGE - entries[0] % PAGE - ends.1;
        // List pages, each but the last with a link to the next.
        let mut words = entries[1..].to_vec();
        let mut link = 511;
        while link + 1 < words.len() {
            words.insert(link, LISTS + (link as u64 + 1) * 8);
            link += 512;
        }
        let read = from_prp(entries[0], LISTS, length, PAGE, granule, memory(&words));
        match prps(&entries, length, granule) {
            Ok(phyr) => prop_assert_eq!(read, Ok(phyr)),
            Err(why) => prop_assert_eq!(read, Err(ReadError::Desc(why))),
        }
    }

    #[test]
    fn data_blocks_are_read_as_one_after_another(
        pfns in pfns(2..1400),
        lengths in prop::collection::vec(1_u64..20, 1..9),
        wrong in prop::collection::vec((any::<prop::sample::Index>(), 0..4), 0..3),
        tight in prop::option::of(0_u64..1 << 22),
        segment in 2_usize..600,
        granule in granules(),
    ) {
        let sizes = lengths.iter().cycle();
        let mut records: Vec<_> =
            pfns.iter().zip(sizes).map(|(pfn, pages)| (pfn * PAGE, pages * PAGE, 0)).collect();
        for (index, how) in wrong {
            let record = index.get_mut(&mut records);
            match how {
                0 => record.0 |= 1 << 63,
                1 => record.1 += 8,
                2 => record.1 = 0,
                _ => record.2 = 0x10,
            }
        }
        // One segment after another, each but the last with a link to the next.
        let (mut words, mut index_of) = (Vec::new(), Vec::new());
        let mut left = &records[..];
        while !left.is_empty() {
            let is_last = left.len() <= segment;
            let (data, rest) = left.split_at(if is_last { left.len() } else { segment - 1 });
            for &(paddr, length, kind) in data {
                index_of.push(1 + words.len() as u64 / 2);
                words.extend([paddr, length | u64::from(kind) << 56]);
            }
            if !is_last {
                let next = LISTS + words.len() as u64 * 8 + 16;
                let (count, kind) =
                    if rest.len() <= segment { (rest.len(), 0x30) } else { (segment, 0x20) };
                words.extend([next, (count as u64 * 16) | (kind << 56)]);
            }
            left = rest;
        }
        let count = records.len().min(segment) as u64;
        let kind = if records.len() <= segment { 0x30 } else { 0x20 };
        let sgl1 = [LISTS, (count * 16) | (kind << 56)].map(u64::to_le_bytes).concat();
        let most = tight.map_or(u64::MAX, |less| {
            records.iter().map(|record| record.1).sum::<u64>().saturating_sub(less)
        });
        let read = from_sgl(&sgl1.try_into().unwrap(), most, granule, memory(&words));
        // The links count, too.
        let placed = |index: u64| index_of[usize::try_from(index).unwrap() - 1];
        match blocks(&records, most, granule) {
            Ok(phyr) => prop_assert_eq!(read, Ok(phyr)),
            Err(why) => prop_assert_eq!(read, Err(ReadError::Desc(match why {
                DescError::Record { index, field, value } => {
                    DescError::Record { index: placed(index), field, value }
                }
                DescError::List { index, why } => DescError::List { index: placed(index), why },
                DescError::TooLong { index, length, max_length } => {
                    DescError::TooLong { index: placed(index), length, max_length }
                }
                other => other,
            }))),
        }
    }
}
