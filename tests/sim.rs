//! The simulated machine through its Rust API, beside an oracle of one page a map entry.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

use std::collections::BTreeMap;

use phyr::sim::{
    Attached, Columns, DomainError, DomainOptions, Fault, Memory, MemoryError, OffsetBus, Reason,
    ScatterOptions, SimDomain, calls, dma_read, dma_write, scatter, span,
};
use phyr::{Builder, IommuDomain, MapCall, PageSizes, Phyr, Plan, Prot};
use proptest::prelude::*;

const K4: u64 = 4 << 10;
const M2: u64 = 2 << 20;
const G1: u64 = 1 << 30;

fn domain(memory: &mut Memory) -> SimDomain {
    let options = DomainOptions { reserved: Vec::new(), ..DomainOptions::default() };
    SimDomain::new(memory, &options).unwrap()
}

fn image(memory: &Memory) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(memory.size()).unwrap()];
    memory.read_at(0, &mut bytes).unwrap();
    bytes
}

/// One map or unmap: page of 4 KiB where it starts, size and number of pages, whether it maps.
fn act() -> impl Strategy<Value = (u64, u64, u64, bool)> {
    let size = prop_oneof![Just(K4), Just(M2)];
    (0..2048_u64, size, 1..700_u64, any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn maps_and_unmaps_do_all_or_nothing(acts in prop::collection::vec(act(), 1..12)) {
        let mut memory = Memory::new(1 << 22).unwrap();
        let free = memory.free_bytes();
        let mut domain = domain(&mut memory);
        // Page of 4 KiB: address, and the leaf it is part of.
        let mut oracle: BTreeMap<u64, (u64, u64, u64)> = BTreeMap::new();
        for (place, pgsize, pgcount, is_map) in acts {
            let pages = pgsize / K4;
            let iova = place / pages * pgsize;
            let pgcount = if pgsize == M2 { pgcount.min(3) } else { pgcount };
            let (first, last) = (iova / K4, iova / K4 + pages * pgcount - 1);
            let before = image(&memory);
            if is_map {
                let paddr = (place + 7) * pgsize;
                let clash = oracle.range(first..=last).next().map(|(&page, _)| page * K4);
                let call = (iova, paddr, pgsize, pgcount);
                let outcome =
                    domain.map_pages(&mut memory, call.0, call.1, call.2, call.3, Prot::WRITE);
                if let Some(iova) = clash {
                    prop_assert_eq!(outcome, Err(DomainError::Mapped { iova }));
                    prop_assert_eq!(before, image(&memory));
                } else {
                    prop_assert_eq!(outcome, Ok(()));
                    for page in first..=last {
                        let leaf = (page - first) / pages * pages + first;
                        oracle.insert(page, (paddr + (page - first) * K4, leaf, pages));
                    }
                }
            } else {
                let split = oracle.range(first..=last).any(|(_, &(_, leaf, pages))| {
                    leaf < first || leaf + pages - 1 > last
                });
                let covered = oracle.range(first..=last).count() as u64 == last - first + 1;
                let outcome = domain.unmap_pages(&mut memory, iova, pgsize, pgcount);
                prop_assert_eq!(outcome.is_ok(), covered && !split);
                if outcome.is_ok() {
                    oracle.retain(|page, _| *page < first || *page > last);
                } else {
                    prop_assert_eq!(before, image(&memory));
                }
            }
            for page in (0..4096).step_by(37).chain([first, last, last + 1]) {
                let expected = oracle.get(&page).map(|&(paddr, ..)| paddr + 5);
                prop_assert_eq!(domain.iova_to_phys(&memory, page * K4 + 5), expected);
            }
        }
        domain.destroy(&mut memory);
        prop_assert_eq!((memory.free_bytes(), memory.resident()), (free, 0));
    }

    #[test]
    fn a_plan_maps_as_its_calls_do_one_by_one(
        pieces in prop::collection::vec((0..1_u64 << 20, prop_oneof![4 => Just(1), 1 => 1..900_u64]), 1..400),
        far in prop::option::weighted(0.1, (0..400_usize, 50..64_u32)),
        taken in prop::option::weighted(0.3, 0..500_u64),
        reserved in prop::option::weighted(0.2, 0..500_u64),
        start in 0..1100_u64,
        tables in 4..100_u64,
    ) {
        let mut builder = Builder::new();
        for (number, &(pfn, pages)) in pieces.iter().enumerate() {
            let high = far.filter(|&(at, _)| at == number).map_or(0_u64, |(_, bit)| 1 << bit);
            builder.append(high | (pfn * K4), pages * K4).unwrap();
        }
        let phyr = builder.finish();
        let iova = start * K4;
        let sizes = PageSizes::new(K4 | M2).unwrap();
        let reserved = reserved.map(|page| (iova + page * K4, iova + page * K4)).into_iter();
        let options = DomainOptions { reserved: reserved.collect(), ..DomainOptions::default() };
        let new = || {
            let mut memory = Memory::new((tables + 1) * K4).unwrap();
            let mut domain = SimDomain::new(&mut memory, &options).unwrap();
            if let Some(page) = taken {
                let _ = domain.map_pages(&mut memory, iova + page * K4, 0, K4, 1, Prot::READ);
            }
            (memory, domain)
        };
        let plan = Plan::new(&phyr, iova, sizes).unwrap();
        let (mut memory, mut domain) = new();
        let before = (image(&memory), domain.counters());
        let outcome = domain.map_plan(&mut memory, plan.clone(), Prot::READ);
        prop_assert_eq!(domain.counters().batch_calls, 1);

        let (mut other, mut oracle) = new();
        let one_by_one = plan.clone().try_for_each(|call| {
            let MapCall { iova, paddr, pgsize, pgcount } = call;
            oracle.map_pages(&mut other, iova, paddr, pgsize, pgcount, Prot::READ)
        });
        prop_assert_eq!(&outcome, &one_by_one);
        let (memory, counters) = (image(&memory), domain.counters());
        if outcome.is_ok() {
            prop_assert_eq!(memory, image(&other));
            prop_assert_eq!(counters.ptes_written, oracle.counters().ptes_written);
            prop_assert_eq!(counters.table_pages, oracle.counters().table_pages);
        } else {
            prop_assert_eq!(memory, before.0);
            prop_assert_eq!(counters.ptes_written, before.1.ptes_written);
        }

        let (mut memory, mut domain) = new();
        prop_assert_eq!(&domain.map_batch(&mut memory, plan.clone(), Prot::READ), &outcome);
        let batched = (image(&memory), domain.counters());

        let (mut memory, mut domain) = new();
        let column = |of: fn(MapCall) -> u64| plan.clone().map(of).collect::<Vec<_>>();
        let (iovas, paddrs) = (column(|call| call.iova), column(|call| call.paddr));
        let (pgsizes, pgcounts) = (column(|call| call.pgsize), column(|call| call.pgcount));
        let columns = Columns::new(&iovas, &paddrs, &pgsizes, &pgcounts).unwrap();
        prop_assert!(columns.calls().eq(plan));
        prop_assert_eq!(domain.map_columns(&mut memory, columns, Prot::READ), outcome);
        prop_assert_eq!((image(&memory), domain.counters()), batched);
    }

    #[test]
    fn a_device_sees_the_buffer(
        length in 1..60 * K4,
        seed in any::<u64>(),
        offset in 0..K4,
        order in 0..4_u32,
    ) {
        let mut memory = Memory::new(1 << 24).unwrap();
        let mut domain = domain(&mut memory);
        let options = ScatterOptions { seed, orders: &[order, 0], offset, ..ScatterOptions::default() };
        let buffer = memory.scatter(length, &options).unwrap();
        let mut content = vec![0; usize::try_from(length).unwrap()];
        for (byte, number) in content.iter_mut().zip(seed..) {
            *byte = number.to_le_bytes()[0];
        }
        memory.write(&buffer, &content).unwrap();
        let iova = G1 + offset;
        let sizes = PageSizes::new(K4 | M2 | G1).unwrap();
        domain.map_batch(&mut memory, Plan::new(&buffer, iova, sizes).unwrap(), Prot::READ).unwrap();
        let window = span(iova, length).unwrap();
        let mut seen = vec![0; content.len()];
        dma_read(&mut memory, &mut domain, &window, &mut seen).unwrap();
        prop_assert_eq!(&seen, &content);
        let fault = dma_write(&mut memory, &mut domain, &window, &content).unwrap_err();
        prop_assert_eq!((fault.dma_addr, fault.reason, fault.transferred), (iova, Reason::NoWrite, 0));
        memory.read(&buffer, &mut seen).unwrap();
        prop_assert_eq!(seen, content);
    }
}

#[test]
fn a_domain_with_its_memory_is_an_iommu_domain() {
    let mut memory = Memory::new(1 << 20).unwrap();
    let mut domain = domain(&mut memory);
    let mut iommu = Attached { domain: &mut domain, memory: &mut memory };
    assert_eq!(iommu.page_sizes().bitmap(), K4 | M2 | G1);
    iommu.map_pages(M2, 0, M2, 1, Prot::READ).unwrap();
    assert_eq!(iommu.iova_to_phys(M2 + 5), Some(5));
    assert_eq!(iommu.unmap_pages(M2, K4, 1), Err(DomainError::Split { iova: M2, pgsize: M2 }));
    iommu.unmap_pages(M2, M2, 1).unwrap();
    assert_eq!(domain.counters().table_pages, 1);
}

#[test]
fn columns_of_different_length_are_no_plan() {
    let error = calls(&[1, 2], &[1, 2], &[1], &[1, 2]).map(Iterator::count);
    assert_eq!(error, Err(DomainError::Columns { iovas: 2, other: 1 }));
    let call = MapCall { iova: 1, paddr: 2, pgsize: 3, pgcount: 4 };
    assert!(calls(&[1], &[2], &[3], &[4]).unwrap().eq([call]));
}

#[test]
fn columns_need_not_be_in_order_nor_alike() {
    // Pages up, pages down, every other one, and one of 2 MiB in their midst.
    let up = (0..1000).map(|page| (page * K4, K4));
    let down = (0..1000).map(|page| ((3000 - page) * K4, K4));
    let others = (0..700).map(|page| (G1 + page * 2 * K4, K4)).chain([(2 * G1, M2)]);
    let rows: Vec<_> =
        up.chain(down).chain(others).chain([(3 * G1, K4), (3 * G1 + K4, K4)]).collect();
    let column = |of: fn(&(u64, u64)) -> u64| rows.iter().map(of).collect::<Vec<_>>();
    let (iovas, pgsizes) = (column(|row| row.0), column(|row| row.1));
    let paddrs: Vec<_> = rows.iter().zip(7..).map(|(row, number)| number * row.1).collect();
    for bad in [None, Some(999), Some(1500), Some(rows.len() - 1)] {
        let mut pgcounts = vec![1; rows.len()];
        if let Some(bad) = bad {
            pgcounts[bad] = 0;
        }
        let columns = Columns::new(&iovas, &paddrs, &pgsizes, &pgcounts).unwrap();
        let mut memory = Memory::new(1 << 22).unwrap();
        let mut mapped = domain(&mut memory);
        let before = image(&memory);
        let outcome = mapped.map_columns(&mut memory, columns, Prot::READ);
        assert_eq!(outcome.is_ok(), bad.is_none());
        if bad.is_some() {
            assert_eq!(before, image(&memory));
        }
        let mut other = Memory::new(1 << 22).unwrap();
        let mut oracle = domain(&mut other);
        assert_eq!(oracle.map_batch(&mut other, columns.calls(), Prot::READ), outcome);
        let expected = (image(&other), oracle.counters());
        assert_eq!((image(&memory), mapped.counters()), expected);

        for rows_at_once in [1, 700, 1 << 20] {
            let mut memory = Memory::new(1 << 22).unwrap();
            let mut mapped = domain(&mut memory);
            let feed = |map: &mut dyn FnMut(Columns<'_>)| {
                for start in (0..rows.len()).step_by(rows_at_once) {
                    let rows = start..rows.len().min(start + rows_at_once);
                    let (iovas, paddrs) = (&iovas[rows.clone()], &paddrs[rows.clone()]);
                    let (sizes, counts) = (&pgsizes[rows.clone()], &pgcounts[rows]);
                    map(Columns::new(iovas, paddrs, sizes, counts).unwrap());
                }
            };
            assert_eq!(mapped.map_pieces(&mut memory, feed, Prot::READ), outcome);
            assert_eq!((image(&memory), mapped.counters()), expected);
        }
    }
}

#[test]
fn a_batch_of_many_blocks_fails_as_a_whole() {
    let mut memory = Memory::new(1 << 22).unwrap();
    let mut domain = domain(&mut memory);
    domain.map_pages(&mut memory, 1500 * K4, 0, K4, 1, Prot::READ).unwrap();
    let before = image(&memory);
    let plan = (0..3000).map(|page| MapCall {
        iova: page * K4,
        paddr: page * 3 * K4,
        pgsize: K4,
        pgcount: 1,
    });
    let outcome = domain.map_batch(&mut memory, plan, Prot::READ);
    assert_eq!(outcome, Err(DomainError::Mapped { iova: 1500 * K4 }));
    assert_eq!(before, image(&memory));
    assert_eq!(domain.counters().ptes_written, 4);
}

#[test]
fn the_last_bytes_of_the_64_bit_bus_are_reached() {
    let mut memory = Memory::new(1 << 20).unwrap();
    let offset = i128::from(u64::MAX) + 1 - (1 << 20);
    let window = span(u64::MAX - 7, 8).unwrap();
    dma_write(&mut memory, &mut OffsetBus(offset), &window, &[9; 8]).unwrap();
    assert_eq!(memory.read_u64((1 << 20) - 8), Ok(0x0909_0909_0909_0909));
    let mut seen = [0; 8];
    let fault = dma_read(&mut memory, &mut OffsetBus(0), &window, &mut seen);
    assert!(matches!(fault, Err(Fault { reason: Reason::NoMemory, transferred: 0, .. })));
    assert!(dma_read(&mut memory, &mut OffsetBus(i128::MIN), &window, &mut seen).is_err());
}

#[test]
fn every_error_says_its_numbers() {
    let mut memory = Memory::new(1 << 20).unwrap();
    let outside = memory.read_u64(0xf_fffc).unwrap_err();
    assert_eq!(outside.to_string(), "range 0xffffc+0x8 is outside a memory of 0x100000 bytes");
    let full = memory.alloc(1 << 20, None, K4).unwrap_err();
    assert_eq!(full, MemoryError::Full { length: 1 << 20, free: (1 << 20) - K4 });
    assert_eq!(
        scatter(1, &ScatterOptions { orders: &[], ..ScatterOptions::default() }),
        Err(MemoryError::NoOrders)
    );
    let mut domain = domain(&mut memory);
    let error = domain.map_pages(&mut memory, 0x800, 0, K4, 1, Prot::READ).unwrap_err();
    assert_eq!(
        error.to_string(),
        "iova 0x800 and address 0x0 are not multiples of page size 0x1000"
    );
    let fault =
        dma_read(&mut memory, &mut domain, &span(0x5000, 1).unwrap(), &mut [0]).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "DMA read at 0x5000 faulted, reason 0x6: an entry does not permit reading; 0x0 bytes were \
         transferred"
    );
}

