//! The memory that lists take: exact figures, from an allocator that counts.
#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(clippy::cast_precision_loss, reason = "figures are compared to two decimals")]

#[path = "../benches/common/counting.rs"]
mod counting;
#[path = "../benches/common/workloads.rs"]
#[expect(dead_code, reason = "benches use the rest")]
mod workloads;

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::thread;

use counting::{Counting, Counts, counted};
use phyr::{
    Builder, Chunk, DmaBackend, Error, Frozen, Granule, Index, IommuDomain, Kind, Linear,
    PageSizes, Phyr, Prot,
};
use workloads::{PAGE, Workload, digest, middle};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Pages that one call appends; anything, since batches leave no trace.
const BATCH: usize = 1 << 10;

/// The first `nr_pages` pages of a workload, and what building the list asked of the allocator.
fn build(workload: Workload, nr_pages: usize) -> (Phyr, Counts) {
    let mut stream = workload.stream();
    let mut batch = [0; BATCH];
    counted(|| {
        let mut builder = Builder::new();
        let mut left = nr_pages;
        while left > 0 {
            let count = left.min(BATCH);
            batch[..count].fill_with(|| stream.next().unwrap());
            builder.extend_pages(&batch[..count]).unwrap();
            left -= count;
        }
        builder.finish()
    })
}

/// A way to fill a builder.
type Build<'a> = dyn Fn(&mut Builder) -> Result<(), Error> + 'a;

/// Bytes an entry: the object, and its allocations with their headers and rounding.
fn bytes_an_entry(phyr: &Phyr, counts: Counts) -> f64 {
    (size_of::<Phyr>() as f64 + counts.taken as f64) / phyr.nr_chunks() as f64
}

/// A list of chunks too long, and too odd, for an entry of one word, at every multiple of `step`
/// pages.
fn long_chunks(count: u64, step: u64) -> Phyr {
    let mut builder = Builder::new();
    for number in 0..count {
        builder.append(number * step * PAGE, 2049 * PAGE).unwrap();
    }
    builder.finish()
}

#[test]
fn workloads_are_the_ones_that_figures_speak_of() {
    for workload in Workload::ALL {
        assert_eq!(digest(&workload.pages(4096)), workload.digest(), "{workload:?}");
    }
    assert_eq!(middle(1 << 20), (0x4000_0064, 0xbfff_ff9c));
}

#[test]
fn workloads_take_at_most_eight_and_a_quarter_bytes_an_entry() {
    for workload in Workload::ALL {
        let (phyr, counts) = build(workload, 1 << 20);
        phyr.validate().unwrap();
        let bytes = bytes_an_entry(&phyr, counts);
        // One entry is no more than the object.
        let limit = if workload == Workload::Contig { size_of::<Phyr>() as f64 } else { 8.25 };
        assert!(bytes <= limit, "{workload:?}: {bytes} bytes an entry, {counts:?}");
    }
}

/// Bytes an entry of a frozen list, and what freezing asked of the allocator.
fn freeze(phyr: &Phyr) -> (f64, Counts) {
    let (frozen, counts) = counted(|| phyr.freeze());
    assert_eq!(frozen, *phyr);
    // A list that stays as it is shares its storage.
    let shared = if counts.allocations == 0 { phyr.storage() } else { 0 };
    assert_eq!(frozen.storage(), usize::try_from(counts.asked).unwrap() + shared);
    let bytes = size_of::<Frozen>() as f64 + counts.taken as f64;
    (bytes / phyr.nr_chunks() as f64, counts)
}

/// Bytes a run of the index of lists, beside the lists.
fn index_bytes(lists: &[Phyr]) -> f64 {
    let (index, counts) = counted(|| Index::new(lists.iter().map(Phyr::freeze)).unwrap());
    // It counts its own objects, and all that is in them but the lists.
    let frozen = index.lists().iter().map(|list| size_of_val(list) + list.storage());
    assert_eq!(index.storage() + frozen.sum::<usize>(), usize::try_from(counts.asked).unwrap());
    index.storage() as f64 / lists.iter().map(Phyr::nr_chunks).sum::<u64>() as f64
}

