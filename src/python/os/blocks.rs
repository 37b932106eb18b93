//! Memory of nodes, from larger blocks of phyr's own: the allocator of the extension module.
//!
//! A node is an allocation of about a page. The C library's heap gives memory back only from its top,
//! where something small may lie, and has a heap for each thread: dropped lists stayed with the process.
//! And it takes a page fault for each node, which is most of the time of making a long list.
//!
//! ```text
//! block, 2 MiB, aligned:   | header | slot 1 | slot 2 | ... | slot 511 |      a node in each slot
//! ```
//!
//! Blocks come from the kernel and go back to it when their last node is freed, all but one. After a
//! few, they may be huge pages. Where no block is to be had, a node comes from the C library, so that
//! nothing larger than a node is ever needed. So does all that is no node; large memory may then be huge
//! pages, too.
#![expect(unsafe_code, reason = "an allocator is made of raw pointers")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use std::alloc::System;

/// Bytes of a slot, and the most that a node may have.
const SLOT: usize = 4096;
/// Allocations above this are nodes: smaller ones would waste half a slot.
const LEAST: usize = SLOT / 2;
/// Bytes of a block, and their alignment: a huge page.
const BLOCK: usize = 2 << 20;
/// Slots of a block, that of the header included.
const SLOTS: usize = BLOCK / SLOT;
/// Blocks from which on more are huge pages: at most a fifth of the memory is then not used yet.
const MANY: usize = 4;
/// Bytes from which on other memory may be huge pages: at most a quarter of it is then not used.
const LARGE: usize = 4 * BLOCK;
/// Blocks may be below this address.
const ADDRESSES: usize = 1 << 48;

/// A bit for each place where a block may be, set where there is one. It is not touched where there
/// is none, and so takes memory only for the blocks that there are.
static PLACES: [AtomicU64; ADDRESSES / BLOCK / 64] =
    [const { AtomicU64::new(0) }; ADDRESSES / BLOCK / 64];

/// The allocator of the extension module. Its unit tests use the crate, which has one, a second time.
#[cfg_attr(not(test), global_allocator)]
static NODES: Nodes = Nodes {
    lock: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
    is_told_of_forks: AtomicBool::new(false),
    blocks: UnsafeCell::new(Blocks { open: ptr::null_mut(), spare: ptr::null_mut(), count: 0 }),
};

struct Nodes {
    /// Not Rust's: a fork takes it, so that no other thread has it in the child, and both let it go.
    lock: UnsafeCell<libc::pthread_mutex_t>,
    is_told_of_forks: AtomicBool,
    blocks: UnsafeCell<Blocks>,
}

// SAFETY: the blocks are used by whoever has the lock, and the lock is made to be shared.
unsafe impl Sync for Nodes {}

struct Blocks {
    /// The first of those that have a free slot, and a node.
    open: *mut Header,
    /// One without a node, or null.
    spare: *mut Header,
    count: usize,
}

/// The start of a block.
struct Header {
    /// A bit for each slot, set if it is used; the header's own is.
    used: [u64; SLOTS / 64],
    nodes: usize,
    next: *mut Header,
    previous: *mut Header,
}

const _: () = assert!(size_of::<Header>() <= SLOT);

/// Returns true if memory of this layout comes from a slot.
fn is_node(layout: Layout) -> bool {
    layout.size() > LEAST && layout.size() <= SLOT && layout.align() <= SLOT
}

/// The bit of the block that an address is in.
fn bit_of(address: usize) -> Option<(&'static AtomicU64, u64)> {
    let number = address / BLOCK;
    PLACES.get(number / 64).map(|word| (word, 1 << (number % 64)))
}

/// Returns true if memory is in a block.
fn is_ours(node: *mut u8) -> bool {
    // The address was handed on by the thread that set the bit, so the bit is seen.
    bit_of(node.addr()).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
}

