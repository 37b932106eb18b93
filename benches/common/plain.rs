//! Descriptors of a list, and the same bytes by a plain loop over pairs of address and length, as C
//! would have it.

use std::iter;

use phyr::desc::{self, ByteOrder, Fill, Limits, PageStructs, Prp, SegmentList, Table};
use phyr::{Builder, Phyr};

use crate::common::workloads::PAGE;

/// Where the kernel's array of `struct page` starts.
const VMEMMAP: u64 = 0xffff_ea00_0000_0000;
/// Longest segment of 32 bits, in whole pages.
const MOST: u64 = 0xffff_f000;

/// (address, length)
pub(crate) type Pair = (u64, u64);

/// A plain loop that writes descriptors and returns the bytes written.
pub(crate) type Plain = fn(&[Pair], &mut [u8]) -> usize;

/// One kind of descriptor.
pub(crate) struct Format {
    /// For the command line.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) title: &'static str,
    /// Ours.
    pub(crate) table: Box<dyn Fill>,
    /// The plain loop over merged ranges.
    pub(crate) plain: Plain,
    /// The plain loop over one pair a page, which are merged on the way where the format has ranges.
    pub(crate) paged: Plain,
}

impl Format {
    /// Bytes of all records.
    pub(crate) fn size(&self) -> usize {
        let count = usize::try_from(self.table.count().records).expect("as many as pages, at most");
        count * self.table.record_size()
    }
}

/// All kinds of descriptors, of a list of whole pages.
pub(crate) fn formats(phyr: &Phyr) -> [Format; 6] {
    let pages = PageStructs::new(VMEMMAP, PAGE).expect("a page size");
    // Blocks for descriptors, far from the data: one a descriptor and more.
    let mut builder = Builder::new();
    builder.append(1 << 50, phyr.length() / PAGE * 16 + (1 << 20)).expect("one chunk");
    let lists = builder.finish();
    let none = Limits::default();
    let sg = Table::scatterlist(phyr, pages, 0, None, none).expect("no limits");
    let bvecs = Table::bio_vecs(phyr, pages, none).expect("no limits");
    let vecs = Table::phys_vecs(phyr, none).expect("no limits");
    let prps = Prp::new(phyr, &lists, PAGE).expect("whole pages").lists;
    let sgl = SegmentList::new(phyr, &lists, PAGE, none).expect("no limits").segments;
    let mtt = desc::page_list(phyr, PAGE, 3, ByteOrder::Big).expect("whole pages");
    [
        Format {
            name: "sg",
            title: "scatterlist, 32 bytes",
            table: Box::new(sg),
            plain: |pairs, out| write_sg(each(pairs), out),
            paged: |pages, out| write_sg(join(pages), out),
        },
        Format {
            name: "bvec",
            title: "bio_vec, 16 bytes",
            table: Box::new(bvecs),
            plain: |pairs, out| write_bvecs(each(pairs), out),
            paged: |pages, out| write_bvecs(join(pages), out),
        },
        Format {
            name: "phys_vec",
            title: "phys_vec, 16 bytes",
            table: Box::new(vecs),
            plain: |pairs, out| write_phys_vecs(each(pairs), out),
            paged: |pages, out| write_phys_vecs(join(pages), out),
        },
        Format {
            name: "prp",
            title: "PRP list, 8 bytes a page",
            table: Box::new(prps),
            plain: |pairs, out| write_prps(each(pairs), out),
            paged: |pages, out| write_prps(each(pages), out),
        },
        Format {
            name: "sgl",
            title: "SGL, 16 bytes",
            table: Box::new(sgl),
            plain: |pairs, out| write_sgl(each(pairs), out),
            paged: |pages, out| write_sgl(join(pages), out),
        },
        Format {
            name: "mtt",
            title: "page list, big-endian, 8 bytes a page",
            table: Box::new(mtt),
            plain: |pairs, out| write_mtt(each(pairs), out),
            paged: |pages, out| write_mtt(each(pages), out),
        },
    ]
}

/// Maximal runs of pages.
pub(crate) fn merge(pages: &[u64]) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    for &page in pages {
        match pairs.last_mut() {
            Some((paddr, length)) if *paddr + *length == page => *length += PAGE,
            _ => pairs.push((page, PAGE)),
        }
    }
    pairs
}

fn each(pairs: &[Pair]) -> impl Iterator<Item = Pair> {
    pairs.iter().copied()
}

