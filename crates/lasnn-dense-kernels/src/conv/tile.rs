//! The inner loop of convolutions: a block of output channels times a block of positions.

use pulp::bytemuck::{Pod, cast_slice};

use lasnn_gemm::product::{
    Format, Operand, Place, Product, SIDE, Task, TileTask, Tiles, tiles_left,
};

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
    if F::TILED { SIDE } else { format.dispatch(Ask) }
}

/// Channels, as many together as a number holds, are filled up to a multiple of this.
pub(super) fn channel_block<F: Format>() -> usize {
    if F::TILED { SIDE } else { 1 }
}

/// Where a weight goes, given its channel and tap, in a block of so many outputs, as [`Correlate`]
/// takes them.
pub(super) fn place_of_weight<F: Format>(
    block: usize,
    taps: usize,
    [output, channel, tap]: [usize; 3],
) -> usize {
    match F::TILED {
        true => ((channel / SIDE * taps + tap) * SIDE + output) * SIDE + channel % SIDE,
        false => (channel * taps + tap) * block + output,
    }
}

/// `out[o][i] = Σ_c Σ_t weights[o][c][t] · source[c · channel_len + offsets[t] + i]`
///
/// A channel here is as many as a number holds.
pub(super) struct Correlate<'a, N> {
    /// Padded channels.
    pub source: &'a [N],
    pub channel_len: usize,
    pub offsets: &'a [usize],
    /// `[blocks, channels, taps, block]`, or `[blocks, channels / 16, taps, 16, 16]` for tiles.
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

impl<N: Pod> TileTask for Correlate<'_, N> {
    /// A block of positions, the columns, is multiplied by two blocks of outputs, the rows, at a time.
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { source, channel_len, offsets, weights, channels, positions, out } = self;
        let (source, weights): (&[u32], &[u32]) = (cast_slice(source), cast_slice(weights));
        let depth = channels * offsets.len() * SIDE;
        let place = Place::matrix(positions);
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
                tiles.store(size, &mut out[first + start..], place);
                start += size[1] * SIDE;
            }
            first += rows * SIDE * positions;
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

/// Adds the products of some vectors with four weights. Rows go by value and by name: sums that a loop reaches
/// may be stored to memory after each product, as the compiler does not unroll long loops.
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
