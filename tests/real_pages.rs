//! The bytes of frozen lists of real processes, the page maps of `tests/pages/`, all counted.
#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(clippy::cast_precision_loss, reason = "figures are compared to two decimals")]

#[path = "../benches/common/counting.rs"]
mod counting;

use std::path::Path;
use std::{env, fs};

use counting::{Counting, counted};
use phyr::{Frozen, Phyr};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The five processes; `benches/record_pages.py` recorded them.
const NAMES: [&str; 5] = ["java", "node", "numpy", "pytest", "rustc"];

fn recorded(name: &str) -> Phyr {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bytes = fs::read(root.join("tests/pages").join(name).with_extension("phyf")).unwrap();
    let frozen = Frozen::from_bytes(&bytes).unwrap();
    assert_eq!(frozen.to_bytes().unwrap(), bytes, "{name}: the form of a file has changed");
    // Also without the feature `std`, and so without wide registers: both builds write these bytes.
    let phyr = frozen.thaw().unwrap();
    assert_eq!(phyr.freeze().to_bytes().unwrap(), bytes, "{name}");
    phyr
}

#[test]
fn processes_take_three_and_a_half_bytes_a_chunk_frozen() {
    let mut sum = 0.0;
    for name in NAMES {
        let phyr = recorded(name);
        let (frozen, counts) = counted(|| phyr.freeze());
        assert_eq!(frozen, phyr);
        let bytes = (size_of::<Frozen>() as f64 + counts.taken as f64) / phyr.nr_chunks() as f64;
        assert!(bytes <= 3.6, "{name}: {bytes} bytes a chunk, {counts:?}");
        // The words and the object that they are shared by; nothing else while it is made.
        assert_eq!((counts.allocations, counts.blocks), (2, 2), "{name}: {counts:?}");
        let slack = counts.asked as f64 / frozen.to_bytes().unwrap().len() as f64;
        assert!(slack <= 1.02, "{name}: {slack} times the file");
        sum += bytes;
    }
    let average = sum / NAMES.len() as f64;
    assert!(average <= 3.5, "{average} bytes a chunk on average");
}

#[test]
fn some_processes_are_fragmented_and_one_has_huge_pages() {
    let huge = |name| {
        let phyr = recorded(name);
        let huge: u64 = phyr.chunks().map(|chunk| chunk.length).filter(|&n| n >= 2 << 20).sum();
        huge as f64 / phyr.length() as f64
    };
    assert!(huge("numpy") > 0.5);
    for name in ["java", "node", "pytest", "rustc"] {
        assert!(huge(name) < 0.1, "{name}");
    }
}