/// Ranges, found while walking over single pages.
fn join(singles: &[Pair]) -> impl Iterator<Item = Pair> {
    let mut left = singles.iter().copied().peekable();
    iter::from_fn(move || {
        let (paddr, mut length) = left.next()?;
        while left.next_if(|&(next, _)| next == paddr + length).is_some() {
            length += PAGE;
        }
        Some((paddr, length))
    })
}

/// Records written one after the other, as through a C pointer.
struct Out<'a, const N: usize> {
    slots: &'a mut [[u8; N]],
    at: usize,
}

impl<'a, const N: usize> Out<'a, N> {
    #[expect(clippy::incompatible_msrv, reason = "benches are for stable Rust")]
    fn new(out: &'a mut [u8]) -> Self {
        Self { slots: out.as_chunks_mut().0, at: 0 }
    }

    #[inline]
    fn put(&mut self, words: &[u64]) {
        for (slot, word) in self.slots[self.at].chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        self.at += 1;
    }

    fn bytes(&self) -> usize {
        self.at * N
    }
}

fn to_page(paddr: u64) -> u64 {
    VMEMMAP + paddr / PAGE * 64
}

/// A scatterlist whose first block is at address 0.
fn write_sg(pairs: impl Iterator<Item = Pair>, out: &mut [u8]) -> usize {
    let mut out = Out::<32>::new(out);
    let last = out.slots.len() - 1;
    for (mut paddr, mut length) in pairs {
        while length > 0 {
            if out.at % 128 == 127 && out.at != last {
                out.put(&[((out.at as u64 + 1) * 32) | 1, 0, 0, 0]);
            }
            let part = length.min(MOST);
            let end = if out.at == last { 2 } else { 0 };
            out.put(&[to_page(paddr) | end, (paddr % PAGE) | (part << 32), 0, 0]);
            paddr += part;
            length -= part;
        }
    }
    out.bytes()
}

/// An array of `bio_vec`.
fn write_bvecs(pairs: impl Iterator<Item = Pair>, out: &mut [u8]) -> usize {
    let mut out = Out::<16>::new(out);
    for (mut paddr, mut length) in pairs {
        while length > 0 {
            let part = length.min(MOST);
            out.put(&[to_page(paddr), part | ((paddr % PAGE) << 32)]);
            paddr += part;
            length -= part;
        }
    }
    out.bytes()
}

/// An array of `phys_vec`.
fn write_phys_vecs(pairs: impl Iterator<Item = Pair>, out: &mut [u8]) -> usize {
    let mut out = Out::<16>::new(out);
    for (paddr, length) in pairs {
        out.put(&[paddr, length]);
    }
    out.bytes()
}

/// PRP lists in pages from 2^50 on.
fn write_prps(pairs: impl Iterator<Item = Pair>, out: &mut [u8]) -> usize {
    let mut out = Out::<8>::new(out);
    let last = out.slots.len() - 1;
    let mut is_first = true;
    for (mut paddr, mut length) in pairs {
        while length > 0 {
            if is_first {
                is_first = false;
            } else {
                if out.at % 512 == 511 && out.at != last {
                    out.put(&[(1 << 50) + (out.at as u64 + 1) * 8]);
                }
                out.put(&[paddr]);
            }
            paddr += PAGE;
            length -= PAGE;
        }
    }
    out.bytes()
}

/// SGL segments in blocks of 4096 bytes from 2^50 on.
fn write_sgl(pairs: impl Iterator<Item = Pair>, out: &mut [u8]) -> usize {
    let mut out = Out::<16>::new(out);
    let count = out.slots.len();
    for (mut paddr, mut length) in pairs {
        while length > 0 && count > 0 {
            if out.at % 256 == 255 && out.at + 1 != count {
                let next = out.at + 1;
                let records = (count - next).min(256) as u64;
                let kind = if next + 256 >= count { 0x30 } else { 0x20 };
                out.put(&[(1 << 50) + next as u64 * 16, (records * 16) | (kind << 56)]);
            }
            let part = length.min(MOST);
            out.put(&[paddr, part]);
            paddr += part;
            length -= part;
        }
    }
    out.bytes()
}

/// A big-endian page list, with flags 3.
fn write_mtt(pairs: impl Iterator<Item = Pair>, out: &mut [u8]) -> usize {
    let mut out = Out::<8>::new(out);
    for (mut paddr, mut length) in pairs {
        while length > 0 {
            out.put(&[(paddr | 3).swap_bytes()]);
            paddr += PAGE;
            length -= PAGE;
        }
    }
    out.bytes()
}
