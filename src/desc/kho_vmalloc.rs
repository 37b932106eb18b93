//! The pages of a vmalloc area, as one kernel hands them to the next: chained pages of addresses.
//!
//! ```text
//! kho_vmalloc | first | total_pages | flags | order |
//!                 |
//!                 v
//! chunk       | next | address | address | ... 511 of them |     a page each
//!                 |
//!                 v
//!             | 0    | address | ... | 0 | 0 | 0           |     at least one 0 ends the last
//! ```

use super::bvec::{check_size, words};
use super::error::DescError;
use super::memfd::check_folios;
use super::parse::{finish, half, word};
use super::parse_nvme::{Links, PIECE, ReadError};
use super::prp::check_blocks;
use super::rdma::{BlockLayout, ByteOrder, page_list};
use super::table::{Count, Fill, Place, Table};
use crate::granule::Granule;
use crate::kind::Kind;
use crate::list::builder::Builder;
use crate::list::phyr::Phyr;
use crate::list::reading::List;

/// Flags of `struct kho_vmalloc`: memory of `vmalloc()`.
const ALLOC: u32 = 1;
/// The area may be mapped by huge pages.
const HUGE_VMAP: u32 = 2;
/// Shifts of an `unsigned int`, the number of pages.
const MOST_ORDER: u32 = 31;

/// The pages of a vmalloc area: `struct kho_vmalloc`, and the chunks it leads to.
///
/// Source: `include/linux/kho/abi/kexec_handover.h`; `kho_preserve_vmalloc()`,
/// `kernel/liveupdate/kexec_handover.c`.
#[derive(Clone, Debug)]
pub struct KhoVmalloc<P: List = Phyr> {
    /// The bytes of `struct kho_vmalloc`.
    pub head: [u8; 16],
    /// The bytes to write to the pages for chunks, one page after the other.
    pub chunks: VmallocChunks<P>,
}

impl<P: List> KhoVmalloc<P> {
    /// Makes the chunks for the memory under `phyr`, in blocks of `page_size << order` bytes. The
    /// chunks are in the pages of `lists`, in order: one more than the full ones, as a kernel
    /// writes them.
    ///
    /// # Errors
    ///
    /// [`DescError::Size`] unless `page_size` is a power of two from 4 to 64 KiB;
    /// [`DescError::Record`] for an order above 31, or a block or page of `lists` at address 0;
    /// [`DescError::Empty`] for an empty list; [`DescError::NoPages`] for a device's memory;
    /// [`DescError::Unaligned`] or [`DescError::Gap`] for parts of blocks; [`DescError::TooLong`]
    /// for 2^32 pages; [`DescError::NoRoom`] if `lists` is too small.
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::desc::{Fill, KhoVmalloc, Place};
    ///
    /// let list = |pfns: &[u64]| {
    ///     let mut builder = phyr::Builder::new();
    ///     builder.extend_pfns(pfns).map(|()| builder.finish())
    /// };
    /// let area = KhoVmalloc::new(&list(&[7, 3])?, &list(&[100])?, 0, 4096)?;
    /// let mut page = [0xff; 4096];
    /// assert_eq!(area.chunks.fill(&mut Place::default(), &mut page), 4096);
    /// assert_eq!(page[..8], [0; 8]); // No other chunk follows.
    /// assert_eq!(page[8..16], 0x7000_u64.to_le_bytes());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(phyr: &P, lists: &Phyr, order: u32, page_size: u64) -> Result<Self, DescError> {
        check_size("page size", page_size, 4096, 64 << 10)?;
        if order > MOST_ORDER {
            return Err(DescError::Record { index: 0, field: "order", value: order.into() });
        }
        let unit = page_size << order;
        check_folios(phyr, "address", unit)?;
        let length = phyr.length();
        if length == 0 {
            return Err(DescError::Empty);
        }
        if length & (unit - 1) != 0 {
            return Err(DescError::Unaligned { field: "length", value: length, align: unit });
        }
        let max_length = u64::from(u32::MAX) * page_size;
        let Ok(total_pages) = u32::try_from(length / page_size) else {
            return Err(DescError::TooLong { index: 0, length, max_length });
        };
        let chunks = VmallocChunks {
            blocks: page_list(phyr, unit, 0, ByteOrder::Little)?,
            nr_blocks: length / unit,
            lists: lists.clone(),
            unit,
            page_size,
        };
        check_blocks(lists, chunks.nr_chunks(), page_size)?;
        check_folios(lists, "list address", page_size)?;
        let flags = if order > 0 { ALLOC | HUGE_VMAP } else { ALLOC };
        let rest = u64::from(total_pages) | u64::from(flags) << 32 | u64::from(order) << 48;
        Ok(Self { head: words(chunks.chunk(0), rest), chunks })
    }
}

/// The words of all chunks of a vmalloc area: links, addresses, and the 0s that end them.
#[derive(Clone, Debug)]
pub struct VmallocChunks<P: List = Phyr> {
    blocks: Table<BlockLayout, P>,
    nr_blocks: u64,
    lists: Phyr,
    /// Bytes of a block.
    unit: u64,
    page_size: u64,
}

impl<P: List> VmallocChunks<P> {
    /// Words of a chunk.
    fn slots(&self) -> u64 {
        self.page_size / 8
    }

    /// A chunk that gets full is followed by another, which may be empty.
    fn nr_chunks(&self) -> u64 {
        // No page has fewer slots than 512. So the compiler sees that it divides by no 0.
        self.nr_blocks / (self.slots() - 1).max(1) + 1
    }

