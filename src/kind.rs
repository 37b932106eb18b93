//! What stands behind the addresses of a list.

use core::fmt;

/// What stands behind the addresses of a list: memory with pages, or a device's own.
///
/// Lists of different kinds never merge and are never equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// RAM: pages that can be pinned, bounced and copied by the CPU.
    #[default]
    Ram,
    /// A device's memory, reached peer to peer, without pages behind it.
    Mmio {
        /// Which device provides it; the number is the caller's.
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
