//! The extension module `phyr._phyr`: registration only.

mod calls;
mod convert;
mod desc;
mod dma;
mod error;
mod list;
mod made;
mod os;
mod sim;

use pyo3::pymodule;

/// The compiled half of phyr.
#[pymodule(gil_used = false)]
mod _phyr {
    use alloc::format;

    use pyo3::exceptions::PyImportError;
    use pyo3::ffi;
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::desc::arrays::{bio_vecs, iovecs, phys_vecs, scatterlist};
    #[pymodule_export]
    use super::desc::descriptors::PyDescriptors;
    #[pymodule_export]
    use super::desc::handover::{
        dma_buf_vecs, from_dma_buf_vecs, from_kho_radix, from_kho_vmalloc, from_memfd_folios,
        kho_radix, kho_vmalloc, memfd_folios,
    };
    #[pymodule_export]
    use super::desc::nvme::{prp, sgl};
    #[pymodule_export]
    use super::desc::parse::{
        from_bio_vecs, from_iovecs, from_phys_vecs, from_prp, from_scatterlist, from_sgl,
    };
    #[pymodule_export]
    use super::desc::rdma::{best_pgsize, page_list};
    #[pymodule_export]
    use super::desc::requests::{ioas_maps, map_requests, vfio_maps};
    #[pymodule_export]
    use super::desc::split::split;
    #[pymodule_export]
    use super::list::builder::PyBuilder;
    #[pymodule_export]
    use super::list::chunks::PyChunks;
    #[pymodule_export]
    use super::list::column::PyColumn;
    #[pymodule_export]
    use super::list::either::settled;
    #[pymodule_export]
    use super::list::frozen::PyFrozen;
    #[pymodule_export]
    use super::list::index::PyIndex;
    #[pymodule_export]
    use super::list::object::PyPhyr;
    #[pymodule_export]
    use super::list::object::held;
    #[pymodule_export]
    use super::list::table::PyTable;
    #[pymodule_export]
    use super::os::area::PyArea;
    #[pymodule_export]
    use super::os::loan::PyLoan;
    #[pymodule_export]
    use super::os::pagemap::PyPagemapDecoder;

    #[cfg(unix)]
    #[pymodule_export]
    use super::os::page_reads::PyPagemapReads;
    #[cfg(unix)]
    #[pymodule_export]
    use super::os::page_records::{PyFolioScan, page_records};

    #[pymodule_export]
    use super::sim::domain::PySimDomain;
    #[pymodule_export]
    use super::sim::memory::{PyMemory, scatter};
    #[pymodule_export]
    use super::sim::transfer::{dma_read, dma_write};

    #[cfg(target_os = "linux")]
    #[pymodule_export]
    use super::os::uring::PyRing;

    #[pymodule_export]
    use super::dma::holds::{PyCount, PySides};
    #[pymodule_export]
    use super::dma::iova_map::PyIovaMap;
    #[pymodule_export]
    use super::dma::mapping::{PyMapping, dma_map, dma_unmap};
    #[pymodule_export]
    use super::dma::owed::PyOwed;
    #[pymodule_export]
    use super::dma::plan::{PyPlan, plan_map};
    #[pymodule_export]
    use super::dma::shift::{alignment, first_beyond, shift};
    #[pymodule_export]
    use super::dma::unmapping::PyUnmapping;

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// Refuses an interpreter that is not the first of the process.
    ///
    /// Classes, and Python objects that were looked up once, belong to the process. In another
    /// interpreter they would still be those of the first.
    #[pymodule_init]
    #[expect(unsafe_code, reason = "asks which interpreter this is")]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        // SAFETY: the interpreter is attached, so there is a current one.
        let current = unsafe { ffi::PyInterpreterState_Get() };
        // SAFETY: it is the current one, and alive.
        match unsafe { ffi::PyInterpreterState_GetID(current) } {
            0 => Ok(()),
            id if id < 0 => Err(PyErr::fetch(module.py())),
            id => Err(crate::python::made::exception::<PyImportError>(
                module.py(),
                &format!(
                    "phyr works in the main interpreter of a process only, and this is interpreter {id}"
                ),
            )),
        }
    }

    /// True if the module was built without optimisation, and so is an order of magnitude slower.
    #[pymodule_export]
    const DEBUG: bool = cfg!(debug_assertions);
}
