//! Descriptors and tables for devices and kernels, made from a list; and lists made from those.
//!
//! ```text
//! chunks   |------------------|  |-----|  |-----------------------------|
//! limits            :cut                              :cut
//! segments |--------|---------|  |-----|  |-----------|-----------------|
//! records  [ first ] [        ]  [ ... ]  [ a link where the block ends ]  [ last ]
//! ```
//!
//! Every format is a [`Table`]: the segments of the list under [`Limits`], each written as one
//! record by a [`Layout`], with the links between blocks that the format needs. A table can be
//! walked as typed records ([`Table::records`]) or written as bytes, at once or in pieces
//! ([`Fill`]). A [`Place`] says how far the writing has come, so a small ring can be filled again
//! each time it drains. Nothing is allocated, however long the list.
//!
//! All bytes are little-endian, except RDMA page lists, which exist in both orders.
//!
//! | module | makes |
//! | --- | --- |
//! | `sg` | Linux scatterlists |
//! | `bvec` | `bio_vec`, `iovec` and `phys_vec` arrays |
//! | `prp`, `sgl` | what NVMe commands point to |
//! | `rdma` | page lists of one size, and the best size |
//! | `requests` | VFIO and iommufd map requests |
//! | `memfd`, `kho_vmalloc`, `kho_radix` | what a kernel hands to the next, and back |
//! | `distinct` | the array of a dma-buf, and back |
//! | `parse`, `parse_nvme` | lists from all of these |

mod bvec;
mod distinct;
mod encode;
mod error;
mod kho_radix;
mod kho_vmalloc;
mod layout;
mod limits;
mod memfd;
mod parse;
mod parse_nvme;
mod prp;
mod rdma;
mod requests;
mod segments;
mod sg;
mod sgl;
mod shape;
mod split;
mod table;

pub use bvec::{BioVec, BioVecLayout, IoVec, IoVecLayout, PageStructs, PhysVec, PhysVecLayout};
pub use distinct::from_dma_buf_vecs;
pub use error::DescError;
pub use kho_radix::{KhoRadix, from_kho_radix};
pub use kho_vmalloc::{KhoVmalloc, VmallocChunks, from_kho_vmalloc};
pub use layout::{Layout, RecordBytes};
pub use limits::Limits;
pub use memfd::{MemfdFolio, MemfdLayout, from_memfd_folios};
pub use parse::{from_bio_vecs, from_iovecs, from_phys_vecs, from_scatterlist};
pub use parse_nvme::{ReadError, from_prp, from_sgl};
pub use prp::{Prp, PrpLayout};
pub use rdma::{BlockLayout, ByteOrder, best_pgsize, page_list};
pub use requests::{
    IoasLayout, IoasMap, MAX_REQUESTS, MapRequest, RequestLayout, VfioDmaMap, VfioLayout,
    map_requests,
};
pub use segments::Segments;
pub use sg::{SgEntry, SgLayout};
pub use sgl::{SegmentList, SglDescriptor, SglLayout};
pub use split::{Split, split};
pub use table::{Count, Fill, Place, Records, Table};
