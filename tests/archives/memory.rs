//! Memory of others, with the words of a frozen list.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Memory that anybody may write to.
#[derive(Clone, Debug)]
pub(crate) struct Memory(pub(crate) Arc<[AtomicU64]>);

impl Memory {
    /// Memory with these bytes, whole words of them.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
        Self(bytes.chunks_exact(8).map(|bytes| AtomicU64::new(word(bytes))).collect())
    }
}

impl AsRef<[AtomicU64]> for Memory {
    fn as_ref(&self) -> &[AtomicU64] {
        &self.0
    }
}
