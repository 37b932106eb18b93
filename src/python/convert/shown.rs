//! Arguments as messages show them.

use alloc::format;
use alloc::string::{String, ToString};

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::python::made;

/// The shortened repr of an object, for messages.
pub(crate) fn text(object: &Bound<'_, PyAny>) -> String {
    match object.repr() {
        Ok(repr) => shortened(&repr),
        Err(_) => object.get_type().to_string(),
    }
}

/// The start of a text, for messages.
fn shortened(text: &Bound<'_, PyString>) -> String {
    const MOST: usize = 60;

    let text = text.to_string_lossy();
    match text.char_indices().nth(MOST) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text.to_string(),
    }
}

/// A number of any size as positions are written, in hexadecimal.
pub(crate) fn hex(number: &Bound<'_, PyAny>) -> String {
    let shown = made::text(number.py(), "#x")
        .and_then(|how| made::call(&made::attribute(number, "__format__")?, how.as_any()));
    match shown.map(Bound::cast_into::<PyString>) {
        Ok(Ok(shown)) => shortened(&shown),
        _ => text(number),
    }
}