#[test]
fn a_full_memory_scatters_to_the_last_page() {
    let mut memory = Memory::new(1 << 20).unwrap();
    let mut lists: Vec<Phyr> = Vec::new();
    while memory.free_bytes() > 4 * K4 {
        let options = ScatterOptions { seed: lists.len() as u64, ..ScatterOptions::default() };
        lists.push(memory.scatter(2 * K4, &options).unwrap());
    }
    let mut all = Builder::new();
    lists.iter().flat_map(Phyr::chunks).for_each(|chunk| {
        assert_eq!(chunk.length, K4);
        all.append(chunk.paddr, chunk.length).unwrap();
    });
    memory.free(&all.finish()).unwrap();
    assert_eq!(memory.free_bytes(), (1 << 20) - K4);
}

proptest! {
    #[test]
    fn memory_under_a_frozen_list_is_that_of_the_list(
        pfns in prop::collection::hash_set(1_u64..1 << 12, 50..400), cut in 0_u64..K4,
    ) {
        let mut builder = Builder::new();
        builder.extend_pfns(&pfns.into_iter().collect::<Vec<_>>()).unwrap();
        let phyr = builder.finish();
        let phyr = phyr.slice(cut, phyr.length() - cut).unwrap();
        let (frozen, mut memory) = (phyr.freeze(), Memory::new(16 << 20).unwrap());
        let len = usize::try_from(phyr.length()).unwrap();
        let data: Vec<u8> = (0..251).cycle().take(len).collect();
        memory.reserve(&frozen).unwrap();
        let again = memory.reserve(&phyr);
        prop_assert!(matches!(again, Err(MemoryError::NotFree { .. })), "{again:?}");
        dma_write(&mut memory, &mut OffsetBus(0), &frozen, &data).unwrap();
        let (mut by_list, mut by_frozen, mut by_device) = (vec![0; len], vec![0; len], vec![0; len]);
        memory.read(&phyr, &mut by_list).unwrap();
        memory.read(&frozen, &mut by_frozen).unwrap();
        dma_read(&mut memory, &mut OffsetBus(0), &frozen, &mut by_device).unwrap();
        prop_assert!(by_list == data && by_frozen == data && by_device == data);
        memory.free(&frozen).unwrap();
        prop_assert_eq!(memory.resident(), 0);
        let again = memory.free(&phyr);
        prop_assert!(matches!(again, Err(MemoryError::NotAllocated { .. })), "{again:?}");
    }
}
