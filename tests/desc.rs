//! Descriptors in Rust: typed records, bytes and pieces agree, and nothing is allocated.
#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "../benches/common/counting.rs"]
mod counting;

use std::convert::Infallible;

use counting::{Counting, counted};
use phyr::desc::{
    self, ByteOrder, DescError, Fill, IoVec, Layout, Limits, PageStructs, Place, Prp, ReadError,
    SegmentList, Segments, SgEntry, SglDescriptor, Table,
};
use phyr::{Builder, Chunk, Granule, Kind, MapCall, PageSizes, Phyr, Plan};
use proptest::prelude::*;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PAGES: u64 = 0xea00_0000_0000_0000;

fn list(chunks: &[(u64, u64)]) -> Phyr {
    let mut builder = Builder::new();
    for &(paddr, length) in chunks {
        builder.append(paddr, length).unwrap();
    }
    builder.finish()
}

fn structs() -> PageStructs {
    PageStructs::new(PAGES, 4096).unwrap()
}

/// All bytes, written through a window of `window` bytes.
fn bytes(table: &impl Fill, window: usize) -> Vec<u8> {
    let (mut all, mut place, mut out) = (Vec::new(), Place::default(), vec![0xaa; window]);
    loop {
        let written = table.fill(&mut place, &mut out);
        assert_eq!(written % table.record_size(), 0);
        assert!(out[written..].iter().all(|&byte| byte == 0xaa), "written beyond its word");
        if written == 0 {
            assert_eq!(place.record(), table.count().records);
            return all;
        }
        all.extend_from_slice(&out[..written]);
        out.fill(0xaa);
    }
}

/// Typed records, the whole and the pieces are the same.
fn agree<L: Layout>(table: &Table<L>, layout: impl Fn(L::Record) -> Vec<u8>) {
    let size = table.record_size();
    let (least, count) = (table.least(), table.count().records);
    assert!(
        (least..=6 * least).contains(&count),
        "{count} records are not {least} to six times that"
    );
    assert!(table.find_count().is_none_or(|found| found.records == count));
    let records: Vec<u8> = table.records().flat_map(layout).collect();
    assert_eq!(records.len(), usize::try_from(table.count().records).unwrap() * size);
    let more = [8 * size, 4096].map(|more| records.len() + more);
    for window in [size, 3 * size + 1, 127 * size, records.len().max(size), more[0], more[1]] {
        assert_eq!(bytes(table, window), records, "{window}");
    }
}

