//! DMA: a device reads and writes memory, through a domain or past a constant.

use alloc::sync::Arc;

use pyo3::prelude::*;

use crate::python::convert::buffer::Bytes;
use crate::python::error;
use crate::python::list::either::Either;
use crate::python::sim::domain::PySimDomain;
use crate::python::sim::memory::{PyMemory, check_length, lock};
use crate::sim::{self, Bus, Fault, Memory, OffsetBus, SimDomain};

/// The bus between a device and the memory.
enum Path<'a> {
    Domain(&'a mut SimDomain),
    Offset(OffsetBus),
}

impl Bus for Path<'_> {
    fn resolve(
        &mut self,
        memory: &mut Memory,
        dma_addr: u64,
        access: sim::Access,
    ) -> Result<sim::Target, sim::Reason> {
        match self {
            Self::Domain(domain) => domain.resolve(memory, dma_addr, access),
            Self::Offset(offset) => offset.resolve(memory, dma_addr, access),
        }
    }
}

/// Transfers the bytes of `phyr` with the interpreter released.
fn transfer(
    py: Python<'_>,
    memory: &PyMemory,
    domain: Option<&Bound<'_, PySimDomain>>,
    offset: i128,
    act: impl FnOnce(&mut Memory, &mut Path<'_>) -> Result<(), Fault> + Send,
) -> PyResult<()> {
    let Some(domain) = domain else {
        let mut path = Path::Offset(OffsetBus(offset));
        return Ok(py.detach(|| act(&mut lock(memory.shared()), &mut path))?);
    };
    let domain = domain.get();
    if !Arc::ptr_eq(&domain.memory, memory.shared()) {
        let message = "the domain's tables are in another memory than the device's".into();
        return Err(error::new("MismatchError", message, error::NO_NUMBERS));
    }
    Ok(domain.with(py, |domain, memory| act(memory, &mut Path::Domain(domain)))?)
}

/// Copy what a device reads at the addresses of `dma` into `buffer`; for `phyr.sim.Device`.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
pub(crate) fn dma_read(
    py: Python<'_>,
    memory: &PyMemory,
    domain: Option<&Bound<'_, PySimDomain>>,
    offset: i128,
    dma: Either,
    buffer: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (dma, bytes) = (&dma.into_list(), Bytes::new(buffer, true)?);
    check_length(dma, &bytes)?;
    transfer(py, memory, domain, offset, |memory, path| {
        let mut position = 0;
        sim::dma_read_with(memory, path, dma, |piece| {
            bytes.write(position, piece);
            position += piece.len();
        })
    })
}

/// Let a device write `data` at the addresses of `dma`; for `phyr.sim.Device`.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
pub(crate) fn dma_write(
    py: Python<'_>,
    memory: &PyMemory,
    domain: Option<&Bound<'_, PySimDomain>>,
    offset: i128,
    dma: Either,
    data: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (dma, bytes) = (&dma.into_list(), Bytes::new(data, false)?);
    check_length(dma, &bytes)?;
    transfer(py, memory, domain, offset, |memory, path| {
        let mut position = 0;
        sim::dma_write_with(memory, path, dma, |piece| {
            bytes.read(position, piece);
            position += piece.len();
        })
    })
}
