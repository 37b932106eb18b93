//! `phyr.sim.Memory` and `scatter`.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyMemoryError, PyOverflowError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::list::builder::Builder;
use crate::list::reading::List;
use crate::python::convert::amounts::{Amount, Decimal, Narrow};
use crate::python::convert::buffer::Bytes;
use crate::python::convert::items::Items;
use crate::python::convert::keys::{self, Indexed, Key};
use crate::python::convert::shown;
use crate::python::error;
use crate::python::list::either::Either;
use crate::python::list::object::PyPhyr;
use crate::python::made::{self, Int, Text};
use crate::sim::scatter::FreeScatter;
use crate::sim::{Memory, MemoryError, ScatterOptions};

/// Memory with several owners: domains keep their tables in it, and devices move its bytes.
pub(crate) type Shared = Arc<Mutex<Memory>>;

/// Code that holds this lock never waits for the interpreter, so there is no deadlock.
pub(crate) fn lock(memory: &Shared) -> MutexGuard<'_, Memory> {
    // No call leaves the memory in an unusable state, so a panic in another thread does no harm.
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The list of `length` bytes from `paddr` on.
fn stretch(py: Python<'_>, paddr: u64, length: u64) -> PyResult<Either> {
    let mut builder = Builder::new();
    if length > 0 {
        builder.append(paddr, length)?;
    }
    Ok(Either::Phyr(Py::new(py, PyPhyr::new(builder.try_finish()?))?))
}

/// Refuses a buffer whose length is not that of the list.
pub(crate) fn check_length(phyr: &impl List, bytes: &Bytes) -> PyResult<()> {
    let (given, length) = (bytes.len() as u64, phyr.length());
    if given == length { Ok(()) } else { Err(MemoryError::Length { given, length }.into()) }
}

/// Sparse simulated physical memory: addresses from 0 to ``size - 1``.
///
/// A page takes memory of this machine only after it was written. Before that, and after it was
/// freed, it reads as zeros. Any address inside the memory can be read and written, allocated or
/// not, as in a real machine: allocation only keeps account of who uses a page. Page 0 is never
/// allocated. Threads may share a memory.
///
/// Args:
///     size: Bytes, a multiple of 4096 from 0x2000 to 2^52.
///     most_resident: Most bytes of pages that may be written at a time, page tables included. It
///         bounds the memory of this machine that a simulation uses.
///
/// Raises:
///     RangeError: There is no such memory.
///
/// Examples:
///     >>> from phyr.sim import Memory
///     >>> memory = Memory(1 << 40)
///     >>> buffer = memory.scatter(0x2800, seed=1)
///     >>> memory.write(buffer, bytes(0x2000) + b"x" * 0x800)
///     >>> memory.read(buffer[0x1fff:0x2002])
///     b'\x00xx'
///     >>> memory
///     Memory(0x10000000000 bytes, 0x3000 resident, 0xffffffc000 free)
#[pyclass(name = "Memory", module = "phyr.sim", frozen)]
#[derive(Debug)]
pub(crate) struct PyMemory(Shared);

impl PyMemory {
    pub(crate) fn new(memory: Shared) -> Self {
        Self(memory)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyMemory {
    #[new]
    #[pyo3(
        signature = (size, *, most_resident=Amount(Memory::MOST_RESIDENT)),
        text_signature = "(size, *, most_resident=0x100000000)"
    )]
    fn make(size: Amount, most_resident: Amount) -> PyResult<Self> {
        Ok(Self(Arc::new(Mutex::new(Memory::with_limit(size.0, most_resident.0)?))))
    }

    /// Bytes of memory, written or not.
    #[getter]
    fn size(&self, py: Python<'_>) -> Int {
        Int(py.detach(|| lock(&self.0).size()))
    }

    /// Bytes of pages that were written and not freed.
    #[getter]
    fn resident(&self, py: Python<'_>) -> Int {
        Int(py.detach(|| lock(&self.0).resident()))
    }

    /// Bytes of pages that can be allocated.
    #[getter]
    fn free_bytes(&self, py: Python<'_>) -> Int {
        Int(py.detach(|| lock(&self.0).free_bytes()))
    }

