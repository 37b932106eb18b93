//! `phyr.Builder`: the Python methods.

use alloc::format;
use alloc::string::ToString;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::error::Error;
use crate::granule::Granule;
use crate::list::builder::Builder;
use crate::python::convert::amounts::{Amount, Decimal};
use crate::python::convert::numbers::Numbers;
use crate::python::error;
use crate::python::list::either::Either;
use crate::python::list::fill;
use crate::python::list::object::{PyPhyr, view};
use crate::python::made::{Int, Text};

/// Builds a list, front to back.
///
/// The list depends only on the bytes appended, not on how many calls append them: neighbours that
/// touch are merged. If a call fails, the builder is as before the call. Threads may share a
/// builder; each call is then done as a whole, in some order.
///
/// Args:
///     granule: Unit of the list's inner boundaries in bytes, a power of two up to 65536.
///     kind: ``"ram"``; ``"mmio"``, or ``"mmio:N"`` with the number of the provider; or ``"user"``.
///
/// Raises:
///     RangeError: There is no such granule or kind.
///
/// Examples:
///     >>> builder = Builder()
///     >>> builder.extend_pfns([7, 8])
///     >>> builder.append(0x9000, 0x1000)
///     >>> builder.finish()
///     Phyr(0x3000 bytes, granule 4096, 1 chunk: 0x7000+0x3000)
#[pyclass(name = "Builder", module = "phyr", frozen)]
#[derive(Debug)]
pub(crate) struct PyBuilder {
    granule: Granule,
    /// Code that holds the lock never waits for the interpreter, so there is no deadlock.
    inner: Mutex<Builder>,
}

impl PyBuilder {
    fn lock(&self) -> MutexGuard<'_, Builder> {
        // No call leaves the builder in a half-done state, so a panic in another thread does no
        // harm.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends everything that `fill` appends, or nothing.
    fn extend_by(
        &self,
        py: Python<'_>,
        fill: impl FnOnce(&mut Builder) -> PyResult<()>,
    ) -> PyResult<()> {
        let (kind, length) = {
            let inner = self.lock();
            (inner.kind(), inner.length())
        };
        let mut part = Builder::with(self.granule, kind);
        fill(&mut part).map_err(|failure| error::further(py, failure, length))?;
        Ok(py.detach(|| self.lock().extend(&part.try_finish()?))?)
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyBuilder {
    #[new]
    #[pyo3(
        signature = (granule=Decimal(4096), kind="ram"),
        text_signature = "(granule=4096, kind='ram')"
    )]
    fn new(granule: Decimal, kind: &str) -> PyResult<Self> {
        let builder = fill::empty(granule, kind)?;
        Ok(Self { granule: builder.granule(), inner: Mutex::new(builder) })
    }

    /// Bytes so far.
    #[getter]
    fn length(&self) -> Int {
        Int(self.lock().length())
    }

    /// Unit of the list's addresses and inner boundaries, in bytes.
    #[getter]
    fn granule(&self) -> Int {
        Int(self.granule.bytes())
    }

    /// Kind of the addresses: ``"ram"``, ``"mmio"``, ``"mmio:N"`` or ``"user"``.
    #[getter]
    fn kind(&self) -> Text {
        Text(self.lock().kind().to_string())
    }

    /// Append a byte range.
    ///
    /// The first range of a list may start inside a granule and the last may end inside one. A
    /// range that starts at the byte right after the one before extends that chunk.
    ///
    /// Args:
    ///     paddr: Physical address of the first byte.
    ///     length: Bytes, at least one.
    ///
    /// Raises:
    ///     AlignmentError: A boundary would be inside a granule.
    ///     RangeError: The range is empty, wraps or is out of reach, or the list's length would pass
    ///         2^64 - 1 bytes.
    fn append(&self, paddr: Amount, length: Amount) -> PyResult<()> {
        // The lock ends with this statement, because making an exception calls Python.
        let appended = self.lock().append(paddr.0, length.0);
        Ok(appended?)
    }

