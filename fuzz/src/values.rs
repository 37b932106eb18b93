//! Texts of values, and refusals: lists of a device, windows, errors that name an argument.

use std::fmt::Debug;

use phyr::desc::{
    ByteOrder, DescError, Fill, KhoRadix, KhoVmalloc, Limits, PageStructs, Place, Prp, Segments,
    Table, map_requests, page_list,
};
use phyr::pagemap::FolioTally;
use phyr::{
    Builder, Direct, DmaBackend, Entry, Error, Frozen, Granule, Index, Kind, List, PageSizes, Phyr,
    Plan, Prot, UnmapCall,
};

use crate::source::{Said, Source};

/// Makes a list of the bytes, and the same of a device's memory.
pub fn values(bytes: &[u8]) {
    let mut source = Source(bytes);
    let phyr = source.list();
    let device = of_device(&phyr, u32::from(source.byte() / 2));
    texts(&phyr, &device, &mut source);
    numbers(&mut source);
    kinds(&phyr, &device, &mut source);
    descriptors(&phyr, &device, &mut source);
    windows(&phyr, &mut source);
    bare(&phyr, &mut source);
    user(&phyr, &mut source);
}

fn of_device(phyr: &Phyr, provider: u32) -> Phyr {
    let kind = Kind::Mmio { provider };
    let mut builder = Builder::with(phyr.granule(), kind);
    Extend::extend(&mut builder, phyr.chunks());
    assert_eq!((builder.kind(), builder.length()), (kind, phyr.length()));
    assert!(format!("{builder:?}").starts_with("Builder") && builder.storage() < 1 << 16);
    builder.finish()
}

/// A text that begins so.
fn begins(value: &impl Debug, with: &str) {
    let text = format!("{value:?}");
    assert!(text.starts_with(with), "{text}");
}

fn texts(phyr: &Phyr, device: &Phyr, source: &mut Source<'_>) {
    let (length, granule) = (phyr.length(), phyr.granule().bytes());
    let head = format!("({length:#x} bytes, granule {granule}, ");
    let count = match phyr.nr_chunks() {
        1 => String::from("1 chunk:"),
        count => format!("{count} chunks:"),
    };
    begins(phyr, &format!("Phyr{head}{count}"));
    begins(&phyr.freeze(), &format!("Frozen{head}{count}"));
    begins(device, &format!("Phyr{head}{}, {count}", device.kind()));
    begins(&device.freeze(), &format!("Frozen{head}{}, {count}", device.kind()));
    begins(&phyr.granule(), &format!("Granule({granule})"));
    for chunk in phyr.chunks().take(3) {
        assert_eq!(format!("{chunk:?}"), format!("{:#x}+{:#x}", chunk.paddr, chunk.length));
    }
    let (chunks, frozen) = (phyr.chunks(), phyr.freeze());
    begins(&chunks, &format!("Chunks {{ remaining: {}, ", phyr.nr_chunks()));
    begins(&frozen.chunks(), &format!("FrozenChunks {{ remaining: {}, ", phyr.nr_chunks()));
    let mut kept = vec![1, 2];
    chunks.extend(&mut kept, |chunk| chunk.length);
    assert!(kept[2..].iter().copied().eq(phyr.chunks().map(|chunk| chunk.length)));
    let (iova, bitmap) = (source.edge(), source.edge());
    if let Some(sizes) = PageSizes::new(bitmap).said() {
        begins(&sizes, &format!("PageSizes({bitmap:#x})"));
        if let Some(plan) = Plan::new(phyr, iova, sizes).said() {
            begins(&plan, &format!("Plan {{ iova: {:#x}, ", iova & !(sizes.granule() - 1)));
            assert!(plan.size_hint().0 as u64 <= phyr.nr_chunks());
            if let Some(call) = plan.clone().next() {
                begins(&call, &format!("{:#x}", call.iova));
                begins(&UnmapCall::from(call), &format!("{:#x}, ", call.iova));
            }
        }
    }
    if let Some(mut segments) = Segments::new(phyr, Limits::default()).said() {
        begins(&segments, "Segments {");
        let (least, _) = segments.size_hint();
        let first = segments.next();
        assert_eq!(first.is_none(), phyr.is_empty());
        assert!(segments.size_hint().0 + 1 >= least);
    }
}

