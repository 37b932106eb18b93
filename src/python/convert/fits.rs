//! NumPy's conversions cut numbers that do not fit; an address that is cut is another address.

use alloc::format;

use pyo3::prelude::*;

use crate::python::{error, made};

/// Refuses an array that was converted from `original` and cannot be converted back.
pub(crate) fn check(converted: &Bound<'_, PyAny>, original: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = converted.py();
    let dtype = made::attribute(original, "dtype")?;
    let other = made::attribute(converted, "dtype")?;
    if other.eq(&dtype)? {
        return Ok(());
    }
    let back = made::call(&made::attribute(converted, "astype")?, &dtype)?;
    let equal = made::attribute(&made::module(py, "numpy")?, "array_equal")?;
    if equal.call1(made::objects(py, [&back, original])?)?.is_truthy()? {
        return Ok(());
    }
    let what = format!("not every number fits in {}", other.str()?.to_string_lossy());
    Err(error::new("RangeError", what, error::NO_NUMBERS))
}
