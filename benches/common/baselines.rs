//! Plain alternatives, each with what a bench asks of a list: build from page addresses, visit the
//! chunks, find a byte, take a slice.
//!
//! ```text
//! pairs        (address, length)              16 bytes, a doubling array
//! bvec         page, len, offset              16 bytes, a doubling array; the kernel's bio_vec
//! scatterlist  page, offset, length, dma...   32 bytes, chained blocks of 127 and a link
//! ```

#![expect(unsafe_code, reason = "calling a function of a CPU feature just detected")]

use core::hash::{Hash, Hasher};

use crate::common::workloads::PAGE;

/// Sum and exclusive or over all addresses and lengths: cheap, and different if a chunk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    sum_paddr: u64,
    sum_length: u64,
    xor_paddr: u64,
    xor_length: u64,
}

impl Sums {
    /// Takes one more chunk.
    #[inline]
    pub(crate) fn add(self, paddr: u64, length: u64) -> Self {
        Self {
            sum_paddr: self.sum_paddr.wrapping_add(paddr),
            sum_length: self.sum_length.wrapping_add(length),
            xor_paddr: self.xor_paddr ^ paddr,
            xor_length: self.xor_length ^ length,
        }
    }
}

/// A list of chunks that is not phyr.
pub(crate) trait Baseline: Sized {
    /// Name in tables.
    const NAME: &'static str;

    /// Merges touching pages, as far as the form allows.
    fn build(pages: &[u64]) -> Self;

    /// Entries.
    fn nr_entries(&self) -> usize;

    /// Visits all entries.
    fn sums(&self) -> Sums;

    /// Physical address of the byte at `position`, which must lie in the list.
    fn seek(&self, position: u64) -> u64;

    /// The bytes `start` to `end`, which must lie in the list, as a list of its own.
    fn slice(&self, start: u64, end: u64) -> Self;
}

/// `Vec` of address and length.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pairs(Vec<(u64, u64)>);

impl Baseline for Pairs {
    const NAME: &'static str = "Vec";

    fn build(pages: &[u64]) -> Self {
        let mut pairs: Vec<(u64, u64)> = Vec::new();
        for &page in pages {
            match pairs.last_mut() {
                Some((paddr, length)) if *paddr + *length == page => *length += PAGE,
                _ => pairs.push((page, PAGE)),
            }
        }
        Self(pairs)
    }

    fn nr_entries(&self) -> usize {
        self.0.len()
    }

    fn sums(&self) -> Sums {
        self.0.iter().fold(Sums::default(), |sums, &(paddr, length)| sums.add(paddr, length))
    }

    fn seek(&self, position: u64) -> u64 {
        let mut left = position;
        for &(paddr, length) in &self.0 {
            if left < length {
                return paddr + left;
            }
            left -= length;
        }
        unreachable!("{position:#x} is outside the list")
    }

    fn slice(&self, start: u64, end: u64) -> Self {
        let (mut skip, mut left) = (start, end - start);
        let mut pairs = Vec::new();
        for &(paddr, length) in &self.0 {
            if skip >= length {
                skip -= length;
                continue;
            }
            let length = (length - skip).min(left);
            if length == 0 {
                break;
            }
            pairs.push((paddr + skip, length));
            (skip, left) = (0, left - length);
        }
        Self(pairs)
    }
}

/// Where the kernel's array of `struct page` begins, and the bytes of one (x86-64).
const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
const PAGE_STRUCT: u64 = 64;

/// Largest length of a segment: a u32 of whole pages.
const MAX_SEGMENT: u32 = !4095;

/// The `struct page` pointer of a page, as `pfn_to_page()` gives it.
#[inline]
fn to_page(paddr: u64) -> u64 {
    VMEMMAP + paddr / PAGE * PAGE_STRUCT
}

/// Address of the page with this `struct page` pointer.
#[inline]
fn to_paddr(page: u64) -> u64 {
    (page - VMEMMAP) / PAGE_STRUCT * PAGE
}

/// The kernel's `struct bio_vec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct BioVec {
    page: u64,
    len: u32,
    offset: u32,
}

const _: () = assert!(size_of::<BioVec>() == 16);

impl BioVec {
    #[inline]
    fn paddr(self) -> u64 {
        to_paddr(self.page) + u64::from(self.offset)
    }
}

