//! Many short runs close together, in two lists.

use phyr::{Builder, Kind, Phyr};

use crate::source::Source;

/// Runs of a list.
const RUNS: u64 = 700;
/// Where the second half of the runs is, in pages: behind what one bitmap of a comparison covers.
const FAR: u64 = (1 << 20) - 300;
/// Pages of all runs.
const PAGES: usize = FAR as usize + (1 << 15);

/// Compares what two such lists have in common with tables of their pages, and looks up positions.
pub(crate) fn close(source: &mut Source<'_>) {
    let base = source.edge() >> 16;
    let granule = source.granule();
    // All of the pages are below 2^64.
    let base = base.min(u64::MAX / granule.bytes() - PAGES as u64);
    let [(a, pages_of_a), (b, pages_of_b)] = [(); 2].map(|()| {
        let (step, most) = (5 + u64::from(source.byte() % 8), 3 + u64::from(source.byte() % 32));
        let mut builder = Builder::with(granule, Kind::Ram);
        let mut pages = vec![false; PAGES];
        for run in 0..RUNS {
            let at = run * step + if run < RUNS / 2 { 0 } else { FAR - RUNS * step / 2 };
            // The last is longer than one piece of a bitmap's list.
            let count = if run + 1 == RUNS { 9000 } else { 1 + run * step % most };
            builder.append_pfns(base + at, count).expect("pages in reach");
            pages[at as usize..(at + count) as usize].fill(true);
        }
        (builder.finish(), pages)
    });
    let size = granule.bytes();
    let both = (base..).zip(pages_of_a.iter().zip(&pages_of_b));
    let both: Vec<u64> = both.filter(|(_, (a, b))| **a && **b).map(|(pfn, _)| pfn * size).collect();
    let bytes = both.len() as u64 * size;
    assert_eq!((a.overlap(&b), a.freeze().overlap(&b)), (Ok(bytes), Ok(bytes)));
    for found in [a.intersect(&b), a.freeze().intersect(&b)] {
        assert!(found.expect("memory").pages(size).expect("granules").eq(both.iter().copied()));
    }
    positions(&a);
}

/// Translates positions that ascend, some for each page, at once and one by one.
fn positions(phyr: &Phyr) {
    let size = phyr.granule().bytes();
    let phyr = phyr.slice(size / 2, (phyr.length() - size / 2).min(4000 * size)).expect("inside");
    let positions = (0..phyr.length()).step_by((size / 3).max(1) as usize);
    let mut found: Vec<u64> = positions.clone().collect();
    phyr.translate_all(&mut found).expect("positions inside");
    assert!(positions.map(|at| phyr.translate(at).expect("inside")).eq(found));
}
