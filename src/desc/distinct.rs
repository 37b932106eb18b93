//! Lists in which no byte comes twice: sets of memory, and the `phys_vec` array of a dma-buf.

use alloc::vec::Vec;

use super::bvec::PhysVecLayout;
use super::error::DescError;
use super::limits::Limits;
use super::parse::{finish, records, word};
use super::table::Table;
use crate::granule::Granule;
use crate::kind::Kind;
use crate::list::builder::Builder;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::list::reading::List;

/// Adds an item, or fails if there is no memory for it.
pub(super) fn push<T>(items: &mut Vec<T>, item: T) -> Result<(), DescError> {
    let bytes = (size_of::<T>() as u64).saturating_mul(items.len() as u64 + 1);
    items.try_reserve(1).map_err(|_| DescError::NoMemory { bytes })?;
    items.push(item);
    Ok(())
}

/// Sorts chunks by address.
///
/// # Errors
///
/// [`DescError::Overlap`] if two of them share a byte.
pub(super) fn sort(chunks: &mut [Chunk]) -> Result<(), DescError> {
    chunks.sort_unstable_by_key(|chunk| chunk.paddr);
    for pair in chunks.windows(2) {
        if pair[1].paddr <= pair[0].last_of_list() {
            let last = pair[0].last_of_list().min(pair[1].last_of_list());
            let paddr = pair[1].paddr;
            return Err(DescError::Overlap { paddr, length: last - paddr + 1 });
        }
    }
    Ok(())
}

/// The chunks of a list, sorted by address. O(n log n), and 16 bytes a chunk.
pub(super) fn sorted(phyr: &impl List) -> Result<Vec<Chunk>, DescError> {
    let mut chunks = Vec::new();
    phyr.chunks().try_for_each(|chunk| push(&mut chunks, chunk))?;
    sort(&mut chunks)?;
    Ok(chunks)
}

impl<P: List> Table<PhysVecLayout, P> {
    /// The list as the array of `phys_vec`s that describes a dma-buf: no byte of memory comes
    /// twice. O(n log n), and 16 bytes a chunk while it is checked.
    ///
    /// # Errors
    ///
    /// [`DescError::Overlap`] if a byte comes twice.
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::desc::{DescError, Table};
    ///
    /// let mut builder = phyr::Builder::new();
    /// builder.extend_pfns(&[7, 3, 7])?;
    /// let twice = Table::dma_buf_vecs(&builder.finish());
    /// assert_eq!(twice.err(), Some(DescError::Overlap { paddr: 0x7000, length: 0x1000 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Source: `dma_buf_phys_vec_to_sgt()`, `include/linux/dma-buf-mapping.h`.
    pub fn dma_buf_vecs(phyr: &P) -> Result<Self, DescError> {
        sorted(phyr)?;
        Self::phys_vecs(phyr, Limits::default())
    }
}

/// Reads a list from the array of `phys_vec`s that describes a dma-buf of `length` bytes.
///
/// The array says nothing of what it must not hold, so all of it is checked here.
///
/// # Errors
///
/// [`DescError::Ragged`] for a cut record; [`DescError::List`] for a record of no bytes, or one
/// that a list of this granule cannot hold; [`DescError::Overlap`] if a byte comes twice;
/// [`DescError::Coverage`] if the records have more or fewer bytes than the dma-buf.
pub fn from_dma_buf_vecs(
    bytes: &[u8],
    length: u64,
    granule: Granule,
    kind: Kind,
) -> Result<Phyr, DescError> {
    let mut builder = Builder::with(granule, kind);
    for (index, record) in (0..).zip(records(bytes, 16)?) {
        let appended = builder.append(word(record, 0), word(record, 8));
        appended.map_err(|why| DescError::list(index, why))?;
    }
    let phyr = finish(builder)?;
    if phyr.length() != length {
        return Err(DescError::Coverage { length: phyr.length(), expected: length });
    }
    sorted(&phyr)?;
    Ok(phyr)
}
