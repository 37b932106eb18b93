//! A domain and the memory that holds its tables, as one object.

use super::domain::SimDomain;
use super::error::DomainError;
use super::memory::Memory;
use crate::dma::backend::{IommuDomain, Prot};
use crate::pgsize::PageSizes;

/// A domain together with the memory that holds its tables. It implements [`IommuDomain`].
///
/// # Examples
///
/// ```
/// use phyr::sim::{Attached, DomainOptions, Memory, SimDomain};
/// use phyr::{IommuDomain, Prot};
///
/// let mut memory = Memory::new(1 << 20)?;
/// let mut domain = SimDomain::new(&mut memory, &DomainOptions::default())?;
/// let mut iommu = Attached { domain: &mut domain, memory: &mut memory };
/// iommu.map_pages(0x4000, 0x7000, 0x1000, 1, Prot::READ)?;
/// assert_eq!(iommu.iova_to_phys(0x4567), Some(0x7567));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Attached<'a> {
    /// The domain.
    pub domain: &'a mut SimDomain,
    /// The memory that the domain was made with.
    pub memory: &'a mut Memory,
}

impl IommuDomain for Attached<'_> {
    type Error = DomainError;

    fn page_sizes(&self) -> PageSizes {
        self.domain.page_sizes()
    }

    fn map_pages(
        &mut self,
        iova: u64,
        paddr: u64,
        pgsize: u64,
        pgcount: u64,
        prot: Prot,
    ) -> Result<(), DomainError> {
        self.domain.map_pages(self.memory, iova, paddr, pgsize, pgcount, prot)
    }

    fn unmap_pages(&mut self, iova: u64, pgsize: u64, pgcount: u64) -> Result<(), DomainError> {
        self.domain.unmap_pages(self.memory, iova, pgsize, pgcount)
    }

    fn iova_to_phys(&self, iova: u64) -> Option<u64> {
        self.domain.iova_to_phys(self.memory, iova)
    }
}
