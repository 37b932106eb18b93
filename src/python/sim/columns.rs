//! Columns of a plan: phyr's own, lent arrays, or anything with numbers.

use alloc::format;
use alloc::vec::Vec;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::python::convert::buffer::Array;
use crate::python::convert::numbers::Numbers;
use crate::python::convert::shown;
use crate::python::list::column::PyColumn;
use crate::python::made;

/// A column of a plan.
pub(crate) enum Column<'py> {
    Ours(Bound<'py, PyColumn>),
    /// An array of `u64`. It is copied a block at a time, because it may change while it is read.
    Lent(Array),
    Copy(Vec<u64>),
}

impl<'py> Column<'py> {
    pub(crate) fn new(plan: &Bound<'py, PyAny>, name: &str) -> PyResult<Self> {
        let column = plan.getattr_opt(made::text(plan.py(), name)?)?.ok_or_else(|| {
            let wanted = format!("a Plan: it has no {name}");
            made::failure::<PyTypeError>(shown::wrong("plan", plan, &wanted))
        })?;
        let column = match column.cast_into::<PyColumn>() {
            Ok(column) => return Ok(Self::Ours(column)),
            Err(other) => other.into_inner(),
        };
        match Numbers::new(&column)? {
            Numbers::Array { array, .. } if array.is_u64() => Ok(Self::Lent(array)),
            numbers => Ok(Self::Copy(numbers.read_all(plan.py())?)),
        }
    }

    /// The column without its references to the interpreter.
    pub(crate) fn source(&self) -> Source<'_> {
        match self {
            Self::Ours(column) => Source::Items(column.get().items()),
            Self::Lent(array) => Source::Array(array),
            Self::Copy(items) => Source::Items(items),
        }
    }
}

/// The numbers of a column.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Items(&'a [u64]),
    Array(&'a Array),
}

impl<'a> Source<'a> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Items(items) => items.len(),
            Self::Array(array) => array.len(),
        }
    }

    /// Items `start..end`. They are copied to `block` if they cannot be used in place.
    pub(crate) fn block<'b>(self, start: usize, end: usize, block: &'b mut Vec<u64>) -> &'b [u64]
    where
        'a: 'b,
    {
        match self {
            Self::Items(items) => &items[start..end],
            Self::Array(array) => {
                block.clear();
                array.copy_u64(start, end - start, block);
                block
            }
        }
    }
}
