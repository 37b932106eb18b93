//! The extension module `phyr._phyr`: registration only.

mod area;
mod buffer;
mod builder;
mod chunks;
mod column;
mod desc;
mod desc_parse;
mod desc_requests;
mod error;
mod fill;
mod held;
mod kind;
mod loan;
mod map;
mod mapping;
mod numbers;
mod owed;
mod pagemap;
mod phyr;
mod plan;
mod sim;
mod sim_domain;
mod tuple;
mod unmapping;
#[cfg(target_os = "linux")]
mod uring;

use pyo3::prelude::*;

/// The compiled half of phyr.
#[pymodule(gil_used = false)]
mod _phyr {
    #[pymodule_export]
    use super::area::PyArea;
    #[pymodule_export]
    use super::builder::PyBuilder;
    #[pymodule_export]
    use super::chunks::PyChunks;
    #[pymodule_export]
    use super::column::PyColumn;
    #[pymodule_export]
    use super::desc::{
        PyDescriptors, best_pgsize, bio_vecs, iovecs, page_list, phys_vecs, prp, scatterlist, sgl,
        split,
    };
    #[pymodule_export]
    use super::desc_parse::{
        from_bio_vecs, from_iovecs, from_phys_vecs, from_prp, from_scatterlist, from_sgl,
    };
    #[pymodule_export]
    use super::desc_requests::{ioas_maps, map_requests, vfio_maps};
    #[pymodule_export]
    use super::held::held;
    #[pymodule_export]
    use super::loan::PyLoan;
    #[pymodule_export]
    use super::pagemap::PyPagemapDecoder;
    #[pymodule_export]
    use super::phyr::PyPhyr;
    #[pymodule_export]
    use super::sim::{PyMemory, scatter};
    #[pymodule_export]
    use super::sim_domain::{PySimDomain, dma_read, dma_write};

    #[cfg(target_os = "linux")]
    #[pymodule_export]
    use super::uring::PyRing;

    #[pymodule_export]
    use super::map::{alignment, first_beyond, shift};
    #[pymodule_export]
    use super::mapping::{PyMapping, dma_map, dma_unmap};
    #[pymodule_export]
    use super::owed::PyOwed;
    #[pymodule_export]
    use super::plan::{PyPlan, plan_map};
    #[pymodule_export]
    use super::unmapping::PyUnmapping;

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// Whether the module was built without optimisation, an order of magnitude slower.
    #[pymodule_export]
    const DEBUG: bool = cfg!(debug_assertions);
}
