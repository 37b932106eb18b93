//! Simulated physical memory: bytes by address and by list, and an allocator of pages.

use core::fmt;

use super::error::MemoryError;
use super::frames::Frames;
use super::small::small;
use super::store::{PAGE, Page, Store};
use crate::error::NoMemory;
use crate::kind::Kind;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::list::reading::List;
use crate::slices;

/// Bytes in a page, as addresses count them.
pub(super) const PAGE_SIZE: u64 = PAGE as u64;

/// Most bytes of memory: all that the 52-bit addresses of table entries can name.
const MOST: u64 = 1 << 52;

/// The bytes of a page that was never written.
static ZEROS: [u8; PAGE] = [0; PAGE];

/// Sparse physical memory: addresses from 0 to `size - 1`.
///
/// A page takes memory of this machine only after it was written. Before that, and after it was
/// freed, it reads as zeros, and reads take no memory. Any address inside the memory can be read
/// and written, allocated or not, as in a real machine: allocation only keeps account of who uses a
/// page. Page 0 is never allocated, so that no valid list starts at address 0.
///
/// # Examples
///
/// ```
/// use phyr::sim::Memory;
///
/// let mut memory = Memory::new(1 << 40)?;
/// let buffer = memory.alloc(0x2345, Some(1 << 32), 0x1_0000)?;
/// memory.write(&buffer, &[0xa5; 0x2345])?;
/// assert_eq!(memory.read_u64(buffer.translate(0x2344)?)?, 0xa5);
/// assert_eq!(memory.resident(), 0x3000);
/// memory.free(&buffer)?;
/// assert_eq!(memory.resident(), 0);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub struct Memory {
    pub(super) size: u64,
    /// Most pages that may be resident.
    limit: u64,
    pub(super) store: Store,
    pub(super) frames: Frames,
}

impl Memory {
    /// Most bytes of pages that may be resident at a time, 4 GiB, unless [`Self::with_limit`] sets
    /// another limit.
    pub const MOST_RESIDENT: u64 = 4 << 30;

    /// Memory of `size` bytes.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Size`] unless `size` is a multiple of 4096 from 0x2000 to 2^52.
    pub fn new(size: u64) -> Result<Self, MemoryError> {
        Self::with_limit(size, Self::MOST_RESIDENT)
    }

