use super::PageSizes;

#[unsafe(no_mangle)]
extern "C-unwind" fn sizes_new(bitmap: u64) -> bool {
    PageSizes::new(bitmap).is_ok()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn sizes_granule(bitmap: u64) -> u64 {
    PageSizes { bitmap }.granule()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn sizes_above(bitmap: u64, pgsize: u64, out: &mut [u64; 1]) -> bool {
    let Some(above) = (PageSizes { bitmap }).above(pgsize) else { return false };
    *out = [above];
    true
}

#[unsafe(no_mangle)]
extern "C-unwind" fn largest_fit(bitmap: u64, iova: u64, paddr: u64, length: u64, out: &mut [u64; 1]) -> bool {
    let Some(pgsize) = (PageSizes { bitmap }).largest_fit(iova, paddr, length) else { return false };
    *out = [pgsize];
    true
}

#[unsafe(no_mangle)]
extern "C-unwind" fn best_single(bitmap: u64, merged: u64, out: &mut [u64; 1]) -> bool {
    let Some(pgsize) = (PageSizes { bitmap }).best_single(merged) else { return false };
    *out = [pgsize];
    true
}

#[unsafe(no_mangle)]
extern "C-unwind" fn fit(bitmap: u64, iova: u64, paddr: u64, length: u64, out: &mut [u64; 2]) -> bool {
    let Some((pgsize, pgcount)) = (PageSizes { bitmap }).fit(iova, paddr, length) else { return false };
    *out = [pgsize, pgcount];
    true
}
