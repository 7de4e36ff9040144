//! Random numbers.

/// A random number generator.
pub struct Numbers(pub u64);

impl Numbers {
    /// A number from 0 to 1, without 1.
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Multiples of 1/64 in [-range, range].
    pub fn weights(&mut self, count: usize, range: f32) -> Vec<f32> {
        (0..count).map(|_| ((self.next() * 2.0 - 1.0) * range * 64.0).round() / 64.0).collect()
    }

    /// Numbers in [-1, 1].
    pub fn signed(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next() * 2.0 - 1.0).collect()
    }
}
