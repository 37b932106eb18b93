//! The archive: the runs of a list in about half the bytes, for lists that are kept. It is never
//! changed, and its words are the frozen file.
//!
//! ```text
//! header | directory | index | data of block 0 | data of block 1 | ...
//!
//! header     8 words: magic, version, granule, kind, sizes, digest
//! directory  32 bits for each bucket of pages: the block that holds the bucket's first page
//! index      3 words for each block of 128 runs: its first page, how it is packed, its lowest page
//!            number; at the end one more entry, which says where everything ends. An archive that is no
//!            file may do without the lowest page numbers: 2 words for each block of 256 runs
//! data       the starts of a block's runs (Elias-Fano), and their page numbers (equally many bits)
//! ```
//!
//! A search computes the bucket, looks at one or two index entries, and reads the data of one block.
//! `docs/encoding.md` has the picture to the bit.

mod archive;
mod bits;
mod block;
mod check;
mod header;
mod unpack;
mod write;

#[cfg(target_has_atomic = "64")]
pub use archive::SharedWords;
pub(crate) use archive::{Archive, Decoded, Located, Store, sound};
pub(crate) use block::{BLOCK, ENTRY, SHORT_ENTRY};
pub(crate) use header::{Header, MAGIC};
pub(crate) use write::Sizes;
