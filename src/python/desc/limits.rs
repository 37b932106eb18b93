//! Limits of a device, read from a `phyr.iommu.DeviceLimits`.

use alloc::format;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::desc::Limits;
use crate::list::frozen::Frozen;
use crate::python::convert::amounts::Amount;
use crate::python::convert::exchange;
use crate::python::convert::shown;
use crate::python::error;
use crate::python::made;

/// The limits of a `DeviceLimits`, or of any object with its attributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeviceLimits {
    pub(crate) segments: Limits,
    dma_mask: u64,
}

impl Default for DeviceLimits {
    fn default() -> Self {
        Self { segments: Limits::default(), dma_mask: u64::MAX }
    }
}

impl<'py> FromPyObject<'_, 'py> for DeviceLimits {
    type Error = PyErr;

    fn extract(limits: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let py = limits.py();
        let value = |name| {
            let value = limits.getattr_opt(made::text(py, name)?)?.ok_or_else(|| {
                let wanted = format!("a DeviceLimits: it has no {name}");
                made::failure::<PyTypeError>(shown::wrong_argument(&limits, &wanted))
            })?;
            match exchange::optional(&value.get_type(), "__index__")? {
                Some(_) => Ok(value),
                None => Err(made::failure::<PyTypeError>(format!(
                    "{name} is {}, not an int",
                    shown::text(&value)
                ))),
            }
        };
        let mask = |name| {
            let amount = value(name)?.extract::<Amount>();
            let named = |failure: PyErr| {
                made::prefix(failure.value(py), &format!("{name} "))
                    .map_or_else(|short| short, |()| failure)
            };
            Ok::<u64, PyErr>(amount.map_err(named)?.0)
        };
        // A number above 64 bits sets no limit.
        let most = |name| {
            if value(name)?.gt(made::int(py, u64::MAX)?)? { Ok(u64::MAX) } else { mask(name) }
        };
        let segments = Limits {
            max_segment_size: most("max_segment_size")?,
            seg_boundary_mask: mask("seg_boundary_mask")?,
            virt_boundary_mask: mask("virt_boundary_mask")?,
        };
        Ok(Self { segments, dma_mask: most("dma_mask")? })
    }
}

impl DeviceLimits {
    /// Refuses a list with an address that the device cannot put out. The list is of addresses to
    /// which the bus adds `bus_offset`.
    pub(crate) fn check_reach(&self, phyr: &Frozen, bus_offset: u64) -> PyResult<()> {
        if self.dma_mask == u64::MAX {
            return Ok(());
        }
        let beyond = match self.dma_mask.checked_sub(bus_offset) {
            Some(mask) => phyr.first_beyond(mask),
            None => phyr.chunks().next().map(|chunk| (0, chunk)),
        };
        let Some((number, chunk)) = beyond else { return Ok(()) };
        let (dma_addr, length) = (chunk.paddr.wrapping_add(bus_offset), chunk.length);
        let limit = self.dma_mask;
        let message = format!(
            "chunk {number}, {dma_addr:#x}+{length:#x}, ends above the DMA mask {limit:#x}"
        );
        let numbers =
            [("number", number), ("dma_addr", dma_addr), ("length", length), ("limit", limit)];
        Err(error::new("LimitError", message, numbers))
    }
}