    /// The number of addresses in the words before `record`.
    fn blocks_before(&self, record: u64) -> u64 {
        let slots = self.slots();
        let in_chunk = (record % slots).saturating_sub(1);
        (record / slots * (slots - 1) + in_chunk).min(self.nr_blocks)
    }

    /// Address of chunk `number`; 0 if there is none.
    fn chunk(&self, number: u64) -> u64 {
        // The lists were checked to have a page for each chunk, and none at 0.
        let is_one = number < self.nr_chunks();
        if is_one { self.lists.translate(number * self.page_size).unwrap_or(0) } else { 0 }
    }
}

impl<P: List> Fill for VmallocChunks<P> {
    fn record_size(&self) -> usize {
        8
    }

    fn find_count(&self) -> Option<Count> {
        Some(self.count())
    }

    fn least(&self) -> u64 {
        self.count().records
    }

    fn count(&self) -> Count {
        // At most 2^32 pages, and a word for each.
        Count { records: self.nr_chunks() * self.slots(), data: self.nr_blocks }
    }

    fn is_done(&self, place: &Place) -> bool {
        place.record() >= self.count().records
    }

    fn fill(&self, place: &mut Place, out: &mut [u8]) -> usize {
        let (slots, end) = (self.slots(), self.count().records);
        let (mut record, mut at) = (place.record(), 0);
        while record < end && out.len() - at >= 8 {
            let (number, block) = (record % slots, self.blocks_before(record));
            if number > 0 && block < self.nr_blocks {
                // Addresses, as far as the chunk reaches.
                let words = usize::try_from(slots - number).unwrap_or(usize::MAX);
                let room = words.saturating_mul(8).min(out.len() - at);
                let mut inner = Place::at(block, block * self.unit);
                let mut written = self.blocks.fill(&mut inner, &mut out[at..at + room]);
                if written == 0 {
                    // Words of others may name fewer blocks than the list has bytes for.
                    out[at..at + 8].fill(0);
                    written = 8;
                }
                at += written;
                record += (written / 8) as u64;
            } else {
                let next = if number == 0 { self.chunk(record / slots + 1) } else { 0 };
                out[at..at + 8].copy_from_slice(&next.to_le_bytes());
                at += 8;
                record += 1;
            }
        }
        *place = Place::at(record, self.blocks_before(record) * self.unit);
        at
    }
}

/// Reads the list of a vmalloc area from the bytes of `struct kho_vmalloc`, by following its
/// chunks.
///
/// `read` must fill its buffer, of at most 4096 bytes, from an address.
///
/// # Errors
///
/// [`DescError::Size`] unless `page_size` is a power of two from 4 to 64 KiB;
/// [`DescError::Record`] for unknown flags, an order above 31, a number of pages that is 0 or no
/// whole number of blocks, a block that is not aligned to its size, or a link from a chunk that is
/// not full; [`DescError::Link`] for a link to an address that is not a page's;
/// [`DescError::Endless`] for chunks in a circle; [`DescError::TooLong`] and [`DescError::NoEnd`]
/// for more or fewer blocks than the number says; [`DescError::List`] for blocks that a list of
/// this granule cannot hold; errors of `read`.
pub fn from_kho_vmalloc<E>(
    head: &[u8; 16],
    page_size: u64,
    granule: Granule,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Phyr, ReadError<E>> {
    check_size("page size", page_size, 4096, 64 << 10)?;
    let (total_pages, flags) = (half(head, 8), half(head, 12) & 0xffff);
    let order = half(head, 12) >> 16;
    let wrong = |field, value: u64| DescError::Record { index: 0, field, value };
    if flags & !(ALLOC | HUGE_VMAP) != 0 {
        return Err(wrong("flags", flags.into()).into());
    }
    if order > MOST_ORDER {
        return Err(wrong("order", order.into()).into());
    }
    if total_pages == 0 || total_pages & ((1 << order) - 1) != 0 {
        return Err(wrong("total pages", total_pages.into()).into());
    }
    let (unit, nr_blocks) = (page_size << order, u64::from(total_pages >> order));
    let mut builder = Builder::with(granule, Kind::Ram);
    let (mut links, mut piece) = (Links::default(), [0; PIECE]);
    let (mut chunk, mut index) = (word(head, 0), 0);
    while chunk != 0 {
        if chunk & (page_size - 1) != 0 {
            return Err(DescError::Link { index, address: chunk }.into());
        }
        links.follow(chunk, index)?;
        let (mut next, mut is_full) = (0, true);
        for at in (0..page_size).step_by(PIECE) {
            read(chunk + at, &mut piece).map_err(ReadError::Read)?;
            let skip = usize::from(at == 0);
            if at == 0 {
                next = word(&piece, 0);
            }
            for address in piece.chunks_exact(8).skip(skip).map(|bytes| word(bytes, 0)) {
                if address == 0 {
                    is_full = false;
                    break;
                }
                if index == nr_blocks {
                    let max_length = nr_blocks * unit;
                    return Err(DescError::TooLong {
                        index,
                        length: max_length + unit,
                        max_length,
                    }
                    .into());
                }
                if address & (unit - 1) != 0 {
                    return Err(
                        DescError::Record { index, field: "address", value: address }.into()
                    );
                }
                builder.append(address, unit).map_err(|why| DescError::list(index, why))?;
                links.data(1);
                index += 1;
            }
            if !is_full {
                break;
            }
        }
        if !is_full && next != 0 {
            let field = "link from a chunk that is not full";
            return Err(DescError::Record { index, field, value: next }.into());
        }
        chunk = next;
    }
    if index < nr_blocks {
        return Err(DescError::NoEnd { records: index }.into());
    }
    Ok(finish(builder)?)
}
