//! Builders, made and filled from the arguments of Python calls.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySlice, PyString, PyTuple};

use crate::granule::Granule;
use crate::list::builder::Builder;
use crate::list::phyr::Phyr;
use crate::python::convert::amounts::{Amount, Decimal};
use crate::python::convert::buffer::Array;
use crate::python::convert::exchange::{self, Batches};
use crate::python::convert::kind;
use crate::python::convert::numbers::{self, Numbers, PAIRS};
use crate::python::convert::shown;
use crate::python::error;
use crate::python::list::object::{self, PyPhyr};
use crate::python::made;

/// Makes an empty builder from arguments of Python.
pub(crate) fn empty(granule: Decimal, kind: &str) -> PyResult<Builder> {
    Ok(Builder::with(Granule::new(granule.0)?, kind::parse(kind)?))
}

/// The keyword arguments that all constructors of a list take.
pub(crate) struct Options {
    granule: Decimal,
    kind: Option<String>,
    offset: Amount,
    length: Option<Amount>,
}

impl Options {
    pub(crate) fn new(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let mut options =
            Self { granule: Decimal(4096), kind: None, offset: Amount(0), length: None };
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

/// Adds the name of the argument to an exception, as the note that `PyO3` adds for other arguments.
fn named(py: Python<'_>, name: &str, failure: PyErr) -> PyErr {
    let noted = error::add_note(py, &failure, &format!("while processing '{name}'"));
    noted.err().unwrap_or(failure)
}

/// Refuses what a loop would take for something else: a dict for its keys, and a text for its letters.
fn check_iterable(chunks: &Bound<'_, PyAny>) -> PyResult<()> {
    if chunks.is_instance_of::<PyDict>() || chunks.is_instance_of::<PyString>() {
        let what = shown::wrong("chunks", chunks, PAIRS);
        return Err(error::new("ArrayTypeError", what, error::NO_NUMBERS));
    }
    Ok(())
}

/// Appends the chunks of a `chunks` and a `lengths` argument.
pub(crate) fn chunks(
    py: Python<'_>,
    builder: &mut Builder,
    chunks: &Bound<'_, PyAny>,
    lengths: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    check_iterable(chunks)?;
    let mut append = |paddrs: &[u64], lengths: &[u64]| {
        builder.append_ranges(paddrs, lengths).map_err(|(_, why)| why)
    };
    let mut blocks = [Vec::new(), Vec::new()];
    let columns = match lengths {
        Some(lengths) => Some((Numbers::new(chunks)?, Numbers::new(lengths)?)),
        None => columns(chunks)?,
    };
    if let Some((paddrs, lengths)) = columns {
        return paddrs.for_each_pair(lengths, py, &mut blocks, append);
    }
    let batches = if is_of_python(chunks) { None } else { Batches::new(chunks)? };
    let Some(mut batches) = batches else {
        return numbers::for_each_pair_of(chunks, append);
    };
    let columns = batches.find(Some(NAMES))?;
    while let Some([paddrs, lengths]) = batches.next(py, &columns)? {
        let (paddrs, lengths) = (Numbers::of_array(paddrs), Numbers::of_array(lengths));
        paddrs.for_each_pair(lengths, py, &mut blocks, &mut append)?;
    }
    Ok(())
}

/// The columns of a table that say what a chunk is.
const NAMES: [&str; 2] = ["paddr", "length"];

/// Returns true if an object is one of Python's own, without any protocol.
fn is_of_python(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>()
}

/// The columns of an array of records, or of a data frame of pandas, which has arrays, too.
fn columns<'py>(table: &Bound<'py, PyAny>) -> PyResult<Option<(Numbers<'py>, Numbers<'py>)>> {
    if is_of_python(table) {
        return Ok(None);
    }
    let column = |name| table.get_item(made::text(table.py(), name)?);
    let [paddr, length] = NAMES;
    // The class is asked: some tables look for a column of that name, and run a query to do so.
    let class = table.get_type();
    if exchange::optional(&class, "dtype")?.is_some() {
        let dtype = made::attribute(table, "dtype")?;
        let array = |column: Bound<'py, PyAny>| Array::column(&column).map(Numbers::of_array);
        // Only NumPy's records have names: those of Arrow's structs are found there.
        if let Some(names) = exchange::optional(&dtype, "names")?.filter(|names| !names.is_none()) {
            if !has(&dtype, "names")? {
                let what = format!(
                    "an array of records {} has no {paddr:?} and {length:?}",
                    names.repr()?.to_string_lossy()
                );
                return Err(error::new("ArrayTypeError", what, error::NO_NUMBERS));
            }
            return Ok(Some((array(column(paddr)?)?, array(column(length)?)?)));
        }
        if is_pairs(table, &dtype)? {
            let side = |number: usize| table.get_item((PySlice::full(table.py()), number));
            return Ok(Some((array(side(0)?)?, array(side(1)?)?)));
        }
        return Ok(None);
    }
    if exchange::optional(&class, "iloc")?.is_some() && has(table, "columns")? {
        return Ok(Some((Numbers::new(&column(paddr)?)?, Numbers::new(&column(length)?)?)));
    }
    Ok(None)
}

/// Returns true if an array has rows of two integers of this machine.
fn is_pairs(array: &Bound<'_, PyAny>, dtype: &Bound<'_, PyAny>) -> PyResult<bool> {
    let Some(shape) = exchange::optional(array, "shape")? else { return Ok(false) };
    let is_two = shape.extract::<(usize, usize)>().is_ok_and(|(_, columns)| columns == 2);
    let kind = exchange::optional(dtype, "kind")?;
    let is_integer = kind
        .is_some_and(|kind| kind.extract::<String>().is_ok_and(|kind| matches!(&*kind, "u" | "i")));
    let is_native = exchange::optional(dtype, "isnative")?;
    Ok(is_two && is_integer && is_native.is_some_and(|is| is.is_truthy().unwrap_or_default()))
}

/// Returns true if `object.attribute` is there and holds all names.
fn has(object: &Bound<'_, PyAny>, attribute: &str) -> PyResult<bool> {
    let Some(holder) = exchange::optional(object, attribute)? else { return Ok(false) };
    for name in NAMES {
        if holder.is_none() || !holder.contains(made::text(object.py(), name)?)? {
            return Ok(false);
        }
    }
    Ok(true)
}
