//! Loops compiled twice: for the baseline of the target, and for wide registers where the machine
//! has them.
//!
//! The compiler vectorises simple loops by itself, but only with instructions that it may use. A
//! [`Wide`] loop is compiled once more with wide instructions allowed; it needs no assembly and no
//! intrinsics.

/// A loop worth compiling for wide registers.
pub(crate) trait Wide {
    /// The result of the loop.
    type Output;

    /// Runs the loop. Implementations are `#[inline(always)]`, so that the body is compiled with
    /// the features of the caller.
    fn run(self) -> Self::Output;
}

/// Runs `wide` with the best instructions that this machine has.
#[inline]
#[cfg_attr(
    all(feature = "std", target_arch = "x86_64"),
    expect(unsafe_code, reason = "calling a function of a feature just detected")
)]
pub(crate) fn run<W: Wide>(wide: W) -> W::Output {
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    {
        // A function that is safe to call where the features are enabled, as since Rust 1.86.
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
        unsafe fn avx2<W: Wide>(wide: W) -> W::Output {
            wide.run()
        }

        if available() {
            // SAFETY: `available` found every feature that `avx2` enables.
            return unsafe { avx2(wide) };
        }
    }
    wide.run()
}

#[cfg(all(feature = "std", target_arch = "x86_64"))]
fn available() -> bool {
    std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("bmi1")
        && std::is_x86_feature_detected!("bmi2")
        && std::is_x86_feature_detected!("lzcnt")
        && std::is_x86_feature_detected!("popcnt")
}
