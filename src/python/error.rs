//! Core errors as Python exceptions. Only this file connects the two.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::python::made;

use crate::desc::DescError;
use crate::error::{Error, FormatError};
use crate::list::frozen::extend::ExtendError;
use crate::list::validate::Invalid;
use crate::pagemap::decoder::Hidden;
use crate::sim::{Access, DomainError, Fault, MemoryError};

/// Linux's `EPERM`, the `errno` of a page number that is hidden.
const EPERM: u64 = 1;

/// The numbers of an exception that has none.
pub(crate) const NO_NUMBERS: [(&str, u64); 0] = [];
/// Linux's `EFAULT`, the `errno` of an access that a device could not make.
const EFAULT: u64 = 14;

/// A value that an exception has as an attribute.
pub(crate) trait Detail {
    /// The value as a Python object; `MemoryError` if there is no memory for it.
    fn object(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>>;
}

impl Detail for u64 {
    fn object(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        made::int(py, self)
    }
}

impl Detail for i128 {
    fn object(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        made::wide(py, self)
    }
}

impl Detail for String {
    fn object(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        Ok(made::text(py, &self)?.into_any())
    }
}

impl Detail for Py<PyAny> {
    fn object(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        Ok(self.into_bound(py))
    }
}

impl Detail for &Bound<'_, PyAny> {
    fn object(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        Ok(self.clone().unbind().into_bound(py))
    }
}

/// An exception of `phyr.errors`, with its numbers as attributes.
///
/// `MemoryError` if there is no memory for it.
#[expect(clippy::needless_pass_by_value, reason = "messages are made where they are handed in")]
pub(crate) fn new<N: Detail>(
    class: &str,
    message: String,
    numbers: impl IntoIterator<Item = (&'static str, N)>,
) -> PyErr {
    Python::attach(|py| {
        let message = made::text(py, &message)?;
        make(py, class, &made::objects(py, [&message])?, numbers)
    })
    .unwrap_or_else(|failure| failure)
}

fn make(
    py: Python<'_>,
    class: &str,
    args: &Bound<'_, PyTuple>,
    numbers: impl IntoIterator<Item = (&'static str, impl Detail)>,
) -> PyResult<PyErr> {
    let keywords = made::dict(py)?;
    for (name, number) in numbers {
        keywords.set_item(made::text(py, name)?, number.object(py)?)?;
    }
    let class = made::attribute(&made::module(py, "phyr.errors")?, class)?;
    Ok(PyErr::from_value(class.call(args, Some(&keywords))?))
}

/// Adds a note to an exception about a part of a list: `length` bytes come before that part.
pub(crate) fn further(py: Python<'_>, failure: PyErr, length: u64) -> PyErr {
    if length > 0 && made::attribute(failure.value(py), "position").is_ok() {
        // Positions in the exception count from the start of the part.
        let note = format!("the builder held {length:#x} bytes before");
        let noted = add_note(py, &failure, &note);
        let moved = made::int(py, length).and_then(|length| {
            let position = made::attribute(failure.value(py), "position")?.add(length)?;
            failure.value(py).setattr(made::text(py, "position")?, position)
        });
        return noted.and(moved).err().unwrap_or(failure);
    }
    failure
}

/// Adds a note to an exception.
pub(crate) fn add_note(py: Python<'_>, failure: &PyErr, note: &str) -> PyResult<()> {
    let add = made::attribute(failure.value(py), "add_note")?;
    made::call(&add, made::text(py, note)?.as_any()).map(drop)
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Granule { granule } => new("RangeError", message, [("granule", granule)]),
            Error::PageSize { page_size } => new("RangeError", message, [("page_size", page_size)]),
            Error::ZeroLength { paddr } => {
                new("RangeError", message, [("paddr", paddr), ("length", 0)])
            }
            Error::Wraps { paddr, length } => {
                new("RangeError", message, [("paddr", paddr), ("length", length)])
            }
            Error::Window { iova, length } => {
                new("RangeError", message, [("iova", iova), ("length", length)])
            }
            Error::Exposes { paddr, last, align, before, behind } => new(
                "AlignmentError",
                message,
                [
                    ("paddr", paddr),
                    ("last", last),
                    ("align", align),
                    ("before", before),
                    ("behind", behind),
                    ("exposed", before + behind),
                ],
            ),
            Error::Reach { paddr, length, granule } => new(
                "RangeError",
                message,
                [("paddr", paddr), ("length", length), ("granule", granule)],
            ),
            Error::Pfn { pfn, granule } => {
                new("RangeError", message, [("pfn", pfn), ("granule", granule)])
            }
            Error::Unaligned { paddr, position, align } => new(
                "AlignmentError",
                message,
                [("paddr", paddr), ("position", position), ("align", align)],
            ),
            Error::Block { paddr, length, align } => new(
                "AlignmentError",
                message,
                [("paddr", paddr), ("length", length), ("align", align)],
            ),
            Error::TooLong { length, nr_pages, granule } => new(
                "RangeError",
                message,
                [("length", length), ("nr_pages", nr_pages), ("granule", granule)],
            ),
            Error::Outside { start, end, length } => {
                new("RangeError", message, [("start", start), ("end", end), ("length", length)])
            }
            Error::Position { position, length } => {
                new("PositionError", message, [("position", position), ("length", length)])
            }
            Error::Number { number, nr_chunks } => {
                new("PositionError", message, [("number", number), ("nr_chunks", nr_chunks)])
            }
            Error::Mapped { iova, length, first } => {
                new("MappedError", message, [("iova", iova), ("length", length), ("first", first)])
            }
            Error::NoPageSize => new("RangeError", message, [("pgsize_bitmap", 0_u64)]),
            Error::Shift { paddr, length, offset, granule } => new(
                "RangeError",
                message,
                [
                    ("paddr", paddr.into()),
                    ("length", length.into()),
                    ("offset", offset),
                    ("granule", granule.into()),
                ],
            ),
            Error::Skew { iova, paddr, align } => {
                new("AlignmentError", message, [("iova", iova), ("paddr", paddr), ("align", align)])
            }
            Error::NoMemory { .. } => made::failure::<PyMemoryError>(message),
            Error::Granules { left, right } => {
                new("MismatchError", message, [("left", left), ("right", right)])
            }
            Error::UserAddresses => new("MismatchError", message, NO_NUMBERS),
            Error::Kinds { left, right } => {
                let names = [("left", left.to_string()), ("right", right.to_string())];
                new("MismatchError", message, names)
            }
        }
    }
}

