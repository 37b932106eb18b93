//! Places in a list: indices and slices in brackets, positions and numbers of chunks as arguments.

use alloc::format;

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PySlice;

use crate::python::convert::exchange;
use crate::python::convert::shown::{decimal, hex, text};
use crate::python::error;
use crate::python::made;

/// The key of `list[key]`, adjusted to the length of a list.
pub(crate) enum Key {
    /// A position; `None` if it is not inside the list.
    Index(Option<u64>),
    /// A range, limited to the list as Python does.
    Slice(Range),
}

/// A slice of a list. If the step is not 1, the bounds have no meaning.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    start: u64,
    end: u64,
    has_step: bool,
}

impl Range {
    /// Returns start and end. Refuses a slice with a step.
    #[inline]
    pub(crate) fn bounds(self, key: &Bound<'_, PyAny>) -> PyResult<(u64, u64)> {
        if !self.has_step {
            return Ok((self.start, self.end));
        }
        let step = made::attribute(key, "step")?;
        let what = format!("slice step {} is not 1", decimal(&step));
        Err(error::new("RangeError", what, [("step", &step)]))
    }
}

impl Key {
    #[inline]
    pub(crate) fn new(key: &Bound<'_, PyAny>, length: u64) -> PyResult<Self> {
        if let Ok(slice) = key.cast::<PySlice>() {
            let (start, end, has_step) = if let Ok(length) = isize::try_from(length) {
                let indices = slice.indices(length)?;
                let end = indices.stop.max(0).unsigned_abs() as u64;
                (indices.start.unsigned_abs() as u64, end, indices.step != 1)
            } else {
                // The C interface has a limit for lengths; Python's own method has none.
                let indices =
                    made::call(&made::attribute(slice, "indices")?, &made::int(key.py(), length)?)?;
                let (start, end, step): (i128, i128, i128) = indices.extract()?;
                let bound = |at| u64::try_from(at).unwrap_or(0);
                (bound(start), bound(end), step != 1)
            };
            return Ok(Self::Slice(Range { start, end: end.max(start), has_step }));
        }
        let index = match key.extract::<i64>() {
            Ok(index) if index < 0 => length.checked_sub(index.unsigned_abs()),
            Ok(index) => Some(index.unsigned_abs()),
            Err(failure) if failure.is_instance_of::<PyOverflowError>(key.py()) => {
                // Numbers from 2^63 on, or below -2^63.
                match key.extract::<i128>() {
                    Ok(index) if index < 0 => u64::try_from(i128::from(length) + index).ok(),
                    Ok(index) => u64::try_from(index).ok(),
                    Err(_) => None,
                }
            }
            Err(failure) if exchange::optional(&key.get_type(), "__index__")?.is_some() => {
                return Err(failure);
            }
            Err(_) => {
                return Err(made::failure::<PyTypeError>(format!(
                    "a position is {}, not an int or a slice",
                    text(key)
                )));
            }
        };
        Ok(Self::Index(index.filter(|&index| index < length)))
    }
}

/// An argument that is sought in a list: a position, or the number of a chunk.
pub(crate) enum Sought<'py> {
    /// A number from 0 to 2^64 - 1. The list checks that it is inside.
    Number(u64),
    /// A number that is outside every list.
    Outside(Bound<'py, PyAny>),
}

impl<'py> FromPyObject<'_, 'py> for Sought<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match object.extract() {
            Ok(number) => Ok(Self::Number(number)),
            Err(failure) if failure.is_instance_of::<PyOverflowError>(object.py()) => {
                Ok(Self::Outside(object.to_owned()))
            }
            Err(failure) => Err(failure),
        }
    }
}

impl Sought<'_> {
    /// The number. `length` is asked for the message that it is outside.
    #[inline]
    pub(crate) fn number(self, length: impl FnOnce() -> u64, what: Indexed) -> PyResult<u64> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Outside(number) => Err(outside(&number, length(), what)),
        }
    }
}

/// Something that is indexed.
#[derive(Clone, Copy)]
pub(crate) enum Indexed {
    /// A list or a memory, by bytes.
    Bytes(&'static str),
    /// The chunks of a list.
    Chunks,
    /// The items of a column.
    Items,
}

/// The exception for an index outside something of this length. Its numbers are `position` and `length`,
/// in bytes; or `number`, and `nr_chunks` or `nr_items`.
pub(crate) fn outside(key: &Bound<'_, PyAny>, length: u64, what: Indexed) -> PyErr {
    let (names, message) = match what {
        Indexed::Bytes(what) => {
            let message = format!("position {} is outside a {what} of {length:#x} bytes", hex(key));
            (["position", "length"], message)
        }
        Indexed::Chunks => {
            let message = format!("chunk {} is outside a list of {length} chunks", decimal(key));
            (["number", "nr_chunks"], message)
        }
        Indexed::Items => {
            let message = format!("item {} is outside a column of {length} items", decimal(key));
            (["number", "nr_items"], message)
        }
    };
    let numbers = made::int(key.py(), length)
        .map(|length| [(names[0], key.clone().unbind()), (names[1], length.unbind())]);
    error::new("PositionError", message, numbers.into_iter().flatten())
}