fn sg_bytes(entry: SgEntry) -> Vec<u8> {
    let SgEntry { page_link, offset, length, dma_address, dma_length, dma_flags } = entry;
    let mut bytes = page_link.to_le_bytes().to_vec();
    bytes.extend(offset.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(dma_address.to_le_bytes());
    bytes.extend(dma_length.to_le_bytes());
    bytes.extend(dma_flags.to_le_bytes());
    bytes
}

fn lists() -> impl Strategy<Value = Phyr> {
    let pages =
        prop_oneof![1_u64..40, Just(512), 2040_u64..2060, Just(1 << 20), Just((1 << 20) + 1)];
    let chunks = prop::collection::vec((0_u64..1 << 40, pages), 1..60);
    (chunks, 0_u64..4096, 0_u64..4096).prop_map(|(chunks, head, tail)| {
        let mut builder = Builder::new();
        for (pfn, nr_pages) in chunks {
            builder.append_pfns(pfn, nr_pages).unwrap();
        }
        let phyr = builder.finish();
        let end = phyr.length() - tail;
        phyr.slice(head.min(end), end).unwrap()
    })
}

/// Cuts as the limits read, a segment at a time, with room to spare for every sum.
fn oracle(phyr: &Phyr, limits: Limits, most: u64, align: u64) -> Vec<Chunk> {
    let mut segments = Vec::new();
    for chunk in phyr.chunks() {
        let (mut at, end) =
            (u128::from(chunk.paddr), u128::from(chunk.paddr) + u128::from(chunk.length));
        let [size, boundary, virt, align] = [
            limits.max_segment_size.min(most),
            limits.seg_boundary_mask,
            limits.virt_boundary_mask,
            align,
        ]
        .map(u128::from);
        while at < end {
            let by_size = at / align * align + size / align * align;
            let by_boundary = (at / (boundary + 1) + 1) * (boundary + 1);
            let mut stop = end.min(by_size).min(by_boundary);
            if stop < end {
                stop -= stop % (virt + 1);
            }
            let (paddr, length) = (u64::try_from(at).unwrap(), u64::try_from(stop - at).unwrap());
            segments.push(Chunk { paddr, length });
            at = stop;
        }
    }
    segments
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn segments_are_as_long_as_the_limits_allow(
        phyr in lists(),
        size in prop_oneof![Just(u64::MAX), 1_u64 << 26..1 << 32, Just(0x400_0000)],
        lg2 in 26_u32..=64,
    ) {
        let seg_boundary_mask = u64::MAX >> (64 - lg2);
        let limits = Limits { max_segment_size: size, seg_boundary_mask, ..Limits::default() };
        let expected = oracle(&phyr, limits, u64::MAX, 1);
        prop_assert!(Segments::new(&phyr, limits).unwrap().eq(expected.iter().copied()));
        let folded = Segments::new(&phyr, limits).unwrap().fold(Vec::new(), |mut all, segment| {
            all.push(segment);
            all
        });
        prop_assert_eq!(&folded, &expected);
        agree(&Table::phys_vecs(&phyr, limits).unwrap(), |record| {
            [record.paddr.to_le_bytes(), record.len.to_le_bytes()].concat()
        });
    }

    #[test]
    fn with_a_virt_boundary_a_rest_that_fits_is_not_cut(
        chunks in prop::collection::vec((0_u64..200, 1_u64..20), 1..8),
        ends in (0_u64..4096, 0_u64..4096),
        size in 4096_u64..0x9000,
        boundary_lg2 in 12_u32..18,
        virt_lg2 in 0_u32..=12,
    ) {
        let mut builder = Builder::new();
        for (pfn, nr_pages) in chunks {
            builder.append_pfns(pfn, nr_pages).unwrap();
        }
        let phyr = builder.finish();
        let end = phyr.length() - ends.1;
        let phyr = phyr.slice(ends.0.min(end), end).unwrap();
        let limits = Limits {
            max_segment_size: size,
            seg_boundary_mask: if boundary_lg2 == 17 { u64::MAX } else { (1 << boundary_lg2) - 1 },
            virt_boundary_mask: (1 << virt_lg2) - 1,
        };
        let expected = oracle(&phyr, limits, u64::MAX, 1);
        prop_assert!(Segments::new(&phyr, limits).unwrap().eq(expected.iter().copied()));
        let table = Table::phys_vecs(&phyr, limits).unwrap();
        prop_assert_eq!(table.count().data, expected.len() as u64);
        agree(&table, |record| [record.paddr.to_le_bytes(), record.len.to_le_bytes()].concat());
        let found = table.records().map(|record| Chunk { paddr: record.paddr, length: record.len });
        prop_assert!(found.eq(expected));
        // The format's own unit stays apart.
        let table = Table::scatterlist(&phyr, structs(), 0, None, limits).unwrap();
        agree(&table, sg_bytes);
        let expected = oracle(&phyr, limits, u32::MAX.into(), 4096);
        prop_assert_eq!(table.count().data, expected.len() as u64);
    }

    #[test]
    fn a_scatterlist_is_its_records_in_any_pieces_and_reads_back(phyr in lists()) {
        let table =
            Table::scatterlist(&phyr, structs(), 0x1000, None, Limits::default()).unwrap();
        agree(&table, sg_bytes);
        let data: Vec<SgEntry> =
            table.records().filter(|entry| entry.page_link & SgEntry::CHAIN == 0).collect();
        prop_assert_eq!(data.len() as u64, table.count().data);
        let found: Vec<Chunk> = data
            .iter()
            .map(|entry| Chunk {
                paddr: ((entry.page_link & !3) - PAGES) / 64 * 4096 + u64::from(entry.offset),
                length: entry.length.into(),
            })
            .collect();
        prop_assert_eq!(found, oracle(&phyr, Limits::default(), u32::MAX.into(), 4096));
        let whole = bytes(&table, 4096);
        let back =
            desc::from_scatterlist(&whole, structs(), 0x1000, false, Granule::default()).unwrap();
        prop_assert_eq!(back, phyr);
    }

    #[test]
    fn vectors_and_page_lists_are_their_records_in_any_pieces(phyr in lists()) {
        agree(&Table::bio_vecs(&phyr, structs(), Limits::default()).unwrap(), |record| {
            let words = u64::from(record.bv_len) | u64::from(record.bv_offset) << 32;
            [record.bv_page.to_le_bytes(), words.to_le_bytes()].concat()
        });
        agree(&Table::iovecs(&phyr, 7, Limits::default()).unwrap(), |record: IoVec| {
            [record.iov_base.to_le_bytes(), record.iov_len.to_le_bytes()].concat()
        });
        let part = phyr.slice(0, phyr.length().min(10 << 20)).unwrap();
        let table = desc::page_list(&part, 4096, 1, ByteOrder::Big).unwrap();
        agree(&table, |record| record.to_be_bytes().to_vec());
        let pages = part.pages(4096).unwrap().map(|page| page | 1);
        prop_assert!(table.records().eq(pages));
    }

    #[test]
    fn nvme_commands_read_back(phyr in lists(), page_lg2 in 12_u32..=13) {
        let phyr = phyr.slice(0, phyr.length().min(16 << 20)).unwrap();
        let page_size = 1 << page_lg2;
        let room = list(&[(1 << 60, 1 << 20)]);
        let sgl = SegmentList::new(&phyr, &room, page_size, Limits::default()).unwrap();
        let memory = bytes(&sgl.segments, 4096);
        let read = |at: u64, out: &mut [u8]| {
            let at = usize::try_from(at - (1 << 60)).unwrap();
            out.copy_from_slice(&memory[at..at + out.len()]);
            Ok::<(), Infallible>(())
        };
        let sgl1 = sgl.sgl1.to_bytes();
        prop_assert_eq!(&desc::from_sgl(&sgl1, phyr.length(), Granule::default(), read).unwrap(), &phyr);
        agree(&sgl.segments, |record: SglDescriptor| record.to_bytes().to_vec());

        // From a multiple of 4 on; pages of 8 KiB may not be whole in the list.
        let start = phyr.translate(0).unwrap().wrapping_neg() % 4;
        let phyr = phyr.slice(start.min(phyr.length()), phyr.length()).unwrap();
        match Prp::new(&phyr, &room, page_size) {
            Ok(prp) => {
                let memory = bytes(&prp.lists, 4096);
                let read = |at: u64, out: &mut [u8]| {
                    let at = usize::try_from(at - (1 << 60)).unwrap();
                    out.copy_from_slice(&memory[at..at + out.len()]);
                    Ok::<(), Infallible>(())
                };
                let granule = Granule::default();
                let back =
                    desc::from_prp(prp.prp1, prp.prp2, phyr.length(), page_size, granule, read);
                prop_assert_eq!(back.unwrap(), phyr);
            }
            Err(DescError::Gap { .. }) => prop_assert!(page_size > 4096),
            Err(DescError::Empty) => prop_assert!(phyr.is_empty()),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn a_list_of_many_nodes_is_written_whole_from_any_place() {
    // Runs of one page, of a few, and of too many for an entry of one word.
    let mut builder = Builder::new();
    for number in 0..3000_u64 {
        let nr_pages = [1, 1, 1, 5, 2049][usize::try_from(number % 5).unwrap()];
        builder.append_pfns(number * 5000 + 1, nr_pages).unwrap();
    }
    let phyr = builder.finish();
    let phyr = phyr.slice(100, phyr.length() - 100).unwrap();
    for limits in [
        Limits::default(),
        Limits { max_segment_size: 0x40_0000, ..Limits::default() },
        Limits { seg_boundary_mask: 0x1f_ffff, ..Limits::default() },
        Limits { max_segment_size: 0x40_0800, virt_boundary_mask: 0xfff, ..Limits::default() },
    ] {
        let table = Table::scatterlist(&phyr, structs(), 0, None, limits).unwrap();
        let data = table.records().filter(|entry| entry.page_link & SgEntry::CHAIN == 0);
        let lengths = data.map(|entry| u64::from(entry.length));
        let expected = oracle(&phyr, limits, u32::MAX.into(), 4096);
        assert!(lengths.eq(expected.iter().map(|segment| segment.length)));
        let whole: Vec<u8> = table.records().flat_map(sg_bytes).collect();
        for window in [32, 999, 4096, 100_000, whole.len()] {
            assert!(bytes(&table, window) == whole, "{window}");
        }
    }
}

#[test]
fn nothing_is_written_behind_the_last_record() {
    // Blocks of one size, of a number that is no multiple of what is made at a time.
    let limits = Limits { max_segment_size: 4096, ..Limits::default() };
    let room = list(&[(1 << 40, 1 << 20)]);
    for lengths in [&[5_u64][..], &[5, 5, 5], &[2, 5], &[1, 1, 1, 1, 3], &[7, 1, 2, 1, 9, 1]] {
        let chunks = lengths.iter().zip(1_u64..);
        let phyr = list(&chunks.map(|(pages, at)| (at << 20, pages << 12)).collect::<Vec<_>>());
        let prp = Prp::new(&phyr, &room, 4096).unwrap().lists;
        let sg = Table::scatterlist(&phyr, structs(), 0, None, limits).unwrap();
        let blocks = desc::page_list(&phyr, 4096, 0, ByteOrder::Big).unwrap();
        for table in [&prp as &dyn Fill, &sg, &blocks] {
            let mut out = vec![0xaa; 4096];
            let written = table.fill(&mut Place::default(), &mut out);
            assert_eq!(written as u64, table.count().records * table.record_size() as u64);
            assert!(out[written..].iter().all(|&byte| byte == 0xaa), "{lengths:?}");
        }
    }
}

/// Writes a table, and walks its records; returns how many stand for data.
fn write(table: &Table<impl Layout>, out: &mut [u8]) -> u64 {
    // At once, and in pieces that hold no whole number of records.
    for window in [out.len(), 1001] {
        let mut place = Place::default();
        while table.fill(&mut place, &mut out[..window]) > 0 {}
        assert_eq!(place.record(), table.count().records);
    }
    assert_eq!(table.records().count() as u64, table.count().records);
    table.count().data
}

#[test]
fn no_format_allocates_however_long_the_list() {
    // Single pages, and runs that limits cut; nodes of both are many.
    let single: Vec<(u64, u64)> = (0..20_000).map(|number| (number * 0x3000, 0x1000)).collect();
    let long: Vec<(u64, u64)> = (0..5_000).map(|number| (number << 24, 0x9000)).collect();
    let room = list(&[(1 << 60, 4 << 20)]);
    let limits =
        Limits { seg_boundary_mask: 0xffff, max_segment_size: 0x8000, ..Limits::default() };
    let mut out = vec![0; 1 << 16];
    for phyr in [list(&single), list(&long)] {
        // Each makes a table, and writes it.
        type Make<'a> = &'a dyn Fn(Limits, &mut [u8]) -> u64;
        let formats: [(&str, Make); 10] = [
            ("scatterlist", &|limits, out| {
                write(&Table::scatterlist(&phyr, structs(), 0, Some(7), limits).unwrap(), out)
            }),
            ("bio_vec", &|limits, out| {
                write(&Table::bio_vecs(&phyr, structs(), limits).unwrap(), out)
            }),
            ("iovec", &|limits, out| write(&Table::iovecs(&phyr, 7, limits).unwrap(), out)),
            ("phys_vec", &|limits, out| write(&Table::phys_vecs(&phyr, limits).unwrap(), out)),
            ("sgl", &|limits, out| {
                write(&SegmentList::new(&phyr, &room, 4096, limits).unwrap().segments, out)
            }),
            ("prp", &|_, out| write(&Prp::new(&phyr, &room, 4096).unwrap().lists, out)),
            ("page list", &|_, out| {
                write(&desc::page_list(&phyr, 4096, 1, ByteOrder::Big).unwrap(), out)
            }),
            ("map requests", &|_, out| {
                write(&desc::map_requests(&phyr, 0, 4096, u64::MAX).unwrap(), out)
            }),
            ("vfio", &|_, out| {
                write(&desc::map_requests(&phyr, 0, 4096, u64::MAX).unwrap().vfio(3), out)
            }),
            ("ioas", &|_, out| {
                write(&desc::map_requests(&phyr, 0, 4096, u64::MAX).unwrap().ioas(7, 1), out)
            }),
        ];
        for limits in [Limits::default(), limits] {
            for (name, make) in formats {
                let (nr_data, counts) = counted(|| make(limits, &mut out));
                assert!(nr_data > 4000, "{name}: {nr_data}");
                assert_eq!(counts.allocations, 0, "{name}");
            }
        }
    }
}

#[test]
fn plans_parts_and_page_sizes_allocate_nothing_however_long_the_list() {
    let chunks: Vec<(u64, u64)> = (0..20_000).map(|number| (number << 22, 0x20_3000)).collect();
    let phyr = list(&chunks);
    let sizes = PageSizes::new(1 << 12 | 1 << 21 | 1 << 30).unwrap();
    let lengths = (0..).map(|number: u64| number % 3 * 0x1800);
    let length = phyr.length();
    // There is room for this many whole parts; three of them have 0x4800 bytes.
    let rest = if length % 0x4800 < 0x1800 { 0 } else { 0x1800 };
    let parts = length / 0x4800 * 0x4800 + rest;
    let sum = |total: u64, call: MapCall| total + call.length();
    let walks: [(&str, u64, &dyn Fn() -> u64); 7] = [
        ("segments", length, &|| {
            let limits = Limits { max_segment_size: 0x1_1000, ..Limits::default() };
            Segments::new(&phyr, limits).unwrap().map(|segment| segment.length).sum()
        }),
        ("split", parts, &|| {
            desc::split(&phyr, 0, lengths.clone()).map_while(Result::ok).map(|p| p.length()).sum()
        }),
        ("best_pgsize", 4096, &|| desc::best_pgsize(&phyr, u64::MAX, 0).unwrap()),
        ("plan, fold", length, &|| Plan::new(&phyr, 1 << 60, sizes).unwrap().fold(0, sum)),
        ("plan, for", length, &|| {
            let mut total = 0;
            for call in Plan::new(&phyr, 1 << 60, sizes).unwrap() {
                total += call.length();
            }
            total
        }),
        ("unmaps, fold", length, &|| {
            let unmaps = Plan::new(&phyr, 1 << 60, sizes).unwrap().unmaps();
            unmaps.fold(0, |total, call| total + call.pgsize * call.pgcount)
        }),
        ("unmaps, for", length, &|| {
            let mut total = 0;
            for call in Plan::new(&phyr, 1 << 60, sizes).unwrap().unmaps() {
                total += call.pgsize * call.pgcount;
            }
            total
        }),
    ];
    for (name, expected, walk) in walks {
        let (found, counts) = counted(walk);
        assert_eq!((found, counts.allocations), (expected, 0), "{name}");
    }
}

#[test]
fn a_place_of_another_table_writes_nothing_wrong() {
    let long = list(&[(0x1000, 0x1000), (0x9000, 0x1000), (0x5000, 0x1000)]);
    let short = list(&[(0x1000, 0x1000), (0x9000, 0x1000)]);
    let (long, short) = (
        Table::phys_vecs(&long, Limits::default()).unwrap(),
        Table::phys_vecs(&short, Limits { max_segment_size: 16, ..Limits::default() }).unwrap(),
    );
    let (mut place, mut out) = (Place::default(), [0; 64]);
    assert_eq!(long.fill(&mut place, &mut out), 48);
    assert_eq!((place.record(), place.position()), (3, 0x3000));
    assert_eq!(short.fill(&mut place, &mut out), 0);
}

#[test]
fn only_ram_has_page_structs() {
    let mut builder = Builder::with(Granule::default(), Kind::Mmio { provider: 3 });
    builder.append(0x1000, 0x1000).unwrap();
    let device = builder.finish();
    assert_eq!(
        Table::bio_vecs(&device, structs(), Limits::default()).unwrap_err(),
        DescError::NoPages { provider: 3 },
    );
    assert!(Table::phys_vecs(&device, Limits::default()).is_ok());
}

#[test]
fn what_the_caller_cannot_read_is_the_callers_error() {
    let fails = |_: u64, _: &mut [u8]| Err("no such memory");
    let error = desc::from_prp(0x1000, 0x2000, 0x3000, 4096, Granule::default(), fails);
    assert_eq!(error.unwrap_err(), ReadError::Read("no such memory"));
}
