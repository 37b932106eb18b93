//! Guest memory of the crate [`vm_memory`], reached through lists of physical memory.
//!
//! [`slices`] gives the memory under a [`Phyr`] of guest physical addresses as volatile slices.
//! [`IovaIommu`] is an [`Iommu`] that keeps what is mapped in an [`IovaMap`]: eight bytes a chunk, and
//! unmapped part by part.
//!
//! # Examples
//!
//! ```
//! use phyr::Builder;
//! use phyr_vm_memory::IovaIommu;
//! use vm_memory::{
//!     Bytes, GuestAddress, GuestMemoryMmap, IommuMemory, Permissions,
//! };
//!
//! let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 1 << 20)])?;
//! let mut buffer = Builder::new();
//! buffer.extend_pfns(&[7, 9])?;
//! let iommu = IovaIommu::new();
//! iommu.map(0x10_0000, buffer.finish(), Permissions::ReadWrite)?;
//!
//! let seen_by_device = IommuMemory::new(ram.clone(), iommu, true, ());
//! seen_by_device.write_slice(b"across", GuestAddress(0x10_0ffd))?;
//! let mut tail = [0; 3];
//! ram.read_slice(&mut tail, GuestAddress(0x9000))?;
//! assert_eq!(&tail, b"oss");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code)]
#![warn(missing_docs, missing_debug_implementations)]

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use phyr::{Chunk, IovaMap, Mapped, Phyr};
use vm_memory::bitmap::MS;
use vm_memory::guest_memory::Error as GuestError;
use vm_memory::iommu::{Error as IommuError, IotlbIterator, IovaRange};
use vm_memory::{GuestAddress, GuestMemoryBackend, Iommu, Iotlb, Permissions, VolatileSlice};

/// The memory under a list of guest physical addresses, in order.
///
/// A chunk yields a slice for each region that it lies in. A chunk, or a part of one, without memory
/// behind it yields an error and nothing more; later chunks follow.
pub fn slices<'a, M: GuestMemoryBackend>(
    memory: &'a M,
    phyr: &'a Phyr,
) -> impl Iterator<Item = Result<VolatileSlice<'a, MS<'a, M>>, GuestError>> {
    phyr.chunks().flat_map(|Chunk { paddr, length }| {
        // Of a chunk of 2^32 bytes and more, a machine of 32 bits has no slice either.
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        memory.get_slices(GuestAddress(paddr), length)
    })
}

/// An IOMMU whose mappings are lists.
///
/// Every translation asks the map, so nothing is cached and an unmapped address is refused from then
/// on. [`Self::read`] lends the map for anything else.
#[derive(Debug, Default)]
pub struct IovaIommu {
    map: RwLock<IovaMap<Permissions>>,
}

impl IovaIommu {
    /// An IOMMU that has nothing mapped.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the guest physical memory of a list behind the addresses from `iova` on.
    ///
    /// # Errors
    ///
    /// Those of [`IovaMap::map`].
    pub fn map(&self, iova: u64, phyr: Phyr, access: Permissions) -> Result<(), phyr::Error> {
        self.write().map(iova, phyr, access)
    }

    /// Removes what is mapped of `length` addresses from `iova` on; returns how many bytes that was.
    pub fn unmap(&self, iova: u64, length: u64) -> u64 {
        self.write().unmap(iova, length)
    }

    /// The map.
    pub fn read(&self) -> RwLockReadGuard<'_, IovaMap<Permissions>> {
        // Each change leaves the map whole.
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, IovaMap<Permissions>> {
        self.map.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Iommu for IovaIommu {
    /// The result of one translation.
    type IotlbGuard<'a> = Box<Iotlb>;

    fn translate(
        &self,
        iova: GuestAddress,
        length: usize,
        access: Permissions,
    ) -> Result<IotlbIterator<Box<Iotlb>>, IommuError> {
        let refused = |reason: String| IommuError::CannotResolve {
            iova_range: IovaRange { base: iova, length },
            reason,
        };
        let bytes = length as u64;
        // An Iotlb cannot hold the last address there is.
        if iova.0.checked_add(bytes).is_none() {
            return Err(refused("the range passes the last address but one".to_owned()));
        }
        let mut found = Box::new(Iotlb::new());
        let mut at = iova.0;
        for Mapped { iova: start, phyr, tag } in self.read().range(iova.0, bytes) {
            if start != at {
                break;
            }
            if !tag.allow(access) {
                return Err(refused(format!("{access:?} at {at:#x}, which allows {tag:?}")));
            }
            for chunk in phyr.chunks() {
                // A part of `length` bytes, which is a `usize`.
                #[allow(clippy::cast_possible_truncation, reason = "a part of a usize")]
                let piece = chunk.length as usize;
                found.set_mapping(GuestAddress(at), GuestAddress(chunk.paddr), piece, *tag)?;
                at += chunk.length;
            }
        }
        if at - iova.0 != bytes {
            return Err(refused(format!("{at:#x} is not mapped")));
        }
        Iotlb::lookup(found, iova, length, access)
            .map_err(|fails| refused(format!("not found: {fails:?}")))
    }
}