    /// Append whole pages by number. A page is one granule.
    ///
    /// Args:
    ///     pfns: Array, column (of Arrow, DLPack, a data frame) or iterable of page numbers; ``bytes``
    ///         hold packed native ``uint64``.
    ///
    /// Raises:
    ///     AlignmentError: The list so far ends inside a granule.
    ///     RangeError: A number is out of reach, or the list's length would pass 2^64 - 1 bytes.
    ///     ArrayError: The array is not contiguous, or holds nulls or negative numbers.
    ///     ArrayTypeError: Something is not a number, or not in the CPU's memory.
    fn extend_pfns(&self, py: Python<'_>, pfns: &Bound<'_, PyAny>) -> PyResult<()> {
        let pfns = Numbers::new(pfns)?;
        self.extend_by(py, |part| pfns.for_each_block(py, |block| part.extend_pfns(block)))
    }

    /// Append whole pages by address.
    ///
    /// Args:
    ///     paddrs: Array, column (of Arrow, DLPack, a data frame) or iterable of addresses in bytes,
    ///         multiples of the granule; ``bytes`` hold packed native ``uint64``.
    ///
    /// Raises:
    ///     AlignmentError: An address is not a multiple of the granule, or the list so far ends
    ///         inside one.
    ///     RangeError: An address is out of reach, or the list's length would pass 2^64 - 1 bytes.
    ///     ArrayError: The array is not contiguous, or holds nulls or negative numbers.
    ///     ArrayTypeError: Something is not a number, or not in the CPU's memory.
    fn extend_pages(&self, py: Python<'_>, paddrs: &Bound<'_, PyAny>) -> PyResult<()> {
        let paddrs = Numbers::new(paddrs)?;
        self.extend_by(py, |part| paddrs.for_each_block(py, |block| part.extend_pages(block)))
    }

    /// Append byte ranges, each as `append` does.
    ///
    /// Args:
    ///     chunks: Iterable of (paddr, length) in bytes; or a table with columns ``paddr`` and
    ///         ``length``: of Arrow, an array of records, a data frame; or, with `lengths`, an array of
    ///         addresses.
    ///     lengths: Array of lengths in bytes.
    ///
    /// Raises:
    ///     AlignmentError: A boundary inside the list would be inside a granule.
    ///     RangeError: A range is empty, wraps or is out of reach, or the list's length would pass
    ///         2^64 - 1 bytes.
    ///     ArrayError: An array is not contiguous, holds nulls or negative numbers, or they differ in
    ///         length; the stream of a table failed.
    ///     ArrayTypeError: Something is not a number, or not in the CPU's memory.
    #[pyo3(signature = (chunks, lengths=None))]
    fn extend_chunks(
        &self,
        py: Python<'_>,
        chunks: &Bound<'_, PyAny>,
        lengths: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.extend_by(py, |part| fill::chunks(py, part, chunks, lengths))
    }

    /// Append another list, of the same granule and kind.
    ///
    /// Raises:
    ///     AlignmentError: The two lists would meet inside a granule.
    ///     MismatchError: Granule or kind differ.
    ///     RangeError: The list's length would pass 2^64 - 1 bytes.
    fn extend(&self, py: Python<'_>, other: Either) -> PyResult<()> {
        let other = other.into_list();
        Ok(py.detach(|| self.lock().extend_frozen(&other))?)
    }

    /// Return the finished list, or a part of it. The builder is empty afterwards.
    ///
    /// Args:
    ///     offset: Bytes to leave out at the start.
    ///     length: Bytes to keep from there, all by default.
    ///
    /// Raises:
    ///     RangeError: `offset` and `length` are outside the list; the builder is as before.
    #[pyo3(
        signature = (offset=Amount(0), length=None),
        text_signature = "($self, offset=0, length=None)"
    )]
    fn finish(&self, py: Python<'_>, offset: Amount, length: Option<Amount>) -> PyResult<PyPhyr> {
        let whole = py.detach(|| {
            let mut inner = self.lock();
            let end = length.map_or(offset.0, |length| offset.0.saturating_add(length.0));
            if end > inner.length() {
                return Err(Error::Outside { start: offset.0, end, length: inner.length() });
            }
            inner.try_finish()
        })?;
        view(&whole, offset, length)
    }

    fn __sizeof__(&self) -> usize {
        size_of::<Self>() + self.lock().storage()
    }

    fn __repr__(&self) -> Text {
        let inner = self.lock();
        Text(format!("Builder({:#x} bytes, granule {})", inner.length(), self.granule.bytes()))
    }
}
