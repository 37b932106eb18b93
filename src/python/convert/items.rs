//! Sequences as arguments.

use alloc::vec::Vec;

use pyo3::conversion::FromPyObjectOwned;
use pyo3::prelude::*;
use pyo3::types::PySequence;

use crate::python::convert::numbers;

/// Items after which the interpreter may handle signals.
pub(crate) const SIGNALS: usize = 1 << 16;

/// Lets the interpreter handle signals. For work in Rust without the interpreter, which then ends with
/// the exception of a signal's handler.
pub(crate) fn signals() -> PyResult<()> {
    let check = |py: Python<'_>| py.check_signals();
    Python::attach(check)
}

/// The items of a sequence, read one by one. `PyO3` would allocate as many as the sequence claims to
/// have, and abort if there is no memory.
#[derive(Debug)]
pub(crate) struct Items<T>(pub(crate) Vec<T>);

impl<'a, 'py, T: FromPyObjectOwned<'py>> FromPyObject<'a, 'py> for Items<T> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let mut items = Vec::new();
        for item in object.cast::<PySequence>()?.try_iter()? {
            if items.len() % SIGNALS == SIGNALS - 1 {
                object.py().check_signals()?;
            }
            numbers::reserve(&mut items, 1)?;
            items.push(item?.extract().map_err(Into::into)?);
        }
        Ok(Self(items))
    }
}
