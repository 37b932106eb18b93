//! Numbers as indices.

/// Converts a number that is known to be small to an index.
#[expect(clippy::cast_possible_truncation, reason = "callers say why it is small")]
pub(super) const fn small(number: u64) -> usize {
    number as usize
}
