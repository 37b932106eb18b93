//! The decoder of page-map records, for `phyr.pagemap`.

use alloc::format;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::error::Error;
use crate::granule::Granule;
use crate::pagemap::decoder::{Extent, PagemapDecoder, State};
use crate::python::convert::amounts::{Amount, Decimal};
use crate::python::convert::buffer::Array;
use crate::python::convert::items::Items;
use crate::python::convert::numbers::Numbers;
use crate::python::list::object::PyPhyr;
use crate::python::made::{self, Text};

/// Decodes records of ``/proc/PID/pagemap``, in any number of pieces, into extents.
///
/// Args:
///     uaddr: Virtual address of the first record's page.
///     granule: Page size of the kernel in bytes.
///     ram: First and last address of each range of RAM; pages elsewhere are a device's. By default
///         all pages are RAM.
///     zero: First and last address of each shared page of zeros.
///     join: Make one extent of all pages in one state, even if they are not neighbours.
///
/// Examples:
///     >>> import array
///     >>> decoder = PagemapDecoder(0x7f00_0000_0000, 4096)
///     >>> decoder.feed(array.array("Q", [1 << 63 | 7, 1 << 63 | 8, 0]))
///     >>> [(hex(uaddr), length, state) for uaddr, length, state, phyr in decoder.finish()]
///     [('0x7f0000000000', 8192, 'ram'), ('0x7f0000002000', 4096, 'hole')]
#[pyclass(name = "PagemapDecoder", module = "phyr._phyr", frozen)]
#[derive(Debug)]
pub(crate) struct PyPagemapDecoder {
    granule: Granule,
    /// Code that holds the lock never waits for the interpreter, so there is no deadlock.
    inner: Mutex<PagemapDecoder>,
}

impl PyPagemapDecoder {
    /// Of the pages that the kernel is asked for.
    #[cfg(unix)]
    pub(crate) fn granule(&self) -> Granule {
        self.granule
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, PagemapDecoder> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyPagemapDecoder {
    #[new]
    #[pyo3(
        signature = (uaddr, granule, *, ram=None, zero=None, join=false),
        text_signature = "(uaddr, granule, *, ram=None, zero=(), join=False)"
    )]
    fn new(
        uaddr: Amount,
        granule: Decimal,
        ram: Option<Items<(u64, u64)>>,
        zero: Option<Items<(u64, u64)>>,
        join: bool,
    ) -> PyResult<Self> {
        let granule = Granule::new(granule.0)?;
        let mut decoder = PagemapDecoder::new(uaddr.0, granule);
        if let Some(zero) = zero {
            decoder = decoder.try_zero(zero.0)?;
        }
        if let Some(ram) = ram {
            decoder = decoder.try_ram(ram.0)?;
        }
        if join {
            decoder = decoder.join();
        }
        Ok(Self { granule, inner: Mutex::new(decoder) })
    }

    /// Decode more records: packed native ``uint64`` in any bytes-like object.
    ///
    /// Raises:
    ///     HiddenPagesError: A page is present but the kernel hides its number.
    ///     RangeError: A page number is out of reach.
    fn feed(&self, py: Python<'_>, records: &Bound<'_, PyAny>) -> PyResult<()> {
        Numbers::of_array(Array::new(records, true)?)
            .for_each_block(py, |block| self.lock().feed(block))
    }

    /// Return (uaddr, length, state, phyr or None) for each extent. The decoder starts again at
    /// address 0.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let extents = py.detach(|| {
            let mut inner = self.lock();
            let extents = inner.try_finish()?;
            *inner = PagemapDecoder::new(0, self.granule);
            Ok::<_, Error>(extents)
        })?;
        let list = made::list(py)?;
        for Extent { uaddr, length, state, phyr } in extents {
            let (uaddr, length) = (made::int(py, uaddr)?, made::int(py, length)?);
            let state = made::text(py, name(state))?;
            let phyr = phyr.map(|phyr| Bound::new(py, PyPhyr::new(phyr))).transpose()?;
            let phyr = phyr.map_or_else(|| py.None().into_bound(py), Bound::into_any);
            list.append(made::objects(py, [&uaddr, &length, state.as_any(), &phyr])?)?;
        }
        Ok(list)
    }

    fn __repr__(&self) -> Text {
        Text(format!("PagemapDecoder(granule {})", self.granule.bytes()))
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::Ram => "ram",
        State::Device => "device",
        State::Zero => "zero",
        State::Swap => "swap",
        State::Hole => "hole",
    }
}
