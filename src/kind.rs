//! The kind of memory that a list describes.

use core::fmt;

/// The kind of memory that a list describes: RAM, the memory of a device, or a process's own view.
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
    /// Memory of a process by its user virtual addresses: no physical ones are known.
    ///
    /// Its lengths are true, and a kernel can map it for a device. All that needs physical or bus
    /// addresses refuses it.
    User,
}

/// Said wherever a list of kind [`Kind::User`] is refused.
pub(crate) const NO_PADDRS: &str = "a list of kind user has user addresses, and no physical ones; \
    map it through a backend that takes user addresses, whose result has the device's";

impl Kind {
    /// The two numbers that stand for it in a serialised list: kind and provider.
    pub(crate) const fn numbers(self) -> (u8, u32) {
        match self {
            Self::Ram => (0, 0),
            Self::Mmio { provider } => (1, provider),
            Self::User => (2, 0),
        }
    }

    /// The kind for which these numbers stand.
    ///
    /// # Errors
    ///
    /// The name and the value of the number that stands for nothing.
    pub(crate) fn from_numbers(kind: u8, provider: u64) -> Result<Self, (&'static str, u64)> {
        match (kind, u32::try_from(provider)) {
            (0, Ok(0)) => Ok(Self::Ram),
            (1, Ok(provider)) => Ok(Self::Mmio { provider }),
            (2, Ok(0)) => Ok(Self::User),
            (0..=2, _) => Err(("provider", provider)),
            _ => Err(("kind", kind.into())),
        }
    }
}

impl fmt::Display for Kind {
    /// `ram`, `user`, `mmio`, or `mmio:N` for a provider other than 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ram => f.write_str("ram"),
            Self::User => f.write_str("user"),
            Self::Mmio { provider: 0 } => f.write_str("mmio"),
            Self::Mmio { provider } => write!(f, "mmio:{provider}"),
        }
    }
}
