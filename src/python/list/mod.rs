//! `phyr.Phyr`, `phyr.Builder`, and the sequences that a list returns.
//!
//! | file | holds |
//! | --- | --- |
//! | `builder` | `phyr.Builder` |
//! | `chunks` | `phyr.chunks`: the sequence |
//! | `column` | whole columns of numbers |
//! | `either` | a list in either form, as an argument |
//! | `file` | files that hold a list |
//! | `fill` | builders filled with what Python hands in |
//! | `frozen`, `frozen_chunks` | `phyr.FrozenPhyr` and its sequence of chunks |
//! | `held` | what holds the memory of a list, and where it lies |
//! | `index` | `phyr.Index`: from an address to the lists that hold it |
//! | `join` | many lists as one |
//! | `object` | the object behind `phyr.Phyr` |
//! | `phyr` | the methods of `phyr.Phyr` |
//! | `overlap` | the memory that lists have in common, and the part of one in a range |
//! | `positions` | the addresses of many positions |
//! | `table` | the chunks as a table, for NumPy and Arrow |
//! | `walk` | chunks as objects, and the iterator over them |

pub(crate) mod builder;
pub(crate) mod chunks;
pub(crate) mod column;
pub(crate) mod either;
pub(crate) mod file;
pub(crate) mod fill;
pub(crate) mod frozen;
pub(crate) mod held;
pub(crate) mod index;
pub(crate) mod join;
pub(crate) mod object;
pub(crate) mod overlap;
pub(crate) mod phyr;
mod positions;
pub(crate) mod table;
mod walk;
