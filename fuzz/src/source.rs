//! Numbers and lists made of an input's bytes, from the front on; zeros where it has ended.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use phyr::{Builder, Granule, Kind, Phyr};

/// An outcome whose error must say something.
pub(crate) trait Said<T> {
    /// The value, if there is one.
    fn said(self) -> Option<T>;
}

impl<T, E: Display> Said<T> for Result<T, E> {
    fn said(self) -> Option<T> {
        let why = self.as_ref().err().map(ToString::to_string);
        assert_ne!(why.as_deref(), Some(""), "an error without words");
        self.ok()
    }
}

/// Words of a frozen list, which others may change while it lies in them.
#[derive(Clone, Debug)]
pub(crate) struct Words(pub(crate) Arc<[AtomicU64]>);

impl AsRef<[AtomicU64]> for Words {
    fn as_ref(&self) -> &[AtomicU64] {
        &self.0
    }
}

/// An input, as far as it is not used yet.
pub(crate) struct Source<'a>(pub(crate) &'a [u8]);

impl Source<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub(crate) fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        bytes.iter_mut().for_each(|byte| *byte = self.byte());
        u64::from_le_bytes(bytes)
    }

    /// A number of few bits at some place, or near the end of the space: what edges are made of.
    pub(crate) fn edge(&mut self) -> u64 {
        let (low, shift) = (u64::from(self.byte()) | u64::from(self.byte()) << 8, self.byte());
        let number = low << (shift & 63);
        if shift & 0x80 == 0 { number } else { number.wrapping_neg() }
    }

    /// At most `most`, which is any number.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        let number =
            u64::from(self.byte()) | u64::from(self.byte()) << 8 | u64::from(self.byte()) << 16;
        if most == u64::MAX { number } else { number % (most + 1) }
    }

    pub(crate) fn granule(&mut self) -> Granule {
        Granule::new(1 << (self.byte() % 17)).expect("a power of two up to 64 KiB")
    }

    /// A list of up to 40 chunks; chunks that the builder refuses are left out.
    pub(crate) fn list(&mut self) -> Phyr {
        let mut builder = Builder::with(self.granule(), Kind::Ram);
        for _ in 0..self.byte() % 41 {
            let (paddr, length) = (self.edge(), self.edge());
            let before = builder.length();
            match builder.append(paddr, length).said() {
                Some(()) => assert_eq!(builder.length(), before + length),
                None => assert_eq!(builder.length(), before),
            }
        }
        let phyr = builder.finish();
        phyr.validate().expect("a list as built");
        phyr
    }
}
