//! Records of `/proc/PID/pagemap`: one 64-bit word a page of virtual memory.
//!
//! `records` reads the bits of many records at once; `decoder` turns them into lists and extents. `folios`
//! counts the large pages behind them, by the flags of `/proc/kpageflags`.

pub(crate) mod decoder;
pub(crate) mod folios;
pub(crate) mod records;

pub use decoder::{Extent, Hidden, PagemapDecoder, State};
pub use folios::{Blocks, FolioTally, Folios, Large, Origin, Shape, Sort};
