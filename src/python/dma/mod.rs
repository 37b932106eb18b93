//! `phyr.iommu`: mapping a list for a device.
//!
//! | file | holds |
//! | --- | --- |
//! | `failures` | failing calls: the twin of `phyr.iommu._failures` |
//! | `holds` | counting who holds memory, and several owners as one |
//! | `iova_map` | what is mapped where, changed part by part |
//! | `mapping` | `dma_map` and its mapping |
//! | `owed` | what a mapping owes its backend and its owner |
//! | `plan` | `plan_map` and its plan |
//! | `shift` | a constant added to addresses; where to put a window |
//! | `unmapping` | taking a plan back |

pub(crate) mod failures;
pub(crate) mod holds;
pub(crate) mod iova_map;
pub(crate) mod mapping;
pub(crate) mod owed;
pub(crate) mod plan;
pub(crate) mod shift;
pub(crate) mod unmapping;
