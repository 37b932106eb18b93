//! The plain and the wide loops, on the same lists: all that they read and write agrees.

use alloc::vec::Vec;

use super::index::Index;
use super::list::Frozen;
use crate::granule::Granule;
use crate::kind::Kind;
use crate::list::builder::Builder;
use crate::list::chunks::Chunk;
use crate::list::phyr::Phyr;
use crate::wide::{available, plainly};

/// A list of `count` runs: page numbers below `1 << pfn_bits`, lengths below `1 << length_bits`, both
/// multiples of `1 << lg2`.
fn list(count: u64, pfn_bits: u32, length_bits: u32, lg2: u32) -> Phyr {
    let mut builder = Builder::with(Granule::default(), Kind::Ram);
    let mut state = count << 20 | u64::from(pfn_bits << 10 | length_bits << 5 | lg2);
    for _ in 0..count {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let pfn = (state >> 7 & ((1 << pfn_bits) - 1)) >> lg2 << lg2;
        let length = (state >> 37 & ((1 << length_bits) - 1)).max(1) << lg2;
        builder.append_pfns(pfn, length).expect("in reach");
    }
    builder.finish()
}

/// All that reading a list gives: chunks of two kinds of walk, addresses, and chunks by number.
type Read = (Vec<Chunk>, Vec<Chunk>, Vec<u64>, Vec<(u64, Chunk)>);

fn read(frozen: &Frozen) -> Read {
    let folded = frozen.chunks().fold(Vec::new(), |mut all, chunk| {
        all.push(chunk);
        all
    });
    let mut stepped = Vec::new();
    for chunk in frozen.chunks().rev() {
        stepped.push(chunk);
    }
    let step = usize::try_from(frozen.length() / 300 + 1).expect("small");
    let positions = (0..frozen.length()).step_by(step);
    let translated = positions.map(|at| frozen.translate(at).expect("inside")).collect();
    let count = frozen.nr_chunks();
    let numbered = (0..count).map(|number| frozen.chunk(number).expect("there")).collect();
    (folded, stepped, translated, numbered)
}

#[test]
fn plain_and_wide_loops_agree() {
    assert!(!plainly(available), "the plain loops are not asked for");
    agree(
        &[10, 17, 28, 33, 41, 51],
        &[(1, 0), (1, 9), (4, 0), (9, 0), (4, 3)],
        &[40, 128, 129, 1000, 2000],
    );
}

#[test]
fn plain_and_wide_loops_agree_about_fields_of_each_width() {
    agree(&(8..52).collect::<Vec<u32>>(), &[(1, 0), (3, 0)], &[300]);
    let lengths: Vec<(u32, u32)> = (1..27).map(|bits| (bits, 0)).collect();
    agree(&[28, 40], &lengths, &[300]);
}

/// Compares lists of page numbers of so many bits, of lengths of so many bits and a unit, and of so
/// many runs.
fn agree(pfns: &[u32], lengths: &[(u32, u32)], counts: &[u64]) {
    for &pfn_bits in pfns {
        for &(length_bits, lg2) in lengths {
            for &count in counts {
                let phyr = list(count, pfn_bits, length_bits, lg2);
                let frozen = phyr.freeze();
                let bytes = frozen.to_bytes().expect("its own words");
                let plain = plainly(|| {
                    let frozen = phyr.freeze();
                    assert_eq!(frozen.to_bytes().as_ref(), Ok(&bytes));
                    assert_eq!(Frozen::from_bytes(&bytes).as_ref(), Ok(&frozen));
                    assert_eq!(frozen.thaw().as_ref(), Ok(&phyr));
                    read(&frozen)
                });
                assert_eq!(read(&frozen), plain, "{phyr:?}");
                assert_eq!(frozen.thaw().as_ref(), Ok(&phyr));
                assert_eq!(frozen.check(), Ok(()));
                let index = || Index::new([frozen.clone()]).expect("one list");
                let (wide, plain) = (index(), plainly(index));
                for paddr in read(&frozen).2 {
                    assert_eq!(wide.find(paddr), plainly(|| plain.find(paddr)));
                }
            }
        }
    }
}
