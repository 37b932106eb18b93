//! Arguments that are a number from 0 to 2^64 - 1: amounts, positions, numbers of chunks.

use alloc::format;
use alloc::string::String;

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;

use crate::python::convert::shown::{hex, text};
use crate::python::error;

/// An argument that counts or addresses bytes: a number from 0 to 2^64 - 1.
#[derive(Clone, Copy)]
pub(crate) struct Amount(pub(crate) u64);

impl<'a, 'py> FromPyObject<'a, 'py> for Amount {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        object.extract().map(Self).map_err(|failure: PyErr| {
            if !failure.is_instance_of::<PyOverflowError>(object.py()) {
                return failure;
            }
            let what = format!("{} is not a number from 0 to 2^64 - 1", text(&object));
            error::new("RangeError", what, [("value", object.to_owned().unbind())])
        })
    }
}

/// An argument that is a position in a list, in bytes. The list checks that it is inside.
#[derive(Clone, Copy)]
pub(crate) struct Position(pub(crate) u64);

impl<'a, 'py> FromPyObject<'a, 'py> for Position {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        inside_some(object, |object| format!("position {}", hex(object))).map(Self)
    }
}

/// An argument that is the number of a chunk. The list checks that it has so many.
#[derive(Clone, Copy)]
pub(crate) struct Number(pub(crate) u64);

impl<'a, 'py> FromPyObject<'a, 'py> for Number {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        inside_some(object, |object| format!("chunk {}", text(object))).map(Self)
    }
}

/// A place that some list may have: a number from 0 to 2^64 - 1. `what` shows another for the message.
fn inside_some(
    object: Borrowed<'_, '_, PyAny>,
    what: impl FnOnce(&Bound<'_, PyAny>) -> String,
) -> PyResult<u64> {
    object.extract().map_err(|failure: PyErr| {
        if !failure.is_instance_of::<PyOverflowError>(object.py()) {
            return failure;
        }
        let what = format!("{} is outside any list: places in it run from 0", what(&object));
        error::new("PositionError", what, [("value", object.to_owned().unbind())])
    })
}
