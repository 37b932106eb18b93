//! Views of one storage, shared among threads and dropped in any order.

use std::process::Command;
use std::sync::Arc as Counter;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::cell::UnsafeCell;
use loom::thread;

/// A node: read by all owners, and taken apart by the last. Loom ends a model in which a reader does
/// not happen before that.
#[derive(Debug)]
struct Node {
    word: UnsafeCell<u64>,
    drops: Counter<AtomicUsize>,
}

impl Node {
    fn new(word: u64, drops: &Counter<AtomicUsize>) -> Self {
        Self { word: UnsafeCell::new(word), drops: drops.clone() }
    }

    fn read(&self) -> u64 {
        // SAFETY: nobody changes it while there are owners, which is what loom checks.
        self.word.with(|word| unsafe { *word })
    }
}

// SAFETY: loom finds accesses at one time.
unsafe impl Sync for Node {}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: nobody else has it any more, which is what loom checks.
        self.word.with_mut(|word| unsafe { *word = 0 });
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

/// Two threads and the one that made the list: each reads, clones and drops.
macro_rules! model {
    ($shared:ident) => {
        loom::model(|| {
            let drops = Counter::new(AtomicUsize::new(0));
            let list = phyr_loom::$shared::Owner::new([Node::new(1, &drops), Node::new(2, &drops)]);
            let views = [list.clone(), list.clone()];
            let threads = views.map(|view| {
                thread::spawn(move || {
                    let slice = view.clone();
                    drop(view);
                    assert_eq!(slice[1].read(), 2);
                })
            });
            assert_eq!(list[0].read(), 1);
            drop(list);
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(drops.load(Ordering::Relaxed), 2, "each node is dropped once");
        });
    };
}

#[test]
fn the_last_owner_drops_what_no_other_reads_any_more() {
    model!(shared);
}

#[test]
#[ignore = "ends the process: see each_mistake_is_found"]
fn unreleased() {
    model!(unreleased);
}

#[test]
#[ignore = "ends the process: see each_mistake_is_found"]
fn unacquired() {
    model!(unacquired);
}

#[test]
fn each_mistake_is_found() {
    for mistake in ["unreleased", "unacquired"] {
        let this = std::env::current_exe().unwrap();
        let mut test = Command::new(this);
        let done = test.args(["--exact", mistake, "--ignored", "--nocapture"]).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success(), "{mistake}");
        assert!(said.contains("Causality violation"), "{mistake}: {said}");
    }
}
