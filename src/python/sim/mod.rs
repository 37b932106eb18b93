//! `phyr.sim`: a simulated machine.
//!
//! | file | holds |
//! | --- | --- |
//! | `memory` | `Memory` and scattered buffers |
//! | `columns` | columns of a plan that a domain maps |
//! | `domain` | `SimDomain` |
//! | `transfer` | what devices read and write |

pub(crate) mod columns;
pub(crate) mod domain;
pub(crate) mod memory;
pub(crate) mod transfer;
