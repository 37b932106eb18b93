//! Mapping a list for a device.
//!
//! | file | holds |
//! | --- | --- |
//! | `plan` | the calls of `map_pages` that a linear window takes |
//! | `unmaps` | the calls of `unmap_pages` that undo a plan |
//! | `error` | why a list could not be mapped linearly, or unmapped |
//! | `backend` | backends (`Direct`, `Linear`) and the traits of DMA and IOMMU |
//! | `alignment` | where to put a window, so that large pages fit |
//! | `iova_map` | what is mapped where, changed part by part |

pub(crate) mod alignment;
pub(crate) mod backend;
pub(crate) mod error;
pub(crate) mod iova_map;
pub(crate) mod plan;
pub(crate) mod unmaps;
