//! Numbers from Python: arrays and iterables of them, positions, slices.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use pyo3::exceptions::{PyMemoryError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyIterator, PyList, PySlice, PyString, PyTuple};

use crate::error::Error;
use crate::python::convert::buffer::Array;
use crate::python::convert::exchange::{self, Batches, Column};
use crate::python::error;
use crate::python::made;

/// Numbers passed on at a time: as many as fit in the second level cache. After each such block the
/// interpreter may handle signals.
const BLOCK_NUMBERS: usize = 16 << 10;

/// A source of numbers.
pub(crate) enum Numbers<'py> {
    Array { array: Array, at: usize },
    Batches { py: Python<'py>, batches: Batches, column: Column, array: Option<Array>, at: usize },
    Iterator { iterator: Bound<'py, PyIterator>, at: u64 },
}

impl<'py> Numbers<'py> {
    /// Numbers of anything that lends memory (`bytes` hold packed `u64`), hands over a column or can be
    /// iterated.
    pub(crate) fn new(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let raw = object.is_instance_of::<PyBytes>() || object.is_instance_of::<PyByteArray>();
        if raw || Array::is_lent_by(object) {
            return Ok(Self::of_array(Array::new(object, raw)?));
        }
        if !object.is_instance_of::<PyList>() && !object.is_instance_of::<PyTuple>() {
            // pandas mostly keeps NumPy arrays. Taking the array is shorter than the way by Arrow.
            if exchange::optional(object, "iloc")?.is_some() {
                if let Ok(Some(array)) = exchange::array(object) {
                    return Ok(Self::of_array(array));
                }
            }
            if let Some(batches) = Batches::new(object)? {
                let (py, [column]) = (object.py(), batches.find(None)?);
                return Ok(Self::Batches { py, batches, column, array: None, at: 0 });
            }
            if let Some(array) = exchange::array(object)? {
                return Ok(Self::of_array(array));
            }
        }
        match object.try_iter() {
            Ok(iterator) => Ok(Self::Iterator { iterator, at: 0 }),
            Err(failure) if !failure.is_instance_of::<PyTypeError>(object.py()) => Err(failure),
            Err(_) => Err(error::new(
                "ArrayTypeError",
                format!("{} is neither an array nor an iterable of int", object.get_type()),
                error::NO_NUMBERS,
            )),
        }
    }

    /// A source from an array.
    pub(crate) fn of_array(array: Array) -> Self {
        Self::Array { array, at: 0 }
    }

    /// Replaces `block` with the next numbers; an empty block is the end.
    fn read(&mut self, block: &mut Vec<u64>) -> PyResult<()> {
        block.clear();
        match self {
            Self::Array { array, at } => {
                let count = BLOCK_NUMBERS.min(array.len() - *at);
                reserve(block, count)?;
                array.copy(*at, count, block)?;
                *at += count;
            }
            // Blocks are full up to the last, wherever batches end: two columns keep step.
            Self::Batches { py, batches, column, array, at } => loop {
                if let Some(array) = array {
                    let count = (BLOCK_NUMBERS - block.len()).min(array.len() - *at);
                    reserve(block, count)?;
                    array.copy(*at, count, block)?;
                    *at += count;
                    if block.len() == BLOCK_NUMBERS {
                        break;
                    }
                }
                *array = batches.next(*py, &[*column])?.map(|[next]| next);
                *at = 0;
                if array.is_none() {
                    break;
                }
            },
            Self::Iterator { iterator, at } => {
                for item in iterator.by_ref().take(BLOCK_NUMBERS) {
                    reserve(block, 1)?;
                    block.push(number(&item?, *at)?);
                    *at += 1;
                }
            }
        }
        Ok(())
    }

    /// Passes all numbers to `take`, a block at a time, with the interpreter released.
    pub(crate) fn for_each_block<E: Into<PyErr> + Send>(
        mut self,
        py: Python<'py>,
        mut take: impl FnMut(&[u64]) -> Result<(), E> + Send,
    ) -> PyResult<()> {
        let mut block = Vec::new();
        loop {
            self.read(&mut block)?;
            if block.is_empty() {
                return Ok(());
            }
            py.detach(|| take(&block)).map_err(Into::into)?;
            py.check_signals()?;
        }
    }

    /// All numbers.
    pub(crate) fn read_all(mut self, py: Python<'py>) -> PyResult<Vec<u64>> {
        let (mut all, mut block) = (Vec::new(), Vec::new());
        if let Self::Array { array, at } = &mut self {
            // Straight to where they stay, which takes half the time.
            reserve(&mut all, array.len() - *at)?;
            while *at < array.len() {
                let count = BLOCK_NUMBERS.min(array.len() - *at);
                array.copy(*at, count, &mut all)?;
                *at += count;
                py.check_signals()?;
            }
            return Ok(all);
        }
        loop {
            self.read(&mut block)?;
            if block.is_empty() {
                return Ok(all);
            }
            reserve(&mut all, block.len())?;
            all.extend_from_slice(&block);
            py.check_signals()?;
        }
    }

    /// Hands numbers from two sources of equal length to `take`, a block of each at a time, by way of two
    /// `blocks`, which may be used again.
    pub(crate) fn for_each_pair(
        mut self,
        mut other: Self,
        py: Python<'py>,
        [left, right]: &mut [Vec<u64>; 2],
        mut take: impl FnMut(&[u64], &[u64]) -> Result<(), Error> + Send,
    ) -> PyResult<()> {
        let mut at = 0;
        loop {
            self.read(left)?;
            other.read(right)?;
            let both = left.len().min(right.len());
            if left.len() != right.len() {
                let at = at + both as u64;
                return Err(error::new(
                    "ArrayError",
                    format!("one array ends after {at} items, the other goes on"),
                    [("items", at)],
                ));
            }
            if both == 0 {
                return Ok(());
            }
            at += both as u64;
            py.detach(|| take(left, right))?;
            py.check_signals()?;
        }
    }
}

/// Makes room for `count` more items.
pub(crate) fn reserve<T>(items: &mut Vec<T>, count: usize) -> PyResult<()> {
    items.try_reserve(count).map_err(|_| {
        let items = items.len() + count;
        made::failure::<PyMemoryError>(format!("no memory for {items} items"))
    })
}

/// Hands the pairs that an iterable yields to `take`, a block of left and right numbers at a time, with
/// the interpreter released.
pub(crate) fn for_each_pair_of(
    pairs: &Bound<'_, PyAny>,
    mut take: impl FnMut(&[u64], &[u64]) -> Result<(), Error> + Send,
) -> PyResult<()> {
    let py = pairs.py();
    let mut pairs = pairs
        .try_iter()
        .map_err(|failure| {
            if !failure.is_instance_of::<PyTypeError>(py) {
                return failure;
            }
            let what = format!("{} is not an iterable of (paddr, length)", pairs.get_type());
            error::new("ArrayTypeError", what, error::NO_NUMBERS)
        })?
        .zip(0_u64..);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        for (pair, at) in pairs.by_ref().take(BLOCK_NUMBERS) {
            let pair = pair?;
            match pair.len() {
                Ok(2) => (),
                Err(failure) if !failure.is_instance_of::<PyTypeError>(py) => return Err(failure),
                _ => {
                    let what = format!("item {at} is not a pair (paddr, length)");
                    return Err(error::new("ArrayTypeError", what, [("index", at)]));
                }
            }
            reserve(&mut left, 1)?;
            reserve(&mut right, 1)?;
            left.push(number(&pair.get_item(0)?, at)?);
            right.push(number(&pair.get_item(1)?, at)?);
        }
        if left.is_empty() {
            return Ok(());
        }
        py.detach(|| take(&left, &right))?;
        py.check_signals()?;
    }
}

