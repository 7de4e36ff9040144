//! Pseudo-random numbers as inputs of kernels.

/// `count` numbers between `from` and 1. They are the same in every call.
pub fn numbers(count: usize, from: f32) -> Vec<f32> {
    // A linear congruential generator with the constants of Knuth's MMIX.
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..count).map(|_| from + (1.0 - from) * next()).collect()
}
