//! Every allocation of the simulation, the page-map decoder and `IovaMap` may fail.
#![expect(clippy::unwrap_used, reason = "a test may")]
#![cfg(feature = "sim")]

#[path = "support/failing.rs"]
mod failing;

use failing::{each, with};
use phyr::pagemap::PagemapDecoder;
use phyr::sim::{Columns, DomainError, DomainOptions, Memory, MemoryError, ScatterOptions};
use phyr::sim::{SimDomain, scatter};
use phyr::{Builder, Error, Granule, IovaMap, Phyr, Prot};

/// Does `work` with ever more allocations until it succeeds. `check` looks after each failure.
/// Returns the result, and how often it failed.
fn until<S, T, E: std::fmt::Display>(
    state: &mut S,
    mut work: impl FnMut(&mut S) -> Result<T, E>,
    mut check: impl FnMut(&mut S),
) -> (T, usize) {
    for k in 0.. {
        match with(k, || work(state)) {
            Ok(result) => return (result, k),
            Err(why) => assert!(why.to_string().contains("no memory for"), "{k}: {why}"),
        }
        check(state);
    }
    unreachable!("there is a number of allocations")
}

fn is_memory(why: &MemoryError) -> bool {
    matches!(why, MemoryError::List(Error::NoMemory { .. }))
}

#[test]
fn scattering_takes_all_or_nothing() {
    let options = ScatterOptions { seed: 3, orders: &[0, 1, 2], ..ScatterOptions::default() };
    let (phyr, failed) = each(|| scatter(9000 << 12, &options), is_memory);
    assert_eq!((phyr, failed > 20), (scatter(9000 << 12, &options).unwrap(), true));

    let mut memory = Memory::new(64 << 20).unwrap();
    let free = memory.free_bytes();
    let length = 10_000 << 12;
    let (phyr, failed) = until(
        &mut memory,
        |memory| memory.scatter(length, &options),
        |memory| assert_eq!(memory.free_bytes(), free),
    );
    assert!(failed > 20);
    assert_eq!((phyr.length(), memory.free_bytes()), (length, free - length));
    // Nothing is half freed, nor half taken.
    for _ in 0..2 {
        let ((), failed) = until(
            &mut memory,
            |memory| memory.free(&phyr),
            |memory| assert_eq!(memory.free_bytes(), free - length),
        );
        assert!(failed > 0);
        assert_eq!(memory.free_bytes(), free);
        let ((), failed) = until(
            &mut memory,
            |memory| memory.reserve(&phyr),
            |memory| assert_eq!(memory.free_bytes(), free),
        );
        assert!(failed > 0);
        assert_eq!(memory.free_bytes(), free - length);
    }
    // All of it again, in one run.
    memory.free(&phyr).unwrap();
    assert_eq!(memory.alloc(free, None, 4096).unwrap().nr_chunks(), 1);
}

#[test]
fn allocating_leaks_no_page() {
    let mut memory = Memory::new(1 << 30).unwrap();
    let free = memory.free_bytes();
    // So many pages that the list needs two words, and so a node.
    let length = 2049 << 12;
    let (phyr, _) = until(
        &mut memory,
        |memory| memory.alloc(length, None, 4096),
        |memory| assert_eq!(memory.free_bytes(), free),
    );
    assert_eq!((phyr.length(), memory.free_bytes()), (length, free - length));
}

