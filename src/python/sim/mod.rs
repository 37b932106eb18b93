//! `phyr.sim`: a simulated machine.
//!
//! | file | holds |
//! | --- | --- |
//! | `domain` | `SimDomain`, and DMA through it |
//! | `memory` | `Memory` and scattered buffers |

pub(crate) mod domain;
pub(crate) mod memory;