/// A doubling array of `bio_vec`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct BioVecs(Vec<BioVec>);

impl Baseline for BioVecs {
    const NAME: &'static str = "bvec";

    fn build(pages: &[u64]) -> Self {
        let mut bvecs: Vec<BioVec> = Vec::new();
        for &page in pages {
            match bvecs.last_mut() {
                Some(last)
                    if last.len < MAX_SEGMENT && last.paddr() + u64::from(last.len) == page =>
                {
                    last.len += 4096;
                }
                _ => bvecs.push(BioVec { page: to_page(page), len: 4096, offset: 0 }),
            }
        }
        Self(bvecs)
    }

    fn nr_entries(&self) -> usize {
        self.0.len()
    }

    fn sums(&self) -> Sums {
        self.0.iter().fold(Sums::default(), |sums, bvec| sums.add(bvec.paddr(), bvec.len.into()))
    }

    fn seek(&self, position: u64) -> u64 {
        let mut left = position;
        for bvec in &self.0 {
            if left < u64::from(bvec.len) {
                return bvec.paddr() + left;
            }
            left -= u64::from(bvec.len);
        }
        unreachable!("{position:#x} is outside the list")
    }

    fn slice(&self, start: u64, end: u64) -> Self {
        let (mut skip, mut left) = (start, end - start);
        let mut bvecs = Vec::new();
        for &bvec in &self.0 {
            let len = u64::from(bvec.len);
            if skip >= len {
                skip -= len;
                continue;
            }
            let len = (len - skip).min(left);
            if len == 0 {
                break;
            }
            bvecs.push(BioVec { offset: bvec.offset + low(skip), len: low(len), ..bvec });
            (skip, left) = (0, left - len);
        }
        Self(bvecs)
    }
}

/// A number known to be at most a `u32` length.
#[expect(clippy::cast_possible_truncation, reason = "at most the length of an entry, a u32")]
fn low(bytes: u64) -> u32 {
    debug_assert!(bytes <= u32::MAX.into(), "{bytes:#x}");
    bytes as u32
}

/// The kernel's `struct scatterlist`, with the fields of a DMA mapping.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Segment {
    page_link: u64,
    offset: u32,
    length: u32,
    dma_address: u64,
    dma_length: u32,
    dma_flags: u32,
}

const _: () = assert!(size_of::<Segment>() == 32);

impl Segment {
    const NONE: Self =
        Self { page_link: 0, offset: 0, length: 0, dma_address: 0, dma_length: 0, dma_flags: 0 };
    /// In `page_link`: the last segment of the list.
    const END: u64 = 2;

    #[inline]
    fn is_last(&self) -> bool {
        self.page_link & Self::END != 0
    }

    #[inline]
    fn paddr(&self) -> u64 {
        to_paddr(self.page_link & !3) + u64::from(self.offset)
    }
}

/// Segments of a block; the place of one more holds the link.
const BLOCK_SEGMENTS: usize = 127;

/// One page of segments.
#[derive(Debug)]
#[repr(C)]
struct Block {
    segments: [Segment; BLOCK_SEGMENTS],
    /// The kernel's `sg_chain()`, in the place of the last segment.
    next: Option<Box<Self>>,
    pad: [u64; 3],
}

const _: () = assert!(size_of::<Block>() == 4096);

impl Block {
    fn new() -> Box<Self> {
        Box::new(Self { segments: [Segment::NONE; BLOCK_SEGMENTS], next: None, pad: [0; 3] })
    }
}

/// A chained scatter list. It holds at least one segment.
#[derive(Debug)]
pub(crate) struct ScatterList {
    first: Box<Block>,
    nents: usize,
}

/// Where `sg_next()` stands.
#[derive(Clone, Copy)]
struct At<'a> {
    block: &'a Block,
    index: usize,
}

impl<'a> At<'a> {
    #[inline]
    fn segment(self) -> &'a Segment {
        &self.block.segments[self.index]
    }

    /// The kernel's `sg_next()`.
    #[inline]
    fn next(mut self) -> Option<Self> {
        if self.segment().is_last() {
            return None;
        }
        self.index += 1;
        if self.index == BLOCK_SEGMENTS {
            self = Self { block: self.block.next.as_deref()?, index: 0 };
        }
        Some(self)
    }
}

