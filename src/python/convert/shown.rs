//! Arguments as messages show them.

use alloc::format;
use alloc::string::{String, ToString};

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::python::made;

/// The shortened repr of an object.
pub(crate) fn text(object: &Bound<'_, PyAny>) -> String {
    match object.repr() {
        Ok(repr) => shortened(&repr),
        Err(_) => object.get_type().to_string(),
    }
}

/// The message for an object of a wrong type: an argument, or an item of one, by its name.
pub(crate) fn wrong(name: &str, object: &Bound<'_, PyAny>, wanted: &str) -> String {
    format!("{name} is of {}, not {wanted}", object.get_type())
}

/// The same for an argument whose name the call puts before the message (`python/calls.rs`).
pub(crate) fn wrong_argument(object: &Bound<'_, PyAny>, wanted: &str) -> String {
    format!("{} is not {wanted}", object.get_type())
}

/// A number of any size and type in hexadecimal, as addresses and lengths are written.
pub(crate) fn hex(number: &Bound<'_, PyAny>) -> String {
    formatted(number, "#x").unwrap_or_else(|_| text(number))
}

/// A number of any size and type in decimal, as counts and granules are written. Python writes none of
/// thousands of digits in decimal: such a number is in hexadecimal.
pub(crate) fn decimal(number: &Bound<'_, PyAny>) -> String {
    formatted(number, "d").unwrap_or_else(|_| hex(number))
}

/// The start of a number's digits. A number of another class is an `int` first: its repr and its own
/// format may say more than the number.
fn formatted(number: &Bound<'_, PyAny>, how: &str) -> PyResult<String> {
    let number = made::attribute(number, "__index__")?.call0()?;
    let how = made::text(number.py(), how)?;
    let digits = made::call(&made::attribute(&number, "__format__")?, how.as_any())?;
    Ok(shortened(&digits.cast_into::<PyString>()?))
}

/// The start of a text.
fn shortened(text: &Bound<'_, PyString>) -> String {
    const MOST: usize = 60;

    let text = text.to_string_lossy();
    match text.char_indices().nth(MOST) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text.to_string(),
    }
}
