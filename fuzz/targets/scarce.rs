//! The check `scarce` on the inputs of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| phyr_fuzz::scarce(bytes));
