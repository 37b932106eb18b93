//! Folios: the large pages behind mapped memory, told from the flags of its pages.
//!
//! ```text
//! page flags      H T T T   T T   H T T T   .   H T T T     H head, T tail of a folio, . neither
//! mapped          x x x x   x x   x x x x   x   x x
//! counted as      whole     part  whole     one part         16 KiB each, if whole
//! ```
//!
//! A folio is whole if all its pages are mapped side by side, in order. The mapped pages of
//! any other folio are a part; the size of that folio is not told.
//!
//! Source: `Documentation/admin-guide/mm/pagemap.rst`, `stable_page_flags()` in `fs/proc/page.c`,
//! Linux. The rules of counting are those of the kernel's `tools/mm/thpmaps`.

use alloc::vec::Vec;

const ANON: u64 = 1 << 12;
const HEAD: u64 = 1 << 15;
const TAIL: u64 = 1 << 16;
const HUGETLB: u64 = 1 << 17;
const NOPAGE: u64 = 1 << 20;
const KSM: u64 = 1 << 21;
const THP: u64 = 1 << 22;
const ZERO: u64 = 1 << 24;

/// Kinds of pages that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sort {
    /// Pages of anonymous memory.
    Anon,
    /// Pages of files, shared memory among them.
    File,
}

/// Where large pages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Transparent huge pages of any size.
    Thp,
    /// The reserve: hugetlb.
    Hugetlb,
}

/// How a folio is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Whole, at a virtual address that is a multiple of its size.
    Aligned,
    /// Whole, at another virtual address.
    Unaligned,
    /// Not whole.
    Part,
}

/// Pages in folios of one kind; from [`Folios::large`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Large {
    /// Where they come from.
    pub origin: Origin,
    /// Anonymous memory or files.
    pub sort: Sort,
    /// How they are mapped.
    pub shape: Shape,
    /// log2 of the folio's pages; 0 for a part, since the size of its folio is not told.
    pub order: u8,
    /// Pages mapped.
    pub nr_pages: u64,
}

/// Pages in aligned blocks of one size, each inside one transparent huge page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blocks {
    /// log2 of the block's pages.
    pub order: u8,
    /// Pages of anonymous memory in such blocks.
    pub anon: u64,
    /// Pages of files in such blocks.
    pub file: u64,
}

/// The result of a count; from [`FolioTally::finish`]. All figures are pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folios {
    /// Large pages, by origin, sort, shape and order; only items with at least one page.
    pub large: Vec<Large>,
    /// Single pages of anonymous memory, those merged by KSM left out.
    pub anon: u64,
    /// Single pages of files.
    pub file: u64,
    /// Pages that KSM merged.
    pub ksm: u64,
    /// Pages of zeros that stand in for memory never written.
    pub zero: u64,
    /// Numbers behind which there is no page: a device's memory.
    pub device: u64,
    /// Blocks of each order that was asked for.
    pub blocks: Vec<Blocks>,
}

/// Counts folios in runs of mapped pages.
///
/// # Examples
///
/// ```
/// use phyr::pagemap::{FolioTally, Shape};
///
/// let (head, tail) = (1 << 22 | 1 << 15, 1 << 22 | 1 << 16); // KPF_THP, _COMPOUND_HEAD, _TAIL
/// let mut tally = FolioTally::new([]);
/// // Four pages at virtual page 8, and the flags of the page after them.
/// tally.add(8, 0x200, &[head, tail, tail, tail, 0]);
/// let folios = tally.finish();
/// assert_eq!((folios.large[0].shape, folios.large[0].order), (Shape::Aligned, 2));
/// ```
#[derive(Debug)]
pub struct FolioTally {
    /// The piece of a folio that the last page belongs to, which the next one may continue.
    open: Option<Piece>,
    /// Flags of the page after the open piece, in physical memory.
    after: u64,
    folios: Folios,
}

/// Pages of one folio, side by side in virtual and in physical memory.
#[derive(Clone, Copy, Debug)]
struct Piece {
    origin: Origin,
    sort: Sort,
    vfn: u64,
    pfn: u64,
    nr_pages: u64,
    /// True if the piece starts with the folio's first page.
    has_head: bool,
}

impl Default for FolioTally {
    fn default() -> Self {
        Self::new([])
    }
}

