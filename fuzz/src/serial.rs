//! The serialised form: bytes are a list in its one form, or refused.

use phyr::{FormatError, Phyr};

use crate::source::Said;

/// Reads the bytes as a list, as they are and with a digest that fits.
pub fn serial(bytes: &[u8]) {
    check(bytes);
    // A digest that is wrong hides all that is checked after it.
    if let Err(FormatError::Check { computed, .. }) = Phyr::from_bytes(bytes) {
        let mut forged = bytes.to_vec();
        forged[40..48].copy_from_slice(&computed.to_le_bytes());
        check(&forged);
    }
}

fn check(bytes: &[u8]) {
    let Some(phyr) = Phyr::from_bytes(bytes).said() else { return };
    phyr.validate().expect("a list that was read");
    assert_eq!(phyr.to_bytes(), bytes, "one form for each list");
    let total = phyr.chunks().map(|chunk| chunk.length).sum::<u64>();
    assert_eq!(total, phyr.length());
    assert_eq!(phyr.compact(), phyr);
    assert_eq!(phyr.chunks().rev().count() as u64, phyr.nr_chunks());
}