#[test]
fn a_domain_and_a_batch_are_made_or_not() {
    let mut memory = Memory::new(1 << 30).unwrap();
    let free = memory.free_bytes();
    let options = DomainOptions::default();
    let (mut domain, failed) = until(
        &mut memory,
        |memory| SimDomain::new(memory, &options),
        |memory| assert_eq!(memory.free_bytes(), free),
    );
    assert!(failed > 2);

    // No two calls are of one shape, so that each takes words of its own.
    let calls: Vec<[u64; 4]> =
        (0..3000_u64).map(|n| [n << 20, n << 22, 0x1000, 1 + n % 5]).collect();
    let column = |at: usize| calls.iter().map(|call| call[at]).collect::<Vec<_>>();
    let columns = [0, 1, 2, 3].map(column);
    let [iovas, paddrs, pgsizes, pgcounts] = columns.each_ref().map(|column| column.chunks(700));
    let pieces: Vec<_> = iovas.zip(paddrs).zip(pgsizes.zip(pgcounts)).collect();
    let tables = memory.free_bytes();
    let ((), failed) = until(
        &mut (&mut memory, &mut domain),
        |(memory, domain)| {
            let feed = |take: &mut dyn FnMut(Columns<'_>)| {
                for ((iovas, paddrs), (pgsizes, pgcounts)) in &pieces {
                    take(Columns::new(iovas, paddrs, pgsizes, pgcounts).unwrap());
                }
            };
            domain.map_pieces(memory, feed, Prot::READ)
        },
        |(memory, domain)| {
            assert_eq!(memory.free_bytes(), tables);
            assert_eq!(domain.counters().ptes_written, 0);
        },
    );
    assert!(failed > 10);
    assert!(matches!(
        domain.map_pages(&mut memory, 0, 0, 0x1000, 1, Prot::READ),
        Err(DomainError::Mapped { iova: 0 })
    ));
}

#[test]
fn extents_stay_in_the_decoder_until_they_can_be_had() {
    let records: Vec<u64> =
        (0..6000_u64).map(|n| if n % 3 == 0 { 0 } else { 1 << 63 | (n * 5 + 9) }).collect();
    let ranges: Vec<(u64, u64)> = (0..500).map(|n| (n << 20, (n << 20) + 0xfffff)).collect();
    let made = |join: bool| {
        let decoder = PagemapDecoder::new(0x1000, Granule::default());
        let decoder = decoder.ram(ranges.iter().copied()).zero([(0x9000, 0x9fff)]);
        if join { decoder.join() } else { decoder }
    };
    for join in [false, true] {
        let mut plain = made(join);
        plain.feed(&records).unwrap();
        let plain = plain.finish();

        let (decoder, _) = each(
            || PagemapDecoder::new(0, Granule::default()).try_ram(ranges.iter().copied()),
            |why| matches!(why, Error::NoMemory { .. }),
        );
        drop(decoder);
        let mut decoder = made(join);
        for record in &records {
            // Each record is fed until it fits.
            until(&mut decoder, |decoder| decoder.feed(std::slice::from_ref(record)), |_| ());
        }
        let (extents, _) = until(&mut decoder, PagemapDecoder::try_finish, |_| ());
        assert_eq!(extents, plain);
    }
}

fn list(pages: u64) -> Phyr {
    let mut builder = Builder::new();
    builder.append(0x7000, pages << 12).unwrap();
    builder.finish()
}

#[test]
fn a_map_changes_whole_or_not_at_all() {
    let mut map = IovaMap::new();
    for number in 0..2000_u64 {
        let iova = (number * 7919 % 2000) << 20;
        let ((), _) = until(
            &mut map,
            |map| map.map(iova, list(8), number),
            |map| assert_eq!(map.nr_areas() as u64, number),
        );
    }
    for number in 0..2000_u64 {
        // Both ends stay.
        let areas = map.nr_areas();
        let (bytes, _) = until(
            &mut map,
            |map| map.try_unmap((number << 20) + 0x2000, 0x3000),
            |map| assert_eq!(map.nr_areas(), areas),
        );
        assert_eq!((bytes, map.nr_areas()), (0x3000, areas + 1));
    }
    // Unmapping needs no memory if nothing is left of an area, or one end.
    let unmap = |map: &mut IovaMap<u64>, iova, length| with(0, || map.try_unmap(iova, length));
    assert_eq!(unmap(&mut map, 0x1000, 0x1000), Ok(0x1000));
    assert_eq!(unmap(&mut map, 0x5000, 0x1000), Ok(0x1000));
    assert_eq!(unmap(&mut map, 0x100_0000, u64::MAX), Ok((1984 * 5) << 12));
    assert_eq!((map.nr_areas(), map.translate(0x6000)), (32, Some(0xd000)));
}
