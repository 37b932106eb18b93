//! Laws that hold for any bytes. Each function takes an input and panics if it finds a law of
//! phyr broken. `endure` tries the seeds of `corpus/` and random inputs by a seed.

mod areas;
mod close;
#[path = "../../tests/support/failing.rs"]
mod failing;
mod frozen;
mod long;
mod operations;
mod parse;
mod plan;
mod questions;
mod records;
mod scarce;
mod serial;
mod source;
mod tables;
mod values;

pub use areas::areas;
pub use frozen::frozen;
pub use long::long;
pub use operations::{operations, run as count_operations};
pub use parse::parse;
pub use plan::plan;
pub use questions::questions;
pub use records::records;
pub use scarce::scarce;
pub use serial::serial;
pub use tables::tables;
pub use values::values;

/// The checks that are run on an input.
pub type Check = fn(&[u8]);

/// Each check, by its name.
pub const CHECKS: [(&str, Check); 12] = [
    ("operations", operations),
    ("parse", parse),
    ("plan", plan),
    ("records", records),
    ("questions", questions),
    ("tables", tables),
    ("values", values),
    ("areas", areas),
    ("long", long),
    ("serial", serial),
    ("scarce", scarce),
    ("frozen", frozen),
];
