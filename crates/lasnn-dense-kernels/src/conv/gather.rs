//! The inner loop of the gradient with respect to the weights.
//!
//! It multiplies a block of outputs by columns of the input, and adds up over the positions of as
//! many images as an element contains numbers. A column consists of [`LANES`] numbers at each
//! position, for [`LANES`] different weights.

use pulp::bytemuck::{Pod, cast_slice};

use lasnn_gemm::product::{Format, Operand, Product, SIDE, Task, TileLayout, TileTask, Tiles};

/// Weights of a column: the lanes of the longest vectors.
pub(super) const LANES: usize = 16;

/// Outputs of a block, unless the format computes in tiles.
pub(super) const OUTPUTS: usize = 8;

/// Outputs of a block, in all formats.
pub(super) fn block_outputs<F: Format>() -> usize {
    if F::TILED { SIDE } else { OUTPUTS }
}

/// Adds `Σ_(y, x) source[starts[c] + y · pitch + x][lane] · grads[b][y][x][o]` to
/// `sums[b][c][o][lane]`, for blocks `b`, columns `c` and outputs `o` of a block.
pub(super) struct Gather<'a, N> {
    pub source: &'a [[N; LANES]],
    /// The index in `source` at which each column begins.
    pub starts: &'a [usize],
    pub pitch: usize,
    /// If the format computes in tiles, the layout is `grads[b][o][y · pitch + x]` instead. It is
    /// zero between the rows, and up to the next multiple of [`SIDE`].
    pub grads: &'a [N],
    /// Rows and columns of an output plane.
    pub size: [usize; 2],
    pub sums: &'a mut [[f32; LANES]],
}

impl<N: Copy> Gather<'_, N> {
    #[inline(always)]
    fn blocks<P: Product<N>, const WIDE: usize, const OUTS: usize>(
        self,
        product: P,
        at_once: usize,
    ) {
        let positions = self.size[0] * self.size[1];
        let blocks = self.grads.as_chunks().0.chunks_exact(positions);
        let sums: &mut [[[f32; LANES]; OUTPUTS]] = self.sums.as_chunks_mut().0;
        for (grads, sums) in blocks.zip(sums.chunks_exact_mut(self.starts.len())) {
            let mut columns = self.starts.chunks(at_once).zip(sums.chunks_mut(at_once));
            columns.by_ref().for_each(
                #[inline(always)]
                |(starts, sums)| {
                    let columns =
                        Columns { source: self.source, pitch: self.pitch, size: self.size, grads };
                    for part in 0..OUTPUTS / OUTS {
                        match *starts {
                            [a, b, c] => {
                                columns.add::<P, 3, WIDE, OUTS>(product, [a, b, c], part, sums)
                            }
                            [a, b] => columns.add::<P, 2, WIDE, OUTS>(product, [a, b], part, sums),
                            [a] => columns.add::<P, 1, WIDE, OUTS>(product, [a], part, sums),
                            _ => {}
                        }
                    }
                },
            );
        }
    }
}

impl<N: Copy> Task<N> for Gather<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<P: Product<N>>(self, product: P) {
        match P::LANES {
            16 => self.blocks::<P, 1, 8>(product, 3),
            8 => self.blocks::<P, 2, 4>(product, 1),
            4 => self.blocks::<P, 4, 4>(product, 1),
            _ => self.blocks::<P, 16, 1>(product, 1),
        }
    }
}

impl<N: Pod> TileTask for Gather<'_, N> {
    /// Multiplies two blocks of outputs by two columns at a time. Between two rows of an output
    /// plane, the source is multiplied by zeros.
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { source, starts, pitch, grads, size, sums } = self;
        let (source, grads): (&[u32], &[u32]) = (cast_slice(source), cast_slice(grads));
        let flat = flat_positions(size, pitch);
        let sums = sums.as_flattened_mut();
        let tile = SIDE * LANES;
        let layout = TileLayout { pitch: LANES, down: starts.len() * tile, right: tile };
        for (pair, grads) in grads.chunks(2 * SIDE * flat).enumerate() {
            let rows = grads.len() / (SIDE * flat);
            for (index, starts) in starts.chunks(2).enumerate() {
                let size = [rows, starts.len()];
                let sums = &mut sums[2 * (pair * layout.down + index * tile)..];
                let column = |index: usize| {
                    starts.get(index).map_or(&[][..], |start| &source[start * LANES..])
                };
                let columns = [column(0), column(1)];
                tiles.load(size, sums, layout);
                let products = (0..flat).step_by(SIDE).map(|position| {
                    let columns =
                        columns.map(|from| from.get(position * LANES..).unwrap_or_default());
                    [
                        Operand::new(&grads[position..], flat, SIDE * flat),
                        Operand { tiles: columns, pitch: LANES },
                    ]
                });
                tiles.add(size, products);
                tiles.store(size, sums, layout);
            }
        }
    }
}

/// The number of positions of a plane with the positions between its rows, padded for tiles.
pub(super) fn flat_positions([rows, columns]: [usize; 2], pitch: usize) -> usize {
    ((rows - 1) * pitch + columns).next_multiple_of(SIDE)
}

/// The arguments of the sums of one block of outputs.
struct Columns<'a, N> {
    source: &'a [[N; LANES]],
    pitch: usize,
    size: [usize; 2],
    grads: &'a [[N; OUTPUTS]],
}

impl<N: Copy> Columns<'_, N> {
    /// Adds to the sums of `COUNT` columns and the `OUTS` outputs from `part · OUTS` on. A column
    /// takes `WIDE` vectors at each position.
    #[inline(always)]
    fn add<P: Product<N>, const COUNT: usize, const WIDE: usize, const OUTS: usize>(
        &self,
        product: P,
        starts: [usize; COUNT],
        part: usize,
        sums: &mut [[[f32; LANES]; OUTPUTS]],
    ) {
        let [_, width] = self.size;
        let lanes = P::LANES;
        let outputs = part * OUTS..(part + 1) * OUTS;
        let mut acc = [[[product.zero(); OUTS]; WIDE]; COUNT];
        for (y, grads) in self.grads.chunks_exact(width).enumerate() {
            let rows: [&[[N; LANES]]; COUNT] =
                starts.map(|start| &self.source[start + y * self.pitch..][..grads.len()]);
            for (x, grads) in grads.iter().enumerate() {
                let values: [[P::Numbers; WIDE]; COUNT] = std::array::from_fn(|column| {
                    let numbers = &rows[column][x];
                    std::array::from_fn(|i| product.load(&numbers[i * lanes..]))
                });
                for (at, &grad) in grads[outputs.clone()].iter().enumerate().take(OUTS) {
                    let grad = product.splat(grad);
                    for (acc, values) in acc.iter_mut().zip(&values) {
                        for (acc, &value) in acc.iter_mut().zip(values) {
                            acc[at] = product.add(grad, value, acc[at]);
                        }
                    }
                }
            }
        }
        for (acc, sums) in acc.iter().zip(sums) {
            for (i, acc) in acc.iter().enumerate() {
                for (&acc, sums) in acc.iter().zip(&mut sums[outputs.clone()]) {
                    let sums = &mut sums[i * lanes..][..lanes];
                    product.write(product.add_sums(acc, product.read(sums)), sums);
                }
            }
        }
    }
}
