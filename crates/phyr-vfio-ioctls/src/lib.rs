//! Lists of a process's memory, mapped for devices by the crate `vfio-ioctls`.
//!
//! The kernel maps memory by its user addresses, and so do the containers of `vfio-ioctls`. A list of
//! kind [`Kind::User`] has those. However many chunks it has, a device sees it as one stretch of I/O
//! virtual addresses.
//!
//! `examples/edu.rs` is a whole driver.

use std::fmt;

use phyr::{Kind, Phyr};
use vfio_ioctls::{VfioError, VfioOps};

/// The reason why a list is not mapped. Nothing of it is mapped then.
#[derive(Debug)]
pub enum Error {
    /// The list does not have user addresses.
    Kind(Kind),
    /// Its window would pass the end of the I/O virtual addresses.
    Window {
        /// I/O virtual address of the first byte.
        iova: u64,
        /// Bytes.
        length: u64,
    },
    /// The kernel refused.
    Vfio(VfioError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "a list of kind {kind} has no user addresses"),
            Self::Window { iova, length } => write!(f, "{iova:#x}+{length:#x} passes 2^64"),
            Self::Vfio(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// Maps a list for the devices of a container: byte `i` of it is at `iova + i`.
///
/// This is one request a chunk. The kernel takes whole pages only.
///
/// # Errors
///
/// [`Error`]; nothing of the list is mapped then.
///
/// # Safety
///
/// As of [`VfioOps::vfio_dma_map`]: until [`unmap`], devices may read and write the memory under the
/// list at any time, so it must exist, and the program may reach it by raw pointers alone.
pub unsafe fn map(container: &dyn VfioOps, phyr: &Phyr, iova: u64) -> Result<(), Error> {
    if phyr.kind() != Kind::User {
        return Err(Error::Kind(phyr.kind()));
    }
    let length = phyr.length();
    if iova.checked_add(length).is_none() {
        return Err(Error::Window { iova, length });
    }
    let mut at = iova;
    for chunk in phyr.chunks() {
        let (uaddr, length) = (chunk.paddr as *mut u8, chunk.length as usize);
        // SAFETY: the caller keeps the rules of the memory under the list.
        if let Err(why) = unsafe { container.vfio_dma_map(at, length, uaddr) } {
            if at > iova {
                container.vfio_dma_unmap(iova, (at - iova) as usize).map_err(Error::Vfio)?;
            }
            return Err(Error::Vfio(why));
        }
        at += chunk.length;
    }
    Ok(())
}

/// Takes a list from the devices that [`map`] mapped at `iova`. This is one request.
///
/// # Errors
///
/// The kernel's; devices may still reach the memory then.
pub fn unmap(container: &dyn VfioOps, phyr: &Phyr, iova: u64) -> Result<(), VfioError> {
    if phyr.is_empty() {
        return Ok(());
    }
    container.vfio_dma_unmap(iova, phyr.length() as usize)
}