fn numbers(source: &mut Source<'_>) {
    let (pfn, nr_pages) = (source.edge() >> 12, source.edge() >> (source.byte() & 63));
    match Entry::encode(pfn, nr_pages) {
        Some((entry, count)) => {
            assert_eq!(Entry::from_word(entry.word()), Some(entry));
            assert_eq!((entry.pfn(), count.is_some()), (pfn, entry.is_escape()));
            assert_eq!(count.unwrap_or(entry.count()) << entry.order(), nr_pages);
            begins(&entry, &format!("Entry(pfn {pfn:#x}, order {}, ", entry.order()));
        }
        None => assert!(nr_pages == 0 || nr_pages > (1 << 52) - pfn),
    }
    let bytes = source.edge();
    let is_granule = bytes.is_power_of_two() && bytes <= 1 << 16;
    assert_eq!(Granule::new(bytes).said().is_some(), is_granule);
    let (bits, other) = (u32::from(source.byte()), u32::from(source.byte()));
    let (prot, flags) = (Prot::from_bits(bits), Prot::from_bits(other));
    assert_eq!(prot.bits(), bits);
    assert!((prot | flags).contains(flags) && prot.contains(flags) == (bits | other == bits));
    let (bitmap, merged) = (source.number(), source.edge());
    if let Some(sizes) = PageSizes::new(bitmap).said() {
        let divides = |&lg2: &u32| bitmap >> lg2 & 1 == 1 && merged & ((1 << lg2) - 1) == 0;
        assert_eq!(sizes.best_single(merged), (0..64).rev().find(divides).map(|lg2| 1 << lg2));
    }
}

/// Lists of two kinds are never joined, equal or in one index.
fn kinds(phyr: &Phyr, device: &Phyr, source: &mut Source<'_>) {
    let is_kinds =
        |why: Option<Error>| assert!(matches!(why, Some(Error::Kinds { .. })), "{why:?}");
    is_kinds(Builder::with(phyr.granule(), Kind::Ram).extend(device).err());
    is_kinds(phyr.concat(device).err());
    is_kinds(phyr.intersect(device).err());
    assert!(Index::new([phyr.freeze(), device.freeze()]).said().is_none());
    assert!(phyr != device && phyr.freeze() != *device);
    assert!(phyr.concat(device).said().is_none());
    let granule = source.granule();
    let made = Builder::with(granule, Kind::Ram).extend(phyr).said();
    assert_eq!(made.is_some(), granule == phyr.granule());
    // The kind is in the bytes.
    assert_eq!(Phyr::from_bytes(&device.to_bytes()).as_ref(), Ok(device));
    assert_eq!(device.freeze().thaw().as_ref(), Ok(device));
    assert_eq!((device.kind(), device.freeze().kind()), (device.kind(), device.kind()));
    let (position, end) = (source.edge(), source.edge());
    assert_eq!(phyr.translate(position).said().is_some(), position < phyr.length());
    assert_eq!(phyr.freeze().find(position).said().is_some(), position < phyr.length());
    assert_eq!(phyr.chunk(position).said().is_some(), position < phyr.nr_chunks());
    let is_inside = position <= end && end <= phyr.length();
    assert_eq!(phyr.slice(position, end).said().is_some(), is_inside);
    assert_eq!(phyr.freeze().slice(position, end).said().is_some(), is_inside);
    if let Some(moved) = phyr.shift(i128::from(source.edge()) - i128::from(end)).said() {
        assert_eq!(moved.length(), phyr.length());
    }
}

