use super::{Chunk, blocks};

#[unsafe(no_mangle)]
extern "C-unwind" fn page_blocks(paddr: u64, length: u64, page_size: u64) -> u64 {
    blocks(Chunk { paddr, length }, page_size)
}
