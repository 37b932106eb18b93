use super::{Chain, Chunk, Cursor, Granule, Run, Walk};

#[unsafe(no_mangle)]
extern "C-unwind" fn chunk_last(paddr: u64, length: u64) -> u64 {
    Chunk { paddr, length }.last()
}

#[unsafe(no_mangle)]
extern "C-unwind" fn chunk_of_run(lg2: u32, pfn: u64, nr_pages: u64, out: &mut [u64; 2]) {
    let Ok(granule) = Granule::new(1 << lg2) else { return };
    let Chunk { paddr, length } = Chunk::of_run(granule, Run { pfn, nr_pages });
    *out = [paddr, length];
}

/// The chunk of a run at the start of a view: `skip` bytes of it are before, `rest` are still to come.
#[unsafe(no_mangle)]
extern "C-unwind" fn chunk_trimmed(
    lg2: u32,
    pfn: u64,
    nr_pages: u64,
    skip: u64,
    rest: u64,
    out: &mut [u64; 2],
) {
    static EMPTY: Chain = Chain::Inline([0; 2]);
    let Ok(granule) = Granule::new(1 << lg2) else { return };
    let cursor = Cursor::default();
    let walk = Walk {
        chain: &EMPTY,
        granule,
        front: cursor,
        back: cursor,
        has_back: false,
        start: 0,
        end: rest,
        skip,
        cut: 0,
    };
    let Chunk { paddr, length } = walk.trim(Run { pfn, nr_pages });
    *out = [paddr, length];
}
