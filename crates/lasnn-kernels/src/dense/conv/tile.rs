//! The inner loop of convolutions: a block of output channels times a block of positions.

use pulp::{Arch, Simd, WithSimd};

use super::super::simd::{load, store};

/// Output channels in a block on machines with 32 vector registers, and with fewer.
const MANY: usize = 8;
const FEW: usize = 4;

/// Vectors of positions in a block.
const VECTORS: usize = 3;

/// How many output channels a block has on this machine.
pub(super) fn block_outputs() -> usize {
    struct Ask;
    impl WithSimd for Ask {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            if S::REGISTER_COUNT >= 32 { MANY } else { FEW }
        }
    }
    Arch::new().dispatch(Ask)
}

/// `out[o][i] = Σ_c Σ_t weights[o][c][t] · source[c · channel_len + offsets[t] + i]`
pub(super) struct Correlate<'a> {
    /// Padded channels.
    pub source: &'a [f32],
    pub channel_len: usize,
    pub offsets: &'a [usize],
    /// `[blocks, channels, taps, block]`.
    pub weights: &'a [f32],
    pub channels: usize,
    /// Positions to compute; a multiple of 16.
    pub positions: usize,
    /// `[blocks · block, positions]`.
    pub out: &'a mut [f32],
}

impl Correlate<'_> {
    /// Runs on the best instructions that this machine has.
    pub fn run(self) {
        Arch::new().dispatch(self);
    }

    #[inline(always)]
    fn blocks<S: Simd, const OUTPUTS: usize>(self, simd: S) {
        let lanes = S::F32_LANES;
        let depth = self.channels * self.offsets.len();
        let (weights, _) = self.weights.as_chunks::<OUTPUTS>();
        let blocks = weights.chunks_exact(depth).zip(self.out.chunks_mut(OUTPUTS * self.positions));
        for (weights, out) in blocks {
            let block = Block {
                source: self.source,
                channel_len: self.channel_len,
                offsets: self.offsets,
                weights,
                positions: self.positions,
            };
            let mut start = 0;
            while start < self.positions {
                start += match (self.positions - start) / lanes {
                    // Four are better taken as two and two than as three and one.
                    2 | 4 => block.run::<S, OUTPUTS, 2>(simd, start, out),
                    1 => block.run::<S, OUTPUTS, 1>(simd, start, out),
                    _ => block.run::<S, OUTPUTS, VECTORS>(simd, start, out),
                };
            }
        }
    }
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::REGISTER_COUNT >= 32 {
            true => self.blocks::<S, MANY>(simd),
            false => self.blocks::<S, FEW>(simd),
        }
    }
}

struct Block<'a, const OUTPUTS: usize> {
    source: &'a [f32],
    channel_len: usize,
    offsets: &'a [usize],
    weights: &'a [[f32; OUTPUTS]],
    positions: usize,
}

impl<const O: usize> Block<'_, O> {
    /// Computes `WIDE` vectors of positions from `start` on, and returns how many positions these are.
    #[inline(always)]
    fn run<S: Simd, const OUTPUTS: usize, const WIDE: usize>(
        &self,
        simd: S,
        start: usize,
        out: &mut [f32],
    ) -> usize {
        let lanes = S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); WIDE]; O];
        for (channel, weights) in self.weights.chunks_exact(self.offsets.len()).enumerate() {
            let source = &self.source[channel * self.channel_len + start..];
            for (&offset, weights) in self.offsets.iter().zip(weights) {
                let source = &source[offset..][..WIDE * lanes];
                let values: [S::f32s; WIDE] =
                    std::array::from_fn(|i| load::<S>(&source[i * lanes..]));
                for (sums, &weight) in sums.iter_mut().zip(weights) {
                    let weight = simd.splat_f32s(weight);
                    for (sum, &value) in sums.iter_mut().zip(&values) {
                        *sum = simd.mul_add_f32s(weight, value, *sum);
                    }
                }
            }
        }
        for (sums, out) in sums.iter().zip(out.chunks_exact_mut(self.positions)) {
            let out = &mut out[start..][..WIDE * lanes];
            for (&sum, out) in sums.iter().zip(out.chunks_exact_mut(lanes)) {
                store::<S>(out, sum);
            }
        }
        WIDE * lanes
    }
}
