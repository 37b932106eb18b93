//! `phyr.desc`: lists from the descriptors of others.

use alloc::format;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::desc::{self, PageStructs, ReadError};
use crate::granule::Granule;
use crate::python::convert::amounts::{Amount, Decimal};
use crate::python::convert::buffer::Array;
use crate::python::convert::shown;
use crate::python::error;
use crate::python::list::object::PyPhyr;
use crate::python::made;

/// Read a list from an array of ``struct bio_vec``.
///
/// Args:
///     data: Any bytes-like object; the bytes may come from anywhere.
///     vmemmap: Virtual address of the ``struct page`` of page 0, as for `scatterlist`.
///     page_size: Page size of the kernel in bytes.
///     granule: Unit of the list's inner boundaries in bytes.
///
/// Raises:
///     FormatError: The bytes are not such an array, or a list of this granule cannot hold it.
///
/// Examples:
///     >>> from_bio_vecs(bytes.fromhex("c000000000000000f00f000010000000"), vmemmap=0)
///     Phyr(0xff0 bytes, granule 4096, 1 chunk: 0x3010+0xff0)
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (data, *, vmemmap, page_size=Amount(4096), granule=Decimal(4096)),
    text_signature = "(data, *, vmemmap, page_size=4096, granule=4096)"
)]
pub(crate) fn from_bio_vecs(
    data: &Bound<'_, PyAny>,
    vmemmap: Amount,
    page_size: Amount,
    granule: Decimal,
) -> PyResult<PyPhyr> {
    let bytes = Array::bytes(data)?;
    let (pages, granule) = (structs(vmemmap, page_size)?, Granule::new(granule.0)?);
    Ok(PyPhyr::new(data.py().detach(|| desc::from_bio_vecs(&bytes, pages, granule))?))
}

/// Read a list from an array of ``struct iovec``, of memory that is mapped without gaps.
///
/// Args:
///     data: Any bytes-like object; the bytes may come from anywhere.
///     uaddr: Virtual address at which physical address 0 is mapped.
///     granule: Unit of the list's inner boundaries in bytes.
///
/// Raises:
///     FormatError: The bytes are not such an array, or a list of this granule cannot hold it.
///
/// Examples:
///     >>> from_iovecs(bytes.fromhex("00300000 00000000 00100000 00000000"), 0x1000)
///     Phyr(0x1000 bytes, granule 4096, 1 chunk: 0x2000+0x1000)
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (data, uaddr, *, granule=Decimal(4096)),
    text_signature = "(data, uaddr, *, granule=4096)"
)]
pub(crate) fn from_iovecs(
    data: &Bound<'_, PyAny>,
    uaddr: Amount,
    granule: Decimal,
) -> PyResult<PyPhyr> {
    let (bytes, granule) = (Array::bytes(data)?, Granule::new(granule.0)?);
    Ok(PyPhyr::new(data.py().detach(|| desc::from_iovecs(&bytes, uaddr.0, granule))?))
}

/// Read a list from an array of ``struct phys_vec``: address and length, 64 bits each.
///
/// Args:
///     data: Any bytes-like object; the bytes may come from anywhere.
///     granule: Unit of the list's inner boundaries in bytes.
///
/// Raises:
///     FormatError: The bytes are not such an array, or a list of this granule cannot hold it.
///
/// Examples:
///     >>> from phyr import Phyr
///     >>> phyr = Phyr.from_pfns([3, 9])
///     >>> from_phys_vecs(phys_vecs(phyr)) == phyr
///     True
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(signature = (data, *, granule=Decimal(4096)), text_signature = "(data, *, granule=4096)")]
pub(crate) fn from_phys_vecs(data: &Bound<'_, PyAny>, granule: Decimal) -> PyResult<PyPhyr> {
    let (bytes, granule) = (Array::bytes(data)?, Granule::new(granule.0)?);
    Ok(PyPhyr::new(data.py().detach(|| desc::from_phys_vecs(&bytes, granule))?))
}

/// Read a list from the bytes of a chained scatterlist.
///
/// Args:
///     data: Any bytes-like object that holds all blocks; the bytes may come from anywhere.
///     vmemmap: Virtual address of the ``struct page`` of page 0, as for `scatterlist`.
///     address: Virtual address of the first byte of `data`; links are addresses too.
///     dma: Read the DMA addresses instead of the pages, up to the first entry of DMA length 0.
///     page_size: Page size of the kernel in bytes.
///     granule: Unit of the list's inner boundaries in bytes.
///
/// Raises:
///     FormatError: The bytes are not such a table: a link leads out of it or in a circle, no entry
///         has the end mark, or a pointer is not to a ``struct page``. Or a list of this granule
///         cannot hold it.
///
/// Examples:
///     >>> entry = bytes.fromhex("c200000000000000 00000000 00100000") + bytes(16)
///     >>> from_scatterlist(entry, vmemmap=0)
///     Phyr(0x1000 bytes, granule 4096, 1 chunk: 0x3000+0x1000)
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (
        data, *, vmemmap, address=Amount(0), dma=false, page_size=Amount(4096),
        granule=Decimal(4096)
    ),
    text_signature = "(data, *, vmemmap, address=0, dma=False, page_size=4096, granule=4096)"
)]
pub(crate) fn from_scatterlist(
    data: &Bound<'_, PyAny>,
    vmemmap: Amount,
    address: Amount,
    dma: bool,
    page_size: Amount,
    granule: Decimal,
) -> PyResult<PyPhyr> {
    let bytes = Array::bytes(data)?;
    let (pages, granule) = (structs(vmemmap, page_size)?, Granule::new(granule.0)?);
    let read = || desc::from_scatterlist(&bytes, pages, address.0, dma, granule);
    Ok(PyPhyr::new(data.py().detach(read)?))
}

