//! Every operation of the public Rust API, so that its cost can be counted at several sizes.
//!
//! ```text
//! linear SIZE...   does each operation at each size, between two calls of `getpid`, at which a counter
//!                  of instructions can be read
//! linear names     prints the names of the operations, a line each
//! ```
//!
//! `tests/house/test_linear_rust.py` runs it. Anything else is a smoke test.

mod data;
mod descriptors;
mod lists;
mod machine;

use std::env;

use data::{Data, calls};

/// Does an operation once, by [`data::measured`].
type Operation = (&'static str, fn(&Data));

/// Operations: a name, the data, and what is done.
macro_rules! operations {
    ($($name:expr, |$data:ident| $work:expr;)*) => {
        &[$(($name, |$data| done($work))),*]
    };
}

use operations;

const OPERATIONS: [&[Operation]; 6] =
    [lists::PHYR, lists::FROZEN, lists::OTHER, machine::MAPS, descriptors::ALL, machine::SIM];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    if arguments == ["names"] {
        OPERATIONS.into_iter().flatten().for_each(|(name, _)| println!("{name}"));
        return;
    }
    let sizes: Result<Vec<u64>, _> = arguments.iter().map(|size| size.parse()).collect();
    let sizes = sizes.ok().filter(|sizes| !sizes.is_empty()).unwrap_or_else(|| vec![1 << 10]);
    for size in sizes {
        let data = Data::new(size);
        for (name, operation) in OPERATIONS.into_iter().flatten() {
            let before = calls();
            operation(&data);
            assert_eq!(calls(), before + 1, "{name} is measured once");
        }
    }
}
