//! The kind of memory that a list describes.

use core::fmt;

/// The kind of memory that a list describes: RAM, or the memory of a device.
///
/// Lists of different kinds never merge and are never equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// RAM: pages that the kernel can pin, and that the CPU can copy.
    #[default]
    Ram,
    /// Memory of a device, accessed peer to peer; it has no pages of RAM.
    Mmio {
        /// The device that provides the memory; the caller chooses the number.
        provider: u32,
    },
}

impl fmt::Display for Kind {
    /// `ram`, `mmio`, or `mmio:N` for a provider other than 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ram => f.write_str("ram"),
            Self::Mmio { provider: 0 } => f.write_str("mmio"),
            Self::Mmio { provider } => write!(f, "mmio:{provider}"),
        }
    }
}
