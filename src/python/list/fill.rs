//! Builders, made and filled from the arguments of Python calls.

use alloc::format;
use alloc::string::String;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::granule::Granule;
use crate::list::builder::Builder;
use crate::list::phyr::Phyr;
use crate::python::convert::kind;
use crate::python::convert::numbers::{self, Amount, Numbers};
use crate::python::list::object::{self, PyPhyr};
use crate::python::made;

/// Makes an empty builder from arguments of Python.
pub(crate) fn empty(granule: Amount, kind: &str) -> PyResult<Builder> {
    Ok(Builder::with(Granule::new(granule.0)?, kind::parse(kind)?))
}

/// The keyword arguments that all constructors of a list take.
pub(crate) struct Options {
    granule: Amount,
    kind: Option<String>,
    offset: Amount,
    length: Option<Amount>,
}

impl Options {
    pub(crate) fn new(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let mut options =
            Self { granule: Amount(4096), kind: None, offset: Amount(0), length: None };
        for (name, value) in keywords.into_iter().flatten() {
            let name = name.extract::<String>()?;
            let taken = match &*name {
                "granule" => value.extract().map(|granule| options.granule = granule),
                "kind" => value.extract().map(|kind| options.kind = Some(kind)),
                "offset" => value.extract().map(|offset| options.offset = offset),
                "length" => value.extract().map(|length| options.length = length),
                _ => Err(made::failure::<PyTypeError>("unexpected keyword")),
            };
            taken.map_err(|failure: PyErr| named(value.py(), &name, failure))?;
        }
        Ok(options)
    }

    /// Makes a builder for such a list.
    pub(crate) fn empty(&self) -> PyResult<Builder> {
        empty(self.granule, self.kind.as_deref().unwrap_or("ram"))
    }

    /// Returns the part of the finished list that `offset` and `length` select.
    pub(crate) fn view(&self, phyr: &Phyr) -> PyResult<PyPhyr> {
        object::view(phyr, self.offset, self.length)
    }
}

/// Adds the name of the argument to an exception about a wrong type, as `PyO3` does by itself.
fn named(py: Python<'_>, name: &str, failure: PyErr) -> PyErr {
    if failure.is_instance_of::<PyTypeError>(py) {
        made::failure::<PyTypeError>(format!("argument '{name}': {}", failure.value(py)))
    } else {
        failure
    }
}

/// Appends the chunks of a `chunks` and a `lengths` argument.
pub(crate) fn chunks(
    py: Python<'_>,
    builder: &mut Builder,
    chunks: &Bound<'_, PyAny>,
    lengths: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let append = |paddr, length| builder.append(paddr, length);
    match lengths {
        Some(lengths) => Numbers::new(chunks)?.for_each_pair(Numbers::new(lengths)?, py, append),
        None => numbers::for_each_pair_of(chunks, append),
    }
}
