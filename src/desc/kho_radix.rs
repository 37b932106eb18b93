//! The tree in which one kernel tells the next what memory to keep: a set of pages of any order.
//!
//! ```text
//! key         1 << (52 - order) | address >> (12 + order)         for pages of 4 KiB
//!
//!  63   60 59   51 50   42 41   33 32   24 23   15 14         0
//! +-------+-------+-------+-------+-------+-------+-----------+
//! |   0   | root  | table | table | table | table | bit in leaf|
//! +-------+-------+-------+-------+-------+-------+-----------+
//! ```
//!
//! Every node is a page. A table holds the addresses of nodes, 0 where there is none; a leaf is a
//! bitmap. The marker bit of a key is the one of a packed word of phyr, at the other end of the
//! address. A tree has no sequence: reading it gives the memory in the order of its addresses.

use alloc::vec::Vec;

use super::bvec::check_size;
use super::distinct::{push, sort, sorted};
use super::error::DescError;
use super::memfd::check_folios;
use super::parse::{finish, word};
use super::parse_nvme::{Links, PIECE, ReadError};
use super::prp::check_blocks;
use crate::granule::Granule;
use crate::kind::Kind;
use crate::list::builder::Builder;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::list::reading::List;

/// Most levels of a tree: that of pages of 4 KiB.
const MOST_LEVELS: usize = 6;

/// The sizes that a page size gives.
#[derive(Clone, Copy)]
struct Form {
    page_lg2: u32,
}

impl Form {
    fn new(page_size: u64) -> Result<Self, DescError> {
        check_size("page size", page_size, 4096, 64 << 10)?;
        let form = Self { page_lg2: page_size.trailing_zeros() };
        // Of pages of 16 KiB, no table has a slot for the marker of a single page.
        if form.shift(form.tables() + 1) <= form.top() {
            return Err(DescError::Record { index: 0, field: "page size", value: page_size });
        }
        Ok(form)
    }

    fn page_size(self) -> u64 {
        1 << self.page_lg2
    }

    /// The marker bit of a single page, and the number of bits of its page number.
    fn top(self) -> u32 {
        64 - self.page_lg2
    }

    /// Log2 of the bits of a leaf.
    fn leaf_lg2(self) -> u32 {
        self.page_lg2 + 3
    }

    /// Log2 of the slots of a table.
    fn table_lg2(self) -> u32 {
        // No page is smaller than 4 KiB. So the compiler sees that this is not 0.
        self.page_lg2.max(12) - 3
    }

    /// The number of levels of tables above the leaves.
    fn tables(self) -> u32 {
        (self.top() - self.leaf_lg2()).div_ceil(self.table_lg2())
    }

    /// The lowest key bit that chooses a slot of a table at `level`; level 1 is above the leaves.
    fn shift(self, level: u32) -> u32 {
        self.leaf_lg2() + (level - 1) * self.table_lg2()
    }

    /// The key of a block of `2^order` pages.
    fn key(self, paddr: u64, order: u32) -> u64 {
        1 << (self.top() - order) | paddr >> (self.page_lg2 + order)
    }

    /// The block of a key. `None` for a key without a marker, or with one above that of a single
    /// page, or for a block of 2^64 bytes, which no list can hold.
    fn block(self, key: u64) -> Option<Chunk> {
        let marker = key.checked_ilog2()?;
        let order = self.top().checked_sub(marker).filter(|_| marker > 0)?;
        let lg2 = self.page_lg2 + order;
        Some(Chunk { paddr: (key ^ 1 << marker) << lg2, length: 1 << lg2 })
    }

    /// Splits a chunk of whole pages into blocks that are aligned to their size, of at most
    /// `2^max_order` pages.
    fn for_each_key<E>(
        self,
        chunk: Chunk,
        max_order: u32,
        mut f: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut pfn, mut left) = (chunk.paddr >> self.page_lg2, chunk.length >> self.page_lg2);
        while left > 0 {
            let order = pfn.trailing_zeros().min(left.ilog2()).min(max_order);
            f(self.key(pfn << self.page_lg2, order))?;
            pfn += 1 << order;
            left -= 1 << order;
        }
        Ok(())
    }
}

