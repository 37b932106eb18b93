//! Edges on purpose: node boundaries, the ends of the address space, the limits of a length.

#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

use phyr::{Builder, Chunk, Error, Granule, Kind, Phyr};

fn granule(bytes: u64) -> Granule {
    Granule::new(bytes).unwrap()
}

/// `count` chunks that do not touch; every `odd`-th has two words.
fn list(count: u64, odd: u64) -> (Phyr, Vec<Chunk>) {
    let mut builder = Builder::new();
    let mut chunks = Vec::new();
    for number in 0..count {
        let nr_pages = if odd > 0 && number % odd == 0 { 2049 } else { 1 + number % 3 };
        // Odd page numbers, so that 2049 pages need the escape.
        let chunk = Chunk { paddr: (number * 4098 + 1) << 12, length: nr_pages << 12 };
        builder.append(chunk.paddr, chunk.length).unwrap();
        chunks.push(chunk);
    }
    (builder.finish(), chunks)
}

#[test]
fn lists_around_every_node_boundary_are_what_was_appended() {
    for odd in [0, 1, 2, 3, 7] {
        for base in [0, 64, 255, 510, 511, 1020, 1530] {
            for count in base..base + 5 {
                let (phyr, chunks) = list(count, odd);
                phyr.validate().unwrap();
                assert!(phyr.chunks().eq(chunks.iter().copied()), "{count} {odd}");
                assert!(phyr.chunks().rev().eq(chunks.iter().rev().copied()), "{count} {odd}");
                let mut position = 0;
                for (number, &chunk) in (0..).zip(&chunks) {
                    assert_eq!(phyr.chunk(number), Ok((position, chunk)));
                    assert_eq!(phyr.find(position), Ok(number));
                    assert_eq!(phyr.translate(position + chunk.length - 1), Ok(chunk.last()));
                    position += chunk.length;
                }
                assert_eq!(Phyr::from_bytes(&phyr.to_bytes()), Ok(phyr.clone()));
            }
        }
    }
}

#[test]
fn fold_visits_what_next_does_in_nodes_with_and_without_long_chunks_at_every_granule() {
    for lg2 in [0, 9, 11, 12, 13, 16] {
        // Of seven nodes: none, all, some have an entry of two words; the last node stays short.
        for long in [vec![], (0..3100).collect(), vec![3], vec![600, 1900], vec![3099]] {
            let mut builder = Builder::with(granule(1 << lg2), Kind::Ram);
            let mut chunks = Vec::new();
            for number in 0..3100_u64 {
                let nr_pages = if long.contains(&number) { 2049 } else { 1 + number % 3 };
                let (paddr, length) = ((number * 4098 + 1) << lg2, nr_pages << lg2);
                builder.append(paddr, length).unwrap();
                chunks.push(Chunk { paddr, length });
            }
            let phyr = builder.finish();
            assert!(phyr.chunks().eq(chunks.iter().copied()));
            for skip in [0, 1, 509, 510, 511, 2999, 3099] {
                let mut rest = phyr.chunks();
                if skip > 0 {
                    rest.nth(skip - 1);
                }
                let mut found = Vec::new();
                rest.for_each(|chunk| found.push(chunk));
                assert_eq!(found, chunks[skip..], "{lg2} {skip}");
            }
            let mut twin = Builder::with(granule(1 << lg2), Kind::Ram);
            twin.extend(&phyr).unwrap();
            assert_eq!(twin.finish(), phyr);
        }
    }
}