impl From<ExtendError> for PyErr {
    fn from(error: ExtendError) -> Self {
        match error {
            ExtendError::List(why) => why.into(),
            ExtendError::Words(why) => why.into(),
        }
    }
}

impl From<FormatError> for PyErr {
    fn from(error: FormatError) -> Self {
        let message = error.to_string();
        match error {
            FormatError::Size { given, expected } => {
                new("FormatError", message, [("given", given), ("expected", expected)])
            }
            FormatError::Version { version } => {
                new("FormatError", message, [("version", u64::from(version))])
            }
            FormatError::Header { field, value } => Python::attach(|py| {
                let numbers = [
                    ("field", made::text(py, field)?.into_any()),
                    ("value", made::int(py, value)?),
                ];
                let message = made::text(py, &message)?;
                let numbers = numbers.iter().map(|(name, number)| (*name, number));
                make(py, "FormatError", &made::objects(py, [&message])?, numbers)
            })
            .unwrap_or_else(|failure| failure),
            FormatError::Check { stored, computed } => {
                new("FormatError", message, [("stored", stored), ("computed", computed)])
            }
            FormatError::Entry { index, word } => {
                new("FormatError", message, [("index", index), ("word", word)])
            }
            FormatError::Chunk { index, why } => Python::attach(|py| {
                let why = PyErr::from(why).into_value(py).into_bound(py);
                let numbers = [("index", made::int(py, index)?), ("why", why.into_any())];
                let message = made::text(py, &message)?;
                let numbers = numbers.iter().map(|(name, number)| (*name, number));
                make(py, "FormatError", &made::objects(py, [&message])?, numbers)
            })
            .unwrap_or_else(|failure| failure),
            FormatError::NoMemory { .. } => made::failure::<PyMemoryError>(message),
            FormatError::NotCanonical { index } => new("FormatError", message, [("index", index)]),
            FormatError::Changed { length } => new("FormatError", message, [("length", length)]),
            FormatError::Magic { magic } => Python::attach(|py| {
                let (magic, message) = (made::bytes(py, &magic)?, made::text(py, &message)?);
                let numbers = [("magic", magic.as_any())];
                make(py, "FormatError", &made::objects(py, [&message])?, numbers)
            })
            .unwrap_or_else(|failure| failure),
        }
    }
}