/// The tree of the memory that a kernel keeps over kexec.
///
/// Source: `include/linux/kho/abi/kexec_handover.h`; `kho_radix_encode_key()`,
/// `kernel/liveupdate/kexec_handover.c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KhoRadix {
    /// Address of the root: the first page for nodes.
    pub root: u64,
    /// The key of each block, ascending: larger blocks first.
    pub keys: Vec<u64>,
    /// The bytes to write to the pages for nodes, one page after the other.
    pub nodes: Vec<u8>,
}

impl KhoRadix {
    /// The largest order that the kernel gives out and takes back.
    ///
    /// Source: `MAX_PAGE_ORDER`, `include/linux/mmzone.h`.
    pub const MAX_ORDER: u32 = 10;

    /// Makes the tree of the memory under `phyr`, in blocks of at most `2^max_order` pages of
    /// `page_size` bytes. The nodes are in the pages of `lists`, in order. The order of the list is
    /// lost.
    ///
    /// # Errors
    ///
    /// [`DescError::Size`] unless `page_size` is a power of two from 4 to 64 KiB;
    /// [`DescError::Record`] for one of 16 KiB, of which the tree loses the order of single pages,
    /// for a `max_order` of 2^64 bytes and more, or a page of `lists` at 0;
    /// [`DescError::NoPages`] for a device's memory; [`DescError::Unaligned`] or
    /// [`DescError::Gap`] for parts of pages; [`DescError::Overlap`] if a byte comes twice;
    /// [`DescError::NoRoom`] if `lists` is too small.
    ///
    /// # Examples
    ///
    /// ```
    /// use phyr::desc::KhoRadix;
    ///
    /// let list = |paddr, length| {
    ///     let mut builder = phyr::Builder::new();
    ///     builder.append(paddr, length).map(|()| builder.finish())
    /// };
    /// let (phyr, lists) = (list(0x20_0000, 0x3000)?, list(0x10_0000, 0x2_0000)?);
    /// let tree = KhoRadix::new(&phyr, &lists, KhoRadix::MAX_ORDER, 4096)?;
    /// assert_eq!(tree.keys, [1 << 51 | 0x200000 >> 13, 1 << 52 | 0x202]);
    /// assert_eq!(tree.nodes.len(), 11 * 4096); // A root, and a path of five nodes for each order.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(
        phyr: &impl List,
        lists: &impl List,
        max_order: u32,
        page_size: u64,
    ) -> Result<Self, DescError> {
        let form = Form::new(page_size)?;
        if max_order >= form.top() {
            return Err(DescError::Record { index: 0, field: "order", value: max_order.into() });
        }
        check_pages(phyr, page_size)?;
        // Leaves with a bit for each block do not fit if so many do not.
        let blocks = phyr.length() >> (form.page_lg2 + max_order);
        check_blocks(lists, 1 + (blocks >> form.leaf_lg2()), page_size)?;
        let mut keys = Vec::new();
        for chunk in sorted(phyr)? {
            form.for_each_key(chunk, max_order, |key| push(&mut keys, key))?;
        }
        keys.sort_unstable();
        let nr_nodes = 1 + new_nodes(form, &keys).map(u64::from).sum::<u64>();
        check_blocks(lists, nr_nodes, page_size)?;
        check_folios(lists, "list address", page_size)?;
        let needed = nr_nodes.saturating_mul(page_size);
        let no_memory = DescError::NoMemory { bytes: needed };
        let bytes = usize::try_from(needed).map_err(|_| no_memory)?;
        let mut nodes = Vec::new();
        nodes.try_reserve_exact(bytes).map_err(|_| no_memory)?;
        nodes.resize(bytes, 0);
        let address = |node: usize| {
            lists.translate((node as u64) << form.page_lg2).map_err(|why| DescError::list(0, why))
        };
        // The nodes that lead to the key: the leaf first, the root last.
        let mut path = [0; MOST_LEVELS];
        let mut used = 1;
        // No key leads out of the nodes that were counted.
        let outside = || {
            debug_assert!(false, "a key leads out of {nr_nodes} nodes");
            DescError::NoRoom { needed: needed.saturating_add(8), given: needed }
        };
        for (&key, new) in keys.iter().zip(new_nodes(form, &keys)) {
            for level in (0..new).rev() {
                let levels = path.get_mut(level as usize..).ok_or_else(outside)?;
                let [node, above, ..] = levels else { return Err(outside()) };
                *node = used;
                let slot = key >> form.shift(level + 1) & ((1 << form.table_lg2()) - 1);
                let at = (*above << form.page_lg2) + slot_bytes(slot);
                let slot =
                    nodes.get_mut(at..).and_then(<[u8]>::first_chunk_mut).ok_or_else(outside)?;
                *slot = address(used)?.to_le_bytes();
                used += 1;
            }
            let bit = key & ((1 << form.leaf_lg2()) - 1);
            let at = slot_bytes(bit / 64) + (bit % 64 / 8) as usize;
            let byte = nodes.get_mut((path[0] << form.page_lg2) + at).ok_or_else(outside)?;
            *byte |= 1 << (bit % 8);
        }
        Ok(Self { root: address(0)?, keys, nodes })
    }
}

