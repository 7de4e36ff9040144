//! The inner loop of convolutions: the sums of a block of output channels and a block of positions.

use pulp::bytemuck::{Pod, cast_slice};

use lasnn_gemm::product::{
    Format, Operand, Product, SIDE, Task, TileLayout, TileTask, Tiles, tiles_left,
};

// Output channels of a block if the processor has 32 vector registers, and if it has fewer.
const MANY: usize = 8;
const FEW: usize = 4;

/// The most vectors of positions of a block.
const VECTORS: usize = 3;

/// The number of output channels of a block on this processor.
pub(super) fn block_outputs<F: Format>(format: F) -> usize {
    struct CountRegisters;
    impl<N> Task<N> for CountRegisters {
        type Output = usize;
        #[inline(always)]
        fn run<P: Product<N>>(self, _: P) -> usize {
            if P::REGISTERS >= 32 { MANY } else { FEW }
        }
    }
    if F::TILED { SIDE } else { format.dispatch(CountRegisters) }
}

/// Packed channels must be padded to a multiple of this.
pub(super) fn channel_multiple<F: Format>() -> usize {
    if F::TILED { SIDE } else { 1 }
}

/// The index of a weight in the weights of [`Correlate`], counted from the start of its block of
/// `block` outputs. `channel` counts packed channels.
pub(super) fn weight_index<F: Format>(
    block: usize,
    taps: usize,
    [output, channel, tap]: [usize; 3],
) -> usize {
    match F::TILED {
        true => ((channel / SIDE * taps + tap) * SIDE + output) * SIDE + channel % SIDE,
        false => (channel * taps + tap) * block + output,
    }
}

/// Computes `out[o][i] = Σ_c Σ_t weights[o][c][t] · source[c · channel_len + offsets[t] + i]` for
/// outputs `o`, positions `i`, packed channels `c` and taps `t`.
pub(super) struct Correlate<'a, N> {
    /// The padded channels of one image.
    pub source: &'a [N],
    pub channel_len: usize,
    pub offsets: &'a [usize],
    /// `[blocks, channels, taps, block]`, or `[blocks, channels / 16, taps, 16, 16]` if the format
    /// computes in tiles.
    pub weights: &'a [N],
    pub channels: usize,
    /// The number of positions; a multiple of 16.
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
                    // Two blocks of two vectors are faster than three and one.
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

impl<N: Pod> TileTask for Correlate<'_, N> {
    /// Multiplies two blocks of outputs (rows of tiles) by two tiles of positions (columns) at a
    /// time.
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { source, channel_len, offsets, weights, channels, positions, out } = self;
        let (source, weights): (&[u32], &[u32]) = (cast_slice(source), cast_slice(weights));
        let depth = channels * offsets.len() * SIDE;
        let layout = TileLayout::matrix(positions);
        let mut first = 0;
        for weights in weights.chunks(2 * depth) {
            let rows = weights.len() / depth;
            let mut start = 0;
            while start < positions {
                let size = [rows, tiles_left(start, positions)];
                tiles.zero();
                let sources = (0..channels).step_by(SIDE).flat_map(|channel| {
                    let source = &source[channel * channel_len + start..];
                    offsets.iter().map(move |&offset| &source[offset..])
                });
                let products = sources.enumerate().map(|(at, source)| {
                    [
                        Operand::new(&weights[at * SIDE * SIDE..], SIDE, depth),
                        Operand::new(source, channel_len, SIDE),
                    ]
                });
                tiles.add(size, products);
                tiles.store(size, &mut out[first + start..], layout);
                start += size[1] * SIDE;
            }
            first += rows * SIDE * positions;
        }
    }
}

/// The arguments of the sums of one block of outputs.
struct Block<'a, N, const OUTPUTS: usize> {
    source: &'a [N],
    channel_len: usize,
    offsets: &'a [usize],
    weights: &'a [[N; OUTPUTS]],
    positions: usize,
}

impl<N: Copy, const O: usize> Block<'_, N, O> {
    /// Computes the sums of `WIDE` vectors of positions, and returns the number of these positions.
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
                let mut values = [product.splat(weights[0]); WIDE];
                for (value, source) in values.iter_mut().zip(source.chunks_exact(lanes)) {
                    *value = product.load(source);
                }
                let fours = sums.as_chunks_mut().0.iter_mut().zip(weights.as_chunks().0);
                for (sums, weights) in fours {
                    *sums = add_four(product, *sums, weights, values);
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

/// Adds the products of `WIDE` vectors with four weights.
///
/// Sums are passed by value and without a loop over the weights. The compiler does not unroll long
/// loops, and stores sums to memory after each product if it indexes them in such a loop.
#[inline(always)]
fn add_four<N: Copy, P: Product<N>, const WIDE: usize>(
    product: P,
    [a, b, c, d]: [[P::Sums; WIDE]; FEW],
    &[s, t, u, v]: &[N; FEW],
    values: [P::Numbers; WIDE],
) -> [[P::Sums; WIDE]; FEW] {
    [
        add_row(product, a, s, values),
        add_row(product, b, t, values),
        add_row(product, c, u, values),
        add_row(product, d, v, values),
    ]
}

#[inline(always)]
fn add_row<N: Copy, P: Product<N>, const WIDE: usize>(
    product: P,
    mut sums: [P::Sums; WIDE],
    weight: N,
    values: [P::Numbers; WIDE],
) -> [P::Sums; WIDE] {
    let weight = product.splat(weight);
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = product.add(weight, value, *sum);
    }
    sums
}
