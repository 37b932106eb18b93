//! Builders made and filled of what Python hands in.

use pyo3::prelude::*;

use super::kind;
use super::numbers::{self, Amount, Numbers};
use crate::addr::Granule;
use crate::builder::Builder;

/// An empty builder, of arguments from Python.
pub(super) fn empty(granule: Amount, kind: &str) -> PyResult<Builder> {
    Ok(Builder::with(Granule::new(granule.0)?, kind::parse(kind)?))
}

/// Appends what a `chunks` and a `lengths` argument say.
pub(super) fn chunks(
    py: Python<'_>,
    builder: &mut Builder,
    chunks: &Bound<'_, PyAny>,
    lengths: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let append = |paddr, length| builder.append(paddr, length);
    match lengths {
        Some(lengths) => Numbers::new(chunks)?.for_each_pair(Numbers::new(lengths)?, py, append),
        None => numbers::for_each_pair_of(chunks, append),
    }
}