#[test]
fn an_index_of_memory_that_many_lists_hold_takes_four_bytes_a_run_or_less() {
    let shared = build(Workload::Rand4k, 1 << 17).0;
    for (count, limit) in [(2, 3.91), (3, 3.97), (8, 4.0)] {
        // Each from another page on.
        let from = |number: u64| number * 777 * PAGE;
        let all = |number: u64| shared.slice(from(number), shared.length()).unwrap();
        let bytes = index_bytes(&(0..count).map(all).collect::<Vec<_>>());
        println!("{count} lists of the same pages: {bytes:.3} bytes a run");
        assert!(bytes <= limit, "{count} lists: {bytes} bytes a run");
    }
    let mut builder = Builder::new();
    builder.append(0, 1 << 41).unwrap();
    let long = builder.finish();
    for count in [1, 3] {
        let mut lists = vec![long.clone(); count];
        lists.push(shared.clone());
        let bytes = index_bytes(&lists);
        println!("{count} lists of all memory, and pages of it: {bytes:.3} bytes a run");
        assert!(bytes <= 3.86, "{count} long runs: {bytes} bytes a run");
    }
}

#[test]
fn an_index_takes_four_bytes_a_run_or_less_beside_the_lists() {
    // But for addresses to 64 TiB: those take 15.4 bits each, and their order 18.6, which are 4.25 bytes.
    // The last two lists have 2^20 runs, as those of single pages have.
    let limits = [
        (Workload::Rand4k, 1 << 20, 3.85),
        (Workload::Geo8, 1 << 20, 3.86),
        (Workload::Folio, 1 << 20, 3.9),
        (Workload::Huge2m, 1 << 20, 3.03),
        (Workload::Rand4kHi, 1 << 20, 4.6),
        (Workload::Geo8, 8_375_000, 3.94),
        (Workload::Folio, 5_732_000, 3.9),
    ];
    for (workload, nr_pages, limit) in limits {
        let list = build(workload, nr_pages).0;
        let bytes = index_bytes(std::slice::from_ref(&list));
        println!("{workload:?}, {} runs: {bytes:.3} bytes a run", list.nr_chunks());
        assert!(bytes <= limit, "{workload:?}, {nr_pages} pages: {bytes} bytes a run");
    }
}

#[test]
fn an_index_of_a_list_in_the_order_of_memory_takes_fewer_bytes() {
    for (workload, limit) in [(Workload::Geo8, 2.74), (Workload::Folio, 2.7)] {
        let mut pages = workload.pages(1 << 20);
        pages.sort_unstable();
        pages.dedup();
        let mut builder = Builder::new();
        builder.extend_pages(&pages).unwrap();
        let bytes = index_bytes(&[builder.finish()]);
        println!("{workload:?} in order: {bytes:.3} bytes a run");
        assert!(bytes <= limit, "{workload:?}: {bytes} bytes a run");
    }
}

#[test]
fn frozen_workloads_take_half_the_bytes() {
    // Four bytes and a little on 28 bits of address; lengths come on top.
    let limits = [
        (Workload::Rand4k, 3.8),
        (Workload::Geo8, 4.4),
        (Workload::Folio, 4.4),
        (Workload::Huge2m, 3.0),
        (Workload::Rand4kHi, 4.6),
    ];
    for (workload, limit) in limits {
        let (phyr, _) = build(workload, 1 << 20);
        let (bytes, counts) = freeze(&phyr);
        assert!(bytes <= limit, "{workload:?}: {bytes} bytes a chunk, {counts:?}");
        // The words, and the object that they are shared by.
        assert_eq!((counts.allocations, counts.blocks), (2, 2), "{workload:?}: {counts:?}");
    }
}

/// Page number and pages of a run.
type Place = fn(u64) -> (u64, u64);

