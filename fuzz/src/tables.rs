//! Descriptors of every format: written, and read back by the reader of the format.

use phyr::desc::{
    ByteOrder, Fill, KhoRadix, KhoVmalloc, Limits, MAX_REQUESTS, PageStructs, Place, SegmentList,
    Table, best_pgsize, from_bio_vecs, from_dma_buf_vecs, from_iovecs, from_kho_radix,
    from_kho_vmalloc, from_memfd_folios, from_scatterlist, from_sgl, map_requests, page_list,
    split,
};
use phyr::{Builder, Phyr};

use crate::source::{Said, Source};

/// Records that are written.
const MOST: u64 = 1 << 12;
/// Pages for lists, where no data is.
const LISTS: u64 = 1 << 62;
const LISTS_LENGTH: u64 = 1 << 20;

/// Makes a list of the bytes, and a table of it in each format.
pub fn tables(bytes: &[u8]) {
    let mut source = Source(bytes);
    let phyr = source.list();
    let limits = match source.byte() % 2 {
        0 => Limits::default(),
        _ => Limits {
            max_segment_size: source.edge(),
            seg_boundary_mask: source.edge() | u64::MAX >> (source.byte() & 63),
            virt_boundary_mask: source.edge(),
        },
    };
    let pages = PageStructs::new(source.edge(), 4096 << (source.byte() % 5));
    let address = source.edge();
    if let Some(pages) = pages.said() {
        if let Some(bytes) =
            Table::bio_vecs(&phyr, pages, limits).said().and_then(|made| write(&made))
        {
            assert_eq!(from_bio_vecs(&bytes, pages, phyr.granule()).as_ref(), Ok(&phyr));
        }
        let made = Table::scatterlist(&phyr, pages, address, None, limits);
        if let Some(bytes) = made.said().and_then(|made| write(&made)) {
            let back = from_scatterlist(&bytes, pages, address, false, phyr.granule());
            assert!(phyr.is_empty() || back.as_ref() == Ok(&phyr), "{back:?}");
        }
    }
    if let Some(bytes) = Table::iovecs(&phyr, address, limits).said().and_then(|made| write(&made))
    {
        assert_eq!(from_iovecs(&bytes, address, phyr.granule()).as_ref(), Ok(&phyr));
    }
    if let Some(bytes) = Table::dma_buf_vecs(&phyr).said().and_then(|made| write(&made)) {
        let back = from_dma_buf_vecs(&bytes, phyr.length(), phyr.granule(), phyr.kind());
        assert_eq!(back.as_ref(), Ok(&phyr));
    }
    let folio = 4096 << (source.byte() % 12);
    if let Some(bytes) =
        Table::memfd_folios(&phyr, 3, folio, 4096).said().and_then(|made| write(&made))
    {
        let back = from_memfd_folios(&bytes, phyr.length(), 4096, phyr.granule());
        assert_eq!(back.as_ref(), Ok(&phyr));
    }
    requests(&phyr, &mut source);
    blocks(&phyr, &mut source);
    chained(&phyr, limits, &mut source);
    parts(&phyr, &mut source);
}

/// The bytes of a table, unless it is long.
fn write(table: &impl Fill) -> Option<Vec<u8>> {
    if table.least() > MOST {
        return None;
    }
    let records = table.count().records;
    assert!(table.find_count().is_none_or(|count| count == table.count()));
    assert!(records >= table.least() && records <= 6 * table.least().max(1));
    let mut bytes = vec![0; usize::try_from(records).expect("few") * table.record_size()];
    let mut place = Place::default();
    assert_eq!(table.fill(&mut place, &mut bytes), bytes.len());
    assert!(table.is_done(&place));
    Some(bytes)
}