impl FolioTally {
    /// A tally that also counts aligned blocks of `1 << order` pages for each of `orders`, below 64.
    #[must_use]
    pub fn new(orders: impl IntoIterator<Item = u8>) -> Self {
        let blocks = |order: u8| Blocks { order: order.min(63), anon: 0, file: 0 };
        let blocks = orders.into_iter().map(blocks).collect();
        Self { open: None, after: 0, folios: Folios { blocks, ..Folios::default() } }
    }

    /// Adds pages that lie side by side, from virtual page `vfn` and page `pfn` on.
    ///
    /// `flags` has an item for each page and one more: that of the page after them, in physical
    /// memory, which tells if the last folio goes on there. Runs come in the order of their virtual
    /// addresses; one may continue the last.
    pub fn add(&mut self, vfn: u64, pfn: u64, flags: &[u64]) {
        let Some((&after, flags)) = flags.split_last() else { return };
        let continues = |piece: &Piece| {
            piece.vfn.wrapping_add(piece.nr_pages) == vfn
                && piece.pfn.wrapping_add(piece.nr_pages) == pfn
        };
        if flags.is_empty() {
            return;
        }
        if !self.open.as_ref().is_some_and(continues) {
            self.close(self.after);
        }
        for (&flags, at) in flags.iter().zip(0..) {
            self.page(vfn.wrapping_add(at), pfn.wrapping_add(at), flags);
        }
        self.after = after;
    }

    /// Adds a page that continues the open piece, if there is one.
    fn page(&mut self, vfn: u64, pfn: u64, flags: u64) {
        let sort = if flags & ANON == 0 { Sort::File } else { Sort::Anon };
        let origin = if flags & ZERO != 0 {
            None
        } else if flags & HUGETLB != 0 {
            Some(Origin::Hugetlb)
        } else if flags & THP != 0 {
            Some(Origin::Thp)
        } else {
            None
        };
        match (origin, &mut self.open) {
            (Some(origin), Some(piece)) if piece.origin == origin && flags & HEAD == 0 => {
                piece.nr_pages += 1;
            }
            (Some(origin), _) => {
                self.close(flags);
                let has_head = flags & HEAD != 0;
                self.open = Some(Piece { origin, sort, vfn, pfn, nr_pages: 1, has_head });
            }
            (None, _) => {
                self.close(flags);
                let folios = &mut self.folios;
                *match (flags, sort) {
                    _ if flags & ZERO != 0 => &mut folios.zero,
                    _ if flags & NOPAGE != 0 => &mut folios.device,
                    _ if flags & KSM != 0 => &mut folios.ksm,
                    (_, Sort::Anon) => &mut folios.anon,
                    (_, Sort::File) => &mut folios.file,
                } += 1;
            }
        }
    }

    /// Counts the open piece; `after` has the flags of the page that follows it.
    fn close(&mut self, after: u64) {
        let Some(piece) = self.open.take() else { return };
        let Piece { origin, sort, vfn, pfn, nr_pages, has_head } = piece;
        let is_whole = has_head && after & TAIL == 0;
        let order = if is_whole { nr_pages.ilog2() } else { 0 };
        let shape = match is_whole {
            false => Shape::Part,
            true if vfn.trailing_zeros() >= order => Shape::Aligned,
            true => Shape::Unaligned,
        };
        let order = u8::try_from(order).unwrap_or(u8::MAX);
        let large = &mut self.folios.large;
        let key = |l: &Large| (l.origin, l.sort, l.shape, l.order);
        match large.iter_mut().find(|l| key(l) == (origin, sort, shape, order)) {
            Some(found) => found.nr_pages += nr_pages,
            None => large.push(Large { origin, sort, shape, order, nr_pages }),
        }
        if origin == Origin::Thp {
            for blocks in &mut self.folios.blocks {
                let order = u32::from(blocks.order);
                if (vfn ^ pfn).trailing_zeros() >= order {
                    let first = vfn.div_ceil(1 << order);
                    let end = (vfn + nr_pages) >> order;
                    let counted = end.saturating_sub(first) << order;
                    match sort {
                        Sort::Anon => blocks.anon += counted,
                        Sort::File => blocks.file += counted,
                    }
                }
            }
        }
    }

    /// Counts the last piece and returns the result.
    #[must_use]
    pub fn finish(mut self) -> Folios {
        self.close(self.after);
        self.folios
    }
}