impl From<DescError> for PyErr {
    fn from(error: DescError) -> Self {
        let message = error.to_string();
        let (class, numbers): (_, &[(&str, u64)]) = match error {
            DescError::NoMemory { .. } => return made::failure::<PyMemoryError>(message),
            DescError::Mask { mask } => ("RangeError", &[("mask", mask)]),
            DescError::SegmentSize { max_segment_size, least } => {
                ("RangeError", &[("max_segment_size", max_segment_size), ("least", least)])
            }
            DescError::Boundaries { seg_boundary_mask, virt_boundary_mask } => (
                "RangeError",
                &[
                    ("seg_boundary_mask", seg_boundary_mask),
                    ("virt_boundary_mask", virt_boundary_mask),
                ],
            ),
            DescError::Size { size, least, most, .. } => {
                ("RangeError", &[("size", size), ("least", least), ("most", most)])
            }
            DescError::Gap { argument, paddr, position, align } => {
                let align = i128::try_from(align).unwrap_or(i128::MAX);
                let numbers = [("paddr", paddr.into()), ("position", position.into())];
                let numbers = numbers.into_iter().chain([("align", align)]);
                return blaming(argument, "GapError", &message, numbers);
            }
            DescError::Unaligned { value, align, .. } => {
                ("AlignmentError", &[("value", value), ("align", align)])
            }
            DescError::Wraps { base, offset } => {
                ("RangeError", &[("base", base), ("offset", offset)])
            }
            DescError::NoRoom { needed, given } => {
                ("RangeError", &[("needed", needed), ("given", given)])
            }
            DescError::TooMany { nr_requests, max_requests } => {
                ("RangeError", &[("nr_requests", nr_requests), ("max_requests", max_requests)])
            }
            DescError::NoPages { provider } => ("MismatchError", &[("provider", provider.into())]),
            DescError::UserAddresses => ("MismatchError", &[]),
            DescError::Empty => ("RangeError", &[("length", 0)]),
            DescError::Ragged { bytes, record_size } => {
                ("FormatError", &[("bytes", bytes), ("record_size", record_size)])
            }
            DescError::Record { index, value, .. } => {
                ("FormatError", &[("index", index), ("value", value)])
            }
            DescError::Link { index, address } => {
                ("FormatError", &[("index", index), ("address", address)])
            }
            DescError::TooLong { index, length, max_length } => {
                ("FormatError", &[("index", index), ("length", length), ("max_length", max_length)])
            }
            DescError::Endless { records } | DescError::NoEnd { records } => {
                ("FormatError", &[("records", records)])
            }
            DescError::Overlap { paddr, length } => {
                ("FormatError", &[("paddr", paddr), ("length", length)])
            }
            DescError::Coverage { length, expected } => {
                ("FormatError", &[("length", length), ("expected", expected)])
            }
            DescError::List { index, .. } => ("FormatError", &[("index", index)]),
        };
        let Some(argument) = error.argument() else {
            return new(class, message, numbers.iter().copied());
        };
        blaming(argument, class, &message, numbers.iter().copied())
    }
}