    /// Return the bytes under a list.
    ///
    /// Raises:
    ///     RangeError: The list is not inside the memory.
    ///     MismatchError: The list is not RAM.
    fn read<'py>(&self, py: Python<'py>, phyr: Either) -> PyResult<Bound<'py, PyBytes>> {
        let phyr = &phyr.into_list();
        // Checked before memory for the bytes is allocated.
        py.detach(|| lock(&self.0).check(phyr))?;
        let len = usize::try_from(phyr.length()).map_err(|_| {
            made::failure::<PyMemoryError>(format!("no memory for {:#x} bytes", phyr.length()))
        })?;
        PyBytes::new_with(py, len, |data| Ok(py.detach(|| lock(&self.0).read(phyr, data))?))
    }

    /// Copy the bytes under a list into a writable buffer of its length.
    ///
    /// Raises:
    ///     RangeError: The list is not inside the memory, or not as long as the buffer.
    ///     MismatchError: The list is not RAM.
    ///     ArrayError: The buffer is not contiguous, or read-only.
    fn readinto(&self, py: Python<'_>, phyr: Either, buffer: &Bound<'_, PyAny>) -> PyResult<()> {
        let (phyr, bytes) = (&phyr.into_list(), Bytes::new(buffer, true)?);
        check_length(phyr, &bytes)?;
        py.detach(|| {
            let mut position = 0;
            lock(&self.0).read_with(phyr, |piece| {
                bytes.write(position, piece);
                position += piece.len();
            })
        })?;
        Ok(())
    }

    /// Copy bytes to the memory under a list of their length.
    ///
    /// Args:
    ///     phyr: The list of the memory to write.
    ///     data: Any bytes-like object, as long as the list.
    ///
    /// Raises:
    ///     RangeError: The list is not inside the memory, or not as long as `data`.
    ///     MismatchError: The list is not RAM.
    ///     ArrayError: `data` is not contiguous.
    ///     NoMemoryError: More pages would be resident than the limit allows; nothing is written.
    ///     MemoryError: There is no memory for the pages; nothing is written.
    fn write(&self, py: Python<'_>, phyr: Either, data: &Bound<'_, PyAny>) -> PyResult<()> {
        // Its pages are made in one walk and written in another, and words of others may change.
        let (phyr, bytes) = (&phyr.thawed(py)?, Bytes::new(data, false)?);
        check_length(phyr, &bytes)?;
        py.detach(|| {
            let mut position = 0;
            lock(&self.0).write_with(phyr, |piece| {
                bytes.read(position, piece);
                position += piece.len();
            })
        })?;
        Ok(())
    }

    /// Return `length` bytes from `paddr` on.
    ///
    /// Raises:
    ///     RangeError: They are not all inside the memory.
    ///
    /// Examples:
    ///     >>> from phyr.sim import Memory
    ///     >>> memory = Memory(1 << 20)
    ///     >>> memory.write_at(0x5ffe, b"crossing")
    ///     >>> memory.read_at(0x6000, 6)
    ///     b'ossing'
    fn read_at<'py>(
        &self,
        py: Python<'py>,
        paddr: Amount,
        length: Amount,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.read(py, stretch(py, paddr.0, length.0)?)
    }

    /// Copy bytes to memory from `paddr` on.
    ///
    /// Raises:
    ///     RangeError: They are not all inside the memory.
    ///     ArrayError: `data` is not contiguous.
    fn write_at(&self, py: Python<'_>, paddr: Amount, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let length = Bytes::new(data, false)?.len() as u64;
        self.write(py, stretch(py, paddr.0, length)?, data)
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        // At most 2^52, checked when it was made; a machine of 32 bits has no more either.
        usize::try_from(self.size(py).0).unwrap_or(usize::MAX)
    }

    /// The bytes of a slice, or the byte at an address, as those of `bytes`.
    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let size = self.size(py).0;
        match Key::new(key, size)? {
            Key::Slice(range) => {
                let (start, end) = range.bounds(key)?;
                Ok(self.read_at(py, Amount(start), Amount(end - start))?.into_any())
            }
            Key::Index(Some(paddr)) => {
                let byte = self.read(py, stretch(py, paddr, 1)?)?;
                Ok(byte.as_any().get_item(0)?)
            }
            Key::Index(None) => Err(keys::outside(key, size, Indexed::Bytes("memory"))),
        }
    }

    /// Writes bytes as long as the slice, or one byte.
    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = key.py();
        let size = self.size(py).0;
        match Key::new(key, size)? {
            Key::Slice(range) => {
                let (start, end) = range.bounds(key)?;
                self.write(py, stretch(py, start, end - start)?, value)
            }
            Key::Index(Some(paddr)) => {
                let byte = value.extract().map_err(|failure: PyErr| {
                    if !failure.is_instance_of::<PyOverflowError>(py) {
                        return failure;
                    }
                    let what = format!("byte {} is not from 0 to 255", shown::decimal(value));
                    error::new("RangeError", what, [("value", value)])
                })?;
                let byte = made::bytes(py, &[byte])?;
                self.write(py, stretch(py, paddr, 1)?, &byte)
            }
            Key::Index(None) => Err(keys::outside(key, size, Indexed::Bytes("memory"))),
        }
    }

    /// Return the eight bytes from `paddr` on as a little-endian number.
    ///
    /// Raises:
    ///     RangeError: The bytes are not all inside the memory.
    fn read_u64(&self, py: Python<'_>, paddr: Amount) -> PyResult<Int> {
        Ok(Int(py.detach(|| lock(&self.0).read_u64(paddr.0))?))
    }

    /// Write a number to the eight bytes from `paddr` on, little-endian.
    ///
    /// Raises:
    ///     RangeError: The bytes are not all inside the memory, or the number does not fit.
    fn write_u64(&self, py: Python<'_>, paddr: Amount, value: Amount) -> PyResult<()> {
        Ok(py.detach(|| lock(&self.0).write_u64(paddr.0, value.0))?)
    }

    /// Allocate contiguous bytes: the lowest free pages that fit.
    ///
    /// Args:
    ///     size: Bytes; whole pages are taken.
    ///     below: The pages end at or before this address.
    ///     align: The address is a multiple of this power of two, in bytes, and of the page size.
    ///
    /// Raises:
    ///     NoMemoryError: No free pages fit.
    ///     RangeError: `align` is not a power of two.
    ///
    /// Examples:
    ///     >>> from phyr.sim import Memory
    ///     >>> Memory(1 << 30).alloc(5000, align=1 << 20)
    ///     Phyr(0x1388 bytes, granule 4096, 1 chunk: 0x100000+0x1388)
    #[pyo3(
        signature = (size, *, below=None, align=Amount(4096)),
        text_signature = "($self, size, *, below=None, align=4096)"
    )]
    fn alloc(
        &self,
        py: Python<'_>,
        size: Amount,
        below: Option<Amount>,
        align: Amount,
    ) -> PyResult<PyPhyr> {
        let below = below.map(|below| below.0);
        Ok(PyPhyr::new(py.detach(|| lock(&self.0).alloc(size.0, below, align.0))?))
    }

    /// Allocate bytes in scattered pages; arguments as for `scatter`.
    ///
    /// Raises:
    ///     NoMemoryError: No free pages fit.
    ///     RangeError: There is no such order, offset or address, or the list would have more than
    ///         2^24 blocks.
    #[pyo3(
        signature = (size, *, seed=Decimal(0), orders=None, offset=Amount(0), below=None),
        text_signature = "($self, size, *, seed=0, orders=None, offset=0, below=None)"
    )]
    fn scatter(
        &self,
        py: Python<'_>,
        size: Amount,
        seed: Decimal,
        orders: Option<Items<Narrow>>,
        offset: Amount,
        below: Option<Amount>,
    ) -> PyResult<PyPhyr> {
        let orders = numbers(orders);
        let options = options(seed, orders.as_deref(), offset, below);
        let mut scattering = py.detach(|| lock(&self.0).scattering(size.0, &options))?;
        let phyr = loop {
            let more = py.detach(|| lock(&self.0).scatter_more(&mut scattering));
            match more.map_err(PyErr::from).and_then(|more| py.check_signals().map(|()| more)) {
                Ok(true) => {}
                Ok(false) => break py.detach(|| lock(&self.0).scattered(&mut scattering)),
                Err(failure) => {
                    py.detach(|| lock(&self.0).unscatter(scattering));
                    return Err(failure);
                }
            }
        };
        if phyr.is_err() {
            py.detach(|| lock(&self.0).unscatter(scattering));
        }
        Ok(PyPhyr::new(phyr?))
    }

    /// Allocate every page that a list touches. The list may come from anywhere.
    ///
    /// Raises:
    ///     AllocationError: Some page is not free, or listed twice; nothing is reserved.
    ///     RangeError: The list is not inside the memory.
    ///     MismatchError: The list is not RAM.
    fn reserve(&self, py: Python<'_>, phyr: Either) -> PyResult<()> {
        let phyr = phyr.into_list();
        Ok(py.detach(|| lock(&self.0).reserve(&phyr))?)
    }

    /// Free every page that a list touches, and drop the bytes written to it.
    ///
    /// Raises:
    ///     AllocationError: Some page is not allocated, or listed twice; nothing is freed.
    ///     RangeError: The list is not inside the memory.
    ///     MismatchError: The list is not RAM.
    fn free(&self, py: Python<'_>, phyr: Either) -> PyResult<()> {
        let phyr = phyr.into_list();
        Ok(py.detach(|| lock(&self.0).free(&phyr))?)
    }

    /// Memories are equal if they are the same object.
    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| Arc::ptr_eq(&self.0, &other.get().0))
    }

    fn __hash__(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    fn __repr__(&self, py: Python<'_>) -> Text {
        let (size, resident, free) = py.detach(|| {
            let memory = lock(&self.0);
            (memory.size(), memory.resident(), memory.free_bytes())
        });
        Text(format!("Memory({size:#x} bytes, {resident:#x} resident, {free:#x} free)"))
    }
}

