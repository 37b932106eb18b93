//! The search of a sequence for a value, as `index` and `count` do it.

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::python::made;

/// An argument that is an end of the part to search, as `list.index` takes it: of any size.
#[derive(Clone, Copy)]
pub(crate) struct SearchEnd(pub(crate) isize);

impl<'a, 'py> FromPyObject<'a, 'py> for SearchEnd {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        object.extract().map(Self).or_else(|failure: PyErr| {
            if !failure.is_instance_of::<PyOverflowError>(object.py()) {
                return Err(failure);
            }
            let is_low = object.lt(0).unwrap_or(false);
            Ok(Self(if is_low { isize::MIN } else { isize::MAX }))
        })
    }
}

/// Converts the value to search for; `None` if no item can be equal to it.
pub(crate) fn wanted<'py, T>(value: &Bound<'py, PyAny>) -> PyResult<Option<T>>
where
    T: for<'a> FromPyObject<'a, 'py, Error = PyErr>,
{
    match value.extract() {
        Ok(value) => Ok(Some(value)),
        Err(failure) if is_misfit(&failure, value.py()) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Returns true if an exception only says that a value has the wrong type or size.
fn is_misfit(failure: &PyErr, py: Python<'_>) -> bool {
    failure.is_instance_of::<PyTypeError>(py)
        || failure.is_instance_of::<PyOverflowError>(py)
        || failure.is_instance_of::<PyValueError>(py)
}

/// The result of `sequence.index(value, start, stop)`, for items of Rust.
pub(crate) fn index_of<T: PartialEq + Send + Sync>(
    py: Python<'_>,
    mut items: impl ExactSizeIterator<Item = T> + Send,
    value: Option<T>,
    (start, stop): (SearchEnd, SearchEnd),
) -> PyResult<usize> {
    let len = items.len();
    let place = |SearchEnd(at)| match at {
        0.. => at.unsigned_abs().min(len),
        _ => len.saturating_sub(at.unsigned_abs()),
    };
    let (start, stop) = (place(start), place(stop));
    let found = value.and_then(|value| {
        let rest = stop.saturating_sub(start);
        py.detach(|| {
            if start > 0 {
                items.nth(start - 1);
            }
            items.take(rest).position(|item| item == value)
        })
    });
    found.map(|at| start + at).ok_or_else(|| made::failure::<PyValueError>("no such item"))
}
