//! Plans as columns.

use super::error::DomainError;
use crate::plan::MapCall;

/// The calls of a plan that is given as four columns.
///
/// # Errors
///
/// [`DomainError::Columns`] unless they are equally long.
pub fn calls<'a>(
    iovas: &'a [u64],
    paddrs: &'a [u64],
    pgsizes: &'a [u64],
    pgcounts: &'a [u64],
) -> Result<impl Iterator<Item = MapCall> + Clone + use<'a>, DomainError> {
    for other in [paddrs.len(), pgsizes.len(), pgcounts.len()] {
        if other != iovas.len() {
            let (iovas, other) = (iovas.len() as u64, other as u64);
            return Err(DomainError::Columns { iovas, other });
        }
    }
    let rows = iovas.iter().zip(paddrs).zip(pgsizes.iter().zip(pgcounts));
    Ok(rows.map(|((&iova, &paddr), (&pgsize, &pgcount))| MapCall { iova, paddr, pgsize, pgcount }))
}
