//! The check `values` on the inputs of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| phyr_fuzz::values(bytes));
