//! Each generic function that returns a `Result`, of one list: so it has code of its own.
//!
//! `test_panics.py` adds this to a copy of the source twice, once for each form of a list.

use crate::Phyr as P;
use crate::desc::{
    self, DescError, KhoRadix, KhoVmalloc, Limits, PageStructs, Prp, ReadError, SegmentList, Segments,
    Table,
};
use crate::pagemap::PagemapDecoder;
use crate::{Chunk, Error, Frozen, Granule, IovaMap, Mapped, PageSizes, Phyr, Plan};

/// Reads memory; its code is not the crate's.
type Read = fn(u64, &mut [u8]) -> Result<(), ()>;

pub fn frozen_intersect(list: &Frozen, other: &P) -> Result<Phyr, Error> {
    list.intersect(other)
}

pub fn frozen_overlap(list: &Frozen, other: &P) -> Result<u64, Error> {
    list.overlap(other)
}

pub fn phyr_intersect(list: &Phyr, other: &P) -> Result<Phyr, Error> {
    list.intersect(other)
}

pub fn phyr_overlap(list: &Phyr, other: &P) -> Result<u64, Error> {
    list.overlap(other)
}

pub fn phyr_from_chunks(chunks: &mut dyn Iterator<Item = Chunk>) -> Result<Phyr, Error> {
    Phyr::from_chunks(chunks)
}

pub fn iovamap_map(map: &mut IovaMap<u64, P>, iova: u64, list: P) -> Result<(), Error> {
    map.map(iova, list, 1)
}

pub fn iovamap_try_unmap(map: &mut IovaMap<u64, P>, iova: u64, length: u64) -> Result<u64, Error> {
    map.try_unmap(iova, length)
}

pub fn iovamap_try_unmap_with(
    map: &mut IovaMap<u64, P>,
    iova: u64,
    take: fn(Mapped<u64, P>),
) -> Result<(), Error> {
    map.try_unmap_with(iova, 1 << 20, take)
}

pub fn khoradix_new(
    list: &P,
    lists: &P,
    max_order: u32,
    page_size: u64,
) -> Result<KhoRadix, DescError> {
    KhoRadix::new(list, lists, max_order, page_size)
}

pub fn khovmalloc_new(
    list: &P,
    lists: &Phyr,
    order: u32,
    page_size: u64,
) -> Result<KhoVmalloc<P>, DescError> {
    KhoVmalloc::new(list, lists, order, page_size)
}

pub fn pagemapdecoder_try_ram(
    decoder: PagemapDecoder,
    ranges: &mut dyn Iterator<Item = (u64, u64)>,
) -> Result<PagemapDecoder, Error> {
    decoder.try_ram(ranges)
}

pub fn pagemapdecoder_try_zero(
    decoder: PagemapDecoder,
    ranges: &mut dyn Iterator<Item = (u64, u64)>,
) -> Result<PagemapDecoder, Error> {
    decoder.try_zero(ranges)
}

pub fn plan_new(list: &P, iova: u64, sizes: PageSizes) -> Result<Plan<'_, P>, Error> {
    Plan::new(list, iova, sizes)
}

pub fn prp_new(list: &P, lists: &Phyr, page_size: u64) -> Result<Prp<P>, DescError> {
    Prp::new(list, lists, page_size)
}

pub fn segmentlist_new(
    list: &P,
    lists: &Phyr,
    segment_size: u64,
    limits: Limits,
) -> Result<SegmentList<P>, DescError> {
    SegmentList::new(list, lists, segment_size, limits)
}

pub fn segments_new(list: &P, limits: Limits) -> Result<Segments<'_, P>, DescError> {
    Segments::new(list, limits)
}

pub fn table_bio_vecs(
    list: &P,
    pages: PageStructs,
    limits: Limits,
) -> Result<Table<desc::BioVecLayout, P>, DescError> {
    Table::bio_vecs(list, pages, limits)
}

pub fn table_dma_buf_vecs(list: &P) -> Result<Table<desc::PhysVecLayout, P>, DescError> {
    Table::dma_buf_vecs(list)
}

pub fn table_iovecs(
    list: &P,
    uaddr: u64,
    limits: Limits,
) -> Result<Table<desc::IoVecLayout, P>, DescError> {
    Table::iovecs(list, uaddr, limits)
}

pub fn table_memfd_folios(
    list: &P,
    flags: u64,
    folio_size: u64,
    page_size: u64,
) -> Result<Table<desc::MemfdLayout, P>, DescError> {
    Table::memfd_folios(list, flags, folio_size, page_size)
}

pub fn table_scatterlist(
    list: &P,
    pages: PageStructs,
    address: u64,
    limits: Limits,
) -> Result<Table<desc::SgLayout, P>, DescError> {
    Table::scatterlist(list, pages, address, Some(1), limits)
}

pub fn kho_radix_from_kho_radix(
    root: u64,
    length: u64,
    page_size: u64,
    granule: Granule,
    read: Read,
) -> Result<Phyr, ReadError<()>> {
    desc::from_kho_radix(root, length, page_size, granule, read)
}

pub fn parse_nvme_from_prp(
    prp1: u64,
    prp2: u64,
    length: u64,
    page_size: u64,
    granule: Granule,
    read: Read,
) -> Result<Phyr, ReadError<()>> {
    desc::from_prp(prp1, prp2, length, page_size, granule, read)
}

pub fn rdma_best_pgsize(list: &P, pgsize_bitmap: u64, iova: u64) -> Result<u64, DescError> {
    desc::best_pgsize(list, pgsize_bitmap, iova)
}

pub fn requests_map_requests(
    list: &P,
    uaddr: u64,
    page_size: u64,
) -> Result<Table<desc::RequestLayout, P>, DescError> {
    desc::map_requests(list, uaddr, page_size, u64::MAX)
}
