//! The bits of `src/python/os/blocks.rs` that say where blocks are: written under a lock, read without.
//!
//! A model of the protocol, not the source: its lock is the C library's, and its memory the kernel's.

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::{Arc, Mutex, mpsc};
use loom::thread;

/// A word of bits, and the lock of those who change it.
struct Places {
    word: AtomicU64,
    lock: Mutex<u32>,
}

impl Places {
    /// A new block: its bit, and a node in it.
    fn map(&self, bit: u64) {
        let mut blocks = self.lock.lock().unwrap();
        self.word.fetch_or(bit, Ordering::Relaxed);
        *blocks += 1;
    }

    /// Returns true if a node that this thread was given is in a block.
    fn is_ours(&self, bit: u64) -> bool {
        self.word.load(Ordering::Relaxed) & bit != 0
    }

    /// The last node of a block is freed.
    fn unmap(&self, bit: u64) {
        let mut blocks = self.lock.lock().unwrap();
        self.word.fetch_and(!bit, Ordering::Relaxed);
        *blocks -= 1;
    }
}

#[test]
fn whoever_was_given_a_node_sees_the_bit_of_its_block() {
    loom::model(|| {
        let places = Arc::new(Places { word: AtomicU64::new(0), lock: Mutex::new(0) });
        let (give, take) = mpsc::channel();
        let maker = {
            let places = places.clone();
            thread::spawn(move || {
                places.map(1);
                give.send(1).unwrap();
            })
        };
        let other = {
            let places = places.clone();
            thread::spawn(move || {
                places.map(2);
                assert!(places.is_ours(2));
                places.unmap(2);
            })
        };
        let bit = take.recv().unwrap();
        assert!(places.is_ours(bit), "the C library would free a node that is not its own");
        places.unmap(bit);
        maker.join().unwrap();
        other.join().unwrap();
        assert_eq!((places.word.load(Ordering::Relaxed), *places.lock.lock().unwrap()), (0, 0));
    });
}