/// Memory from the kernel, aligned as a block is; or null.
fn map() -> *mut Header {
    // SAFETY: new memory at a place of the kernel's choice, which nobody else has.
    let whole = unsafe {
        libc::mmap(
            ptr::null_mut(),
            2 * BLOCK,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if whole == libc::MAP_FAILED {
        return ptr::null_mut();
    }
    let before = whole.addr().wrapping_neg() % BLOCK;
    let block = whole.wrapping_byte_add(before);
    if before > 0 {
        // SAFETY: this much was mapped in front of the block, and nobody uses it.
        unsafe { libc::munmap(whole, before) };
    }
    // SAFETY: the rest behind the block, likewise.
    unsafe { libc::munmap(block.wrapping_byte_add(BLOCK), BLOCK - before) };
    block.cast()
}

/// Gives a block without nodes back to the kernel.
fn unmap(block: *mut Header) {
    // SAFETY: it was mapped by `map`, and has no nodes.
    unsafe { libc::munmap(block.cast(), BLOCK) };
}

/// Lets whole blocks of memory be huge pages.
fn advise(first: *mut u8, length: usize) {
    // SAFETY: it is memory of ours, and advice changes no bytes. A kernel without huge pages refuses it.
    unsafe { libc::madvise(first.cast(), length, libc::MADV_HUGEPAGE) };
}

/// Memory of the C library, which may be huge pages if there is much.
fn advised(memory: *mut u8, size: usize) -> *mut u8 {
    if size >= LARGE && !memory.is_null() {
        let before = memory.addr().wrapping_neg() % BLOCK;
        advise(memory.wrapping_add(before), (size - before) / BLOCK * BLOCK);
    }
    memory
}

impl Blocks {
    /// A new block, not among the open ones; or null.
    fn map(&mut self) -> *mut Header {
        let block = map();
        let Some((word, bit)) = bit_of(block.addr()) else {
            unmap(block);
            return ptr::null_mut();
        };
        if block.is_null() {
            return block;
        }
        if self.count >= MANY {
            advise(block.cast(), BLOCK);
        }
        let mut used = [0; SLOTS / 64];
        used[0] = 1;
        let header = Header { used, nodes: 0, next: ptr::null_mut(), previous: ptr::null_mut() };
        // SAFETY: the block is mapped, aligned, and has room for its header.
        unsafe { block.write(header) };
        word.fetch_or(bit, Ordering::Relaxed);
        self.count += 1;
        block
    }

    fn unmap(&mut self, block: *mut Header) {
        if let Some((word, bit)) = bit_of(block.addr()) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
        self.count -= 1;
        unmap(block);
    }

    /// Puts a block before the open ones.
    fn open(&mut self, block: *mut Header) {
        // SAFETY: a block that is mapped, of which the lock's holder has the only reference.
        let header = unsafe { &mut *block };
        (header.next, header.previous) = (self.open, ptr::null_mut());
        // SAFETY: as above; an open block is mapped, and another than this.
        if let Some(next) = unsafe { self.open.as_mut() } {
            next.previous = block;
        }
        self.open = block;
    }

    /// Takes a block from the open ones, which it is among.
    fn close(&mut self, block: *mut Header) {
        // SAFETY: as in `open`.
        let &mut Header { next, previous, .. } = unsafe { &mut *block };
        // SAFETY: likewise.
        match unsafe { previous.as_mut() } {
            Some(header) => header.next = next,
            None => self.open = next,
        }
        // SAFETY: likewise.
        if let Some(header) = unsafe { next.as_mut() } {
            header.previous = previous;
        }
    }

    /// Memory for a node; or null.
    fn take(&mut self) -> *mut u8 {
        if self.open.is_null() {
            let spare = core::mem::replace(&mut self.spare, ptr::null_mut());
            let block = if spare.is_null() { self.map() } else { spare };
            if block.is_null() {
                return ptr::null_mut();
            }
            self.open(block);
        }
        let block = self.open;
        // SAFETY: an open block is mapped, and the lock's holder has the only reference.
        let header = unsafe { &mut *block };
        let full = |word: &u64| *word == u64::MAX;
        let Some(word) = header.used.iter().position(|word| !full(word)) else {
            return ptr::null_mut(); // no open block is full
        };
        let bit = header.used[word].trailing_ones() as usize;
        header.used[word] |= 1 << bit;
        header.nodes += 1;
        if header.nodes == SLOTS - 1 {
            self.close(block);
        }
        block.cast::<u8>().wrapping_add((word * 64 + bit) * SLOT)
    }

    /// Frees the memory of a node that is in a block.
    #[expect(clippy::cast_ptr_alignment, reason = "it is aligned as a block is")]
    fn give(&mut self, node: *mut u8) {
        let into = node.addr() % BLOCK;
        let block = node.wrapping_sub(into).cast::<Header>();
        // SAFETY: a node's block is mapped, and the lock's holder has the only reference.
        let header = unsafe { &mut *block };
        let slot = into / SLOT;
        header.used[slot / 64] &= !(1 << (slot % 64));
        header.nodes -= 1;
        let nodes = header.nodes;
        if nodes == SLOTS - 2 {
            self.open(block);
        }
        if nodes == 0 {
            self.close(block);
            if self.spare.is_null() {
                self.spare = block;
            } else {
                self.unmap(block);
            }
        }
    }
}

extern "C" fn lock() {
    // SAFETY: a mutex that was made, and is never destroyed.
    unsafe { libc::pthread_mutex_lock(NODES.lock.get()) };
}

extern "C" fn unlock() {
    // SAFETY: this thread has locked it: or the one that forked, in a child that has no other.
    unsafe { libc::pthread_mutex_unlock(NODES.lock.get()) };
}

impl Nodes {
    fn with<T>(&self, act: impl FnOnce(&mut Blocks) -> T) -> T {
        if !self.is_told_of_forks.swap(true, Ordering::Relaxed) {
            // SAFETY: the functions stay: a module of Python's is never unloaded.
            unsafe { libc::pthread_atfork(Some(lock), Some(unlock), Some(unlock)) };
        }
        lock();
        // SAFETY: whoever has the lock has the only reference.
        let done = act(unsafe { &mut *self.blocks.get() });
        unlock();
        done
    }
}

// SAFETY: a slot is as large and as aligned as any node, is handed out once until it is freed, and
// stays mapped so long; all else is `System`'s, which also gets back what it gave.
unsafe impl GlobalAlloc for Nodes {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_node(layout) {
            let node = self.with(Blocks::take);
            if !node.is_null() {
                return node;
            }
        }
        // SAFETY: as the caller promises.
        advised(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if is_node(layout) && is_ours(memory) {
            return self.with(|blocks| blocks.give(memory));
        }
        // SAFETY: as the caller promises; it is no slot, so `System` gave it.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_node(layout) {
            // SAFETY: as the caller promises.
            return advised(unsafe { System.alloc_zeroed(layout) }, layout.size());
        }
        // SAFETY: as the caller promises.
        let memory = unsafe { self.alloc(layout) };
        if !memory.is_null() {
            // SAFETY: it was just allocated, with this many bytes.
            unsafe { memory.write_bytes(0, layout.size()) };
        }
        memory
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises, the size fits the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !is_node(layout) && !is_node(new) {
            // SAFETY: as the caller promises.
            return advised(unsafe { System.realloc(memory, layout, size) }, size);
        }
        // SAFETY: as the caller promises.
        let moved = unsafe { self.alloc(new) };
        if !moved.is_null() {
            // SAFETY: both have the bytes of the smaller, and one is new.
            unsafe { ptr::copy_nonoverlapping(memory, moved, size.min(layout.size())) };
            // SAFETY: as the caller promises.
            unsafe { self.dealloc(memory, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;
    use std::collections::BTreeSet;
    use std::thread;

    use super::*;

    fn new() -> Blocks {
        Blocks { open: ptr::null_mut(), spare: ptr::null_mut(), count: 0 }
    }

    #[test]
    fn slots_are_handed_out_once_and_blocks_go_back() {
        let mut blocks = new();
        for turn in 1..4 {
            let nodes: Vec<_> = (0..2000).map(|_| blocks.take()).collect();
            assert_eq!(nodes.iter().map(|n| n.addr()).collect::<BTreeSet<_>>().len(), 2000);
            assert!(nodes.iter().all(|n| n.addr() % SLOT == 0 && n.addr() % BLOCK != 0));
            assert!(nodes.iter().all(|n| is_ours(*n)));
            assert_eq!(blocks.count, 4);
            for node in &nodes {
                // SAFETY: a slot that was just taken.
                unsafe { node.write_bytes(0xa5, SLOT) };
            }
            // In another order each time: each third first.
            for start in 0..3 {
                for node in nodes.iter().skip((start + turn) % 3).step_by(3) {
                    blocks.give(*node);
                }
            }
            assert_eq!(blocks.count, 1, "the spare one");
            assert!(blocks.open.is_null());
        }
        let spare = blocks.spare;
        blocks.unmap(spare);
        assert!(!is_ours(spare.cast()));
    }

    #[test]
    fn a_slot_that_was_freed_is_taken_again() {
        let mut blocks = new();
        let nodes: Vec<_> = (0..600).map(|_| blocks.take()).collect();
        for number in [0, 510, 511, 599, 77] {
            blocks.give(nodes[number]);
        }
        let again: BTreeSet<_> = (0..5).map(|_| blocks.take()).collect();
        assert!(again.iter().all(|node| is_ours(*node)));
        assert_eq!(blocks.count, 2);
        let kept: BTreeSet<_> = nodes.iter().copied().collect();
        assert!(again.iter().filter(|node| kept.contains(*node)).count() >= 3);
    }

    #[test]
    fn layouts_that_are_nodes_come_from_blocks_and_others_do_not() {
        for (size, ours) in
            [(1, false), (2048, false), (2049, true), (4080, true), (4096, true), (4097, false)]
        {
            for align in [1, 8, 4096] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the layout has bytes.
                let memory = unsafe { NODES.alloc_zeroed(layout) };
                assert_eq!((is_ours(memory), memory.addr() % align), (ours, 0), "{size} {align}");
                for byte in 0..size {
                    // SAFETY: inside the allocation.
                    assert_eq!(unsafe { memory.add(byte).read() }, 0);
                }
                // SAFETY: inside the allocation.
                unsafe { memory.write_bytes(7, size) };
                // SAFETY: it was allocated so.
                let grown = unsafe { NODES.realloc(memory, layout, 4000) };
                for byte in 0..size.min(4000) {
                    // SAFETY: inside the allocation.
                    assert_eq!(unsafe { grown.add(byte).read() }, 7);
                }
                let layout = Layout::from_size_align(4000, align).unwrap();
                // SAFETY: it was allocated so.
                unsafe { NODES.dealloc(grown, layout) };
            }
        }
        assert!(!is_ours(ptr::without_provenance_mut(usize::MAX)));
    }

    #[test]
    fn threads_share_the_blocks() {
        let work = |seed: u8| {
            for _ in 0..50 {
                let nodes: Vec<Vec<u8>> = (0..300).map(|_| vec![seed; 4080]).collect();
                assert!(nodes.iter().all(|node| node.iter().all(|byte| *byte == seed)));
            }
        };
        thread::scope(|scope| {
            for seed in 0..4 {
                scope.spawn(move || work(seed));
            }
        });
    }
}