impl ScatterList {
    /// Chains segments of page, offset and length. There must be one.
    fn chain(segments: impl Iterator<Item = (u64, u32, u32)>) -> Self {
        let mut list = Self { first: Block::new(), nents: 0 };
        let mut block = &mut *list.first;
        let mut used = 0;
        for (page_link, offset, length) in segments {
            if used == BLOCK_SEGMENTS {
                block = block.next.insert(Block::new());
                used = 0;
            }
            block.segments[used] = Segment { page_link, offset, length, ..Segment::NONE };
            used += 1;
            list.nents += 1;
        }
        block.segments[used - 1].page_link |= Segment::END;
        list
    }

    fn start(&self) -> At<'_> {
        At { block: &self.first, index: 0 }
    }

    /// Address and length of each segment, by `sg_next()`.
    fn ranges(&self) -> impl Iterator<Item = (u64, u32)> {
        let all = core::iter::successors(Some(self.start()), |at| at.next());
        all.map(|at| (at.segment().paddr(), at.segment().length))
    }
}

impl PartialEq for ScatterList {
    fn eq(&self, other: &Self) -> bool {
        self.nents == other.nents && self.ranges().eq(other.ranges())
    }
}

impl Hash for ScatterList {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ranges().for_each(|range| range.hash(state));
    }
}

impl Baseline for ScatterList {
    const NAME: &'static str = "scatterlist";

    /// As `sg_alloc_append_table_from_pages()`: counts the segments, then fills them in.
    fn build(pages: &[u64]) -> Self {
        const MAX_PAGES: usize = MAX_SEGMENT as usize / 4096;

        let breaks = pages.windows(2).filter(|pair| pair[0] + PAGE != pair[1]).count();
        let runs = pages.chunk_by(|page, next| page + PAGE == *next);
        let segments = runs.flat_map(|run| run.chunks(MAX_PAGES));
        let list =
            Self::chain(segments.map(|run| (to_page(run[0]), 0, low(run.len() as u64 * PAGE))));
        assert!(list.nents > breaks, "{} segments, {breaks} breaks", list.nents);
        list
    }

    fn nr_entries(&self) -> usize {
        self.nents
    }

    fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        let mut next = Some(self.start());
        while let Some(at) = next {
            let segment = at.segment();
            sums = sums.add(segment.paddr(), segment.length.into());
            next = at.next();
        }
        sums
    }

    fn seek(&self, position: u64) -> u64 {
        let mut left = position;
        let mut next = Some(self.start());
        while let Some(at) = next {
            let segment = at.segment();
            if left < u64::from(segment.length) {
                return segment.paddr() + left;
            }
            left -= u64::from(segment.length);
            next = at.next();
        }
        unreachable!("{position:#x} is outside the list")
    }

    fn slice(&self, start: u64, end: u64) -> Self {
        let (mut skip, mut left) = (start, end - start);
        let mut next = Some(self.start());
        Self::chain(core::iter::from_fn(|| {
            while let Some(at) = next.filter(|_| left > 0) {
                let segment = at.segment();
                next = at.next();
                let length = u64::from(segment.length);
                if skip >= length {
                    skip -= length;
                    continue;
                }
                let length = (length - skip).min(left);
                let offset = segment.offset + low(skip);
                (skip, left) = (0, left - length);
                return Some((segment.page_link & !3, offset, low(length)));
            }
            None
        }))
    }
}

impl Drop for ScatterList {
    /// Block by block: as a chain of boxes they would be dropped by recursion.
    fn drop(&mut self) {
        let mut next = self.first.next.take();
        while let Some(mut block) = next {
            next = block.next.take();
        }
    }
}

/// The least that building can cost: reading the input and counting the breaks in it.
pub(crate) fn breaks(pages: &[u64]) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn wide(pages: &[u64]) -> usize {
            plain(pages)
        }

        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the feature is there.
            return unsafe { wide(pages) };
        }
    }
    plain(pages)
}

/// `breaks` with whatever instructions the caller may use.
#[inline]
fn plain(pages: &[u64]) -> usize {
    pages.windows(2).map(|pair| usize::from(pair[0] + PAGE != pair[1])).sum()
}