/// Read a list from the pointers of an NVMe command, by following its PRP lists.
///
/// Args:
///     prp1: The first pointer.
///     prp2: The second pointer.
///     length: Bytes of the transfer.
///     read: ``read(address, length)`` returns the bytes of list memory at an address.
///     page_size: Page size of the controller in bytes, 4 to 64 KiB.
///     granule: Unit of the list's inner boundaries in bytes.
///
/// Raises:
///     FormatError: An entry has an offset where it must not have one; lists lead in a circle; or
///         there are more than 2^20 links beyond one for each entry.
///     ArrayError: `read` returned more or fewer bytes.
///
/// Examples:
///     >>> memory = bytes(0x1000) + (0x3000).to_bytes(8, "little") + (0x9000).to_bytes(8, "little")
///     >>> from_prp(0x7000, 0x1000, 0x3000, lambda address, length: memory[address:][:length])
///     Phyr(0x3000 bytes, granule 4096, 3 chunks: 0x7000+0x1000 0x3000+0x1000 0x9000+0x1000)
///
/// Source:
///     NVM Express Base Specification 2.0, section 4.1.1.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (
        prp1, prp2, length, read, *, page_size=Amount(4096), granule=Decimal(4096)
    ),
    text_signature = "(prp1, prp2, length, read, *, page_size=4096, granule=4096)"
)]
pub(crate) fn from_prp(
    prp1: Amount,
    prp2: Amount,
    length: Amount,
    read: &Bound<'_, PyAny>,
    page_size: Amount,
    granule: Decimal,
) -> PyResult<PyPhyr> {
    let granule = Granule::new(granule.0)?;
    let from = |at, out: &mut [u8]| read_at(read, at, out);
    Ok(PyPhyr::new(desc::from_prp(prp1.0, prp2.0, length.0, page_size.0, granule, from)?))
}

/// Read a list from the SGL descriptor of an NVMe command, by following its segments.
///
/// Args:
///     sgl1: The 16 bytes of the descriptor.
///     read: ``read(address, length)`` returns the bytes of segment memory at an address.
///     max_length: Most bytes of data; 2^64 - 1 by default. It bounds how much is read if `read`
///         returns bad data: at most 2^20 descriptors, and two for each byte.
///     granule: Unit of the list's inner boundaries in bytes.
///
/// Raises:
///     FormatError: A descriptor has another type or is in the wrong place, segments lead in a
///         circle, there is more data than `max_length` bytes, or there are more than 2^20
///         descriptors without data, beyond one for each with data.
///     RangeError: `max_length` is not a number from 0 to 2^64 - 1.
///     ArrayError: `read` returned more or fewer bytes.
///
/// Examples:
///     >>> from_sgl(bytes.fromhex("0070000000000000 0010000000000000"), read=None)
///     Phyr(0x1000 bytes, granule 4096, 1 chunk: 0x7000+0x1000)
///
/// Source:
///     NVM Express Base Specification 2.0, section 4.1.2.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
#[pyo3(
    signature = (sgl1, read, *, max_length=None, granule=Decimal(4096)),
    text_signature = "(sgl1, read, *, max_length=None, granule=4096)"
)]
pub(crate) fn from_sgl(
    sgl1: &Bound<'_, PyAny>,
    read: &Bound<'_, PyAny>,
    max_length: Option<Amount>,
    granule: Decimal,
) -> PyResult<PyPhyr> {
    let (bytes, granule) = (Array::bytes(sgl1)?, Granule::new(granule.0)?);
    let sgl1 = bytes.as_slice().try_into().map_err(|_| {
        let (bytes, record_size) = (bytes.len() as u64, 16);
        PyErr::from(desc::DescError::Ragged { bytes, record_size })
    })?;
    let max_length = max_length.map_or(u64::MAX, |length| length.0);
    Ok(PyPhyr::new(desc::from_sgl(sgl1, max_length, granule, |at, out| read_at(read, at, out))?))
}

/// Fills `out` with the bytes that a Python function reads at an address.
pub(crate) fn read_at(read: &Bound<'_, PyAny>, address: u64, out: &mut [u8]) -> PyResult<()> {
    let py = read.py();
    if !read.is_callable() {
        let given = shown::text(read);
        let why =
            format!("read is {given}, not a function, and memory at {address:#x} is to be read");
        return Err(made::failure::<PyTypeError>(why));
    }
    let (at, count) = (made::int(py, address)?, made::int(py, out.len() as u64)?);
    let bytes = Array::bytes(&read.call1(made::objects(py, [&at, &count])?)?)?;
    if bytes.len() != out.len() {
        let (given, asked) = (bytes.len(), out.len());
        return Err(error::new(
            "ArrayError",
            format!("read({address:#x}, {asked}) returned {given} bytes"),
            [("address", address), ("bytes", given as u64)],
        ));
    }
    out.copy_from_slice(&bytes);
    Ok(())
}

fn structs(vmemmap: Amount, page_size: Amount) -> PyResult<PageStructs> {
    Ok(PageStructs::new(vmemmap.0, page_size.0)?)
}

impl From<ReadError<PyErr>> for PyErr {
    fn from(error: ReadError<PyErr>) -> Self {
        match error {
            ReadError::Desc(error) => error.into(),
            ReadError::Read(error) => error,
        }
    }
}
