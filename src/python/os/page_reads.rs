//! Reads of an open page map into a decoder, for `phyr.pagemap`: by several threads where a range is
//! large, and only what is there where most is not.
#![expect(unsafe_code, reason = "a file by its number, and its bytes as words")]

use alloc::vec::Vec;
use core::mem::ManuallyDrop;

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, RawFd};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;

use crate::pagemap::decoder::{Hidden, PagemapDecoder};
use crate::python::convert::amounts::{Amount, Decimal};
use crate::python::convert::buffer::Array;
use crate::python::convert::numbers::Numbers;
use crate::python::made;
use crate::python::os::failure::os_error;
use crate::python::os::page_records::PyFolioScan;
use crate::python::os::pagemap::PyPagemapDecoder;
use crate::python::os::proc_records::{self, RECORD};
use crate::python::os::together::{MOST_THREADS, together};
use crate::slices;

/// Records that one call reads, at most, by one thread and by several: 1 MiB and 8 MiB. The more, the
/// less it matters when a thread begins late.
const MOST: usize = 128 << 10;
const MOST_TOGETHER: usize = 8 * MOST;
/// Records that one thread reads and decodes at a time: 128 KiB, which a cache near it holds meanwhile.
/// For more of them the kernel would also have to give more new memory.
const NEAR: usize = 16 << 10;
/// The parts that each of several threads takes: one that the system lets wait takes fewer.
const PARTS: usize = 4;
/// Pages of a hole whose records take about as long to read as one more call to the kernel.
const LONG_HOLE: usize = 256;
/// A record's page is present, or in swap.
const THERE: u64 = 1 << 63 | 1 << 62;
/// Numbers that the kernel gives for a region: its start, its end, and what is there.
const REGION: usize = 3;

/// The buffer that page maps are read into. It is kept from read to read, because new memory takes the
/// kernel longer than many a read.
#[pyclass(name = "PagemapReads", module = "phyr._phyr", frozen)]
#[derive(Debug)]
pub(crate) struct PyPagemapReads {
    /// Code that holds the lock never waits for the interpreter, so there is no deadlock.
    records: Mutex<Vec<u64>>,
}

/// Why a read ended early.
enum Failure {
    Read(io::Error),
    Hidden(Hidden),
    NoMemory,
}

impl From<io::Error> for Failure {
    fn from(failure: io::Error) -> Self {
        Self::Read(failure)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Read(failure) => os_error(&failure),
            Failure::Hidden(hidden) => hidden.into(),
            Failure::NoMemory => {
                made::failure::<PyMemoryError>("no memory to read a page map into")
            }
        }
    }
}

/// Records of the pages from number `first` on.
struct Part<'a> {
    first: u64,
    records: &'a mut [u64],
    /// How many were read: fewer if the file ends.
    got: io::Result<usize>,
}

impl Part<'_> {
    fn read(&mut self, file: &File) {
        // SAFETY: any bytes are words, and words have no padding.
        let (_, bytes, _) = unsafe { self.records.align_to_mut::<u8>() };
        let got = proc_records::fill(file, self.first.saturating_mul(RECORD), bytes);
        self.got = got.map(|bytes| bytes / size_of::<u64>());
    }
}

/// Pages that were read.
#[derive(Default)]
struct Pages {
    /// All that were decoded.
    count: u64,
    /// Those in long holes.
    absent: u64,
}

impl Pages {
    fn of(records: &[u64]) -> Self {
        let is_hole =
            |block: &&[u64]| block[0] & THERE == 0 && block.iter().all(|r| r & THERE == 0);
        let holes = records.chunks_exact(LONG_HOLE).filter(is_hole).count();
        Self { count: records.len() as u64, absent: (holes * LONG_HOLE) as u64 }
    }
}

/// Decodes a part that was read.
fn take(
    part: Part<'_>,
    decoder: &mut PagemapDecoder,
    scan: Option<&PyFolioScan>,
) -> Result<Pages, Failure> {
    let records = &part.records[..part.got?];
    decoder.feed(records).map_err(Failure::Hidden)?;
    if let Some(scan) = scan {
        scan.take(part.first, records)?;
    }
    Ok(Pages::of(records))
}

/// Where records come from, and who takes them.
struct Reading<'a> {
    file: &'a File,
    decoder: &'a mut PagemapDecoder,
    scan: Option<&'a PyFolioScan>,
    records: &'a mut Vec<u64>,
}