/// Byte offset of slot `slot` of a node, which has at most 2^13.
fn slot_bytes(slot: u64) -> usize {
    usize::try_from(slot * 8).unwrap_or(0)
}

/// The number of new nodes below the root that each of the sorted keys needs.
fn new_nodes(form: Form, keys: &[u64]) -> impl Iterator<Item = u32> + '_ {
    let mut before = None;
    keys.iter().map(move |&key| {
        // A node is shared with the key before if all higher bits are.
        let changed = before.replace(key).map_or(u64::MAX, |before: u64| before ^ key);
        (1..=form.tables())
            .take_while(|&level| changed >> form.shift(level) != 0)
            .last()
            .unwrap_or(0)
    })
}

/// Checks that a list is RAM in whole pages.
fn check_pages(phyr: &impl List, page_size: u64) -> Result<(), DescError> {
    if let Kind::Mmio { provider } = phyr.kind() {
        return Err(DescError::NoPages { provider });
    }
    let (first, length) = (phyr.translate(0).unwrap_or(0), phyr.length());
    for (field, value) in [("first address", first), ("length", length)] {
        if value & (page_size - 1) != 0 {
            return Err(DescError::Unaligned { field, value, align: page_size });
        }
    }
    super::limits::check_boundaries(phyr, page_size - 1)
}

