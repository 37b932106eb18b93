//! Conversion of arguments and results: numbers, buffers, tuples, kinds.
//!
//! | file | holds |
//! | --- | --- |
//! | `amounts` | numbers from 0 to 2^64 - 1 as arguments |
//! | `arrow` | the structs of the Arrow C data interface; columns of others |
//! | `arrow_made` | columns of ours, for others |
//! | `buffer` | memory lent by Python and to it |
//! | `dlpack` | the structs of DLPack, both ways |
//! | `exchange` | the protocols by which objects hand over columns and tables |
//! | `fits` | numbers that NumPy converted |
//! | `foreign` | memory of others, which they may write meanwhile |
//! | `items` | sequences, read item by item |
//! | `keys` | places in a list: indices, slices, positions |
//! | `kind` | `"ram"`, `"mmio"` and providers |
//! | `numbers` | arrays and iterables of integers |
//! | `search` | the search of a sequence for a value |
//! | `shown` | arguments in messages |
//! | `tuple` | named tuples, made in bulk |

pub(crate) mod amounts;
pub(crate) mod arrow;
pub(crate) mod arrow_made;
pub(crate) mod buffer;
pub(crate) mod dlpack;
pub(crate) mod exchange;
pub(crate) mod fits;
pub(crate) mod foreign;
pub(crate) mod items;
pub(crate) mod keys;
pub(crate) mod kind;
pub(crate) mod numbers;
pub(crate) mod search;
pub(crate) mod shown;
pub(crate) mod tuple;
