//! Kinds as strings: `"ram"`, `"mmio"` and `"mmio:7"`.

use alloc::borrow::Cow;
use alloc::format;

use pyo3::prelude::*;

use super::error;
use crate::kind::Kind;

/// The kind that a string names.
pub(super) fn parse(name: &str) -> PyResult<Kind> {
    match name {
        "ram" => return Ok(Kind::Ram),
        "mmio" => return Ok(Kind::Mmio { provider: 0 }),
        _ => (),
    }
    let provider = name.strip_prefix("mmio:").and_then(|number| number.parse().ok());
    provider.map(|provider| Kind::Mmio { provider }).ok_or_else(|| {
        error::new(
            "RangeError",
            format!("kind {name:?} is not \"ram\", \"mmio\" or \"mmio:N\" with N below 2^32"),
            &[],
        )
    })
}

/// The string that names a kind.
pub(super) fn name(kind: Kind) -> Cow<'static, str> {
    match kind {
        Kind::Ram => "ram".into(),
        Kind::Mmio { provider: 0 } => "mmio".into(),
        Kind::Mmio { provider } => format!("mmio:{provider}").into(),
    }
}
