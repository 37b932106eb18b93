//! Storage: packed words, and the chain of nodes that holds them.
//!
//! | file | holds |
//! | --- | --- |
//! | `entry` | the packed word: one chunk in eight bytes |
//! | `words` | searches, sums and walks of a slice of words |
//! | `shared` | items of one allocation with several owners; making one may fail |
//! | `sorted` | values by number, in order; growing may fail |
//! | `chain` | nodes of at most a page under an index; the search for a position |
//! | `pack` | ranges packed in a row |
//! | `leaf` | the leaf that a writer fills, and the loops that fill it |
//! | `writer` | appending words, node by node |
//! | `digest` | the hash of words |
//! | `frozen` | the archive: runs in about half the bytes, never changed; its words are a file |

pub(crate) mod chain;
pub(crate) mod digest;
pub(crate) mod entry;
pub(crate) mod frozen;
pub(crate) mod leaf;
pub(crate) mod pack;
pub(crate) mod shared;
pub(crate) mod sorted;
pub(crate) mod words;
pub(crate) mod writer;