/// Makes an exception that also names the argument at fault.
fn blaming<N: Detail>(
    argument: &str,
    class: &str,
    message: &str,
    numbers: impl IntoIterator<Item = (&'static str, N)>,
) -> PyErr {
    Python::attach(|py| {
        let message = made::text(py, message)?;
        let argument = made::text(py, argument)?;
        let numbers = numbers.into_iter().map(|(name, number)| Ok((name, number.object(py)?)));
        let facts = numbers.collect::<PyResult<Vec<_>>>()?;
        let facts = facts.iter().map(|(name, number)| (*name, number));
        let facts = facts.chain([("argument", argument.as_any())]);
        make(py, class, &made::objects(py, [&message])?, facts)
    })
    .unwrap_or_else(|failure| failure)
}

impl From<Hidden> for PyErr {
    fn from(error: Hidden) -> Self {
        let message = error.to_string();
        match error {
            Hidden::Pfn { uaddr } => Python::attach(|py| {
                let (errno, text) = (made::int(py, EPERM)?, made::text(py, &message)?);
                let args = made::objects(py, [&errno, text.as_any()])?;
                make(py, "HiddenPagesError", &args, [("uaddr", uaddr)])
            })
            .unwrap_or_else(|failure| failure),
            Hidden::Page { why: Error::NoMemory { .. }, .. } => {
                made::failure::<PyMemoryError>(message)
            }
            Hidden::Page { uaddr, .. } => new("RangeError", message, [("uaddr", uaddr)]),
        }
    }
}

impl From<MemoryError> for PyErr {
    fn from(error: MemoryError) -> Self {
        let message = error.to_string();
        match error {
            MemoryError::List(error) => error.into(),
            MemoryError::Size { size } => new("RangeError", message, [("size", size)]),
            MemoryError::Outside { paddr, length, size } => {
                new("RangeError", message, [("paddr", paddr), ("length", length), ("size", size)])
            }
            MemoryError::Mmio { provider } => {
                new("MismatchError", message, [("provider", u64::from(provider))])
            }
            MemoryError::UserAddresses => new("MismatchError", message, NO_NUMBERS),
            MemoryError::Length { given, length } => {
                new("RangeError", message, [("given", given), ("length", length)])
            }
            MemoryError::Full { length, free } => {
                new("NoMemoryError", message, [("length", length), ("free", free)])
            }
            MemoryError::NotAllocated { paddr, length }
            | MemoryError::NotFree { paddr, length } => {
                new("AllocationError", message, [("paddr", paddr), ("length", length)])
            }
            MemoryError::Align { align } => new("RangeError", message, [("align", align)]),
            MemoryError::Order { order } => {
                new("RangeError", message, [("order", u64::from(order))])
            }
            MemoryError::NoOrders => new("RangeError", message, NO_NUMBERS),
            MemoryError::Resident { length, resident, limit } => new(
                "NoMemoryError",
                message,
                [("length", length), ("resident", resident), ("limit", limit)],
            ),
            MemoryError::Blocks { blocks, most } => {
                new("RangeError", message, [("blocks", blocks), ("most", most)])
            }
            MemoryError::Offset { offset } => new("RangeError", message, [("offset", offset)]),
        }
    }
}

impl From<DomainError> for PyErr {
    fn from(error: DomainError) -> Self {
        let message = error.to_string();
        match error {
            DomainError::Levels { levels } => {
                new("RangeError", message, [("levels", u64::from(levels))])
            }
            DomainError::PageSizes { pgsize_bitmap } => {
                new("RangeError", message, [("pgsize_bitmap", pgsize_bitmap)])
            }
            DomainError::Range { first, last, width } => {
                let numbers = [("first", first), ("last", last), ("width", u64::from(width))];
                new("RangeError", message, numbers)
            }
            DomainError::Iotlb { sets, ways } => {
                new("RangeError", message, [("sets", u64::from(sets)), ("ways", u64::from(ways))])
            }
            DomainError::PageSize { pgsize, pgsize_bitmap } => {
                new("RangeError", message, [("pgsize", pgsize), ("pgsize_bitmap", pgsize_bitmap)])
            }
            DomainError::Unaligned { iova, paddr, align } => {
                new("AlignmentError", message, [("iova", iova), ("paddr", paddr), ("align", align)])
            }
            DomainError::Count { iova, pgsize, pgcount } => new(
                "RangeError",
                message,
                [("iova", iova), ("pgsize", pgsize), ("pgcount", pgcount)],
            ),
            DomainError::Aperture { iova, length, last } => {
                new("RangeError", message, [("iova", iova), ("length", length), ("last", last)])
            }
            DomainError::Reserved { iova, length, first } => {
                new("RangeError", message, [("iova", iova), ("length", length), ("first", first)])
            }
            DomainError::Paddr { paddr, length } => {
                new("RangeError", message, [("paddr", paddr), ("length", length)])
            }
            DomainError::Prot { prot } => new("RangeError", message, [("prot", prot)]),
            DomainError::Misplaced { iova, align } => {
                new("AlignmentError", message, [("iova", iova), ("align", align)])
            }
            DomainError::Mapped { iova } => new("MappedError", message, [("iova", iova)]),
            DomainError::NotMapped { iova } => new("NotMappedError", message, [("iova", iova)]),
            DomainError::Split { iova, pgsize } => {
                new("MappedError", message, [("iova", iova), ("pgsize", pgsize)])
            }
            DomainError::Columns { iovas, other } => {
                new("ArrayError", message, [("iovas", iovas), ("other", other)])
            }
            DomainError::Table { paddr } => new("MappedError", message, [("paddr", paddr)]),
            DomainError::Memory(error) => error.into(),
        }
    }
}

impl From<Fault> for PyErr {
    fn from(fault: Fault) -> Self {
        let Fault { dma_addr, access, reason, transferred } = fault;
        let numbers = [
            ("dma_addr", dma_addr),
            ("reason", u64::from(reason.code())),
            ("transferred", transferred),
            ("is_write", u64::from(access == Access::Write)),
        ];
        Python::attach(|py| {
            let (errno, text) = (made::int(py, EFAULT)?, made::text(py, &fault.to_string())?);
            make(py, "FaultError", &made::objects(py, [&errno, text.as_any()])?, numbers)
        })
        .unwrap_or_else(|failure| failure)
    }
}

impl From<Invalid> for PyErr {
    fn from(error: Invalid) -> Self {
        new("PhyrError", error.to_string(), NO_NUMBERS)
    }
}