/// Lists of user addresses are lists, and are refused where physical addresses are needed.
fn user(phyr: &Phyr, source: &mut Source<'_>) {
    let mut builder = Builder::with(phyr.granule(), Kind::User);
    Extend::extend(&mut builder, phyr.chunks());
    let user = builder.finish();
    let frozen = user.freeze();
    assert_eq!((user.kind().to_string().as_str(), user.length()), ("user", phyr.length()));
    assert_eq!(Phyr::from_bytes(&user.to_bytes()).as_ref(), Ok(&user));
    let bytes = frozen.to_bytes().expect("a list of our own");
    assert_eq!(Frozen::from_bytes(&bytes).as_ref(), Ok(&frozen));
    let (position, end) = (source.edge().min(user.length()), source.edge().min(user.length()));
    if let Some(part) = frozen.slice(position.min(end), position.max(end)).said() {
        let bytes = part.to_bytes().expect("a list of our own");
        assert_eq!(Frozen::from_bytes(&bytes).as_ref(), Ok(&part));
    }
    assert!(user.is_empty() || user.shift(0).said().is_none());
    assert!(user.is_empty() || Table::phys_vecs(&user, Limits::default()).said().is_none());
    assert!(user.concat(phyr).said().is_none());
    both(&user, position);
    both(&frozen, position);
}

/// Asks a list by the trait of both forms.
fn both(list: &impl List, position: u64) {
    assert_eq!(list.find(position).said().is_some(), position < list.length());
    assert_eq!(list.chunk(position).said().is_some(), position < list.nr_chunks());
}

/// Only RAM has struct pages and folios; errors about alignment name an argument.
fn descriptors(phyr: &Phyr, device: &Phyr, source: &mut Source<'_>) {
    let named = |why: Option<DescError>| {
        if let Some(why) = why {
            assert!(!why.to_string().is_empty());
            assert!(why.argument().is_none_or(|name| !name.is_empty()));
        }
    };
    let limits = Limits::default();
    let (address, size) = (source.edge(), source.edge());
    let pages = PageStructs::new(0xffff_ea00_0000_0000, 4096).expect("those of x86-64");
    named(PageStructs::new(address, size).err());
    let mut builder = Builder::new();
    builder.append(source.edge(), source.edge()).said();
    let lists = builder.finish();
    for list in [phyr, device] {
        named(Table::bio_vecs(list, pages, limits).err());
        named(Table::scatterlist(list, pages, address, Some(source.edge()), limits).err());
        named(Table::memfd_folios(list, source.number(), 4096, 4096).err());
        named(KhoVmalloc::new(list, &lists, u32::from(source.byte()), 4096).err());
        if list.length() < 1 << 28 {
            named(KhoRadix::new(list, &lists, u32::from(source.byte()), 4096).err());
        }
        named(Prp::new(list, &lists, 4096).err());
        named(map_requests(list, address, 1, u64::from(source.byte() % 8)).err());
        named(page_list(list, 4096, source.edge(), ByteOrder::Little).err());
    }
    let none = |why: Option<DescError>| {
        assert!(matches!(why, Some(DescError::NoPages { .. })), "{why:?}");
    };
    none(Table::bio_vecs(device, pages, limits).err());
    none(Table::scatterlist(device, pages, 0, None, limits).err());
    // One record at a time, as many as when all are counted.
    if let Ok(table) = Table::scatterlist(phyr, pages, 0, None, limits)
        && table.nr_blocks() < 64
    {
        let mut records = table.records();
        let (least, _) = records.size_hint();
        let count = records.by_ref().count();
        assert!(count >= least && count <= 64 * 128);
    }
    if let Some(table) = map_requests(phyr, 0, 1, u64::MAX).said() {
        assert_eq!(table.records().count() as u64, phyr.nr_chunks());
    }
    named(table_of_frozen(phyr, source).err());
    assert_eq!((Place::default().record(), Place::default().position()), (0, 0));
}