/// Reads the set of memory in the tree whose root is at address `root`, as a list that ascends, of
/// at most `max_length` bytes. That bounds how much is read if `read` makes up a tree without an
/// end.
///
/// `read` must fill its buffer, of at most 4096 bytes, from an address.
///
/// # Errors
///
/// [`DescError::Size`] unless `page_size` is a power of two from 4 to 64 KiB; [`DescError::Link`]
/// for a node at an address that is 0 or not a page's; [`DescError::Record`] for one of 16 KiB, or a key that
/// stands for no block; [`DescError::TooLong`] for more than `max_length` bytes; [`DescError::Endless`] for a node that is in two places, or for more than 2^20
/// nodes beyond one for each block; [`DescError::Overlap`] if two blocks share a byte;
/// [`DescError::List`] for blocks that a list of this granule cannot hold; errors of `read`.
pub fn from_kho_radix<E>(
    root: u64,
    max_length: u64,
    page_size: u64,
    granule: Granule,
    read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Phyr, ReadError<E>> {
    let form = Form::new(page_size)?;
    let mut walk = TreeWalk {
        form,
        read,
        links: Links::default(),
        seen: Vec::new(),
        sorted: 0,
        max_length,
        left: max_length,
        keys: 0,
        chunks: Vec::new(),
    };
    walk.node(root, form.tables(), 0)?;
    walk.check_seen()?;
    let mut chunks = walk.chunks;
    sort(&mut chunks)?;
    let mut builder = Builder::with(granule, Kind::Ram);
    for (index, chunk) in (0..).zip(chunks) {
        let appended = builder.append(chunk.paddr, chunk.length);
        appended.map_err(|why| DescError::list(index, why))?;
    }
    Ok(finish(builder)?)
}

/// A walk over the nodes of a tree, in the order of their keys.
struct TreeWalk<R> {
    form: Form,
    read: R,
    links: Links,
    /// Addresses of the nodes so far.
    seen: Vec<u64>,
    /// The number of nodes at the last check.
    sorted: usize,
    max_length: u64,
    /// Bytes that may follow.
    left: u64,
    /// The number of keys so far.
    keys: u64,
    /// Blocks; neighbours are merged.
    chunks: Vec<Chunk>,
}

impl<R> TreeWalk<R> {
    /// Walks the node at `address`, whose keys start with the bits of `prefix`. At most six deep.
    fn node<E>(&mut self, address: u64, level: u32, prefix: u64) -> Result<(), ReadError<E>>
    where
        R: FnMut(u64, &mut [u8]) -> Result<(), E>,
    {
        let Form { page_lg2 } = self.form;
        if address == 0 || address & (self.form.page_size() - 1) != 0 {
            return Err(DescError::Link { index: self.keys, address }.into());
        }
        self.links.idle(self.keys)?;
        push(&mut self.seen, address)?;
        // Checking at each doubling takes O(n log n) in all, and no tree can pretend to be more
        // than twice as large as it is.
        if self.seen.len() > 2 * self.sorted + 64 {
            self.check_seen()?;
        }
        let mut piece = [0; PIECE];
        for at in (0..1_u64 << page_lg2).step_by(PIECE) {
            (self.read)(address + at, &mut piece).map_err(ReadError::Read)?;
            for (slot, bytes) in (at / 8..).zip(piece.chunks_exact(8)) {
                let entry = word(bytes, 0);
                if entry == 0 {
                    continue;
                }
                if level == 0 {
                    self.leaf(prefix | (slot * 64), entry)?;
                } else {
                    self.node(entry, level - 1, prefix | slot << self.form.shift(level))?;
                }
            }
        }
        Ok(())
    }

    /// Adds the blocks of 64 keys from `key` on, of those whose bit is set.
    fn leaf(&mut self, key: u64, mut bits: u64) -> Result<(), DescError> {
        while bits != 0 {
            let key = key + u64::from(bits.trailing_zeros());
            bits &= bits - 1;
            let wrong = DescError::Record { index: self.keys, field: "key", value: key };
            let block = self.form.block(key).ok_or(wrong)?;
            let Some(left) = self.left.checked_sub(block.length) else {
                let length = (self.max_length - self.left).saturating_add(block.length);
                let max_length = self.max_length;
                return Err(DescError::TooLong { index: self.keys, length, max_length });
            };
            self.left = left;
            self.keys += 1;
            self.links.data(1);
            match self.chunks.last_mut() {
                Some(last)
                    if last.last_of_list().checked_add(1) == Some(block.paddr)
                        && last.length < 1 << 62 =>
                {
                    last.length += block.length;
                }
                _ => push(&mut self.chunks, block)?,
            }
        }
        Ok(())
    }

    /// Checks that no node is in two places.
    fn check_seen(&mut self) -> Result<(), DescError> {
        self.seen.sort_unstable();
        self.sorted = self.seen.len();
        if self.seen.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(DescError::Endless { records: self.keys });
        }
        Ok(())
    }
}