/// Item `at` of some input, as an unsigned number.
fn number(item: &Bound<'_, PyAny>, at: u64) -> PyResult<u64> {
    item.extract().map_err(|failure: PyErr| {
        let py = item.py();
        if failure.is_instance_of::<PyOverflowError>(py) {
            let what = format!("item {at} is {}, not a number from 0 to 2^64 - 1", text(item));
            let index = match made::int(py, at) {
                Ok(index) => index,
                Err(short) => return short,
            };
            error::new("ArrayError", what, [("index", &index), ("value", item)])
        } else if failure.is_instance_of::<PyTypeError>(py) {
            let what = format!("item {at} is {}, not an int", text(item));
            error::new("ArrayTypeError", what, [("index", at)])
        } else {
            failure
        }
    })
}

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

/// The shortened repr of an object, for messages.
pub(crate) fn text(object: &Bound<'_, PyAny>) -> String {
    match object.repr() {
        Ok(repr) => shortened(&repr),
        Err(_) => object.get_type().to_string(),
    }
}

/// The start of a text, for messages.
fn shortened(text: &Bound<'_, PyString>) -> String {
    const MOST: usize = 60;

    let text = text.to_string_lossy();
    match text.char_indices().nth(MOST) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text.to_string(),
    }
}

/// A number of any size as positions are written, in hexadecimal.
pub(crate) fn hex(number: &Bound<'_, PyAny>) -> String {
    let shown = made::text(number.py(), "#x")
        .and_then(|how| made::call(&made::attribute(number, "__format__")?, how.as_any()));
    match shown.map(Bound::cast_into::<PyString>) {
        Ok(Ok(shown)) => shortened(&shown),
        _ => text(number),
    }
}

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
        let what = format!("slice step {} is not 1", text(&step));
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

/// The exception for an index outside something of this length.
pub(crate) fn outside(key: &Bound<'_, PyAny>, length: u64, what: Indexed) -> PyErr {
    let (names, message) = match what {
        Indexed::Bytes(what) => {
            let message = format!("position {} is outside a {what} of {length:#x} bytes", hex(key));
            (["position", "length"], message)
        }
        Indexed::Chunks => {
            let message = format!("chunk {} is outside a list of {length} chunks", text(key));
            (["number", "nr_chunks"], message)
        }
        Indexed::Items => {
            let message = format!("item {} is outside a column of {length} items", text(key));
            (["number", "nr_items"], message)
        }
    };
    let numbers = made::int(key.py(), length)
        .map(|length| [(names[0], key.clone().unbind()), (names[1], length.unbind())]);
    error::new("PositionError", message, numbers.into_iter().flatten())
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
