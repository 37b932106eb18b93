use super::{Granule, Span};
use crate::error::Error;

#[unsafe(no_mangle)]
extern "C-unwind" fn granule_new(bytes: u64, out: &mut [u64; 1]) -> bool {
    let Ok(granule) = Granule::new(bytes) else { return false };
    *out = [granule.lg2().into()];
    true
}

#[unsafe(no_mangle)]
extern "C-unwind" fn granule_bytes(lg2: u32) -> u64 {
    Granule { lg2 }.bytes()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn granule_mask(lg2: u32) -> u64 {
    Granule { lg2 }.mask()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn granule_reach(lg2: u32) -> u64 {
    Granule { lg2 }.reach()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn granule_most(lg2: u32) -> u64 {
    Granule { lg2 }.most()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn granule_floor(lg2: u32, bytes: u64) -> u64 {
    Granule { lg2 }.floor(bytes)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn granule_to_bytes(lg2: u32, granules: u64) -> u64 {
    Granule { lg2 }.to_bytes(granules)
}

/// 0 and the span, or which error: 1 for no bytes, 2 for a wrap, 3 for what is out of reach.
#[unsafe(no_mangle)]
extern "C-unwind" fn span(lg2: u32, paddr: u64, length: u64, out: &mut [u64; 4]) -> u32 {
    match Span::new(Granule { lg2 }, paddr, length) {
        Ok(Span { pfn, nr_pages, head, tail }) => {
            *out = [pfn, nr_pages, head, tail];
            0
        }
        Err(Error::ZeroLength { .. }) => 1,
        Err(Error::Wraps { .. }) => 2,
        Err(Error::Reach { .. }) => 3,
        Err(_) => 4,
    }
}
