//! Lists of pages.

use phyr::{Builder, Phyr};

/// A list of these page addresses.
pub(crate) fn from_pages(pages: &[u64]) -> Phyr {
    let mut builder = Builder::new();
    builder.extend_pages(pages).expect("page addresses are aligned and in reach");
    builder.finish()
}