#[test]
fn freezing_makes_no_list_larger() {
    fn scatter(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12
    }
    fn bits(number: u64, bits: u32) -> u64 {
        scatter(number) >> (52 - bits)
    }
    let adversaries: [(&str, Place); 7] = [
        ("one page each, anywhere", |number| (scatter(number), 1)),
        ("long and odd", |number| (scatter(number), 2049)),
        ("as long as fits a word", |number| (scatter(number) | 1, 1 + bits(number, 10) * 2)),
        ("short and very long", |number| match number % 2 {
            0 => (scatter(number), 1),
            _ => (bits(number, 19) << 25, 2047 << 25),
        }),
        ("descending", |number| ((1 << 51) - 2 * number, 1)),
        ("one far away in each block", |number| {
            (if number % 128 == 5 { 1 << 51 } else { 2 * number }, 1)
        }),
        ("the same page again", |_| (77, 1)),
    ];
    for (name, run) in adversaries {
        for count in [0, 1, 2, 3, 20, 127, 128, 129, 1000, 20_000] {
            let (phyr, before) = counted(|| {
                let mut builder = Builder::new();
                for (pfn, nr_pages) in (0..count).map(run) {
                    builder.append_pfns(pfn, nr_pages).unwrap();
                }
                builder.finish()
            });
            let (_, after) = freeze(&phyr);
            assert!(after.asked <= before.asked, "{count} chunks, {name}: {before:?} {after:?}");
            assert!(
                after.taken as f64 <= before.taken as f64 * 1.02,
                "{count} chunks, {name}: {before:?} {after:?}",
            );
        }
    }
}

#[test]
fn statistics_name_the_heap_that_was_asked_for() {
    for nr_pages in [1, 2, 3, 100, 510, 511, 1 << 12, 1 << 17] {
        let (phyr, counts) = build(Workload::Rand4k, nr_pages);
        let stats = phyr.stats();
        assert_eq!(stats.storage, u64::try_from(counts.asked).unwrap(), "{nr_pages} pages");
    }
}

#[test]
fn overhead_is_at_most_one_percent_at_ten_thousand_chunks() {
    let mut builder = Builder::new();
    let (phyr, counts) = counted(|| {
        (0..10_000).for_each(|number| builder.append(2 * number * PAGE, PAGE).unwrap());
        std::mem::take(&mut builder).finish()
    });
    assert_eq!(phyr.nr_chunks(), 10_000);
    let bytes = size_of::<Phyr>() as f64 + counts.asked as f64;
    assert!(bytes <= 80_000.0 * 1.01, "{bytes} bytes, {counts:?}");
}

#[test]
fn overhead_is_at_most_one_percent_where_entries_have_two_words() {
    let (phyr, counts) = counted(|| long_chunks(10_000, 4099));
    assert_eq!(phyr.nr_chunks(), 10_000);
    let bytes = size_of::<Phyr>() as f64 + counts.asked as f64;
    assert!(bytes <= 160_000.0 * 1.01, "{bytes} bytes, {counts:?}");
}

#[test]
fn one_chunk_needs_no_heap_even_while_it_is_built() {
    let pages = Workload::Contig.pages(BATCH);
    let pfns: Vec<u64> = pages.iter().map(|page| page >> 12).collect();
    let by_address =
        |builder: &mut Builder| pages.chunks(7).try_for_each(|part| builder.extend_pages(part));
    let by_number =
        |builder: &mut Builder| pfns.chunks(7).try_for_each(|part| builder.extend_pfns(part));
    let one_by_one =
        |builder: &mut Builder| pages.iter().try_for_each(|&page| builder.append(page, PAGE));
    let inside_pages = |builder: &mut Builder| builder.append(0x1234, 0x5678_9abc);
    let builds: [(&str, &Build); 4] = [
        ("by address", &by_address),
        ("by number", &by_number),
        ("one by one", &one_by_one),
        ("inside pages", &inside_pages),
    ];
    for (name, build) in builds {
        let (phyr, counts) = counted(|| {
            let mut builder = Builder::new();
            build(&mut builder).unwrap();
            builder.finish()
        });
        assert_eq!(phyr.nr_chunks(), 1, "{name}");
        assert_eq!(counts, Counts::default(), "{name}");
    }
}