    /// Memory of `size` bytes, of which at most `most_resident` are written at a time.
    /// Each written page takes a page of this machine's memory, so the limit bounds what a
    /// simulation can use.
    /// simulation may use of it.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with_limit(size: u64, most_resident: u64) -> Result<Self, MemoryError> {
        if !(2 * PAGE_SIZE..=MOST).contains(&size) || size % PAGE_SIZE != 0 {
            return Err(MemoryError::Size { size });
        }
        let nr_pages = size / PAGE_SIZE;
        let limit = most_resident / PAGE_SIZE;
        let frames = Frames::new(1, nr_pages)?;
        Ok(Self { size, limit, store: Store::new(nr_pages), frames })
    }

    /// Bytes of memory, written or not.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of pages that were written and not freed.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.store.nr_pages() * PAGE_SIZE
    }

    /// Bytes of pages that can be allocated.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.frames.nr_free() * PAGE_SIZE
    }

    /// Copies the memory under a list to `data`.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Length`] unless the two have the same length; errors of [`Self::read_with`].
    pub fn read(&self, phyr: &impl List, data: &mut [u8]) -> Result<(), MemoryError> {
        check_length(phyr, data.len())?;
        let mut rest = data;
        self.read_with(phyr, |bytes| {
            if let Some(part) = slices::take_mut(&mut rest, bytes.len()) {
                part.copy_from_slice(bytes);
            }
        })
    }

    /// Copies `data` to the memory under a list.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Length`] unless the two have the same length; errors of [`Self::write_with`].
    pub fn write(&mut self, phyr: &Phyr, data: &[u8]) -> Result<(), MemoryError> {
        check_length(phyr, data.len())?;
        let mut rest = data;
        self.write_with(phyr, |bytes| {
            if let Some(part) = slices::take(&mut rest, bytes.len()) {
                bytes.copy_from_slice(part);
            }
        })
    }

    /// Passes the bytes under a list to `f`, in order, a page or less at a time.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Mmio`] for a list that is not RAM; [`MemoryError::Outside`] for a list with
    /// bytes outside the memory. Then `f` is not called.
    pub fn read_with(&self, phyr: &impl List, mut f: impl FnMut(&[u8])) -> Result<(), MemoryError> {
        self.check(phyr)?;
        phyr.chunks().for_each(|chunk| self.read_run(chunk, &mut f));
        Ok(())
    }

    /// Passes the bytes under a list to `f` for writing, in order, a page or less at a time. All
    /// these pages are resident afterwards.
    ///
    /// # Errors
    ///
    /// As [`Self::read_with`]; [`MemoryError::Resident`] or [`Error::NoMemory`](crate::Error) if
    /// there is no room for the pages. Then `f` is not called either.
    pub fn write_with(
        &mut self,
        phyr: &Phyr,
        mut f: impl FnMut(&mut [u8]),
    ) -> Result<(), MemoryError> {
        self.check(phyr)?;
        let mut chunks = phyr.chunks();
        if let Err(why) = chunks.try_for_each(|chunk| self.make_run(chunk)) {
            // The pages made so far hold zeros, and an absent page reads as zeros: so remove them.
            let left = chunks.len();
            let done = phyr.chunks().len() - left;
            phyr.chunks().take(done).for_each(|chunk| self.remove_blank(chunk));
            return Err(why);
        }
        phyr.chunks().for_each(|chunk| self.write_run(chunk, &mut f));
        Ok(())
    }

    /// Copies the memory from `paddr` on to `data`.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Outside`].
    pub fn read_at(&self, paddr: u64, data: &mut [u8]) -> Result<(), MemoryError> {
        let chunk = Chunk { paddr, length: data.len() as u64 };
        self.check_range(chunk)?;
        let mut rest = data;
        self.read_run(chunk, &mut |bytes| {
            if let Some(part) = slices::take_mut(&mut rest, bytes.len()) {
                part.copy_from_slice(bytes);
            }
        });
        Ok(())
    }

    /// Copies `data` to the memory from `paddr` on.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Outside`]; [`MemoryError::Resident`] or [`Error::NoMemory`](crate::Error) if
    /// there is no room for the pages. Nothing is written then.
    pub fn write_at(&mut self, paddr: u64, data: &[u8]) -> Result<(), MemoryError> {
        let chunk = Chunk { paddr, length: data.len() as u64 };
        self.check_range(chunk)?;
        self.make_run(chunk).inspect_err(|_| self.remove_blank(chunk))?;
        let mut rest = data;
        self.write_run(chunk, &mut |bytes| {
            if let Some(part) = slices::take(&mut rest, bytes.len()) {
                bytes.copy_from_slice(part);
            }
        });
        Ok(())
    }

    /// Reads the eight bytes from `paddr` on as a little-endian number.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Outside`].
    pub fn read_u64(&self, paddr: u64) -> Result<u64, MemoryError> {
        let mut bytes = [0; 8];
        self.read_at(paddr, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes a number to the eight bytes from `paddr` on, little-endian.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Outside`].
    pub fn write_u64(&mut self, paddr: u64, value: u64) -> Result<(), MemoryError> {
        self.write_at(paddr, &value.to_le_bytes())
    }

    /// Takes a page for a table: one that a table gave back, else the highest free one. Buffers take the
    /// lowest, so the two do not mix.
    pub(super) fn take_table(&mut self) -> Result<u64, MemoryError> {
        let full = MemoryError::Full { length: PAGE_SIZE, free: 0 };
        let pfn = self.frames.take_table().ok_or(full)?;
        // Bytes written to the page before it was allocated are not part of the table.
        if self.store.get(pfn).is_some() {
            self.store.remove(pfn, pfn);
        }
        if let Err(why) = self.make(pfn) {
            self.frames.put_table(pfn);
            return Err(why);
        }
        Ok(pfn * PAGE_SIZE)
    }

    /// Frees the page of a table. If somebody wrote to the tables, this may be any page. Allocates
    /// nothing.
    pub(super) fn drop_table(&mut self, paddr: u64) {
        let pfn = paddr / PAGE_SIZE;
        if self.frames.put_table(pfn) {
            // Most tables are empty then, and an empty page need not be cleared when it is used
            // again.
            if self.store.get(pfn).is_some_and(Page::is_blank) {
                self.store.remove_blank(pfn);
            } else {
                self.store.remove(pfn, pfn);
            }
        }
    }

    /// The page at `paddr` if it is inside the memory and was written.
    pub(super) fn page(&self, paddr: u64) -> Option<&Page> {
        if paddr < self.size { self.store.get(paddr / PAGE_SIZE) } else { None }
    }

    /// The page at `paddr` if it was written. `paddr` must be inside the memory.
    pub(super) fn present_mut(&mut self, paddr: u64) -> Option<&mut Page> {
        self.store.get_mut(paddr / PAGE_SIZE)
    }

    /// The page at `paddr`, made if it was never written. `paddr` must be inside the memory.
    pub(super) fn page_mut(&mut self, paddr: u64) -> Result<&mut Page, MemoryError> {
        self.make(paddr / PAGE_SIZE)
    }

    /// The page with a number, made if it was never written.
    fn make(&mut self, pfn: u64) -> Result<&mut Page, MemoryError> {
        if self.store.nr_pages() >= self.limit && self.store.get(pfn).is_none() {
            return self.check_room(1).and(Err(NoMemory::of::<u8>(PAGE).into()));
        }
        self.store.make(pfn).ok_or_else(|| NoMemory::of::<u8>(PAGE).into())
    }

    /// Checks that `nr_pages` more pages may be resident.
    pub(super) fn check_room(&self, nr_pages: u64) -> Result<(), MemoryError> {
        if nr_pages <= self.limit.saturating_sub(self.store.nr_pages()) {
            return Ok(());
        }
        let length = nr_pages.saturating_mul(PAGE_SIZE);
        let (resident, limit) = (self.resident(), self.limit * PAGE_SIZE);
        Err(MemoryError::Resident { length, resident, limit })
    }

    /// Makes every page of a range inside the memory.
    pub(super) fn make_run(&mut self, chunk: Chunk) -> Result<(), MemoryError> {
        let Some(more) = chunk.length.checked_sub(1) else { return Ok(()) };
        let (first, last) = (chunk.paddr / PAGE_SIZE, (chunk.paddr + more) / PAGE_SIZE);
        (first..=last).try_for_each(|pfn| self.make(pfn).map(drop))
    }

    /// Removes the pages of a range that hold only zeros.
    fn remove_blank(&mut self, chunk: Chunk) {
        let Some(more) = chunk.length.checked_sub(1) else { return };
        for pfn in chunk.paddr / PAGE_SIZE..=(chunk.paddr + more) / PAGE_SIZE {
            match self.store.get(pfn) {
                Some(page) if page.is_blank() => self.store.remove_blank(pfn),
                Some(_) => {}
                // Pages are made in order. So if one is absent, no later page of the range was made
                // by this call.
                None => return,
            }
        }
    }

    /// Passes a range inside the memory to `f`, page by page.
    pub(super) fn read_run(&self, chunk: Chunk, f: &mut impl FnMut(&[u8])) {
        pieces(chunk, |pfn, start, end| {
            let page = self.store.get(pfn).map_or(&ZEROS, Page::bytes);
            f(&page[start..end]);
        });
    }

    /// Passes a range to `f` for writing, page by page. All its pages must be present.
    pub(super) fn write_run(&mut self, chunk: Chunk, f: &mut impl FnMut(&mut [u8])) {
        pieces(chunk, |pfn, start, end| {
            let Some(page) = self.store.get_mut(pfn) else {
                unreachable!("page {pfn:#x} was made before")
            };
            f(&mut page.bytes_mut()[start..end]);
        });
    }

    fn check_range(&self, chunk: Chunk) -> Result<(), MemoryError> {
        let Chunk { paddr, length } = chunk;
        if paddr <= self.size && length <= self.size - paddr {
            return Ok(());
        }
        Err(MemoryError::Outside { paddr, length, size: self.size })
    }

    /// Refuses lists that are not RAM inside this memory.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Mmio`], [`MemoryError::UserAddresses`], [`MemoryError::Outside`].
    pub fn check(&self, phyr: &impl List) -> Result<(), MemoryError> {
        match phyr.kind() {
            Kind::Ram => {}
            Kind::Mmio { provider } => return Err(MemoryError::Mmio { provider }),
            Kind::User => return Err(MemoryError::UserAddresses),
        }
        let last = phyr.chunks().fold(0, |last, chunk| chunk.last_of_list().max(last));
        if last < self.size {
            return Ok(());
        }
        phyr.chunks().try_for_each(|chunk| self.check_range(chunk))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("size", &self.size)
            .field("resident", &self.resident())
            .field("free", &self.free_bytes())
            .finish_non_exhaustive()
    }
}

fn check_length(phyr: &impl List, given: usize) -> Result<(), MemoryError> {
    let (given, length) = (given as u64, phyr.length());
    if given == length { Ok(()) } else { Err(MemoryError::Length { given, length }) }
}

/// Cuts a range at page boundaries. Passes the page number, and start and end inside the page, to
/// `f`.
fn pieces(chunk: Chunk, mut f: impl FnMut(u64, usize, usize)) {
    let (mut pfn, mut rest) = (chunk.paddr / PAGE_SIZE, chunk.length);
    let mut start = chunk.paddr % PAGE_SIZE;
    while rest > 0 {
        let length = rest.min(PAGE_SIZE - start);
        // Both are at most the page size.
        f(pfn, small(start), small(start + length));
        rest -= length;
        pfn += 1;
        start = 0;
    }
}
