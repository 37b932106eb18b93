use super::{Chunk, Cut, DescError, Limits};

/// 0 and the cut, or which error: 1 a mask, 2 boundaries, 3 a size.
#[unsafe(no_mangle)]
extern "C-unwind" fn cut_new(
    max_segment_size: u64,
    seg_boundary_mask: u64,
    virt_boundary_mask: u64,
    most: u64,
    align: u64,
    out: &mut [u64; 4],
) -> u32 {
    let limits = Limits { max_segment_size, seg_boundary_mask, virt_boundary_mask };
    match Cut::new(limits, most, align) {
        Ok(Cut { more, align, boundary, virt }) => {
            *out = [more, align, boundary, virt];
            0
        }
        Err(DescError::Mask { .. }) => 1,
        Err(DescError::Boundaries { .. }) => 2,
        Err(DescError::SegmentSize { .. }) => 3,
        Err(_) => 4,
    }
}

#[unsafe(no_mangle)]
extern "C-unwind" fn cut_length(more: u64, align: u64, boundary: u64, virt: u64, paddr: u64, length: u64) -> u64 {
    Cut { more, align, boundary, virt }.length(Chunk { paddr, length })
}

#[unsafe(no_mangle)]
extern "C-unwind" fn cut_is_idle(more: u64, align: u64, boundary: u64, virt: u64, length: u64) -> bool {
    Cut { more, align, boundary, virt }.is_idle(length)
}

/// The step, 0 for none.
#[unsafe(no_mangle)]
extern "C-unwind" fn cut_step(more: u64, align: u64, boundary: u64, virt: u64, paddr: u64) -> u64 {
    Cut { more, align, boundary, virt }.step(paddr).map_or(0, |step| step.get())
}

#[unsafe(no_mangle)]
extern "C-unwind" fn cut_leaves(more: u64, align: u64, boundary: u64, virt: u64, paddr: u64, length: u64) -> bool {
    Cut { more, align, boundary, virt }.leaves(&[Chunk { paddr, length }])
}

#[unsafe(no_mangle)]
extern "C-unwind" fn cut_block(more: u64, align: u64, boundary: u64, virt: u64, out: &mut [u64; 2]) -> bool {
    let Some((low, lg2)) = (Cut { more, align, boundary, virt }).block() else { return false };
    *out = [low, lg2.into()];
    true
}