#[test]
fn a_byte_is_found_whatever_is_known_of_its_quarter_of_a_node() {
    // A node holds 510 words, and says of three times 128 words how many pages they are.
    let last_of_quarters = [0, 127, 128, 129, 255, 256, 383, 384, 385, 509, 510, 637, 1019];
    let mut patterns: Vec<(String, Vec<u64>)> = Vec::new();
    for nr_pages in [1, 2, 511, 512, 513, 1 << 20] {
        patterns.push((format!("all of {nr_pages}"), vec![nr_pages; 1300]));
    }
    for odd in last_of_quarters {
        // One that is longer, has two words, or is shorter than the rest.
        for (most, one) in [(1, 2), (1, 2049), (512, 513), (512, 511), (1, 1 << 30)] {
            let mut runs = vec![most; 1300];
            runs[odd] = one;
            patterns.push((format!("{most}, but {one} at {odd}"), runs));
        }
        // Single pages up to there, or from there on.
        let (before, after) = (vec![1; odd], vec![3; 1300 - odd]);
        patterns.push((format!("1 up to {odd}"), [before, after].concat()));
        let (before, after) = (vec![3; odd], vec![1; 1300 - odd]);
        patterns.push((format!("1 from {odd} on"), [before, after].concat()));
    }
    for (name, runs) in patterns {
        let mut builder = Builder::new();
        let (mut pfn, mut expected) = (1, Vec::new());
        for &nr_pages in &runs {
            // Odd page numbers, so that an entry is a run of single pages.
            builder.append_pfns(pfn, nr_pages).unwrap();
            expected.push((pfn, nr_pages));
            pfn += (nr_pages + 2) & !1;
        }
        let phyr = builder.finish();
        phyr.validate().unwrap();
        let mut page = 0;
        for (number, &(pfn, nr_pages)) in (0..).zip(&expected) {
            let chunk = Chunk { paddr: pfn << 12, length: nr_pages << 12 };
            assert_eq!(phyr.chunk(number), Ok((page << 12, chunk)), "{name}: {number}");
            for more in [0, nr_pages - 1] {
                let position = (page + more) << 12;
                assert_eq!(phyr.translate(position + 5), Ok(((pfn + more) << 12) + 5), "{name}");
                assert_eq!(phyr.find(position), Ok(number), "{name}: {number}");
            }
            page += nr_pages;
        }
    }
}

#[test]
fn an_index_of_every_depth_finds_every_node() {
    // One twig, two twigs, a full limb and one more: the first chunks of nodes, and the last ones.
    for count in [510 * 127, 510 * 127 + 1, 510 * 127 * 3 + 5, 510 * 127 * 102 + 511] {
        let pfns: Vec<u64> = (0..count).map(|number| number * 2).collect();
        let mut builder = Builder::new();
        builder.extend_pfns(&pfns).unwrap();
        let phyr = builder.finish();
        phyr.validate().unwrap();
        for node in (0..=count / 510).step_by(if count > 1 << 20 { 97 } else { 1 }) {
            for number in [node * 510, node * 510 + 509] {
                let expected = (number < count).then_some(number << 13);
                assert_eq!(phyr.translate(number << 12).ok(), expected, "{number} of {count}");
                let chunk = phyr.chunk(number).ok().map(|(_, chunk)| chunk.paddr);
                assert_eq!(chunk, expected, "{number} of {count}");
            }
        }
        let sum = phyr.chunks().fold(0_u64, |sum, chunk| sum + (chunk.paddr >> 13));
        assert_eq!(sum, count * (count - 1) / 2);
        assert_eq!(phyr.chunks().rev().step_by(509).count() as u64, count.div_ceil(509));
    }
}

#[test]
fn a_chunk_may_end_at_the_last_byte_of_the_space_and_never_wraps() {
    for bytes in [4096, 16384, 65536] {
        let mut builder = Builder::with(granule(bytes), Kind::Ram);
        builder.append(u64::MAX - bytes + 1, bytes).unwrap();
        // The next byte after the last has address 0, but is not its neighbour.
        builder.append(0, bytes).unwrap();
        let phyr = builder.finish();
        phyr.validate().unwrap();
        assert_eq!(phyr.nr_chunks(), 2);
        assert_eq!(phyr.translate(bytes - 1), Ok(u64::MAX));
        assert_eq!(phyr.translate(bytes), Ok(0));
        assert_eq!(phyr.chunks().next().map(Chunk::last), Some(u64::MAX));
        assert_eq!(phyr.pages(bytes).unwrap().collect::<Vec<_>>(), [u64::MAX - bytes + 1, 0]);
    }
}

