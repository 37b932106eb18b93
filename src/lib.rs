//! The physical memory under a buffer, in eight bytes a chunk.
//!
//! A buffer that a program sees as one stretch of virtual addresses lies in memory as scattered
//! physical pages. A [`Phyr`] lists those pages: only the first chunk may start late and only the
//! last may end early, so one offset and one length serve the whole list, every address between is
//! page aligned, and the bits that frees hold the size. Eight bytes describe a chunk at any address;
//! see [`Entry`] for the picture.
//!
//! A list is made by a [`Builder`], walked by [`Phyr::chunks`], cut by [`Phyr::slice`], and read and
//! written as bytes by [`Phyr::from_bytes`] and [`Phyr::to_bytes`].
//!
//! The crate needs `alloc` alone. The feature `std`, on by default, lets long loops use the wide
//! instructions that the machine turns out to have; `python` adds the extension module.
//!
//! ```text
//! addr, digest, error, kind, wide   numbers, errors, machine
//! entry, words, records, pgsize     the packed word, slices of them, records, page sizes
//! chain, writer                     storage
//! phyr, iter, pages                 the view and its walks
//! builder, join, stats, serial, validate, pagemap
//! desc                              what devices and kernels read, and back
//! plan, shift, window, map           mapping for a device
//! sim                               a simulated memory, IOMMU and device
//! python                            the extension module
//! ```

#![no_std]
#![warn(clippy::std_instead_of_core, clippy::std_instead_of_alloc, clippy::alloc_instead_of_core)]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod addr;
mod bounds;
mod builder;
mod chain;
pub mod desc;
mod digest;
mod entry;
mod error;
mod iter;
mod join;
mod kind;
mod map;
mod pagemap;
mod pages;
mod pgsize;
mod phyr;
mod plan;
mod records;
mod serial;
mod shift;
pub mod sim;
mod stats;
mod validate;
mod wide;
mod window;
mod words;
mod writer;

#[cfg(feature = "python")]
#[allow(clippy::doc_markdown, clippy::doc_link_with_quotes, reason = "docstrings are Python's")]
mod python;

pub use addr::Granule;
pub use builder::Builder;
pub use entry::Entry;
pub use error::{Error, FormatError};
pub use iter::{Chunk, Chunks};
pub use kind::Kind;
pub use map::{BusOffset, Direct, DmaBackend, IommuDomain, Linear, MapError, Prot};
pub use pagemap::{Extent, Hidden, PagemapDecoder, State};
pub use pages::Pages;
pub use pgsize::PageSizes;
pub use phyr::Phyr;
pub use plan::{MapCall, Plan, UnmapCall, Unmaps};
pub use stats::Stats;
pub use validate::Invalid;
pub use window::Alignment;

/// The programs of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
