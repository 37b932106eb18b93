//! Files with a record for each page of memory, ``/proc/kpageflags`` and ``/proc/kpagecount``, and
//! the folios that the flags tell of, for `phyr.pagemap`.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

use crate::granule::Granule;
use crate::pagemap::folios::{FolioTally, Folios, Large, Origin, Shape, Sort};
use crate::python::convert::amounts::Amount;
use crate::python::convert::buffer::Array;
use crate::python::convert::items::Items;
use crate::python::convert::numbers::Numbers;
use crate::python::error;
use crate::python::list::column::PyColumn;
use crate::python::list::either::Either;
use crate::python::os::page_lookup::{BATCH, Wanted, look_up};
use crate::python::os::proc_records::{Flags, Records};

/// A page map's record of a page that is present, and the page's number in it.
const PRESENT: u64 = 1 << 63;
const PFN: u64 = (1 << 55) - 1;
/// Its bit for a page that is mapped here only, and once.
const EXCLUSIVE: u64 = 1 << 56;

/// The records of a list's pages, from a file that has one for each page of physical memory.
///
/// Args:
///     path: The file.
///     phyr: A list whose granule is the page size or a multiple of it.
///     page_size: The kernel's, in bytes.
///     absent: What stands for pages beyond the file's end.
#[pyfunction]
#[pyo3(crate = "crate::python::calls")]
pub(crate) fn page_records(
    py: Python<'_>,
    path: PathBuf,
    phyr: Either,
    page_size: Amount,
    absent: u64,
) -> PyResult<PyColumn> {
    let page = Granule::new(page_size.0)?;
    let phyr = phyr.into_list();
    if phyr.granule().bytes() < page.bytes() {
        return Err(error::new(
            "AlignmentError",
            format!(
                "a list of granule {} does not tell pages of {:#x} apart",
                phyr.granule().bytes(),
                page.bytes(),
            ),
            [("granule", phyr.granule().bytes()), ("align", page.bytes())],
        ));
    }
    // The numbers of pages side by side: the first, and how many.
    let mut pieces = phyr.chunks().flat_map(|chunk| {
        let last = (chunk.paddr + (chunk.length - 1)) >> page.lg2();
        let firsts = (chunk.paddr >> page.lg2()..=last).step_by(BATCH as usize);
        let count = |more| u32::try_from(more).map_or(BATCH, |more| more.min(BATCH - 1) + 1);
        firsts.map(move |pfn| (pfn, count(last - pfn)))
    });
    let file = py.detach(|| File::open(path))?;
    let mut column = Vec::new();
    loop {
        let more = py.detach(|| -> io::Result<bool> {
            let mut wanted = Vec::new();
            let start = column.len();
            let mut at = 0;
            for (pfn, count) in pieces.by_ref() {
                wanted.push(Wanted { pfn, count, at });
                at += count;
                if at >= BATCH {
                    break;
                }
            }
            column.try_reserve(at as usize).map_err(|_| io::ErrorKind::OutOfMemory)?;
            column.resize(start + at as usize, absent);
            look_up::<Records>(&file, &mut wanted, absent, &mut column[start..])?;
            Ok(!wanted.is_empty())
        })?;
        if !more {
            return Ok(PyColumn::new(column)?);
        }
        py.check_signals()?;
    }
}

/// Counts the folios behind the present pages of page-map records.
///
/// Args:
///     path: ``/proc/kpageflags``.
///     page_size: The kernel's, in bytes.
///     orders: log2 of the pages of each size of block to count, too.
#[pyclass(name = "FolioScan", module = "phyr._phyr", frozen)]
#[derive(Debug)]
pub(crate) struct PyFolioScan {
    page: Granule,
    orders: Vec<u8>,
    file: File,
    inner: Mutex<Scan>,
}

/// Pages side by side, in virtual and in physical memory.
#[derive(Debug)]
struct Run {
    vfn: u64,
    pfn: u64,
    count: u32,
}

#[derive(Debug)]
struct Scan {
    runs: Vec<Run>,
    pages: u32,
    /// Pages that are mapped elsewhere, too; those of zeros and of devices among them.
    shared: u64,
    tally: FolioTally,
}
impl Scan {
    fn new(orders: &[u8]) -> Self {
        Self {
            runs: Vec::new(),
            pages: 0,
            shared: 0,
            tally: FolioTally::new(orders.iter().copied()),
        }
    }

