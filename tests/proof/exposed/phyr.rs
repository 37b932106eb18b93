use core::mem::ManuallyDrop;

use super::{Chain, Granule, Kind, Phyr};

fn view(lg2: u32, offset: u64, length: u64) -> ManuallyDrop<Phyr> {
    let granule = Granule::new(1 << lg2).unwrap_or_default();
    ManuallyDrop::new(Phyr::new(Chain::default(), granule, Kind::Ram, offset, length))
}

#[unsafe(no_mangle)]
extern "C-unwind" fn view_granules(lg2: u32, offset: u64, length: u64, out: &mut [u64; 2]) {
    *out = view(lg2, offset, length).granules().into();
}

/// The chain's bytes that a slice of a view is: how many are before it, and how many it has.
#[unsafe(no_mangle)]
extern "C-unwind" fn view_slice(offset: u64, length: u64, start: u64, end: u64, out: &mut [u64; 2]) -> bool {
    let Ok(slice) = view(12, offset, length).slice(start, end).map(ManuallyDrop::new) else { return false };
    *out = [slice.offset, slice.length];
    true
}
