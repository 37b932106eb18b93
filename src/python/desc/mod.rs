//! `phyr.desc`: tables for devices and kernels, and back.
//!
//! | file | holds |
//! | --- | --- |
//! | `descriptors` | the class of all tables |
//! | `limits` | limits of a device |
//! | `arrays` | scatterlist, `bio_vec`, `iovec`, `phys_vec` |
//! | `nvme`, `rdma` | PRP and SGL; page lists |
//! | `requests` | VFIO and iommufd map requests |
//! | `split` | a list in parts |
//! | `parse` | lists from tables |
//! | `handover` | live update and dma-buf, both ways |

pub(crate) mod arrays;
pub(crate) mod descriptors;
pub(crate) mod handover;
pub(crate) mod limits;
pub(crate) mod nvme;
pub(crate) mod parse;
pub(crate) mod rdma;
pub(crate) mod requests;
pub(crate) mod split;
