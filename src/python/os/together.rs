//! Work that several threads share.

use std::thread;

/// Threads that work together, at most.
pub(super) const MOST_THREADS: usize = 8;
/// Bytes of a thread's stack.
const STACK: usize = 64 << 10;

/// Runs `work` in so many threads, this one among them. Where no more are to be had, those that run
/// do it all, so `work` takes its pieces from a list that they share.
pub(super) fn together(threads: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 1..threads {
            let builder = thread::Builder::new().stack_size(STACK);
            if builder.spawn_scoped(scope, &work).is_err() {
                break;
            }
        }
        work();
    });
}