/// Requests and blocks of a frozen list, all at once, are those of the list one by one.
fn table_of_frozen(phyr: &Phyr, source: &mut Source<'_>) -> Result<(), DescError> {
    let frozen = phyr.freeze();
    let table = map_requests(&frozen, source.edge(), 1, u64::MAX)?;
    let mut bytes = vec![0; phyr.nr_chunks() as usize * 24];
    assert_eq!(table.fill(&mut Place::default(), &mut bytes), bytes.len());
    let lengths = bytes
        .chunks_exact(24)
        .map(|record| u64::from_le_bytes(record[16..].try_into().expect("eight bytes")));
    assert!(lengths.eq(phyr.chunks().map(|chunk| chunk.length)));
    Ok(())
}

fn windows(phyr: &Phyr, source: &mut Source<'_>) {
    let (frozen, iova) = (phyr.freeze(), source.edge());
    let window = phyr.window_at(iova);
    assert_eq!(frozen.window_at(iova), window);
    if let Some(window) = window.said() {
        let place = (!phyr.is_empty()).then_some((iova, phyr.length()));
        let found = window.chunks().next().map(|chunk| (chunk.paddr, chunk.length));
        assert_eq!((found, window.nr_chunks()), (place, u64::from(place.is_some())));
    }
    if let Some(sizes) = PageSizes::new(source.number()).said() {
        let low = sizes.granule() - 1;
        let ends = (phyr.chunks().next(), phyr.chunks().next_back());
        let exposes =
            matches!(ends, (Some(a), Some(b)) if a.paddr & low != 0 || b.last() & low != low);
        assert_eq!(phyr.exposes_nothing(sizes).said().is_none(), exposes);
        assert_eq!(frozen.exposes_nothing(sizes).is_err(), exposes);
        assert_eq!(phyr.alignment(sizes), frozen.alignment(sizes));
    }
    assert_eq!(
        (Frozen::default(), FolioTally::default().finish()),
        (Phyr::default().freeze(), FolioTally::new([]).finish())
    );
    assert!(phyr.pages(source.edge() | 3).said().is_none());
    let Ok(mut dma) = Direct.map(phyr, Prot::READ);
    assert!(dma == *phyr && Direct.unmap(phyr, &dma).is_ok());
    dma = dma.compact();
    assert!(dma == *phyr && phyr.freeze() == dma && dma == phyr.freeze());
}

/// Pages by address, as the decoder's callers give them: all, or nothing.
fn bare(phyr: &Phyr, source: &mut Source<'_>) {
    let granules = if source.byte().is_multiple_of(4) { 0 } else { phyr.granule().bytes() - 1 };
    let (first, step) = (source.edge() & !granules, source.edge() & !granules);
    let next = |address: &u64| Some(address.wrapping_add(step));
    let addresses: Vec<u64> =
        std::iter::successors(Some(first), next).take(usize::from(source.byte())).collect();
    let mut builder = Builder::with(phyr.granule(), Kind::Ram);
    builder.extend(phyr).expect("a list of the same kind");
    let before = builder.length();
    let size = phyr.granule().bytes();
    match builder.extend_pages(&addresses).said() {
        Some(()) => {
            assert_eq!(builder.length(), before + size * addresses.len() as u64);
            let all = builder.finish();
            for (&address, at) in addresses.iter().zip((before..).step_by(size as usize)) {
                assert_eq!(all.translate(at), Ok(address));
            }
        }
        None => assert!(builder.finish() == *phyr, "nothing half done"),
    }
    if let Some(twice) = phyr.concat(phyr).said() {
        assert_eq!([phyr, phyr].into_iter().collect::<Phyr>(), twice);
        let mut builder = Builder::with(phyr.granule(), Kind::Ram);
        Extend::extend(&mut builder, [phyr, phyr]);
        assert!(builder.finish() == twice && twice.length() == 2 * phyr.length());
    }
}