impl Reading<'_> {
    /// Reads records by so many threads: fewer records if the file ends.
    fn read(&mut self, first: u64, nr_pages: usize, threads: usize) -> Result<Pages, Failure> {
        if threads <= 1 {
            return self.read_alone(first, nr_pages);
        }
        self.make_room(nr_pages)?;
        let (file, records) = (self.file, &mut self.records[..nr_pages]);
        let size = nr_pages.div_ceil(threads * PARTS).max(1);
        let part = |(records, first)| Part { first, records, got: Ok(0) };
        let mut parts: Vec<_> =
            records.chunks_mut(size).zip((first..).step_by(size)).map(part).collect();
        let next = Mutex::new(parts.iter_mut());
        let work = || {
            loop {
                let part = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(part) = part else { break };
                part.read(file);
            }
        };
        together(threads, work);
        let mut pages = Pages::default();
        for part in parts {
            let wanted = part.records.len() as u64;
            let Pages { count, absent } = take(part, self.decoder, self.scan)?;
            pages.count += count;
            pages.absent += absent;
            if count < wanted {
                break;
            }
        }
        Ok(pages)
    }

    /// Reads records by this thread, in pieces that a cache near it holds until they are decoded.
    fn read_alone(&mut self, first: u64, nr_pages: usize) -> Result<Pages, Failure> {
        self.make_room(nr_pages.min(NEAR))?;
        let mut pages = Pages::default();
        let mut left = nr_pages;
        while left > 0 {
            let records = &mut self.records[..left.min(NEAR)];
            let wanted = records.len();
            let mut part = Part { first: first + pages.count, records, got: Ok(0) };
            part.read(self.file);
            let Pages { count, absent } = take(part, self.decoder, self.scan)?;
            pages.count += count;
            pages.absent += absent;
            if count < wanted as u64 {
                break;
            }
            left -= wanted;
        }
        Ok(pages)
    }

    fn make_room(&mut self, nr_records: usize) -> Result<(), Failure> {
        let more = nr_records.saturating_sub(self.records.len());
        self.records.try_reserve_exact(more).map_err(|_| Failure::NoMemory)?;
        self.records.resize(nr_records.max(self.records.len()), 0);
        Ok(())
    }

    /// Reads the spans of pages, in order, and takes all before, between and behind them up to `end` for
    /// holes. Returns the page reached, which is before `end` only if the file ends, and how many
    /// pages were read.
    fn read_spans(
        &mut self,
        mut at: u64,
        end: u64,
        mut spans: impl Iterator<Item = (u64, u64)>,
    ) -> Result<(u64, u64), Failure> {
        let mut nr_read = 0;
        let mut next = spans.next();
        while let Some((first, mut last)) = next {
            // Short gaps are read, too.
            next = spans.next();
            while let Some((_, further)) =
                next.filter(|next| next.0 <= last.saturating_add(LONG_HOLE as u64))
            {
                last = last.max(further);
                next = spans.next();
            }
            let (first, last) = (first.clamp(at, end), last.clamp(at, end));
            self.decoder.skip(first - at).map_err(Failure::Hidden)?;
            at = first;
            while at < last {
                let wanted = (last - at).min(MOST as u64);
                let got = self.read(at, usize::try_from(wanted).unwrap_or(MOST), 1)?.count;
                at += got;
                nr_read += got;
                if got < wanted {
                    return Ok((at, nr_read));
                }
            }
        }
        self.decoder.skip(end - at).map_err(Failure::Hidden)?;
        Ok((end, nr_read))
    }
}

impl PyPagemapReads {
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        fd: Decimal,
        decoder: &PyPagemapDecoder,
        scan: Option<&PyFolioScan>,
        act: impl FnOnce(&mut Reading<'_>) -> Result<T, Failure> + Send,
    ) -> PyResult<T> {
        let fd = RawFd::try_from(fd.0).unwrap_or(RawFd::MAX);
        // SAFETY: the number is only read from, and never closed here. If it is no open file, or
        // another than the caller thinks, reading fails or gives other numbers.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
        let done = py.detach(|| {
            let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
            let mut decoder = decoder.lock();
            let (records, decoder) = (&mut *records, &mut *decoder);
            act(&mut Reading { file: &file, decoder, scan, records })
        });
        Ok(done?)
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyPagemapReads {
    #[new]
    fn new() -> Self {
        Self { records: Mutex::new(Vec::new()) }
    }

    /// Read the records of `nr_pages` from user virtual address `uaddr` on, by up to 8 threads.
    ///
    /// At most 131,072 pages are read by one thread, and 8 times as many by several. Returns how many
    /// were decoded, fewer than that if the file ends, and how many of them are in blocks of 256 of
    /// which no page is there.
    #[pyo3(signature = (fd, decoder, uaddr, nr_pages, threads=1, scan=None))]
    #[expect(clippy::too_many_arguments, reason = "a file, a range and who takes it")]
    fn read(
        &self,
        py: Python<'_>,
        fd: Decimal,
        decoder: &Bound<'_, PyPagemapDecoder>,
        uaddr: Amount,
        nr_pages: usize,
        threads: usize,
        scan: Option<&Bound<'_, PyFolioScan>>,
    ) -> PyResult<(u64, u64)> {
        let decoder = decoder.get();
        let first = uaddr.0 >> decoder.granule().lg2();
        let threads = threads.clamp(1, MOST_THREADS);
        let most = if threads == 1 { MOST } else { MOST_TOGETHER };
        self.with(py, fd, decoder, scan.map(Bound::get), |reading| {
            let Pages { count, absent } = reading.read(first, nr_pages.min(most), threads)?;
            Ok((count, absent))
        })
    }

    /// Read the records of the regions of a range that the kernel's PAGEMAP_SCAN gave, in order; all
    /// else up to user virtual address `end` is a hole.
    ///
    /// Returns the user virtual address reached, before `end` only if the file ends, and how many
    /// pages were read.
    #[pyo3(signature = (fd, decoder, uaddr, end, regions, scan=None))]
    #[expect(clippy::too_many_arguments, reason = "a file, a range and who takes it")]
    fn leap(
        &self,
        py: Python<'_>,
        fd: Decimal,
        decoder: &Bound<'_, PyPagemapDecoder>,
        uaddr: Amount,
        end: Amount,
        regions: &Bound<'_, PyAny>,
        scan: Option<&Bound<'_, PyFolioScan>>,
    ) -> PyResult<(u64, u64)> {
        let regions = Numbers::of_array(Array::new(regions, true)?).read_all(py)?;
        let decoder = decoder.get();
        let lg2 = decoder.granule().lg2();
        let (at, end) = (uaddr.0 >> lg2, (end.0 >> lg2).max(uaddr.0 >> lg2));
        self.with(py, fd, decoder, scan.map(Bound::get), |reading| {
            let (regions, _) = slices::arrays::<_, REGION>(&regions);
            let spans = regions.iter().map(|[start, end, _]| (start >> lg2, end >> lg2));
            let (reached, nr_read) = reading.read_spans(at, end, spans)?;
            Ok((reached << lg2, nr_read))
        })
    }
}