#[test]
fn the_largest_lists_that_fit_are_built_and_the_next_byte_is_refused() {
    // All of the space but one page; the whole would have a length of 2^64.
    let mut builder = Builder::new();
    builder.append(0x1000, u64::MAX - 0xfff).unwrap();
    let phyr = builder.finish();
    phyr.validate().unwrap();
    assert_eq!(phyr.length(), u64::MAX - 0xfff);
    assert_eq!(phyr.chunks().next().map(Chunk::last), Some(u64::MAX));
    assert_eq!(phyr.orders()[..], [[1; 52].as_slice(), &[0]].concat());

    let mut builder = Builder::new();
    let whole = builder.append(0, u64::MAX);
    assert!(matches!(whole, Err(Error::TooLong { length: 0, .. })), "{whole:?}");
    builder.append(0x1000, u64::MAX - 0xfff).unwrap();
    let more = builder.append(0, 1);
    assert!(matches!(more, Err(Error::TooLong { nr_pages: 1, .. })), "{more:?}");
    assert_eq!(builder.length(), u64::MAX - 0xfff);
    assert_eq!(builder.finish(), phyr);
}

#[test]
fn a_granule_of_one_byte_holds_all_it_can_number() {
    let mut builder = Builder::with(granule(1), Kind::Ram);
    builder.append(0, 1 << 52).unwrap();
    assert_eq!(
        builder.append(1 << 52, 1),
        Err(Error::Reach { paddr: 1 << 52, length: 1, granule: 1 })
    );
    builder.append(7, 3).unwrap();
    let phyr = builder.finish();
    phyr.validate().unwrap();
    assert_eq!(phyr.length(), (1 << 52) + 3);
    assert_eq!(phyr.translate(1 << 52), Ok(7));
    assert_eq!(phyr.orders()[52], 1);
}

#[test]
fn a_batch_that_fails_leaves_the_builder_as_it_was() {
    let mut builder = Builder::new();
    builder.extend_pfns(&[1, 2]).unwrap();
    let bad: [Result<(), Error>; 6] = [
        builder.extend_pfns(&[3, 1 << 52]),
        builder.extend_pages(&[0x3000, 0x4001]),
        builder.append(0x4800, 0x10),
        builder.append(0x4000, 0),
        builder.append(u64::MAX, 2),
        builder.append_pfns((1 << 52) - 1, 2),
    ];
    assert!(bad.iter().all(Result::is_err), "{bad:?}");
    assert_eq!(
        builder.extend_pages(&[0x1001]).unwrap_err().to_string().matches("0x1001").count(),
        1
    );
    builder.append(0x3000, 0x10).unwrap();
    // Now the list ends inside a granule.
    assert!(matches!(builder.extend_pfns(&[4]), Err(Error::Unaligned { position: 0x2010, .. })));
    builder.append(0x3010, 0xff0).unwrap();
    let phyr = builder.finish();
    assert!(phyr.chunks().eq([Chunk { paddr: 0x1000, length: 0x3000 }]));
}

#[test]
fn lists_of_other_granules_and_kinds_neither_join_nor_equal() {
    let kinds = [Kind::Ram, Kind::Mmio { provider: 0 }, Kind::Mmio { provider: 1 }];
    let lists: Vec<Phyr> = [4096, 8192]
        .iter()
        .flat_map(|&bytes| kinds.map(|kind| Builder::with(granule(bytes), kind)))
        .map(|mut builder| {
            builder.append(0x4000, 0x4000).unwrap();
            builder.finish()
        })
        .collect();
    for (i, a) in lists.iter().enumerate() {
        for (j, b) in lists.iter().enumerate() {
            assert_eq!(a == b, i == j);
            assert_eq!(a.concat(b).is_ok(), i == j);
            assert_eq!(a.to_bytes() == b.to_bytes(), i == j);
        }
        assert_eq!(Phyr::from_bytes(&a.to_bytes()).as_ref(), Ok(a));
    }
}

#[test]
fn lists_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Phyr>();
    shared::<Builder>();

    let (phyr, chunks) = list(2000, 3);
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (phyr, chunks) = (phyr.clone(), &chunks);
            scope.spawn(move || {
                let middle = phyr.slice(part, phyr.length() - part).unwrap();
                assert_eq!(middle.nr_chunks(), chunks.len() as u64);
            });
        }
    });
}
