//! Chunks as objects of Python's, and the iterator over those of a list.

use alloc::vec::Vec;
use core::iter;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::list::chunks::Chunk;
use crate::list::frozen::Frozen;
use crate::list::reading::{Inner, Steps};
use crate::python::convert::tuple::Pairs;

/// The named tuple `phyr.Chunk`.
pub(crate) fn chunk_class(py: Python<'_>) -> PyResult<&'static Pairs> {
    static CLASS: PyOnceLock<Pairs> = PyOnceLock::new();
    CLASS.get_or_try_init(py, || Pairs::new(py, "phyr._records", "Chunk"))
}

/// Makes `Chunk(paddr, length)`. The result equals that of the class, but no Python code runs.
pub(crate) fn to_python<'py>(
    py: Python<'py>,
    class: &Pairs,
    chunk: Chunk,
) -> PyResult<Bound<'py, PyAny>> {
    class.make(py, [chunk.paddr, chunk.length])
}

/// Chunks found at a time, at most: few at first, as many walks end soon.
const BATCH: usize = 256;
const FIRST: usize = 4;

/// The state of an iterator.
#[derive(Default)]
struct Batch {
    chunks: Vec<Chunk>,
    /// Number of chunks of this batch that were returned.
    at: usize,
    /// Number of chunks before the end of this batch.
    done: usize,
    /// The object last returned. If nobody kept it, as in `for paddr, length in chunks`, it is
    /// returned again with new numbers.
    last: Option<Py<PyAny>>,
    /// True as soon as one was kept: the others will be, too.
    kept: bool,
}

/// An iterator over chunks, which threads may share.
#[pyclass(name = "Walk", frozen)]
pub(crate) struct PyWalk {
    list: Frozen,
    reversed: bool,
    /// The class of the returned tuples, looked up once.
    class: &'static Pairs,
    /// Code that holds the lock never waits for the interpreter, so there is no deadlock.
    batch: Mutex<Batch>,
}

impl PyWalk {
    pub(crate) fn new(py: Python<'_>, list: Frozen, reversed: bool) -> PyResult<Self> {
        Ok(Self { list, reversed, class: chunk_class(py)?, batch: Mutex::new(Batch::default()) })
    }

    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    /// The next chunk of a walk over `list`.
    #[inline]
    fn next(&mut self, list: &Frozen, reversed: bool) -> Option<Chunk> {
        if self.at == self.chunks.len() {
            self.read(list, reversed);
        }
        let chunk = self.chunks.get(self.at).copied();
        self.at += usize::from(chunk.is_some());
        chunk
    }

    /// Finds the chunks of the next batch.
    fn read(&mut self, list: &Frozen, reversed: bool) {
        // The walk over either form is large, and made anew for each batch.
        match list.as_phyr() {
            Some(phyr) => self.read_from(phyr.walk(), reversed),
            None => self.read_from(list.walk_from(0), reversed),
        }
    }

    fn read_from(&mut self, mut walk: impl Steps, reversed: bool) {
        let most = (self.chunks.len() * 4).clamp(FIRST, BATCH);
        if let Some(skip) = self.done.checked_sub(1) {
            if reversed {
                walk.nth_back(skip)
            } else {
                walk.nth(skip)
            };
        }
        self.chunks.resize(most, Chunk { paddr: 0, length: 0 });
        let mut found = 0;
        while found < most {
            let slots = &mut self.chunks[found..];
            let more = if reversed { read_back(&mut walk, slots) } else { walk.read(slots) };
            if more == 0 {
                break;
            }
            found += more;
        }
        self.chunks.truncate(found);
        self.at = 0;
        self.done += self.chunks.len();
    }

    /// The object last returned, with the numbers of `chunk`, if nobody kept it.
    #[inline]
    fn again<'py>(
        &mut self,
        py: Python<'py>,
        class: &Pairs,
        chunk: Chunk,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(last) = &self.last else { return Ok(None) };
        let last = last.bind(py);
        if class.make_again(last, [chunk.paddr, chunk.length])? {
            return Ok(Some(last.clone()));
        }
        (self.last, self.kept) = (None, true);
        Ok(None)
    }
}

/// Copies the last chunks of a walk to `out`, the last first. Returns their number.
fn read_back(walk: &mut impl Steps, out: &mut [Chunk]) -> usize {
    out.iter_mut()
        .zip(iter::from_fn(|| walk.next_back()))
        .map(|(slot, chunk)| *slot = chunk)
        .count()
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyWalk {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut batch = self.lock();
        let Some(chunk) = batch.next(&self.list, self.reversed) else { return Ok(None) };
        if let Some(again) = batch.again(py, self.class, chunk)? {
            return Ok(Some(again));
        }
        let kept = batch.kept;
        // A new object may start a collection, whose code may use this iterator.
        drop(batch);
        let made = to_python(py, self.class, chunk)?;
        if !kept {
            self.lock().last = Some(made.clone().unbind());
        }
        Ok(Some(made))
    }
}
