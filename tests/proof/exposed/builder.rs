use core::mem::ManuallyDrop;

use super::{Builder, Granule, Kind, Run, Span, Writer};

fn builder(lg2: u32, run: Run, nr_pages: u64, tail: u64) -> ManuallyDrop<Builder> {
    let granule = Granule::new(1 << lg2).unwrap_or_default();
    let writer = Writer::default();
    ManuallyDrop::new(Builder { granule, kind: Kind::Ram, writer, run, nr_pages, head: 0, tail })
}

/// Returns true if a chunk from `head` bytes after page `next` on continues a run that ends `tail`
/// bytes early.
#[unsafe(no_mangle)]
extern "C-unwind" fn continues_inside(lg2: u32, pfn: u64, nr_pages: u64, tail: u64, next: u64, head: u64) -> bool {
    let span = Span { pfn: next, nr_pages: 1, head, tail: 0 };
    builder(lg2, Run { pfn, nr_pages }, nr_pages, tail).continues_inside(span)
}

#[unsafe(no_mangle)]
extern "C-unwind" fn has_room(lg2: u32, nr_pages: u64, more: u64) -> bool {
    builder(lg2, Run::default(), nr_pages, 0).check_room(more).is_ok()
}
