//! Numbers to compute with.

/// So many numbers between `from` and 1, the same every time.
pub fn numbers(count: usize, from: f32) -> Vec<f32> {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..count).map(|_| from + (1.0 - from) * next()).collect()
}
