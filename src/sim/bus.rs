//! A device's view: reading and writing memory at DMA addresses.

use core::fmt;

use super::memory::Memory;
use crate::error::Error;
use crate::list::builder::Builder;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::list::reading::List;
use crate::slices;

/// The direction of a device's access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reads memory.
    Read,
    /// Writes memory.
    Write,
}

/// Why an access failed. The numbers are those that VT-d hardware records for requests without
/// PASID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Reason {
    /// The address is translated, but there is no memory at the result. This is not a fault of the
    /// IOMMU, so the number is 0.
    NoMemory = 0,
    /// The address has more bits than the tables translate.
    BeyondWidth = 4,
    /// A write, but an entry on the way does not permit writes, or is not present.
    NoWrite = 5,
    /// A read, but an entry on the way does not permit reads, or is not present.
    NoRead = 6,
    /// An entry points to a table where there is no memory.
    TablePointer = 7,
    /// An entry that is present has a reserved bit set.
    ReservedBits = 12,
}

impl Reason {
    /// The number that the hardware records.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// An access that failed. The bytes before the fault were transferred, and no byte after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first DMA address that could not be accessed.
    pub dma_addr: u64,
    /// The access that failed.
    pub access: Access,
    /// Why it failed.
    pub reason: Reason,
    /// Number of bytes transferred before the fault.
    pub transferred: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dma_addr, access, reason, transferred } = *self;
        let verb = if access == Access::Read { "read" } else { "write" };
        let why = match reason {
            Reason::NoMemory => "no memory answers there",
            Reason::BeyondWidth => "the address is beyond the width of the tables",
            Reason::NoWrite => "an entry does not permit writing",
            Reason::NoRead => "an entry does not permit reading",
            Reason::TablePointer => "an entry points to a table that is not in memory",
            Reason::ReservedBits => "an entry has a reserved bit set",
        };
        write!(
            f,
            "DMA {verb} at {dma_addr:#x} faulted, reason {:#x}: {why}; {transferred:#x} bytes were \
             transferred",
            reason.code()
        )
    }
}

impl core::error::Error for Fault {}

/// The result of a translation: memory from `paddr` on, for one byte and `more` bytes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Physical address.
    pub paddr: u64,
    /// Number of contiguous bytes after the first one.
    pub more: u64,
}

/// The bus between a device and memory.
pub trait Bus {
    /// Translates one address, for one kind of access.
    ///
    /// # Errors
    ///
    /// The reason why the address has no translation.
    fn resolve(
        &mut self,
        memory: &mut Memory,
        dma_addr: u64,
        access: Access,
    ) -> Result<Target, Reason>;
}

/// A bus whose addresses are physical addresses plus a constant. With 0 they are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffsetBus(pub i128);

impl Bus for OffsetBus {
    fn resolve(&mut self, _: &mut Memory, dma_addr: u64, _: Access) -> Result<Target, Reason> {
        let paddr = i128::from(dma_addr).checked_sub(self.0).and_then(|at| u64::try_from(at).ok());
        let paddr = paddr.ok_or(Reason::NoMemory)?;
        Ok(Target { paddr, more: u64::MAX - paddr.max(dma_addr) })
    }
}

/// The list of one range of DMA addresses, as `dma_read` and `dma_write` take it.
///
/// # Errors
///
/// [`Error::ZeroLength`], [`Error::Wraps`].
pub fn span(dma_addr: u64, length: u64) -> Result<Phyr, Error> {
    let mut builder = Builder::new();
    builder.append(dma_addr, length)?;
    builder.try_finish()
}

/// Reads the memory behind a list of DMA addresses, as a device does, into `data`.
///
/// # Errors
///
/// [`Fault`] at the first byte that cannot be accessed; `data` holds the bytes before it.
///
/// # Panics
///
/// If `data` is shorter than the list.
pub fn dma_read(
    memory: &mut Memory,
    bus: &mut impl Bus,
    dma: &impl List,
    data: &mut [u8],
) -> Result<(), Fault> {
    let (given, length) = (data.len() as u64, dma.length());
    assert!(given >= length, "{given:#x} bytes of data for a list of {length:#x} bytes");
    let mut rest = data;
    dma_read_with(memory, bus, dma, |bytes| {
        if let Some(part) = slices::take_mut(&mut rest, bytes.len()) {
            part.copy_from_slice(bytes);
        }
    })
}

/// Writes `data` to the memory behind a list of DMA addresses, as a device does.
///
/// # Errors
///
/// [`Fault`] at the first byte that cannot be accessed; the bytes before it are written.
///
/// # Panics
///
/// If `data` is shorter than the list.
pub fn dma_write(
    memory: &mut Memory,
    bus: &mut impl Bus,
    dma: &impl List,
    data: &[u8],
) -> Result<(), Fault> {
    let (given, length) = (data.len() as u64, dma.length());
    assert!(given >= length, "{given:#x} bytes of data for a list of {length:#x} bytes");
    let mut rest = data;
    dma_write_with(memory, bus, dma, |bytes| {
        if let Some(part) = slices::take(&mut rest, bytes.len()) {
            bytes.copy_from_slice(part);
        }
    })
}

/// Passes the bytes that a device reads to `f`, in order, a page or less at a time.
///
/// # Errors
///
/// [`Fault`] at the first byte that cannot be accessed.
pub fn dma_read_with(
    memory: &mut Memory,
    bus: &mut impl Bus,
    dma: &impl List,
    mut f: impl FnMut(&[u8]),
) -> Result<(), Fault> {
    transfer(memory, bus, dma, Access::Read, |memory, chunk| {
        memory.read_run(chunk, &mut f);
        Ok(())
    })
}

/// Passes memory that a device writes to `f`, which fills it, in order, a page or less at a time.
///
/// # Errors
///
/// [`Fault`] at the first byte that cannot be accessed.
pub fn dma_write_with(
    memory: &mut Memory,
    bus: &mut impl Bus,
    dma: &impl List,
    mut f: impl FnMut(&mut [u8]),
) -> Result<(), Fault> {
    transfer(memory, bus, dma, Access::Write, |memory, chunk| {
        // If this machine has no room for the page, the simulated memory does not answer.
        memory.make_run(chunk).map_err(|_| Reason::NoMemory)?;
        memory.write_run(chunk, &mut f);
        Ok(())
    })
}

/// Passes every piece of memory under a list to `f`, up to the first byte that cannot be accessed.
fn transfer(
    memory: &mut Memory,
    bus: &mut impl Bus,
    dma: &impl List,
    access: Access,
    mut f: impl FnMut(&mut Memory, Chunk) -> Result<(), Reason>,
) -> Result<(), Fault> {
    let mut transferred = 0;
    for chunk in dma.chunks() {
        let (mut dma_addr, mut rest) = (chunk.paddr, chunk.length);
        while rest > 0 {
            let fault = |reason| Fault { dma_addr, access, reason, transferred };
            let target = bus.resolve(memory, dma_addr, access).map_err(fault)?;
            let room = memory.size().saturating_sub(target.paddr);
            if room == 0 {
                return Err(fault(Reason::NoMemory));
            }
            let length = rest.min(room).min(target.more.saturating_add(1));
            f(memory, Chunk { paddr: target.paddr, length }).map_err(fault)?;
            transferred += length;
            rest -= length;
            // The last piece may end at 2^64. Then nothing is left to do.
            dma_addr = dma_addr.wrapping_add(length);
        }
    }
    Ok(())
}