fn requests(phyr: &Phyr, source: &mut Source<'_>) {
    let (uaddr, size) = (source.edge(), 1 << (source.byte() % 64));
    let Some(requests) = map_requests(phyr, uaddr, size, MAX_REQUESTS).said() else { return };
    let mut next = uaddr;
    for (request, chunk) in requests.records().zip(phyr.chunks()) {
        assert_eq!(
            (request.uaddr, request.iova, request.length),
            (next, chunk.paddr, chunk.length)
        );
        next = next.wrapping_add(request.length);
    }
    let bytes = write(&requests.clone().vfio(3));
    assert_eq!(bytes.map(|bytes| bytes.len() as u64), Some(phyr.nr_chunks() * 32));
    let bytes = write(&requests.ioas(7, 1));
    assert_eq!(bytes.map(|bytes| bytes.len() as u64), Some(phyr.nr_chunks() * 40));
}

fn blocks(phyr: &Phyr, source: &mut Source<'_>) {
    let (bitmap, iova) = (source.number(), source.edge());
    let Some(size) = best_pgsize(phyr, bitmap, iova).said() else { return };
    if size == 0 {
        return;
    }
    assert!(size.is_power_of_two() && bitmap & size != 0);
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let Some(table) = page_list(phyr, size, 0, order).said() else { continue };
        let Some(bytes) = write(&table) else { return };
        let read = |bytes: &[u8]| {
            let bytes = bytes.try_into().expect("eight");
            match order {
                ByteOrder::Little => u64::from_le_bytes(bytes),
                ByteOrder::Big => u64::from_be_bytes(bytes),
            }
        };
        let pages = phyr.pages(size).expect("as the table");
        assert!(bytes.chunks_exact(8).map(read).eq(pages));
    }
}

/// Reads what was written to the pages of lists.
fn memory(bytes: Vec<u8>) -> impl FnMut(u64, &mut [u8]) -> Result<(), u64> {
    move |address, out| {
        let at = usize::try_from(address.wrapping_sub(LISTS)).unwrap_or(usize::MAX);
        let from = bytes.get(at..).and_then(|from| from.get(..out.len())).ok_or(address)?;
        out.copy_from_slice(from);
        Ok(())
    }
}

fn chained(phyr: &Phyr, limits: Limits, source: &mut Source<'_>) {
    let mut builder = Builder::new();
    builder.append(LISTS, LISTS_LENGTH).expect("pages of lists");
    let lists = builder.finish();
    let granule = phyr.granule();
    if let Some(made) = SegmentList::new(phyr, &lists, 32 << (source.byte() % 16), limits).said()
        && let Some(bytes) = write(&made.segments)
    {
        let back = from_sgl(&made.sgl1.to_bytes(), phyr.length(), granule, memory(bytes));
        assert_eq!(back.as_ref(), Ok(phyr));
    }
    let size = 4096 << (source.byte() % 5);
    let order = u32::from(source.byte() % 11);
    if let Some(made) = KhoVmalloc::new(phyr, &lists, order, size).said()
        && let Some(mut bytes) = write(&made.chunks)
    {
        // The reader takes whole pages.
        bytes.resize(bytes.len().next_multiple_of(64 << 10), 0);
        let back = from_kho_vmalloc(&made.head, size, granule, memory(bytes));
        assert_eq!(back.as_ref(), Ok(phyr));
    }
    // In the order of its addresses, the ends of a list may be no multiples of its granule.
    if phyr.length() < 1 << 28
        && granule.bytes() <= size
        && let Some(made) = KhoRadix::new(phyr, &lists, order, size).said()
    {
        let back = from_kho_radix(made.root, phyr.length(), size, granule, memory(made.nodes));
        let back = back.expect("a tree of our own");
        assert_eq!(back.length(), phyr.length());
        assert_eq!(back.overlap(phyr), Ok(phyr.length()));
    }
}

fn parts(phyr: &Phyr, source: &mut Source<'_>) {
    let start = source.up_to(phyr.length());
    let lengths = [source.up_to(phyr.length()), 0, source.edge()];
    let mut at = start;
    for (part, length) in split(phyr, start, lengths).zip(lengths.into_iter().filter(|&l| l > 0)) {
        let expected = at.checked_add(length).and_then(|end| phyr.slice(at, end).ok());
        assert_eq!(part.ok(), expected);
        at = at.saturating_add(length);
    }
}
