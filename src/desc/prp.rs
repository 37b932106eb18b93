//! NVMe physical region pages: PRP1, PRP2 and chained PRP lists.
//!
//! ```text
//! PRP1 -> first page, from any multiple of 4 on
//! PRP2 -> second page, if there are two
//!      -> list [page 2, page 3, ... page 512, next list] -> [page 513, ...], if there are more
//! ```
//!
//! Every page but the first is used from its start, and every page but the last to its end. A list
//! is a page of 8-byte entries. Its last entry points to the next list, unless no entries are left.
//!
//! Source: NVM Express Base Specification 2.0, section 4.1.1, "Physical Region Page Entry and List".

use super::bvec::check_size;
use super::error::DescError;
use super::layout::Layout;
use super::limits::{Cut, check_boundaries, check_boundaries_of};
use super::table::Table;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::list::reading::List;

/// The list pages of a transfer: their addresses, and the entries to write there.
#[derive(Clone, Debug)]
pub struct PrpLayout {
    lists: Phyr,
    page_size: u64,
}

impl PrpLayout {
    /// Address of list page `block`; the table was checked to have that page.
    fn list(&self, block: u64) -> Option<u64> {
        self.lists.translate(block * self.page_size).ok()
    }
}

impl Layout for PrpLayout {
    type Record = u64;
    type Bytes = [u8; 8];

    #[inline]
    fn data(&self, segment: Chunk, _position: u64) -> u64 {
        segment.paddr
    }

    #[inline]
    fn bytes(&self, record: u64) -> [u8; 8] {
        record.to_le_bytes()
    }

    fn slots(&self) -> Option<u64> {
        Some(self.page_size / 8)
    }

    fn link(&self, block: u64) -> Option<u64> {
        self.list(block)
    }
}

/// The two pointers of an NVMe command, and the lists that the second may need.
#[derive(Clone, Debug)]
pub struct Prp<P: List = Phyr> {
    /// The first pointer of the command.
    pub prp1: u64,
    /// The second pointer: 0, the second page, or the first list page.
    pub prp2: u64,
    /// The bytes to write to the list pages, one after the other. The last page may stay short.
    pub lists: Table<PrpLayout, P>,
}

impl<P: List> Prp<P> {
    /// Makes the pointers to the memory under `phyr`, for a controller with pages of `page_size`
    /// bytes. The list pages are those of `lists`, in order.
    ///
    /// # Errors
    ///
    /// [`DescError::Empty`] for an empty list; [`DescError::Size`] unless `page_size` is a power of
    /// two from 4 to 64 KiB; [`DescError::Unaligned`] if the first address is not a multiple of 4,
    /// or `lists` does not start at a page; [`DescError::Gap`] if a boundary inside either list is
    /// not a multiple of the page size; [`DescError::NoRoom`] if there are too few list pages.
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::{Builder, Phyr};
    /// use phyr::desc::Prp;
    ///
    /// let mut builder = Builder::new();
    /// builder.append(0x7010, 0x1000)?;
    /// let prp = Prp::new(&builder.finish(), &Phyr::default(), 4096)?;
    /// assert_eq!((prp.prp1, prp.prp2), (0x7010, 0x8000));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(phyr: &P, lists: &Phyr, page_size: u64) -> Result<Self, DescError> {
        check_size("page size", page_size, 4096, 64 << 10)?;
        let low = page_size - 1;
        let Ok(prp1) = phyr.translate(0) else { return Err(DescError::Empty) };
        if prp1 % 4 != 0 {
            return Err(DescError::Unaligned { field: "first address", value: prp1, align: 4 });
        }
        check_boundaries(phyr, low)?;
        // The first pointer covers the rest of its page; the others cover what follows.
        let first = phyr.length().min(page_size - (prp1 & low));
        let rest = phyr.slice(first, phyr.length()).map_err(|why| DescError::list(0, why))?;
        let layout = PrpLayout { lists: lists.clone(), page_size };
        let cut = Cut::blocks(page_size);
        if rest.length() <= page_size {
            // One page or two need no list.
            let prp2 = rest.translate(0).unwrap_or(0);
            return Ok(Self { prp1, prp2, lists: Table::new(P::default(), layout, cut) });
        }
        let lists = Table::new(rest, layout, cut);
        check_blocks(&lists.layout().lists, lists.nr_blocks(), page_size)?;
        let prp2 = lists.layout().list(0).ok_or(DescError::Empty)?;
        Ok(Self { prp1, prp2, lists })
    }
}

/// Checks that `lists` is at least `nr_blocks` aligned blocks of `size` bytes.
pub(crate) fn check_blocks(lists: &impl List, nr_blocks: u64, size: u64) -> Result<(), DescError> {
    let (needed, given) = (nr_blocks.saturating_mul(size), lists.length());
    if given < needed {
        return Err(DescError::NoRoom { needed, given });
    }
    match lists.translate(0) {
        Ok(first) if first.checked_rem(size) != Some(0) => {
            return Err(DescError::Unaligned { field: "list address", value: first, align: size });
        }
        _ => {}
    }
    check_boundaries_of("lists", lists, size - 1)
}
