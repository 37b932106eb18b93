//! Arguments that are a number from 0 to 2^64 - 1, or to 2^32 - 1.

use alloc::format;
use alloc::string::String;

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;

use crate::python::convert::shown;
use crate::python::error;

/// An argument that counts or addresses bytes. Messages write it in hexadecimal.
#[derive(Clone, Copy)]
pub(crate) struct Amount(pub(crate) u64);

impl<'a, 'py> FromPyObject<'a, 'py> for Amount {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        object.extract().map(Self).map_err(|failure| unfit(failure, &object, shown::hex, 64))
    }
}

/// An argument that messages write in decimal: a granule, an order, or a number of things.
#[derive(Clone, Copy)]
pub(crate) struct Decimal(pub(crate) u64);

impl<'a, 'py> FromPyObject<'a, 'py> for Decimal {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        object.extract().map(Self).map_err(|failure| unfit(failure, &object, shown::decimal, 64))
    }
}

/// As [`Decimal`], in 32 bits.
#[derive(Clone, Copy)]
pub(crate) struct Narrow(pub(crate) u32);

impl<'a, 'py> FromPyObject<'a, 'py> for Narrow {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        object.extract().map(Self).map_err(|failure| unfit(failure, &object, shown::decimal, 32))
    }
}

/// The exception for a number that does not fit into `bits`, if a failure says so, or the failure itself.
fn unfit<'py>(
    failure: PyErr,
    number: &Bound<'py, PyAny>,
    show: fn(&Bound<'py, PyAny>) -> String,
    bits: u32,
) -> PyErr {
    if !failure.is_instance_of::<PyOverflowError>(number.py()) {
        return failure;
    }
    let message = format!("{} is not a number from 0 to 2^{bits} - 1", show(number));
    error::new("RangeError", message, [("value", number)])
}
