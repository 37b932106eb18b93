//! `phyr.Index`: from a physical address to the lists that hold it.

use alloc::vec::Vec;

use pyo3::exceptions::{PyMemoryError, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple, PyType};

use crate::list::frozen::{Frozen, Holder, Index};
use crate::python::convert::amounts::Amount;
use crate::python::convert::items::signals;
use crate::python::convert::shown;
use crate::python::list::either::Either;
use crate::python::list::held::Visited;
use crate::python::list::overlap;
use crate::python::made::{self, Text};

/// The way back: from a physical address to the lists that hold it, and where.
///
/// Made of any number of lists of one granule and kind, `Phyr` or `FrozenPhyr`. Of each it keeps the
/// frozen form, and about four bytes a chunk and 48 a list more. A search takes as long as one in
/// the lists, for each place found. Memory that is in several lists, or several times in one, is
/// found in each place.
///
/// Raises:
///     MismatchError: Two lists differ in granule or kind.
///     TypeError: Something is not a list.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> guests = Index([Phyr.from_pfns([7, 8, 3]), Phyr.from_pfns([9, 3])])
///     >>> [(place.list, hex(place.position)) for place in guests.find(0x3004)]
///     [(0, '0x2004'), (1, '0x1004')]
///     >>> guests.find(0x7800, 0x2000)
///     [Holder(paddr=30720, length=6144, list=0, position=2048), Holder(paddr=36864, length=2048, list=1, position=0)]
#[pyclass(name = "Index", module = "phyr", frozen)]
#[derive(Debug)]
pub(crate) struct PyIndex {
    index: Index,
    /// The objects that were given.
    lists: Py<PyTuple>,
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyIndex {
    #[new]
    #[pyo3(text_signature = "(lists)")]
    fn new(py: Python<'_>, lists: &Bound<'_, PyAny>) -> PyResult<Self> {
        let iterator = lists.try_iter().map_err(|failure| {
            // An error that an iterable raises comes through as it is.
            if !failure.is_instance_of::<PyTypeError>(py) {
                return failure;
            }
            let what = shown::wrong("lists", lists, "an iterable of lists of memory");
            made::failure::<PyTypeError>(what)
        })?;
        let lists = made::call(&py.get_type::<PyTuple>(), iterator.as_any())?;
        let lists = lists.cast_into::<PyTuple>()?;
        let mut frozen: Vec<Frozen> = Vec::new();
        if frozen.try_reserve_exact(lists.len()).is_err() {
            return Err(made::failure::<PyMemoryError>("no memory for an index"));
        }
        for (at, list) in lists.iter().enumerate() {
            frozen.push(match Either::of(&list) {
                Some(Either::Frozen(list)) => list.get().as_ref().clone(),
                Some(Either::Phyr(list)) => {
                    let list = list.get().as_ref();
                    py.check_signals()?;
                    py.detach(|| list.try_freeze())?
                }
                None => {
                    let item = alloc::format!("item {at}");
                    let what = shown::wrong(&item, &list, "a list of memory");
                    return Err(made::failure::<PyTypeError>(what));
                }
            });
        }
        let index = py.detach(|| Index::by_parts(frozen, signals))?;
        Ok(Self { index, lists: lists.unbind() })
    }

    /// The lists, as they were given.
    #[getter]
    fn lists<'py>(&self, py: Python<'py>) -> Bound<'py, PyTuple> {
        self.lists.bind(py).clone()
    }

    /// Return the places that hold the byte at an address, or some of a range of bytes.
    ///
    /// Args:
    ///     paddr: Physical address of the first byte.
    ///     length: Bytes, at least one.
    ///
    /// Returns:
    ///     For each piece of a chunk that lies in the range, where it is: by address, list, position.
    ///
    /// Raises:
    ///     RangeError: The range is empty or passes 2^64.
    #[pyo3(signature = (paddr, length=Amount(1)), text_signature = "($self, paddr, length=1)")]
    fn find<'py>(
        &self,
        py: Python<'py>,
        paddr: Amount,
        length: Amount,
    ) -> PyResult<Bound<'py, PyList>> {
        let last = overlap::last(paddr, length)?;
        let mut found = Vec::new();
        py.detach(|| self.index.find_parts(paddr.0, last, &mut found, signals))?;
        let class = made::attribute(&made::module(py, "phyr._records")?, "Holder")?;
        let class = class.cast_into::<PyType>()?;
        let places = made::list(py)?;
        // Each is made by a function of Python's, which handles signals.
        for Holder { paddr, length, list, position } in found {
            let place = made::numbers(py, [paddr, length, list as u64, position])?;
            places.append(class.call1(place)?)?;
        }
        Ok(places)
    }

    fn __len__(&self) -> usize {
        self.index.lists().len()
    }

    fn __repr__(&self) -> Text {
        let lists = self.index.lists();
        let nr_chunks = lists.iter().map(Frozen::nr_chunks).fold(0, u64::saturating_add);
        Text(alloc::format!("Index({} lists, {nr_chunks} chunks)", lists.len()))
    }

    fn __sizeof__(&self) -> usize {
        let lists: usize = self.index.lists().iter().map(Frozen::storage).sum();
        size_of::<Self>() + self.index.storage() + lists
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Visited {
        visit.call(&self.lists)
    }
}
