//! Arrays and iterables of numbers, as arguments.

use alloc::format;
use alloc::vec::Vec;

use pyo3::exceptions::{PyMemoryError, PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyIterator, PyList, PyTuple};

use crate::error::Error;
use crate::python::convert::buffer::Array;
use crate::python::convert::exchange::{self, Batches, Column};
use crate::python::convert::shown;
use crate::python::error;
use crate::python::made;

/// Numbers passed on at a time: as many as fit in the second level cache. After each such block the
/// interpreter may handle signals.
const BLOCK_NUMBERS: usize = 16 << 10;

/// An argument that says what the chunks of a list are.
pub(crate) const PAIRS: &str = "an iterable of pairs (paddr, length), or a table";

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
                shown::wrong_argument(object, "an array or an iterable of ints"),
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
            let what = shown::wrong("chunks", pairs, PAIRS);
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
                    let what = shown::wrong(&format!("item {at}"), &pair, "a pair (paddr, length)");
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

/// Item `at` of some input, as an unsigned number. It is an address, a position, a length or a page number,
/// which messages write in hexadecimal.
fn number(item: &Bound<'_, PyAny>, at: u64) -> PyResult<u64> {
    item.extract().map_err(|failure: PyErr| {
        let py = item.py();
        if failure.is_instance_of::<PyOverflowError>(py) {
            let number = shown::hex(item);
            let what = format!("item {at} is {number}, not a number from 0 to 2^64 - 1");
            let index = match made::int(py, at) {
                Ok(index) => index,
                Err(short) => return short,
            };
            error::new("ArrayError", what, [("index", &index), ("value", item)])
        } else if failure.is_instance_of::<PyTypeError>(py) {
            let what = format!("item {at} is {}, not an int", shown::text(item));
            error::new("ArrayTypeError", what, [("index", at)])
        } else {
            failure
        }
    })
}
