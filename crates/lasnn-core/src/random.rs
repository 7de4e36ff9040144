//! Counter-based random streams: every draw is a pure function of its purpose.
//!
//! The generator is [`philox`]. A draw does not depend on earlier draws, so its
//! value is the same in any order, on any number of threads, in a resumed run, and on a GPU.

use serde::{Deserialize, Serialize};

use crate::philox;

/// The seed of a run, which determines all random draws of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u32);

/// The purpose of a draw. Two streams never share draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// Initial weights, keyed by the parameter.
    Weights = 1,
    /// The images that are held out for validation.
    Split = 2,
    /// The order of the images, keyed by the epoch.
    Order = 3,
    /// Crops, flips and cut-outs, keyed by epoch and sample.
    Augment = 4,
    /// Dropout masks, keyed by layer, epoch and sample.
    Dropout = 5,
    /// Poisson input spikes, keyed by epoch, sample and time step.
    Encoder = 6,
    /// Pixels of the synthetic data set, keyed by the sample.
    Synthetic = 7,
    /// For tests and benchmarks.
    Test = 8,
}

impl Seed {
    /// The draws of `stream` for a key of three numbers. Unused numbers of a key are 0.
    pub fn draws(self, stream: Stream, key: [u32; 3]) -> Draws {
        Draws { key: [self.0, stream as u32], counter: [0, key[0], key[1], key[2]] }
    }
}

/// Blocks that [`Draws::fill`] draws at once.
const BLOCKS: usize = 64;

/// A practically endless sequence of draws for one key. Blocks can be drawn in any order.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    key: [u32; 2],
    counter: [u32; 4],
}

impl Draws {
    /// The `index`-th block of four independent 32-bit draws.
    #[inline]
    pub fn block(&self, index: u32) -> [u32; 4] {
        let [_, a, b, c] = self.counter;
        philox::block([index, a, b, c], self.key)
    }

    /// Writes `map` of successive 32-bit draws to `out`.
    pub fn fill<T>(&self, out: &mut [T], map: impl Fn(u32) -> T) {
        let [_, a, b, c] = self.counter;
        let mut draws = [[0; 4]; BLOCKS];
        for (index, chunk) in out.chunks_mut(4 * BLOCKS).enumerate() {
            let draws = &mut draws[..chunk.len().div_ceil(4)];
            philox::blocks((index * BLOCKS) as u32, [a, b, c], self.key, draws);
            for (value, &bits) in chunk.iter_mut().zip(draws.as_flattened()) {
                *value = map(bits);
            }
        }
    }

    /// Sets each bit of `words` to `map` of successive 32-bit draws.
    ///
    /// The lowest bit of the first word takes the first draw.
    pub fn fill_bits(&self, words: &mut [u64], map: impl Fn(u32) -> bool) {
        let [_, a, b, c] = self.counter;
        const OF_WORD: usize = u64::BITS as usize / 4;
        let mut draws = [[0; 4]; OF_WORD];
        for (index, word) in words.iter_mut().enumerate() {
            philox::blocks((index * OF_WORD) as u32, [a, b, c], self.key, &mut draws);
            let bits = draws.as_flattened().iter().enumerate();
            *word = bits.fold(0, |word, (bit, &draw)| word | u64::from(map(draw)) << bit);
        }
    }

    /// All draws, in order.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..=u32::MAX).flat_map(move |index| self.block(index))
    }

    /// `count` values from the standard normal distribution (Box-Muller).
    pub fn normals(&self, count: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(count + 1);
        let mut bits = self.iter();
        let mut next = move || unit(bits.next().unwrap_or_default());
        while out.len() < count {
            // 1 - u is in (0, 1], where the logarithm is finite.
            let radius = (-2.0 * f64::from(1.0 - next()).ln()).sqrt();
            let angle = std::f64::consts::TAU * f64::from(next());
            out.push((radius * angle.cos()) as f32);
            out.push((radius * angle.sin()) as f32);
        }
        out.truncate(count);
        out
    }

    /// A random order of `0..count` (Fisher-Yates).
    pub fn permutation(&self, count: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..count as u32).collect();
        let mut bits = self.iter();
        for last in (1..count).rev() {
            let draw = bits.next().unwrap_or_default();
            order.swap(last, below(draw, last as u32 + 1) as usize);
        }
        order
    }
}

/// A draw as a number in [0, 1) with 24 bits, which `f32` holds exactly.
#[inline]
pub fn unit(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

/// A draw as an integer in `0..bound` (multiply-shift; the bias is below `bound / 2^32`).
#[inline]
pub fn below(bits: u32, bound: u32) -> u32 {
    ((u64::from(bits) * u64::from(bound)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_takes_draws_in_order() {
        let draws = Seed(5).draws(Stream::Test, [1, 2, 3]);
        for count in [0, 3, 64, 1000, 1027] {
            let mut filled = vec![0; count];
            draws.fill(&mut filled, |bits| bits);
            assert_eq!(filled, draws.iter().take(count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn fill_bits_takes_draws_in_order() {
        let draws = Seed(5).draws(Stream::Test, [1, 2, 3]);
        let mut words = [0; 5];
        draws.fill_bits(&mut words, |draw| draw % 3 == 0);
        for (index, draw) in draws.iter().take(5 * 64).enumerate() {
            assert_eq!(words[index / 64] >> (index % 64) & 1 == 1, draw % 3 == 0, "draw {index}");
        }
    }

    #[test]
    fn streams_and_keys_do_not_share_draws() {
        let seed = Seed(1);
        let first = seed.draws(Stream::Order, [0; 3]).block(0);
        assert_ne!(first, seed.draws(Stream::Augment, [0; 3]).block(0));
        assert_ne!(first, seed.draws(Stream::Order, [1, 0, 0]).block(0));
        assert_ne!(first, Seed(2).draws(Stream::Order, [0; 3]).block(0));
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let values = Seed(3).draws(Stream::Test, [0; 3]).normals(100_001);
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
    }

    #[test]
    fn a_permutation_contains_every_index_once() {
        let mut order = Seed(4).draws(Stream::Order, [0; 3]).permutation(1000);
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, &v)| i as u32 == v));
    }
}
