//! Records of `/proc/PID/pagemap`: one 64-bit word a page of virtual memory.
//!
//! `records` reads the bits of many records at once; `decoder` turns them into lists and extents.

pub(crate) mod decoder;
pub(crate) mod records;

pub use decoder::{Extent, Hidden, PagemapDecoder, State};
