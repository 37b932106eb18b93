//! Loops compiled twice: for the baseline of the target, and for wide registers where the machine
//! has them.
//!
//! The compiler vectorises plain loops by itself; all it lacks is leave to use the instructions.
//! A [`Wide`] loop gives that leave without a line of assembly or an intrinsic.

/// A loop worth compiling for wide registers.
pub(crate) trait Wide {
    /// What the loop yields.
    type Output;

    /// Runs the loop. Implementations are `#[inline(always)]`, which is what lets the body be
    /// compiled with the features of whoever calls it.
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
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
        fn avx2<W: Wide>(wide: W) -> W::Output {
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
