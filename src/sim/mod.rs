//! A simulated machine: memory, an IOMMU with real page tables, and DMA through it.
//!
//! For tests and models of drivers: bytes move as in a machine, and errors name the address.
//!
//! ```text
//!   dma_read, dma_write        a device's view: DMA addresses, a Phyr of them
//!         |
//!   SimDomain | OffsetBus      translation: page tables in memory, or a constant
//!         |
//!   Memory                     physical memory: sparse, little-endian, with an allocator
//! ```
//!
//! A [`SimDomain`] keeps its tables in the memory, where other code can read them. So its methods
//! take the memory as an argument; [`Attached`] joins the two.
//!
//! # Examples
//!
//! ```
//! use phyr::Prot;
//! use phyr::sim::{DomainOptions, ScatterOptions, Memory, SimDomain, dma_read};
//!
//! let mut memory = Memory::new(1 << 30)?;
//! let mut domain = SimDomain::new(&mut memory, &DomainOptions::default())?;
//! let buffer = memory.scatter(0x3000, &ScatterOptions::default())?;
//! memory.write(&buffer, &[7; 0x3000])?;
//!
//! for (iova, chunk) in (0x10_0000..).step_by(0x1000).zip(buffer.chunks()) {
//!     domain.map_pages(&mut memory, iova, chunk.paddr, 0x1000, 1, Prot::READ)?;
//! }
//! let window = phyr::sim::span(0x10_0000, 0x3000)?;
//! let mut seen = [0; 0x3000];
//! dma_read(&mut memory, &mut domain, &window, &mut seen)?;
//! assert_eq!(seen, [7; 0x3000]);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod alloc;
mod attached;
mod bus;
mod counters;
mod domain;
mod error;
mod frames;
mod iotlb;
mod leaf_table;
mod map;
mod memory;
mod plan;
pub(crate) mod scatter;
mod small;
mod store;
mod table;
mod vtd;
mod walk;

pub use attached::Attached;
pub use bus::{Access, Bus, Fault, OffsetBus, Reason, Target, dma_read, dma_read_with, dma_write};
pub use bus::{dma_write_with, span};
pub use counters::Counters;
pub use domain::{DomainOptions, Leaf, SimDomain};
pub use error::{DomainError, MemoryError};
pub use memory::Memory;
pub use plan::{Columns, calls};
pub use scatter::{ScatterOptions, scatter};
