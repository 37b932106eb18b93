//! A list cut into consecutive parts.

use alloc::vec::Vec;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::desc;
use crate::python::convert::amounts::Amount;
use crate::python::convert::numbers::{self, Numbers};
use crate::python::desc::descriptors::SIGNALS;
use crate::python::list::either::Either;
use crate::python::made;

/// Cut a list into consecutive parts, which share its storage.
///
/// A length of 0 gives no part. Bytes after the last part are left out.
///
/// Args:
///     phyr: The list.
///     lengths: Array or iterable of lengths in bytes.
///     start: Position of the first part in bytes.
///
/// Raises:
///     RangeError: A part passes the end of the list.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> [part.length for part in split(Phyr.from_pfns([1, 5]), [0x800, 0, 0x1000], start=0x100)]
///     [2048, 4096]
///
/// Source:
///     As ``sg_split()``, ``lib/sg_split.c``, Linux, but without entries of length 0.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (phyr, lengths, *, start=Amount(0)),
    text_signature = "(phyr, lengths, *, start=0)"
)]
#[expect(clippy::needless_pass_by_value, reason = "arguments are")]
pub(crate) fn split<'py>(
    py: Python<'py>,
    phyr: Either,
    lengths: &Bound<'_, PyAny>,
    start: Amount,
) -> PyResult<Bound<'py, PyList>> {
    let list = &phyr.list();
    let (parts, mut all) = (made::list(py)?, Vec::new());
    Numbers::new(lengths)?.for_each_block(py, |block| {
        numbers::reserve(&mut all, block.len())?;
        all.extend_from_slice(block);
        Ok::<(), PyErr>(())
    })?;
    let mut at = start.0;
    for (number, part) in desc::split(list, start.0, all).enumerate() {
        let (part, start) = (part?, at);
        at += part.length();
        parts.append(phyr.part(py, part, start)?)?;
        if number % SIGNALS == 0 {
            py.check_signals()?;
        }
    }
    Ok(parts)
}
