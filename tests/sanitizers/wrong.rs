//! Mistakes that the sanitizers must find: `scripts/sanitize` runs each before it trusts them.

use std::alloc::{Layout, alloc, dealloc};
use std::env::args;
use std::hint::black_box;
use std::thread;

/// A number that all threads may change without any order among them.
struct Careless(*mut u64);

// SAFETY: none; that is the mistake.
unsafe impl Sync for Careless {}

impl Careless {
    fn add(&self) {
        // SAFETY: the number is there; but others change it at the same time.
        unsafe { *self.0 += 1 };
    }
}

fn main() {
    let layout = Layout::new::<[u64; 512]>();
    // SAFETY: the layout has bytes.
    let node = black_box(unsafe { alloc(layout) });
    match args().nth(1).as_deref() {
        Some("use-after-free") => {
            // SAFETY: it was allocated so.
            unsafe { dealloc(node, layout) };
            // SAFETY: none; it was freed.
            println!("{}", unsafe { node.read() });
        }
        Some("beyond") => {
            // SAFETY: none; it is one byte beyond the end.
            println!("{}", unsafe { node.add(layout.size()).read() });
        }
        Some("leak") => {
            black_box(Box::leak(Box::new([7_u64; 512])));
        }
        Some("race") => {
            let number = Careless(&raw mut *Box::leak(Box::new(0)));
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| (0..1000).for_each(|_| number.add()));
                }
            });
        }
        _ => panic!("use-after-free, beyond, leak or race"),
    }
}
