//! The inner loop of convolutions: a block of output channels times a block of positions.

use crate::product::{Format, Product, Task};

/// Output channels in a block on machines with 32 vector registers, and with fewer.
const MANY: usize = 8;
const FEW: usize = 4;

/// Vectors of positions in a block.
const VECTORS: usize = 3;

/// How many output channels a block has on this machine.
pub(super) fn block_outputs<F: Format>(format: F) -> usize {
    struct Ask;
    impl<N> Task<N> for Ask {
        type Output = usize;
        #[inline(always)]
        fn run<P: Product<N>>(self, _: P) -> usize {
            if P::REGISTERS >= 32 { MANY } else { FEW }
        }
    }
    format.dispatch(Ask)
}

/// `out[o][i] = Σ_c Σ_t weights[o][c][t] · source[c · channel_len + offsets[t] + i]`
///
/// A channel here is as many as a number holds.
pub(super) struct Correlate<'a, N> {
    /// Padded channels.
    pub source: &'a [N],
    pub channel_len: usize,
    pub offsets: &'a [usize],
    /// `[blocks, channels, taps, block]`.
    pub weights: &'a [N],
    pub channels: usize,
    /// Positions to compute; a multiple of 16.
    pub positions: usize,
    /// `[blocks · block, positions]`.
    pub out: &'a mut [f32],
}

impl<N: Copy> Correlate<'_, N> {
    #[inline(always)]
    fn blocks<P: Product<N>, const OUTPUTS: usize>(self, product: P) {
        let lanes = P::LANES;
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
                    2 | 4 => block.run::<P, 2>(product, start, out),
                    1 => block.run::<P, 1>(product, start, out),
                    _ => block.run::<P, VECTORS>(product, start, out),
                };
            }
        }
    }
}

impl<N: Copy> Task<N> for Correlate<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<P: Product<N>>(self, product: P) {
        match P::REGISTERS >= 32 {
            true => self.blocks::<P, MANY>(product),
            false => self.blocks::<P, FEW>(product),
        }
    }
}

struct Block<'a, N, const OUTPUTS: usize> {
    source: &'a [N],
    channel_len: usize,
    offsets: &'a [usize],
    weights: &'a [[N; OUTPUTS]],
    positions: usize,
}

impl<N: Copy, const O: usize> Block<'_, N, O> {
    /// Computes `WIDE` vectors of positions from `start` on, and returns how many positions these are.
    #[inline(always)]
    fn run<P: Product<N>, const WIDE: usize>(
        &self,
        product: P,
        start: usize,
        out: &mut [f32],
    ) -> usize {
        let lanes = P::LANES;
        let mut sums = [[product.zero(); WIDE]; O];
        for (channel, weights) in self.weights.chunks_exact(self.offsets.len()).enumerate() {
            let source = &self.source[channel * self.channel_len + start..];
            for (&offset, weights) in self.offsets.iter().zip(weights) {
                let source = &source[offset..][..WIDE * lanes];
                let values: [P::Numbers; WIDE] =
                    std::array::from_fn(|i| product.load(&source[i * lanes..]));
                for (sums, &weight) in sums.iter_mut().zip(weights) {
                    let weight = product.splat(weight);
                    for (sum, &value) in sums.iter_mut().zip(&values) {
                        *sum = product.add(weight, value, *sum);
                    }
                }
            }
        }
        for (sums, out) in sums.iter().zip(out.chunks_exact_mut(self.positions)) {
            let out = &mut out[start..][..WIDE * lanes];
            for (&sum, out) in sums.iter().zip(out.chunks_exact_mut(lanes)) {
                product.write(sum, out);
            }
        }
        WIDE * lanes
    }
}
