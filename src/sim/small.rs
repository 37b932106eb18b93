//! Numbers as indices.

/// A number that is known to be small as an index.
#[expect(clippy::cast_possible_truncation, reason = "callers say why it is small")]
pub(super) const fn small(number: u64) -> usize {
    number as usize
}
