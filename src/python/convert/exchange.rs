//! Columns and tables of other libraries, found by the protocols that their objects have.
//!
//! Tried in this order: the Arrow C data interface, an array and then a stream; DLPack; `__array__`. The
//! buffer protocol comes before all of them, in `numbers`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use pyo3::exceptions::{PyAttributeError, PyImportError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::python::convert::arrow::{Batch, Layout, Owned, Schema, Stream, Unfit, take};
use crate::python::convert::buffer::{Array, Item};
use crate::python::convert::dlpack;
use crate::python::error;
use crate::python::made;

fn wrong_type(what: String) -> PyErr {
    error::new("ArrayTypeError", what, error::NO_NUMBERS)
}

fn broken(what: String) -> PyErr {
    error::new("ArrayError", what, error::NO_NUMBERS)
}

/// `object.name`, if there is one.
pub(crate) fn optional<'py>(
    object: &Bound<'py, PyAny>,
    name: &str,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match made::attribute(object, name) {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.is_instance_of::<PyAttributeError>(object.py()) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Returns the result of `object.name()`; `None` if there is no such method, or if the method
/// raises `ImportError`, since it needs a package that is not there.
fn asked<'py>(object: &Bound<'py, PyAny>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(method) = optional(object, name)? else { return Ok(None) };
    match method.call0() {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.is_instance_of::<PyImportError>(object.py()) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The number of a column in its table, if it has one, and its items.
pub(crate) type Column = (Option<usize>, Item);

/// Columns of Arrow's: one batch, or those of a stream.
#[derive(Debug)]
pub(crate) struct Batches {
    layout: Layout,
    one: Option<Batch>,
    stream: Option<Owned<Stream>>,
    /// Items of the batches before.
    done: usize,
}

impl Batches {
    /// Takes the batches that an object exports through the Arrow C data interface; `None` if it
    /// exports none.
    pub(crate) fn new(object: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let not = |method: &str, what: &str, answer: &Bound<'_, PyAny>| {
            wrong_type(format!(
                "{method} of {} returned {}, not {what} that nobody took",
                object.get_type(),
                answer.get_type()
            ))
        };
        if let Some(answer) = asked(object, "__arrow_c_array__")? {
            let pair = answer.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
            let schema = pair.and_then(|pair| take::<Schema>(&pair.get_item(0).ok()?));
            let items = pair.and_then(|pair| take(&pair.get_item(1).ok()?));
            let (Some(schema), Some(items)) = (schema, items) else {
                return Err(not("__arrow_c_array__", "capsules of a schema and an array", &answer));
            };
            let one = Some(Batch::new(items)?);
            return Ok(Some(Self { layout: schema.layout(), one, stream: None, done: 0 }));
        }
        let Some(answer) = asked(object, "__arrow_c_stream__")? else { return Ok(None) };
        let Some(mut stream) = take::<Stream>(&answer) else {
            return Err(not("__arrow_c_stream__", "a capsule of a stream", &answer));
        };
        let schema = object.py().detach(|| stream.schema()).map_err(|said| failed(&said))?;
        Ok(Some(Self { layout: schema.layout(), one: None, stream: Some(stream), done: 0 }))
    }

    /// The columns of the next batch that [`Self::find`] found.
    pub(crate) fn next<const N: usize>(
        &mut self,
        py: Python<'_>,
        columns: &[Column; N],
    ) -> PyResult<Option<[Array; N]>> {
        let batch = match (self.one.take(), &mut self.stream) {
            (Some(batch), _) => batch,
            // A stream may be made of Python of its own, on threads of its own.
            (None, Some(stream)) => {
                let next = py.detach(|| stream.next()).map_err(|said| failed(&said))?;
                let Some(items) = next else {
                    self.stream = None;
                    return Ok(None);
                };
                Batch::new(items)?
            }
            (None, None) => return Ok(None),
        };
        let mut arrays = Vec::new();
        for &(number, item) in columns {
            arrays.push(batch.column(number, item, self.done).map_err(|why| match why {
                Unfit::Broken => broken(format!(
                    "the batch of Arrow's after {} items has a length, an offset or a pointer that \
                     no array has",
                    self.done
                )),
                Unfit::Null(at) => {
                    let index = self.done + at;
                    let what = format!("item {index} of the array is null");
                    error::new("ArrayError", what, [("index", index as u64)])
                }
            })?);
        }
        self.done += arrays.first().map_or(0, Array::len);
        Ok(<[Array; N]>::try_from(arrays).ok())
    }

    /// The columns of a table by their names, or, without names, the only column.
    pub(crate) fn find<const N: usize>(&self, names: Option<[&str; N]>) -> PyResult<[Column; N]> {
        let integers = |number: Option<usize>, layout: &Layout| {
            let what = match layout {
                Layout::Integers(item) => return Ok((number, *item)),
                Layout::Struct(_) => "structs".into(),
                Layout::Other(format) => type_name(format),
            };
            let name = match (&self.layout, number) {
                (Layout::Struct(fields), Some(at)) => format!("column {:?}", fields[at].0),
                _ => "a column".into(),
            };
            Err(wrong_type(format!("{name} of {what} does not hold integers: cast it to uint64")))
        };
        let found = match (&self.layout, names) {
            (Layout::Struct(fields), Some(names)) => names
                .iter()
                .map(|name| {
                    let at = fields.iter().position(|(field, _)| field == name);
                    let at = at.ok_or_else(|| {
                        let given = named(fields);
                        wrong_type(format!("a table of {given} has no column {name:?}"))
                    })?;
                    integers(Some(at), &fields[at].1)
                })
                .collect::<PyResult<Vec<_>>>()?,
            (Layout::Struct(fields), None) => {
                let [(_, layout)] = fields.as_slice() else {
                    let given = named(fields);
                    let what = format!("a table of {given} is not one column; pick one");
                    return Err(wrong_type(what));
                };
                Vec::from([integers(Some(0), layout)?])
            }
            (layout, None) => Vec::from([integers(None, layout)?]),
            (_, Some(names)) => {
                return Err(wrong_type(format!("one column is not a table of {names:?}")));
            }
        };
        found.try_into().map_err(|_| wrong_type("one column is asked for".into()))
    }
}

/// The name of a type of Arrow's that has no integers, by its format (the C data interface).
fn type_name(format: &str) -> String {
    let name = match format.split(':').next().unwrap_or_default() {
        "n" => "nulls",
        "b" => "booleans",
        "e" => "float16",
        "f" => "float32",
        "g" => "float64",
        "d" => "decimals",
        "u" | "U" | "vu" => "strings",
        "z" | "Z" | "vz" | "w" => "bytes",
        "dictionary" => "a dictionary",
        _ => return format!("format {format:?}"),
    };
    name.into()
}

/// The names of columns, of which there may be many.
fn named(fields: &[(String, Layout)]) -> String {
    const SHOWN: usize = 6;

    let names: Vec<_> = fields.iter().take(SHOWN).map(|(name, _)| format!("{name:?}")).collect();
    let more = if fields.len() > SHOWN { ", ..." } else { "" };
    format!("{} columns ({}{more})", fields.len(), names.join(", "))
}

/// The exception for a stream that failed.
fn failed(said: &str) -> PyErr {
    broken(format!("the Arrow stream failed: {said}"))
}

/// Takes the array that an object hands over by DLPack, or else returns from `__array__`; `None` if
/// it can do neither.
pub(crate) fn array(object: &Bound<'_, PyAny>) -> PyResult<Option<Array>> {
    if let Some(method) = optional(object, "__dlpack__")? {
        return dlpack_array(object, &method).map(Some);
    }
    let Some(answer) = asked(object, "__array__")? else { return Ok(None) };
    if Array::is_lent_by(&answer) {
        return Array::new(&answer, false).map(Some);
    }
    let (class, other) = (object.get_type(), answer.get_type());
    Err(wrong_type(format!("__array__ of {class} returned {other}, not an array")))
}

fn dlpack_array(object: &Bound<'_, PyAny>, method: &Bound<'_, PyAny>) -> PyResult<Array> {
    let py = object.py();
    if let Some(answer) = asked(object, "__dlpack_device__")? {
        let device = answer.extract::<(i32, i32)>().map_or(-1, |(device, _)| device);
        if device != dlpack::CPU {
            return Err(wrong_type(format!(
                "{} is in memory of device {}, not that of the CPU",
                object.get_type(),
                answer.str()?.to_string_lossy()
            )));
        }
    }
    let keywords = made::dict(py)?;
    keywords.set_item(made::text(py, "max_version")?, made::numbers(py, [1, 0])?)?;
    let answer = match method.call((), Some(&keywords)) {
        // The protocol before version 1 has no such keyword.
        Err(failure) if failure.is_instance_of::<PyTypeError>(py) => method.call0(),
        answer => answer,
    }?;
    match dlpack::take(&answer) {
        Some(Ok(array)) => Ok(array),
        Some(Err(why)) => Err(wrong_type(format!("what {} hands over {why}", object.get_type()))),
        None => Err(wrong_type(format!(
            "__dlpack__ of {} returned {}, not a capsule of DLPack's that nobody took",
            object.get_type(),
            answer.get_type()
        ))),
    }
}