    /// Takes records of the pages from `vfn` on.
    fn feed(&mut self, file: &File, vfn: u64, records: &[u64]) -> io::Result<()> {
        for (&record, vfn) in records.iter().zip(vfn..) {
            if record & PRESENT == 0 {
                continue;
            }
            let pfn = record & PFN;
            self.shared += u64::from(record & EXCLUSIVE == 0);
            match self.runs.last_mut() {
                Some(Run { vfn: v, pfn: p, count })
                    if *v + u64::from(*count) == vfn && *p + u64::from(*count) == pfn =>
                {
                    *count += 1;
                }
                _ => self.runs.push(Run { vfn, pfn, count: 1 }),
            }
            self.pages += 1;
            if self.pages == BATCH {
                self.flush(file)?;
            }
        }
        Ok(())
    }

    /// Looks the flags up, and counts.
    fn flush(&mut self, file: &File) -> io::Result<()> {
        let mut at = 0;
        let wanted = self.runs.iter().map(|run| {
            // And the page after them.
            let wanted = Wanted { pfn: run.pfn, count: run.count + 1, at };
            at += wanted.count;
            wanted
        });
        let mut wanted: Vec<_> = wanted.collect();
        let mut flags = vec![0; at as usize];
        look_up::<Flags>(file, &mut wanted, NOPAGE, &mut flags)?;
        let mut rest = &flags[..];
        for run in self.runs.drain(..) {
            let (these, others) = rest.split_at(run.count as usize + 1);
            self.tally.add(run.vfn, run.pfn, these);
            rest = others;
        }
        self.pages = 0;
        Ok(())
    }
}

/// The flag of a number without a page.
const NOPAGE: u64 = 1 << 20;

type LargeTuple = (&'static str, &'static str, &'static str, u8, u64);
type Counted = (Vec<LargeTuple>, (u64, u64, u64, u64, u64, u64), Vec<(u8, u64, u64)>);

impl PyFolioScan {
    /// Takes records of the pages from number `vfn` of virtual memory on.
    pub(crate) fn take(&self, vfn: u64, records: &[u64]) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.feed(&self.file, vfn, records)
    }
}

#[pymethods]
#[pyo3(crate = "crate::python::calls")]
impl PyFolioScan {
    #[new]
    fn new(py: Python<'_>, path: PathBuf, page_size: Amount, orders: Items<u8>) -> PyResult<Self> {
        let orders = orders.0;
        let page = Granule::new(page_size.0)?;
        let file = py.detach(|| File::open(path))?;
        let inner = Mutex::new(Scan::new(&orders));
        Ok(Self { page, orders, file, inner })
    }

    /// Take packed native ``uint64`` records of the pages from virtual address `uaddr` on.
    fn feed(&self, py: Python<'_>, uaddr: Amount, records: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut vfn = uaddr.0 >> self.page.lg2();
        Numbers::of_array(Array::new(records, true)?).for_each_block(py, |block| {
            self.take(vfn, block)?;
            vfn += block.len() as u64;
            Ok::<_, io::Error>(())
        })
    }

    /// Return pages by folio, single pages by what they hold, and blocks by order; and start over.
    fn finish(&self, py: Python<'_>) -> PyResult<Counted> {
        let folios = py.detach(|| {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let mut scan = core::mem::replace(&mut *inner, Scan::new(&self.orders));
            scan.flush(&self.file)?;
            Ok::<_, io::Error>((scan.tally.finish(), scan.shared))
        })?;
        let (Folios { large, anon, file, ksm, zero, device, blocks }, shared) = folios;
        let shared = shared.saturating_sub(zero + device);
        let blocks = blocks.into_iter().map(|b| (b.order, b.anon, b.file)).collect();
        let large = large.into_iter().map(named).collect();
        Ok((large, (anon, file, ksm, zero, device, shared), blocks))
    }

    fn __repr__(&self) -> String {
        format!("FolioScan(page size {})", self.page.bytes())
    }
}

fn named(large: Large) -> LargeTuple {
    let origin = match large.origin {
        Origin::Thp => "thp",
        Origin::Hugetlb => "hugetlb",
    };
    let sort = match large.sort {
        Sort::Anon => "anon",
        Sort::File => "file",
    };
    let shape = match large.shape {
        Shape::Aligned => "aligned",
        Shape::Unaligned => "unaligned",
        Shape::Part => "part",
    };
    (origin, sort, shape, large.order, large.nr_pages)
}
