//! A list and its frozen form: whatever reads one reads the other, and finds the same.
#![expect(clippy::cast_possible_truncation, reason = "the lists are small")]
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod archives;
#[path = "oracle/long.rs"]
mod long;
#[path = "archives/memory.rs"]
mod memory;
mod oracle;

use std::sync::atomic::Ordering;

use long::{any_models, frozen_part};
use memory::Memory;
use oracle::Model;
use phyr::desc::{
    self, ByteOrder, DescError, Fill, KhoRadix, KhoVmalloc, Limits, PageStructs, Place, Prp,
    SegmentList, Segments, Table,
};
use phyr::{
    Builder, Direct, DmaBackend, Frozen, Granule, IommuDomain, Kind, Linear, List, MapCall,
    PageSizes, Phyr, Plan, Prot,
};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

const PAGES: u64 = 0xea00_0000_0000_0000;

/// Runs of about whole 4 KiB pages, in any granule: short and long, near and far, mostly of RAM;
/// most lists have an archive.
fn lists() -> impl Strategy<Value = Phyr> {
    let run = (0_u64..1 << 24, prop_oneof![4 => 1_u64..3, 2 => 1_u64..40, 1 => Just(512)]);
    let granule = prop_oneof![3 => Just(12_u32), 2 => 0_u32..12, 1 => 13_u32..=16];
    let device = Just(Kind::Mmio { provider: 5 });
    let kind = prop_oneof![6 => Just(Kind::Ram), 3 => device, 1 => Just(Kind::User)];
    // Of small granules, whole pages and others.
    let odd = prop_oneof![2 => Just(0_u64), 1 => 0_u64..4096];
    let runs = (prop::collection::vec(run, 0..300), 0_u32..10, odd);
    let ends = prop::option::weighted(0.6, any::<(Index, Index)>());
    (runs, granule, kind, ends).prop_map(|((runs, align, odd), lg2, kind, ends)| {
        let mut builder = Builder::with(Granule::new(1 << lg2).unwrap(), kind);
        for (pfn, nr_pages) in runs {
            let (first, length) = ((pfn << align << 12) + odd, (nr_pages << 12) + odd);
            builder.append_pfns(first >> lg2, (length >> lg2).max(1)).unwrap();
        }
        let whole = builder.finish();
        let length = whole.length();
        // All of the list, or most of it and its ends where they may be.
        let Some((a, b)) = ends else { return whole };
        let (a, b) = (a.index(0x4000) as u64 * 4, length.saturating_sub(b.index(0x4000) as u64));
        whole.slice(a.min(length).min(b), b).unwrap()
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let size = prop_oneof![Just(u64::MAX), Just(4096), 4096_u64..100_000, Just(65536)];
    let mask = prop_oneof![Just(u64::MAX), Just(0xffff), Just(0xf_ffff)];
    (size, mask, prop_oneof![3 => Just(0), 1 => Just(0xfff)]).prop_map(
        |(max_segment_size, seg_boundary_mask, virt_boundary_mask)| Limits {
            max_segment_size,
            seg_boundary_mask,
            virt_boundary_mask,
        },
    )
}

/// All bytes of a table, written through a window of `room` bytes, and what is counted of it.
fn written(table: Result<impl Fill, DescError>, room: usize) -> Result<(Vec<u8>, u64), DescError> {
    let table = table?;
    let (mut all, mut place, mut out) = (Vec::new(), Place::default(), vec![0; room.max(40)]);
    loop {
        let count = table.fill(&mut place, &mut out);
        if count == 0 {
            break;
        }
        all.extend_from_slice(&out[..count]);
    }
    assert!(table.is_done(&place) && table.least() <= table.count().records);
    assert_eq!(all.len(), table.count().records as usize * table.record_size());
    assert!(table.find_count().is_none_or(|count| count == table.count()));
    Ok((all, table.count().data))
}

/// Pages for what is not the list.
fn blocks() -> Phyr {
    let mut blocks = Builder::new();
    (0..2000).for_each(|block| blocks.append_pfns((1 << 30) + block * 3, 1).unwrap());
    blocks.finish()
}

/// Every format of a list.
fn described<P: List>(
    list: &P,
    limits: Limits,
    room: usize,
) -> Vec<Result<(Vec<u8>, u64), DescError>> {
    let blocks = blocks();
    let pages = PageStructs::new(PAGES, 4096).unwrap();
    let prp = Prp::new(list, &blocks, 4096);
    let sgl = SegmentList::new(list, &blocks, 4096, limits);
    let vmalloc = KhoVmalloc::new(list, &blocks, 0, 4096);
    let firsts = [
        vmalloc.as_ref().map(|area| (area.head.to_vec(), 0)).map_err(Clone::clone),
        KhoRadix::new(list, &blocks.freeze(), 4, 4096).map(|tree| (tree.nodes, tree.root)),
        prp.as_ref().map(|prp| (vec![], prp.prp1 ^ prp.prp2.rotate_left(7))).map_err(Clone::clone),
        sgl.as_ref().map(|sgl| (sgl.sgl1.to_bytes().to_vec(), 0)).map_err(Clone::clone),
        desc::best_pgsize(list, u64::MAX, 0x1000).map(|size| (vec![], size)),
        Segments::new(list, limits).map(|segments| {
            let few: Vec<_> = segments.clone().take(40).collect();
            let all = segments.fold(Vec::new(), |mut all, segment| {
                all.push(segment);
                all
            });
            assert_eq!(all[..few.len()], few);
            (format!("{all:?}").into_bytes(), all.len() as u64)
        }),
        Table::phys_vecs(list, limits).map(|table| {
            (format!("{:?}", table.records().collect::<Vec<_>>()).into_bytes(), table.nr_blocks())
        }),
    ];
    let tables = [
        written(Table::bio_vecs(list, pages, limits), room),
        written(Table::iovecs(list, 0x7000_0000, limits), room),
        written(Table::phys_vecs(list, limits), room),
        written(Table::scatterlist(list, pages, 0x9000, Some(7), limits), room),
        written(desc::page_list(list, 4096, 3, ByteOrder::Big), room),
        written(desc::page_list(list, 512, 0, ByteOrder::Little), room),
        written(desc::page_list(list, 8192, 0, ByteOrder::Little), room),
        written(Table::dma_buf_vecs(list), room),
        written(Table::memfd_folios(list, 3, 4096, 4096), room),
        written(vmalloc.map(|area| area.chunks), room),
        written(desc::map_requests(list, 0x7000_0000, 4096, 250), room),
        written(desc::map_requests(list, 1, 1, u64::MAX).map(|table| table.vfio(3)), room),
        written(desc::map_requests(list, 1, 1, u64::MAX).map(|table| table.ioas(7, 1)), room),
        written(prp.map(|prp| prp.lists), room),
        written(sgl.map(|sgl| sgl.segments), room),
    ];
    firsts.into_iter().chain(tables).collect()
}

/// A domain that writes down each call, and refuses one of them.
struct Calls {
    calls: Vec<(u64, u64, u64, u64)>,
    refused: usize,
}

impl IommuDomain for Calls {
    type Error = &'static str;

    fn page_sizes(&self) -> PageSizes {
        PageSizes::new(1 << 12 | 1 << 16).unwrap()
    }

    fn map_pages(
        &mut self,
        iova: u64,
        paddr: u64,
        pgsize: u64,
        pgcount: u64,
        _: Prot,
    ) -> Result<(), Self::Error> {
        if self.calls.len() == self.refused {
            return Err("no table page");
        }
        self.calls.push((iova, paddr, pgsize, pgcount));
        Ok(())
    }

    fn unmap_pages(&mut self, iova: u64, pgsize: u64, pgcount: u64) -> Result<(), Self::Error> {
        self.calls.push((iova, 0, pgsize, pgcount));
        Ok(())
    }

    fn iova_to_phys(&self, _: u64) -> Option<u64> {
        None
    }
}

/// Maps a list and unmaps it; returns the calls, the bus addresses, and why it failed.
fn mapped<P: List>(list: &P, refused: usize) -> (Vec<(u64, u64, u64, u64)>, String) {
    let mut domain = Calls { calls: Vec::new(), refused };
    let iova = 1 << 40 | list.translate(0).unwrap_or(0) & 0xffff;
    let mut linear = Linear::new(&mut domain, iova);
    let dma = linear.map(list, Prot::READ);
    let outcome = match &dma {
        Ok(dma) => format!("{:?}", dma.chunks().collect::<Vec<_>>()),
        Err(why) => format!("{why:?}"),
    };
    if let Ok(dma) = dma {
        linear.unmap(list, &dma).unwrap();
    }
    (domain.calls, outcome)
}

fn calls<P: List>(list: &P, iova: u64, sizes: PageSizes) -> Result<Vec<MapCall>, phyr::Error> {
    let plan = Plan::new(list, iova, sizes)?;
    let calls: Vec<_> = plan.clone().collect();
    assert!(plan.clone().unmaps().count() <= calls.len());
    let folded = plan.fold(Vec::new(), |mut all, call| {
        all.push(call);
        all
    });
    assert_eq!(folded, calls);
    Ok(calls)
}

fn pages<P: List>(pages: Result<phyr::Pages<'_, P>, phyr::Error>) -> Result<Vec<u64>, phyr::Error> {
    let pages = pages?;
    let (mut read, mut out, mut again) = (Vec::new(), [0; 100], pages.clone());
    loop {
        let count = again.read(&mut out);
        read.extend_from_slice(&out[..count]);
        if count == 0 {
            break;
        }
    }
    assert_eq!(again.remaining(), 0);
    assert_eq!(
        pages.clone().fold(Vec::new(), |mut all, page| {
            all.push(page);
            all
        }),
        read
    );
    assert_eq!(pages.collect::<Vec<_>>(), read);
    Ok(read)
}

#[test]
fn many_of_the_lists_have_archives() {
    archives::demand(&any_models(), Model::build);
    archives::demand(&lists(), Clone::clone);
}

#[test]
fn every_format_is_made_of_archives_of_other_granules() {
    let (mut runner, mut made) = (TestRunner::deterministic(), Vec::new());
    for _ in 0..300 {
        let frozen = lists().new_tree(&mut runner).unwrap().current().freeze();
        if frozen.granule().bytes() == 4096 || !frozen.to_bytes().unwrap().starts_with(b"PHYF") {
            continue;
        }
        let formats = described(&frozen, Limits::default(), 4096);
        made.resize(formats.len(), 0);
        made.iter_mut().zip(&formats).for_each(|(made, format)| *made += i32::from(format.is_ok()));
    }
    assert!(made.len() > 20 && made.iter().all(|&made| made > 0), "{made:?}");
}

proptest! {
    #[test]
    fn descriptors_are_those_of_the_list(phyr in lists(), limits in limits(), room in 1_usize..20_000) {
        prop_assert_eq!(described(&phyr.freeze(), limits, room), described(&phyr, limits, room));
    }

    #[test]
    fn handed_over_memory_is_that_of_the_list(
        pfns in prop::collection::hash_set(1_u64..1 << 20, 1..700), room in 8_usize..9000, lg2 in 0_u32..=12,
    ) {
        let mut builder = Builder::with(Granule::new(1 << lg2).unwrap(), Kind::Ram);
        for pfn in pfns {
            builder.append(pfn << 12, 4096).unwrap();
        }
        let (phyr, blocks) = (builder.finish(), blocks());
        let frozen = phyr.freeze();
        let (area, same) = (KhoVmalloc::new(&frozen, &blocks, 0, 4096).unwrap(), KhoVmalloc::new(&phyr, &blocks, 0, 4096).unwrap());
        prop_assert_eq!(area.head, same.head);
        prop_assert_eq!(written(Ok(area.chunks), room), written(Ok(same.chunks), room));
        let tree = KhoRadix::new(&frozen, &blocks.freeze(), 9, 4096).unwrap();
        prop_assert_eq!(tree, KhoRadix::new(&phyr, &blocks, 9, 4096).unwrap());
        let folios = written(Table::memfd_folios(&frozen, 1, 4096, 4096), room).unwrap();
        prop_assert_eq!(Ok(folios), written(Table::memfd_folios(&phyr, 1, 4096, 4096), room));
        let vecs = written(Table::dma_buf_vecs(&frozen), room).unwrap();
        prop_assert_eq!(Ok(vecs), written(Table::dma_buf_vecs(&phyr), room));
    }

    #[test]
    fn plans_and_mappings_are_those_of_the_list(phyr in lists(), bitmap in any::<u16>(), near in any::<bool>(), refused in 0_usize..200) {
        let frozen = phyr.freeze();
        let sizes = PageSizes::new(1 << 12 | u64::from(bitmap) << 12).unwrap();
        let iova = if near { 1 << 40 | phyr.translate(0).unwrap_or(0) & 0xfff_ffff } else { 0x5000 };
        prop_assert_eq!(calls(&frozen, iova, sizes), calls(&phyr, iova, sizes));
        let unmaps = |plan: Plan<'_>| plan.unmaps().collect::<Vec<_>>();
        if let (Ok(of_phyr), Ok(of_frozen)) = (Plan::new(&phyr, iova, sizes), Plan::new(&frozen, iova, sizes)) {
            prop_assert!(of_frozen.unmaps().eq(unmaps(of_phyr)));
        }
        prop_assert_eq!(mapped(&frozen, refused), mapped(&phyr, refused));
        prop_assert_eq!(frozen.alignment(sizes), phyr.alignment(sizes));
        prop_assert_eq!(frozen.window_at(iova), phyr.window_at(iova));
        prop_assert_eq!(frozen.exposes_nothing(sizes), phyr.exposes_nothing(sizes));
        prop_assert_eq!(Direct.map(&frozen, Prot::READ).unwrap(), phyr);
    }

    #[test]
    fn counts_and_pages_are_those_of_the_list(model in any_models(), is_part in any::<bool>(), lg2 in 0_u32..14, last in any::<u64>(), shift in 0_u32..64) {
        let phyr = model.build();
        let frozen = if is_part { frozen_part(&model) } else { phyr.freeze() };
        prop_assert!(phyr.is_empty() || frozen.translate(0) == Ok(model.paddr(0)));
        prop_assert!(List::chunks(&frozen).eq(model.chunks()));
        prop_assert_eq!(frozen.orders(), phyr.orders());
        prop_assert_eq!(frozen.first_beyond(last >> shift), phyr.first_beyond(last >> shift));
        let (of_frozen, of_phyr) = (frozen.stats(), phyr.stats());
        prop_assert_eq!((of_frozen.length, of_frozen.nr_chunks), (of_phyr.length, of_phyr.nr_chunks));
        prop_assert_eq!((of_frozen.largest, of_frozen.nr_entries), (of_phyr.largest, of_phyr.nr_entries));
        prop_assert_eq!(of_frozen.storage, frozen.storage() as u64);
        if phyr.length() >> lg2 < 1 << 16 {
            prop_assert_eq!(pages(frozen.pages(1 << lg2)), pages(phyr.pages(1 << lg2)));
        }
        prop_assert_eq!(frozen.pages(3).err(), phyr.pages(3).err());
    }

    #[test]
    fn words_that_change_end_every_walk(
        phyr in lists(),
        limits in limits(),
        changes in prop::collection::vec((any::<Index>(), prop_oneof![any::<u64>(), 0_u64..1 << 30, Just(0), Just(u64::MAX)]), 1..8),
    ) {
        let bytes = phyr.freeze().to_bytes().unwrap();
        if !bytes.starts_with(b"PHYF") {
            return Ok(());
        }
        let memory = Memory::new(&bytes);
        let frozen = Frozen::from_shared(Box::new(memory.clone())).unwrap();
        // Made while the words were those of a list.
        let table = Table::phys_vecs(&frozen, limits);
        let list = desc::page_list(&frozen, 1, 0, ByteOrder::Little);
        let vmalloc = KhoVmalloc::new(&frozen, &blocks(), 0, 4096);
        let pages = frozen.pages(512);
        let plan = Plan::new(&frozen, 1 << 40, PageSizes::new(1 << 12).unwrap());
        for (at, word) in changes {
            memory.0[at.index(memory.0.len())].store(word, Ordering::Relaxed);
            let total = frozen.chunks().take(1000).map(|chunk| u128::from(chunk.length)).sum::<u128>();
            prop_assert!(total <= frozen.length().into());
            let mut out = vec![0; 4096];
            if let Ok(table) = &table {
                let mut place = Place::default();
                for _ in 0..100_000 {
                    if table.fill(&mut place, &mut out) == 0 {
                        break;
                    }
                }
                prop_assert!(table.is_done(&place) || table.fill(&mut place, &mut out) == 0);
                prop_assert!(place.position() <= frozen.length());
                let _ = table.records().take(5000).count();
            }
            if let Ok(list) = &list {
                prop_assert!(list.count().data <= frozen.length());
            }
            if let Ok(area) = &vmalloc {
                let (mut place, mut bytes, chunks) = (Place::default(), 0, &area.chunks);
                while !chunks.is_done(&place) {
                    bytes += chunks.fill(&mut place, &mut out);
                }
                prop_assert_eq!(bytes as u64, 8 * chunks.count().records);
            }
            let _ = (KhoRadix::new(&frozen, &blocks(), 4, 4096), Table::dma_buf_vecs(&frozen).map(|table| table.count()));
            if let Ok(pages) = &pages {
                let mut found = pages.clone();
                let _ = (found.read(&mut [0; 300]), found.next(), found.remaining());
            }
            if let Ok(plan) = &plan {
                let _ = (plan.clone().take(3000).count(), plan.clone().take(3000).map(MapCall::length).max());
            }
            let _ = (frozen.orders(), frozen.stats(), frozen.first_beyond(1 << 30), frozen.alignment(PageSizes::new(1 << 12 | 1 << 21).unwrap()));
            let _ = (desc::best_pgsize(&frozen, u64::MAX, 0), Segments::new(&frozen, limits).map(|segments| segments.take(2000).count()));
        }
    }
}
