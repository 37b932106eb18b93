//! Kinds as strings: `"ram"`, `"user"`, `"mmio"` and `"mmio:7"`.

use alloc::format;

use pyo3::prelude::*;

use crate::kind::Kind;
use crate::python::error;

/// Parses the name of a kind.
pub(crate) fn parse(name: &str) -> PyResult<Kind> {
    match name {
        "ram" => return Ok(Kind::Ram),
        "user" => return Ok(Kind::User),
        "mmio" => return Ok(Kind::Mmio { provider: 0 }),
        _ => (),
    }
    let digits = name.strip_prefix("mmio:").filter(|digits| !digits.starts_with('+'));
    let provider = digits.and_then(|digits| digits.parse().ok());
    provider.map(|provider| Kind::Mmio { provider }).ok_or_else(|| {
        error::new(
            "RangeError",
            format!(
                "kind {name:?} is not \"ram\", \"user\", \"mmio\" or \"mmio:N\" with N below 2^32"
            ),
            error::NO_NUMBERS,
        )
    })
}
