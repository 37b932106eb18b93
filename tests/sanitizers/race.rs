//! A race made on purpose, in a library that threads of Python call: two add to one number.

static mut NUMBER: u64 = 0;

#[unsafe(no_mangle)]
pub extern "C" fn race(times: u64) {
    for _ in 0..times {
        // SAFETY: Nothing makes this right, which is what has to be found.
        unsafe { (&raw mut NUMBER).write(core::hint::black_box(&raw mut NUMBER).read() + 1) };
    }
}
