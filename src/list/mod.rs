//! The list, and everything that is done with one.
//!
//! | file | holds |
//! | --- | --- |
//! | `walk` | visits chunks, and trims the first and the last one; `walk/bulk` walks whole nodes |
//! | `chunks` | the iterator for loops |
//! | `phyr` | [`Phyr`](crate::Phyr): a view of a chain; slicing, translating |
//! | `builder` | [`Builder`](crate::Builder): appends chunks and page numbers |
//! | `positions` | translates many positions at once; `positions/in_node` those in one node |
//! | `ranges` | appends byte ranges by the block |
//! | `collect` | lists by the traits of the standard library |
//! | `join`, `shift` | a list out of several, a list with a constant added to its addresses |
//! | `overlap` | the memory that two lists have in common, and the part in a range of addresses |
//! | `bitmaps` | the same for runs close together, a bit a granule |
//! | `bits` | bits of a bitmap, some in a row at a time |
//! | `partition` | words sorted by address |
//! | `pages` | the list as pages of one size |
//! | `reading` | [`List`](crate::List): what both forms of a list have in common |
//! | `bounds` | lowest and highest address, and alignments, without a walk |
//! | `stats` | counts of chunks, words, memory, and blocks of each order |
//! | `validate` | checks every invariant of a list |
//! | `serial` | a list as bytes, and back |
//! | `frozen` | [`Frozen`](crate::Frozen): a view of an archive, the list to keep |

mod bitmaps;
mod bits;
pub(crate) mod bounds;
pub(crate) mod builder;
pub(crate) mod chunks;
mod collect;
pub(crate) mod frozen;
pub(crate) mod join;
pub(crate) mod overlap;
pub(crate) mod pages;
mod partition;
pub(crate) mod phyr;
pub(crate) mod positions;
pub(crate) mod ranges;
pub(crate) mod reading;
pub(crate) mod serial;
pub(crate) mod shift;
pub(crate) mod stats;
pub(crate) mod validate;
pub(crate) mod walk;
