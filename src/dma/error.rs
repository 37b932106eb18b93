//! Errors of mapping a list linearly, and their messages.

use core::fmt;

use crate::dma::plan::MapCall;
use crate::dma::unmaps::UnmapCall;
use crate::error::Error;

/// Why a list could not be mapped linearly, or could not be unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapError<E> {
    /// There is no linear window for the list. Nothing was done.
    List(Error),
    /// The domain refused a call. The calls before it were undone.
    Map {
        /// The call.
        call: MapCall,
        /// The domain's error.
        error: E,
        /// The first call that failed while undoing, against the rules for domains. The pages of
        /// that call may still be mapped.
        undo: Option<(UnmapCall, E)>,
    },
    /// The domain refused to unmap, against the rules. All other calls were made.
    Unmap {
        /// The first such call.
        call: UnmapCall,
        /// The domain's error.
        error: E,
    },
    /// Others changed the words of a frozen list since it was mapped, or while it was: the calls that unmap
    /// it no longer reach the end of what was mapped. The rest may still be mapped.
    Changed {
        /// Bytes that were unmapped.
        unmapped: u64,
        /// Bytes that were mapped.
        length: u64,
    },
}

impl<E: fmt::Display> fmt::Display for MapError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(error) => error.fmt(f),
            Self::Map { call, error, undo: None } => write!(f, "mapping {call:?}: {error}"),
            Self::Map { call, error, undo: Some((undo, why)) } => {
                write!(f, "mapping {call:?}: {error}; undoing {undo:?}: {why}")
            }
            Self::Unmap { call, error } => write!(f, "unmapping {call:?}: {error}"),
            Self::Changed { unmapped, length } => {
                write!(f, "the list changed: {unmapped:#x} of {length:#x} bytes are unmapped")
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for MapError<E> {}