#[test]
fn no_heap_for_an_empty_list_either() {
    let (phyr, counts) = counted(|| (Phyr::default(), Builder::new().finish()));
    assert_eq!(phyr.0, phyr.1);
    assert_eq!(counts, Counts::default());
}

#[test]
fn no_allocation_is_larger_than_a_page_however_long_the_list() {
    let (phyr, counts) = build(Workload::Rand4k, 1 << 24);
    assert_eq!(phyr.length(), PAGE << 24);
    assert!(counts.largest <= 4096, "{counts:?}");
    let bytes = bytes_an_entry(&phyr, counts);
    assert!(bytes <= 8.25, "{bytes} bytes an entry, {counts:?}");
}

#[test]
fn no_allocation_is_larger_than_a_page_whatever_makes_the_list() {
    let (phyr, _) = build(Workload::Rand4k, 1 << 16);
    let (start, end) = middle(1 << 16);
    let view = phyr.slice(start, end).unwrap();
    let (head, tail) = phyr.split_at(PAGE << 15).unwrap();
    let makes: [(&str, &dyn Fn() -> Phyr); 3] = [
        ("compact", &|| view.compact()),
        ("concat", &|| head.concat(&tail).unwrap()),
        ("extend", &|| {
            let mut builder = Builder::with(Granule::default(), Kind::Ram);
            builder.extend(&phyr).unwrap();
            builder.finish()
        }),
    ];
    for (name, make) in makes {
        let (made, counts) = counted(make);
        made.validate().unwrap();
        assert!(counts.largest <= 4096, "{name}: {counts:?}");
    }
}

/// A domain that does nothing.
struct Sink;

impl IommuDomain for Sink {
    type Error = Infallible;

    fn page_sizes(&self) -> PageSizes {
        PageSizes::new(1 << 12 | 1 << 21 | 1 << 30).unwrap()
    }

    fn map_pages(
        &mut self,
        _iova: u64,
        _paddr: u64,
        _pgsize: u64,
        _pgcount: u64,
        _prot: Prot,
    ) -> Result<(), Infallible> {
        Ok(())
    }

