//! Loops compiled twice: for the baseline of the target, and for wide registers where the machine
//! has them.
//!
//! The compiler vectorises simple loops by itself, but only with instructions that it may use. A
//! function in [`wide!`](wide) is compiled once more with wide instructions allowed; it needs no
//! assembly and no intrinsics.

#[cfg(all(feature = "std", target_arch = "x86_64"))]
use core::sync::atomic::{AtomicU8, Ordering};

/// Defines a function that runs with the best instructions which this machine has. Type parameters
/// are in brackets: `fn find[T: Eq](items: &[T], item: T) -> bool { ... }`.
macro_rules! wide {
    (
        $(#[$attribute:meta])*
        $visible:vis fn $name:ident $([$($parameters:tt)*])?
        ($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block
    ) => {
        $(#[$attribute])*
        #[inline]
        #[cfg_attr(
            all(feature = "std", target_arch = "x86_64"),
            expect(unsafe_code, reason = "calling a function of a feature just detected")
        )]
        $visible fn $name $(<$($parameters)*>)? ($($argument: $type),*) $(-> $output)? {
            // Always inlined, so that it is compiled with the features of its caller.
            #[inline(always)]
            fn body $(<$($parameters)*>)? ($($argument: $type),*) $(-> $output)? $body

            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            {
                // Unsafe to call, and safe where the features are enabled only since Rust 1.86.
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
                unsafe fn avx2 $(<$($parameters)*>)? ($($argument: $type),*) $(-> $output)? {
                    body($($argument),*)
                }

                if $crate::wide::available() {
                    // SAFETY: `available` found every feature that `avx2` enables.
                    return unsafe { avx2($($argument),*) };
                }
            }
            body($($argument),*)
        }
    };
}
pub(crate) use wide;

#[cfg(all(test, feature = "std"))]
std::thread_local! {
    /// True while a test asks for the plain functions.
    static IS_PLAIN: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
}

/// Runs `work` with the functions for the baseline of the target.
#[cfg(all(test, feature = "std"))]
pub(crate) fn plainly<T>(work: impl FnOnce() -> T) -> T {
    IS_PLAIN.set(true);
    let result = work();
    IS_PLAIN.set(false);
    result
}

/// Returns true if the machine has every feature that [`wide!`](wide) enables.
#[cfg(all(feature = "std", target_arch = "x86_64"))]
#[inline]
pub(crate) fn available() -> bool {
    #[cfg(test)]
    if IS_PLAIN.get() {
        return false;
    }
    // One load: each question of the library is one of its own.
    let known = KNOWN.load(Ordering::Relaxed);
    known == YES || known == 0 && detect()
}

/// The answer of [`detect`]; 0 before it is called.
#[cfg(all(feature = "std", target_arch = "x86_64"))]
static KNOWN: AtomicU8 = AtomicU8::new(0);
#[cfg(all(feature = "std", target_arch = "x86_64"))]
const YES: u8 = 1;
#[cfg(all(feature = "std", target_arch = "x86_64"))]
const NO: u8 = 2;

#[cfg(all(feature = "std", target_arch = "x86_64"))]
#[cold]
fn detect() -> bool {
    let has_all = std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("bmi1")
        && std::is_x86_feature_detected!("bmi2")
        && std::is_x86_feature_detected!("lzcnt")
        && std::is_x86_feature_detected!("popcnt");
    KNOWN.store(if has_all { YES } else { NO }, Ordering::Relaxed);
    has_all
}
