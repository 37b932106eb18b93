//! Conversion of arguments and results: numbers, buffers, tuples, kinds.
//!
//! | file | holds |
//! | --- | --- |
//! | `buffer` | memory lent by Python and to it |
//! | `foreign` | memory of others, which they may write meanwhile |
//! | `kind` | `"ram"`, `"mmio"` and providers |
//! | `numbers` | integers, arrays and iterables of them |
//! | `tuple` | named tuples, made in bulk |

pub(crate) mod buffer;
pub(crate) mod foreign;
pub(crate) mod kind;
pub(crate) mod numbers;
pub(crate) mod tuple;
