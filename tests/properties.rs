//! Every operation of a list against the oracle.
#![expect(clippy::cast_possible_truncation, reason = "the lists are small")]
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod oracle;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use oracle::{Model, granules, models, pfns};
use phyr::{Builder, Chunk, FormatError, Granule, Kind, Phyr};
use proptest::prelude::*;

fn hash(phyr: &Phyr) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(phyr)
}

proptest! {
    #[test]
    fn chunks_are_the_pages_joined(model in models()) {
        let phyr = model.build();
        phyr.validate().unwrap();
        let expected = model.chunks();
        prop_assert_eq!(phyr.length(), model.length());
        prop_assert_eq!(phyr.nr_chunks(), expected.len() as u64);
        prop_assert_eq!(phyr.chunks().len(), expected.len());
        prop_assert!(phyr.chunks().eq(expected.iter().copied()));
        prop_assert!(phyr.chunks().rev().eq(expected.iter().rev().copied()));
        let folded = phyr.chunks().fold(Vec::new(), |mut all, chunk| { all.push(chunk); all });
        prop_assert_eq!(folded, expected);
    }

    #[test]
    fn walking_from_both_ends_meets_in_the_middle(model in models(), turns in prop::collection::vec((any::<bool>(), 0_usize..9), 0..60)) {
        let phyr = model.build();
        let expected = model.chunks();
        let mut chunks = phyr.chunks();
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
    fn positions_translate_as_in_the_buffer(model in models(), at in any::<prop::sample::Index>()) {
        let phyr = model.build();
        prop_assert!(phyr.translate(model.length()).is_err());
        prop_assert!(phyr.find(model.length()).is_err());
        if model.length() > 0 {
            let at = at.index(model.length() as usize) as u64;
            prop_assert_eq!(phyr.translate(at), Ok(model.paddr(at)));
            let number = phyr.find(at).unwrap();
            let (position, chunk) = phyr.chunk(number).unwrap();
            prop_assert!(position <= at && at < position + chunk.length);
            prop_assert_eq!(chunk, model.chunks()[number as usize]);
            prop_assert_eq!(position, model.chunks()[..number as usize].iter().map(|c| c.length).sum::<u64>());
        }
        prop_assert!(phyr.chunk(phyr.nr_chunks()).is_err());
    }

    #[test]
    fn slice_of_slice_is_slice(model in models(), a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let size = model.length() as usize + 1;
        let (a, b) = (a.index(size) as u64, b.index(size) as u64);
        let (a, b) = (a.min(b), a.max(b));
        let part = model.build().slice(a, b).unwrap();
        let direct = model.slice(a, b).build();
        prop_assert_eq!(&part, &direct);
        prop_assert_eq!(hash(&part), hash(&direct));
        prop_assert!(part.chunks().eq(model.slice(a, b).chunks()));
        let (before, after) = part.split_at((b - a) / 2).unwrap();
        prop_assert_eq!(before.length() + after.length(), part.length());
        prop_assert!(model.build().slice(b, a).is_err() || a == b);
        prop_assert!(model.build().slice(a, model.length() + 1).is_err());
    }

    #[test]
    fn equality_hash_and_bytes_are_those_of_the_chunks(a in models(), b in models()) {
        let (p, q) = (a.build(), b.build());
        let same = a.granule == b.granule && a.chunks() == b.chunks();
        prop_assert_eq!(p == q, same);
        prop_assert_eq!(p.to_bytes() == q.to_bytes(), same);
        prop_assert!(!same || hash(&p) == hash(&q));
    }

    #[test]
    fn one_page_changed_makes_another_list(model in models(), at in any::<prop::sample::Index>(), flip in 0_u32..12) {
        prop_assume!(model.length() > 0);
        let mut other = model.clone();
        let at = (model.start + at.index(model.length() as usize) as u64) / model.granule;
        other.pfns[at as usize] ^= 1 << flip;
        prop_assert_eq!(model.build() == other.build(), model.chunks() == other.chunks());
        prop_assert_eq!(hash(&model.build()) == hash(&other.build()), model.chunks() == other.chunks());
    }

    #[test]
    fn a_list_is_the_same_however_its_bytes_are_cut(model in models(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        // Cut at any byte of any chunk, also where a piece starts or ends inside a granule.
        let granule = Granule::new(model.granule).unwrap();
        let mut cuts: Vec<u64> = cuts.iter().map(|cut| cut.index(model.length() as usize + 1) as u64).collect();
        cuts.extend([0, model.length()]);
        cuts.sort_unstable();
        let mut builder = Builder::with(granule, Kind::Ram);
        let mut lists = Builder::with(granule, Kind::Ram);
        for pair in cuts.windows(2) {
            let part = model.slice(pair[0], pair[1]);
            for Chunk { paddr, length } in part.chunks() {
                // A chunk of the whole list may have been cut in two, so this need not be aligned.
                if let Err(error) = builder.append(paddr, length) {
                    prop_assert!(false, "{error}");
                }
            }
            lists.extend(&part.build()).unwrap();
            prop_assert_eq!(lists.length(), builder.length());
        }
        let (built, joined) = (builder.finish(), lists.finish());
        built.validate().unwrap();
        joined.validate().unwrap();
        prop_assert_eq!(&built, &model.build());
        prop_assert_eq!(built.to_bytes(), joined.to_bytes());
        prop_assert_eq!(model.build().compact().to_bytes(), built.to_bytes());
    }

    #[test]
    fn joining_is_joining_the_buffers(granule in granules(), a in pfns(), b in pfns(), cut in any::<prop::sample::Index>()) {
        let (a, b) = (Model::whole(granule, a), Model::whole(granule, b));
        let joined = a.build().concat(&b.build()).unwrap();
        joined.validate().unwrap();
        prop_assert!(joined.chunks().eq(Model::whole(granule, [a.pfns.clone(), b.pfns.clone()].concat()).chunks()));
        // A joint inside a granule is an error, unless memory goes on there.
        let cut = cut.index(a.length() as usize + 1) as u64;
        let head = a.build().slice(0, cut).unwrap();
        let aligned = cut % granule == 0 || b.length() == 0;
        prop_assert_eq!(head.concat(&b.build()).is_ok(), aligned);
        prop_assert_eq!(head.concat(&a.build().slice(cut, a.length()).unwrap()), Ok(a.build()));
    }

    #[test]
    fn blocks_of_one_size_cover_the_list(model in models(), lg2 in 0_u32..16) {
        let page_size = 1_u64 << lg2;
        let chunks = model.chunks();
        let aligned = chunks.windows(2).all(|pair| {
            (u128::from(pair[0].paddr) + u128::from(pair[0].length)) % u128::from(page_size) == 0
                && pair[1].paddr % page_size == 0
        });
        prop_assume!(model.length() / page_size < 1 << 16);
        let mut blocks = Vec::new();
        for Chunk { paddr, length } in chunks {
            let mut block = u128::from(paddr / page_size * page_size);
            while block < u128::from(paddr) + u128::from(length) {
                blocks.push(block as u64);
                block += u128::from(page_size);
            }
        }
        let phyr = model.build();
        let pages = phyr.pages(page_size);
        prop_assert_eq!(pages.is_ok(), aligned);
        if let Ok(pages) = pages {
            prop_assert_eq!(pages.remaining(), blocks.len() as u64);
            prop_assert_eq!(pages.clone().collect::<Vec<_>>(), blocks.clone());
            let folded = pages.fold(Vec::new(), |mut all, block| { all.push(block); all });
            prop_assert_eq!(folded, blocks);
        }
    }

    #[test]
    fn orders_count_the_largest_aligned_blocks(model in models()) {
        let phyr = model.build();
        let mut expected = [0; 53];
        for chunk in model.chunks() {
            let (mut pfn, last) = (chunk.paddr / model.granule, chunk.last() / model.granule);
            while pfn <= last {
                let order = (0..53).rev().find(|order| pfn % (1 << order) == 0 && pfn + (1 << order) - 1 <= last);
                let order = order.unwrap();
                expected[order] += 1;
                pfn += 1 << order;
            }
        }
        prop_assert_eq!(phyr.orders(), expected);
        let stats = phyr.stats();
        prop_assert_eq!(stats.nr_chunks, model.chunks().len() as u64);
        prop_assert_eq!(stats.largest, model.chunks().iter().map(|chunk| chunk.length).max().unwrap_or(0));
    }

    #[test]
    fn bytes_round_trip(model in models()) {
        let phyr = model.build();
        let bytes = phyr.to_bytes();
        let read = Phyr::from_bytes(&bytes).unwrap();
        read.validate().unwrap();
        prop_assert_eq!(read.to_bytes(), bytes);
        prop_assert_eq!(read, phyr);
    }

    #[test]
    fn bytes_that_were_changed_are_refused(model in models(), at in any::<prop::sample::Index>(), flip in 1_u8..=255, cut in any::<prop::sample::Index>()) {
        let bytes = model.build().to_bytes();
        let mut changed = bytes.clone();
        changed[at.index(bytes.len())] ^= flip;
        prop_assert!(Phyr::from_bytes(&changed).is_err());
        prop_assert!(Phyr::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
        let longer = [&bytes[..], &[0]].concat();
        prop_assert!(Phyr::from_bytes(&longer).is_err());
    }

    #[test]
    fn any_words_under_a_right_digest_are_a_list_or_an_error(
        lg2 in 0_u8..20, kind in 0_u8..3, fields in any::<[u64; 3]>(), small in any::<bool>(),
        words in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..0x4000, (0_u64..64).prop_map(|n| n << 11)], 0..6),
    ) {
        let [provider, head, length] = if small { fields.map(|field| field % 0x2000) } else { fields };
        let mut all = vec![
            u64::from_le_bytes([b'P', b'H', b'Y', b'R', 1, 0, lg2, kind]),
            provider, head, length, words.len() as u64, 0,
        ];
        all.extend(&words);
        all[5] = digest(&[&all[..5], &words[..]].concat());
        let bytes: Vec<u8> = all.iter().flat_map(|word| word.to_le_bytes()).collect();
        match Phyr::from_bytes(&bytes) {
            Ok(phyr) => {
                phyr.validate().unwrap();
                prop_assert_eq!(phyr.to_bytes(), bytes);
            }
            Err(error) => prop_assert!(!matches!(error, FormatError::Check { .. } | FormatError::Size { .. }), "{error}"),
        }
    }
}

/// Chunks over several nodes: what is drawn, again and again at other addresses.
fn many() -> impl Strategy<Value = Vec<Chunk>> {
    // Long runs at odd places need two words; some chunks touch.
    let nr_pages = prop_oneof![6 => Just(1_u64), 3 => 1_u64..9, 1 => 2046_u64..2051];
    let run = (0_u64..64, nr_pages);
    (prop::collection::vec(run, 1..12), 1_u64..300).prop_map(|(runs, repeat)| {
        let place = |turn: u64, (pfn, nr_pages): (u64, u64)| {
            let pfn = (turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) * 64 + pfn;
            Chunk { paddr: pfn << 12, length: nr_pages << 12 }
        };
        (0..repeat).flat_map(|turn| runs.iter().map(move |&run| place(turn, run))).collect()
    })
}

/// The chunks, each appended by itself.
fn one_by_one(chunks: &[Chunk]) -> Phyr {
    let mut builder = Builder::new();
    for chunk in chunks {
        builder.append(chunk.paddr, chunk.length).unwrap();
    }
    builder.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn chunks_at_once_are_chunks_one_by_one(chunks in many(), first in 0_u64..4096, last in 1_u64..4096) {
        let mut chunks = chunks;
        chunks[0].paddr += first;
        chunks[0].length -= first;
        chunks.push(Chunk { paddr: 0, length: last });
        let phyr = Phyr::from_chunks(chunks.iter().copied()).unwrap();
        phyr.validate().unwrap();
        prop_assert_eq!(phyr, one_by_one(&chunks));
    }

    #[test]
    fn of_wrong_chunks_none_is_appended(
        chunks in many(), at in any::<prop::sample::Index>(), wrong in 0_usize..4,
    ) {
        let mut chunks = chunks;
        let at = at.index(chunks.len());
        let chunk = &mut chunks[at];
        match wrong {
            0 => chunk.length = 0,
            1 => (chunk.paddr, chunk.length) = (u64::MAX - 4095, 8192),
            2 => chunk.length += 1 << 63,
            _ => (chunk.paddr, chunk.length) = (chunk.paddr + 1, 1),
        }
        // The same error as of the plain way, if there is one.
        let mut builder = Builder::new();
        let plain = chunks.iter().try_for_each(|chunk| builder.append(chunk.paddr, chunk.length));
        let mut builder = Builder::new();
        prop_assert_eq!(builder.extend_chunks(chunks.iter().copied()), plain);
        let length = if plain.is_ok() { chunks.iter().map(|chunk| chunk.length).sum() } else { 0 };
        prop_assert_eq!(builder.length(), length);
    }

    #[test]
    fn lists_of_many_nodes_join_as_their_chunks(
        chunks in many(), more in many(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let (a, b) = (one_by_one(&chunks), one_by_one(&more));
        let joined = a.concat(&b).unwrap();
        joined.validate().unwrap();
        prop_assert_eq!(&joined, &one_by_one(&[chunks, more].concat()));
        // In pieces that are cut anywhere.
        let mut cuts: Vec<u64> = cuts.iter().map(|cut| cut.index(joined.length() as usize) as u64).collect();
        cuts.extend([0, joined.length()]);
        cuts.sort_unstable();
        let parts: Vec<Phyr> = cuts.windows(2).map(|pair| joined.slice(pair[0], pair[1]).unwrap()).collect();
        let again = Phyr::join(&parts).unwrap();
        again.validate().unwrap();
        prop_assert_eq!(again.to_bytes(), joined.to_bytes());
        let read = Phyr::from_bytes(&joined.to_bytes()).unwrap();
        read.validate().unwrap();
        prop_assert_eq!(read, joined);
    }

    #[test]
    fn many_positions_translate_as_each(
        chunks in many(), draws in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
        sorted in any::<bool>(), dense in any::<bool>(), start in 0_u64..9000,
    ) {
        let whole = one_by_one(&chunks);
        let phyr = whole.slice(start.min(whole.length()), whole.length()).unwrap();
        prop_assume!(!phyr.is_empty());
        let mut positions: Vec<u64> = if dense {
            (0..phyr.length()).step_by(1000 + phyr.length() as usize / 5000).collect()
        } else {
            draws.iter().map(|draw| draw.index(phyr.length() as usize) as u64).collect()
        };
        if sorted {
            positions.sort_unstable();
        } else {
            positions.reverse();
        }
        let expected: Vec<u64> = positions.iter().map(|&at| phyr.translate(at).unwrap()).collect();
        let mut found = positions.clone();
        phyr.translate_all(&mut found).unwrap();
        prop_assert_eq!(found, expected);
        // One that is outside is named, and nothing is written.
        positions.extend([phyr.length() + 7, 0, u64::MAX]);
        let mut found = positions.clone();
        let length = phyr.length();
        let named = phyr::Error::Position { position: length + 7, length };
        prop_assert_eq!(phyr.translate_all(&mut found), Err(named));
        prop_assert_eq!(found, positions);
    }

    #[test]
    fn blocks_are_read_as_they_are_visited(chunks in many(), size in 1_usize..700, lg2 in 10_u32..14) {
        // Larger blocks than pages only where all boundaries allow it.
        let scale = |chunk: &Chunk| Chunk { paddr: chunk.paddr * 2, length: chunk.length * 2 };
        let phyr = one_by_one(&chunks.iter().map(scale).collect::<Vec<_>>());
        let mut pages = phyr.pages(1 << lg2).unwrap();
        let expected: Vec<u64> = pages.clone().collect();
        let (mut found, mut out) = (Vec::<u64>::new(), vec![0_u64; size]);
        loop {
            let count = pages.read(&mut out);
            found.extend(&out[..count]);
            prop_assert_eq!(pages.remaining() as usize, expected.len() - found.len());
            if count < size {
                break;
            }
        }
        prop_assert_eq!(found, expected);
    }
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
