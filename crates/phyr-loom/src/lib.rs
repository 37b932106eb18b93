//! Models of what threads share in phyr, for loom: it runs a model in every order of its threads,
//! and with every value that the orderings of its atomics let a read give.
//!
//! ```text
//! src/storage/shared.rs --build.rs--> the same, with loom's atomics and allocator --> tests/
//! ```

extern crate alloc;

mod error {
    /// As in phyr.
    #[derive(Debug)]
    pub(crate) struct NoMemory {
        /// Bytes that were asked for.
        #[expect(dead_code, reason = "read by nobody here")]
        pub(crate) bytes: u64,
    }
}

macro_rules! shared {
    ($name:ident, $file:literal, $about:literal) => {
        #[doc = $about]
        #[allow(
            dead_code,
            missing_docs,
            clippy::all,
            clippy::pedantic,
            reason = "phyr's own source"
        )]
        pub mod $name {
            mod source {
                include!(concat!(env!("OUT_DIR"), $file));
            }

            /// An item of several owners.
            #[derive(Debug)]
            pub struct Owner<T>(source::Shared<T>);

            impl<T> Owner<T> {
                /// The first owner of an item.
                #[must_use]
                pub fn new(item: T) -> Self {
                    Self(source::Shared::try_one(|| item).expect("memory"))
                }
            }

            impl<T> Clone for Owner<T> {
                fn clone(&self) -> Self {
                    Self(self.0.clone())
                }
            }

            impl<T> core::ops::Deref for Owner<T> {
                type Target = T;

                fn deref(&self) -> &T {
                    &self.0[0]
                }
            }
        }
    };
}

shared!(shared, "/shared.rs", "As phyr has it.");
shared!(unreleased, "/unreleased.rs", "An owner that is dropped does not say what it did.");
shared!(unacquired, "/unacquired.rs", "The last owner does not look at what others did.");
