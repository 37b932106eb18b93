//! The list to keep: a view of a shared archive, with the laws of a [`Phyr`](crate::Phyr).
//!
//! | file | holds |
//! | --- | --- |
//! | `view` | bytes of an archive |
//! | `chunks` | walks, a block at a time |
//! | `list` | [`Frozen`]: slicing, translating, comparing |
//! | `positions` | translating many positions |
//! | `extend` | thawing, and appending to a builder |
//! | `reading` | what it has in common with a [`Phyr`](crate::Phyr) |
//! | `bytes` | a frozen list as bytes, and over memory of others |
//! | `index` | [`Index`]: from a physical address to the lists that hold it |
//! | `layer` | runs of an index, as an archive |
//! | `extras` | runs of an index that are in no archive |

#[cfg(all(test, feature = "std"))]
mod both_paths;
mod bytes;
mod chunks;
pub(crate) mod extend;
mod extras;
mod index;
mod layer;
mod list;
mod positions;
mod reading;
mod view;

pub use chunks::FrozenChunks;
pub use index::{Holder, Index};
pub use list::Frozen;
