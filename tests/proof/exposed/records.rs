use super::{is_like, is_one_run, is_swapped};

#[unsafe(no_mangle)]
extern "C-unwind" fn record_is_swapped(record: u64) -> bool {
    is_swapped(record)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn records_are_one_run(block: &[u64; 4]) -> bool {
    is_one_run(block)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn records_are_one_state(block: &[u64; 4], record: u64) -> bool {
    is_like(block, record)
}