/// The numbers, in the place of the arguments: they have one size.
fn numbers(orders: Option<Items<Narrow>>) -> Option<Vec<u32>> {
    orders.map(|orders| orders.0.into_iter().map(|order| order.0).collect())
}

fn options(
    seed: Decimal,
    orders: Option<&[u32]>,
    offset: Amount,
    below: Option<Amount>,
) -> ScatterOptions<'_> {
    ScatterOptions {
        seed: seed.0,
        orders: orders.unwrap_or(&[0]),
        offset: offset.0,
        below: below.map(|below| below.0),
    }
}

/// Return a scattered list, as fragmented memory gives it. The same arguments give the same list.
///
/// The bytes are cut into naturally aligned blocks of the given orders. The seed decides the order
/// and the place of each block. A block never starts where the block before it ends, so every block
/// is a chunk of its own. If the rest at the end is too short for any of the orders, it takes
/// blocks of smaller orders. Page 0 is left out, and no page is listed twice.
///
/// Args:
///     size: Bytes in the list.
///     seed: Number that decides the order and the place of each block.
///     orders: Orders of the blocks, all equally likely: 0 is 4 KiB, 9 is 2 MiB, 18 is 1 GiB.
///         Single pages by default.
///     offset: Bytes of the first page before the start of the list, below 4096.
///     below: Blocks end at or before this address. The default is 2^36, or four times `size` if
///         that is more.
///
/// Raises:
///     NoMemoryError: There is no room.
///     RangeError: There is no such order or offset, or the list would have more than 2^24 blocks.
///     MemoryError: There is no memory for the list.
///
/// Examples:
///     >>> from phyr.sim import scatter
///     >>> scatter(1 << 20, seed=7) == scatter(1 << 20, seed=7)
///     True
///     >>> len(scatter(1 << 20).chunks), scatter(64 << 20, orders=[9]).orders()
///     (256, {9: 32})
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (size, *, seed=Decimal(0), orders=None, offset=Amount(0), below=None),
    text_signature = "(size, *, seed=0, orders=None, offset=0, below=None)"
)]
pub(crate) fn scatter(
    py: Python<'_>,
    size: Amount,
    seed: Decimal,
    orders: Option<Items<Narrow>>,
    offset: Amount,
    below: Option<Amount>,
) -> PyResult<PyPhyr> {
    let orders = numbers(orders);
    let options = options(seed, orders.as_deref(), offset, below);
    let mut scatter = py.detach(|| FreeScatter::new(size.0, &options))?;
    while py.detach(|| scatter.step())? {
        py.check_signals()?;
    }
    Ok(PyPhyr::new(py.detach(|| scatter.finish())?))
}
