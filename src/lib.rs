//! The physical memory under a buffer, in eight bytes a chunk.
//!
//! A buffer that a program sees as one stretch of virtual addresses lies in memory as scattered
//! physical pages. A [`Phyr`] lists those pages. Only the first chunk may start late, and only the
//! last may end early, so one offset and one length serve the whole list. Every address between is
//! page aligned; its low bits are free and hold the size. Eight bytes describe a chunk at any
//! address; see [`Entry`] for the picture.
//!
//! A list is made by a [`Builder`], walked by [`Phyr::chunks`], cut by [`Phyr::slice`], and read and
//! written as bytes by [`Phyr::from_bytes`] and [`Phyr::to_bytes`].
//!
//! The crate needs `alloc` alone. The feature `std`, on by default, lets long loops use the wide
//! instructions that the machine turns out to have; `python` adds the extension module.
//!
//! | wing | holds |
//! | --- | --- |
//! | `error`, `kind`, `wide`, `slices`, `granule`, `pgsize` | errors, numbers, and what the machine can do |
//! | `storage` | the packed word, and the chain of nodes that keeps the words |
//! | `list` | [`Phyr`], and its operations: walk, build, join, slice, validate, serialise |
//! | [`pagemap`] | lists from the records of `/proc/PID/pagemap` |
//! | `dma` | mapping a list for a device: backends, plans, where to put a window |
//! | [`desc`] | descriptors that devices and kernels read, and lists from those |
//! | `sim` | a simulated memory, IOMMU and device (feature `sim`) |
//! | `python` | the extension module of the Python package (feature `python`) |
//!
//! A wing uses those above it, never one below.
//!
//! # Examples
//!
//! From page numbers to the window that a device sees, and to what an NVMe command points to:
//!
//! ```
//! use phyr::{Builder, Chunk, Phyr, desc};
//!
//! let mut builder = Builder::new();
//! builder.extend_pfns(&[7, 8, 9, 0x200])?;
//! let phyr = builder.finish();
//!
//! // Bytes 0x800 to 0x3800 of the buffer: only the first and the last chunk are trimmed.
//! let part = phyr.slice(0x800, 0x3800)?;
//! assert!(part.chunks().eq([
//!     Chunk { paddr: 0x7800, length: 0x2800 },
//!     Chunk { paddr: 0x20_0000, length: 0x800 },
//! ]));
//! assert_eq!(part.translate(0x2800)?, 0x20_0000);
//!
//! // The bus of the device adds a constant: mapping gives a list again.
//! let dma = part.shift(0x1_0000_0000)?;
//! assert_eq!(dma.translate(0)?, 0x1_0000_7800);
//!
//! // An NVMe command that moves the first 4 KiB of it points to two pages.
//! let prp = desc::Prp::new(&dma.slice(0, 0x1000)?, &Phyr::default(), 4096)?;
//! assert_eq!((prp.prp1, prp.prp2), (0x1_0000_7800, 0x1_0000_8000));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

#![no_std]
#![warn(clippy::std_instead_of_core, clippy::std_instead_of_alloc, clippy::alloc_instead_of_core)]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod desc;
mod dma;
mod error;
mod granule;
mod kind;
mod list;
pub mod pagemap;
mod pgsize;
#[cfg(feature = "sim")]
pub mod sim;
mod slices;
mod storage;
mod wide;

#[cfg(feature = "python")]
#[allow(clippy::doc_markdown, clippy::doc_link_with_quotes, reason = "docstrings are Python's")]
mod python;

pub use dma::alignment::Alignment;
pub use dma::backend::{Direct, DmaBackend, IommuDomain, Linear, Prot};
pub use dma::error::MapError;
pub use dma::iova_map::{IovaMap, Mapped};
pub use dma::plan::{MapCall, Plan};
pub use dma::unmaps::{UnmapCall, Unmaps};
pub use error::{Error, FormatError};
pub use granule::Granule;
pub use kind::Kind;
pub use list::builder::Builder;
pub use list::chunks::{Chunk, Chunks};
pub use list::frozen::{Frozen, FrozenChunks, Holder, Index};
pub use list::pages::Pages;
pub use list::phyr::Phyr;
pub use list::reading::List;
pub use list::stats::Stats;
pub use list::validate::Invalid;
pub use pgsize::PageSizes;
pub use storage::entry::Entry;
#[cfg(target_has_atomic = "64")]
pub use storage::frozen::SharedWords;

/// The programs of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
