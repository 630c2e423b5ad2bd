//! The widest vector registers of the CPU, chosen at run time.

/// Work that the compiler vectorizes. It is plain Rust, so it has the same result in all registers.
pub trait Vectorized {
    /// The result.
    type Output;

    /// Does the work. Implementations have `#[inline(always)]`, as have the functions that they call:
    /// only what is inlined is compiled for the registers of [`in_widest_registers`].
    fn run(self) -> Self::Output;
}

/// Does work compiled for the widest registers that the CPU has: AVX2 on x86-64. Other architectures
/// have only one width: SSE2 is a part of x86-64, and NEON of AArch64.
#[inline(always)]
pub fn in_widest_registers<W: Vectorized>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2. The measured loops take about half the instructions with it.
        return unsafe { with_avx2(work) };
    }
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<W: Vectorized>(work: W) -> W::Output {
    work.run()
}