    fn unmap_pages(&mut self, _: u64, _: u64, _: u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn iova_to_phys(&self, _iova: u64) -> Option<u64> {
        None
    }
}

#[test]
fn what_a_linear_map_returns_costs_the_same_at_2_to_the_10_and_2_to_the_24_pages() {
    let costs = [10, 24].map(|lg2| {
        let (phyr, list) = build(Workload::Rand4k, 1 << lg2);
        assert!(list.asked >= 8 << lg2, "{list:?}");
        let (dma, counts) = counted(|| Linear::new(&mut Sink, 1 << 40).map(&phyr, Prot::READ));
        let dma = dma.unwrap();
        assert_eq!((dma.nr_chunks(), dma.length()), (1, PAGE << lg2));
        // Nothing was asked for, not even for a moment.
        assert_eq!(counts, Counts::default());
        assert_eq!(dma.stats().storage, 0);
        size_of_val(&dma) + usize::try_from(counts.taken).unwrap()
    });
    assert_eq!(costs, [size_of::<Phyr>(); 2]);
}

#[test]
fn compact_keeps_only_its_own_entries() {
    let (phyr, _) = build(Workload::Rand4k, 1 << 16);
    let (compact, counts) = counted(|| {
        let view = phyr.slice(PAGE / 2, 20_000 * PAGE).unwrap();
        view.compact()
    });
    assert_eq!(compact, phyr.slice(PAGE / 2, 20_000 * PAGE).unwrap());
    assert!(bytes_an_entry(&compact, counts) <= 8.25, "{counts:?}");
}

#[test]
fn reading_a_list_allocates_nothing() {
    let (start, end) = middle(1 << 14);
    for workload in Workload::ALL {
        let (phyr, _) = build(workload, 1 << 14);
        let (twin, _) = build(workload, 1 << 14);
        let hasher = RandomState::new();
        let view = phyr.slice(start, end).unwrap();
        let reads: [(&str, &dyn Fn()); 11] = [
            ("clone", &|| _ = black_box(phyr.clone())),
            ("slice", &|| _ = black_box(phyr.slice(start, end).unwrap())),
            ("split_at", &|| _ = black_box(view.split_at(end - start - 1).unwrap())),
            ("translate", &|| _ = black_box(view.translate(end - start - 1).unwrap())),
            ("find", &|| _ = black_box(view.find(end - start - 1).unwrap())),
            ("next", &|| each(view.chunks())),
            ("next_back", &|| each(view.chunks().rev())),
            ("fold", &|| view.chunks().for_each(|chunk| _ = black_box(chunk))),
            ("pages", &|| view.pages(PAGE).unwrap().for_each(|page| _ = black_box(page))),
            ("equal", &|| assert!(black_box(&phyr) == black_box(&twin))),
            ("hash", &|| _ = black_box(hasher.hash_one(&view))),
        ];
        for (name, read) in reads {
            let ((), counts) = counted(read);
            assert_eq!(counts, Counts::default(), "{name} of {workload:?}");
        }
    }
}

#[test]
fn reading_a_frozen_list_allocates_nothing() {
    let (start, end) = middle(1 << 14);
    for workload in Workload::ALL {
        let frozen = build(workload, 1 << 14).0.freeze();
        let hasher = RandomState::new();
        let view = frozen.slice(start, end).unwrap();
        let reads: [(&str, &dyn Fn()); 8] = [
            ("clone", &|| _ = black_box(frozen.clone())),
            ("slice", &|| _ = black_box(frozen.slice(start, end).unwrap())),
            ("translate", &|| _ = black_box(view.translate(end - start - 1).unwrap())),
            ("find", &|| _ = black_box(view.find(end - start - 1).unwrap())),
            ("next", &|| each(view.chunks())),
            ("next_back", &|| each(view.chunks().rev())),
            ("hash", &|| _ = black_box(hasher.hash_one(&view))),
            ("check", &|| view.check().unwrap()),
        ];
        for (name, read) in reads {
            let ((), counts) = counted(read);
            assert_eq!(counts, Counts::default(), "{name} of {workload:?}");
        }
    }
}

/// External iteration: one call of `next` a chunk.
fn each(chunks: impl Iterator<Item = Chunk>) {
    for chunk in chunks {
        black_box(chunk);
    }
}

#[test]
fn the_last_view_frees_everything() {
    for workload in Workload::ALL {
        for nr_pages in [1, 2, 3, 510, 511, 1 << 17] {
            let ((), counts) = counted(|| {
                let (phyr, _) = build(workload, nr_pages);
                let view = phyr.slice(1, phyr.length()).unwrap();
                drop(phyr);
                assert!(view.clone().slice(0, 0).unwrap().is_empty());
            });
            let held = (counts.blocks, counts.asked);
            assert_eq!(held, (0, 0), "{nr_pages} pages of {workload:?}: {counts:?}");
        }
    }
}

#[test]
fn a_builder_frees_what_it_did_not_finish() {
    let pages = Workload::Rand4k.pages(1 << 17);
    let ((), counts) = counted(|| Builder::new().extend_pages(&pages).unwrap());
    assert!(counts.allocations > 0);
    assert_eq!((counts.blocks, counts.asked), (0, 0), "{counts:?}");
}

#[test]
fn building_asks_for_little_more_than_the_list_keeps() {
    let (_, counts) = build(Workload::Rand4k, 1 << 20);
    let kept = u64::try_from(counts.blocks).unwrap();
    assert!(counts.allocations <= kept + kept / 100 + 4, "{counts:?}");
}

#[test]
fn a_long_list_is_dropped_on_a_small_stack() {
    let (phyr, _) = build(Workload::Rand4k, 1 << 22);
    let (nodes, length) = (phyr.stats().nr_nodes, phyr.length());
    assert!(nodes > 8000, "{nodes} nodes");
    // A frame of 16 bytes a node would be twice the stack.
    let thread = thread::Builder::new().stack_size(64 << 10).spawn(move || {
        let view = phyr.slice(0, length / 2).unwrap();
        drop(phyr);
        view.length()
    });
    assert_eq!(thread.unwrap().join().unwrap(), length / 2);
}
