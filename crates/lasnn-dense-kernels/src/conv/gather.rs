//! The inner loop of the gradient with respect to the weights: a block of outputs times a few
//! columns of weights, summed over the positions of one image, or of as many as a number holds.

use pulp::bytemuck::{Pod, cast_slice};

use lasnn_gemm::product::{Format, Operand, Place, Product, SIDE, Task, TileTask, Tiles};

/// Weights of a column: one vector of the longest kind.
pub(super) const LANES: usize = 16;

/// Outputs of a block, where not for tiles.
pub(super) const OUTPUTS: usize = 8;

/// Outputs of a block.
pub(super) fn block_outputs<F: Format>() -> usize {
    if F::TILED { SIDE } else { OUTPUTS }
}

/// Adds `Σ_(y, x) source[starts[c] + y · pitch + x][lane] · grads[b][y][x][o]` to
/// `sums[b][c][o][lane]`.
pub(super) struct Gather<'a, N> {
    pub source: &'a [[N; LANES]],
    pub starts: &'a [usize],
    pub pitch: usize,
    /// For tiles `grads[b][o][y · pitch + x]`, zero between the rows and up to the next multiple of
    /// [`SIDE`].
    pub grads: &'a [N],
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
                    for half in 0..OUTPUTS / OUTS {
                        match *starts {
                            [a, b, c] => {
                                columns.add::<P, 3, WIDE, OUTS>(product, [a, b, c], half, sums)
                            }
                            [a, b] => columns.add::<P, 2, WIDE, OUTS>(product, [a, b], half, sums),
                            [a] => columns.add::<P, 1, WIDE, OUTS>(product, [a], half, sums),
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
    /// Two columns are multiplied by two blocks of outputs, the rows, at a time. Between the rows of a
    /// map, what the source has there is multiplied by zeros.
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { source, starts, pitch, grads, size, sums } = self;
        let (source, grads): (&[u32], &[u32]) = (cast_slice(source), cast_slice(grads));
        let flat = flat_positions(size, pitch);
        let sums = sums.as_flattened_mut();
        let tile = SIDE * LANES;
        let place = Place { pitch: LANES, down: starts.len() * tile, right: tile };
        for (pair, grads) in grads.chunks(2 * SIDE * flat).enumerate() {
            let rows = grads.len() / (SIDE * flat);
            for (index, starts) in starts.chunks(2).enumerate() {
                let size = [rows, starts.len()];
                let sums = &mut sums[2 * (pair * place.down + index * tile)..];
                let column = |index: usize| {
                    starts.get(index).map_or(&[][..], |start| &source[start * LANES..])
                };
                let columns = [column(0), column(1)];
                tiles.load(size, sums, place);
                let products = (0..flat).step_by(SIDE).map(|position| {
                    let columns =
                        columns.map(|from| from.get(position * LANES..).unwrap_or_default());
                    [
                        Operand::new(&grads[position..], flat, SIDE * flat),
                        Operand { tiles: columns, pitch: LANES },
                    ]
                });
                tiles.add(size, products);
                tiles.store(size, sums, place);
            }
        }
    }
}

/// Positions of a map with those between its rows, filled up for tiles.
pub(super) fn flat_positions([rows, columns]: [usize; 2], pitch: usize) -> usize {
    ((rows - 1) * pitch + columns).next_multiple_of(SIDE)
}

struct Columns<'a, N> {
    source: &'a [[N; LANES]],
    pitch: usize,
    size: [usize; 2],
    grads: &'a [[N; OUTPUTS]],
}

impl<N: Copy> Columns<'_, N> {
    /// The sums of `COUNT` columns for the outputs `part · OUTS..`. A place is `WIDE` vectors.
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
                    let place = &rows[column][x];
                    std::array::from_fn(|i| product.load(&place[i * lanes..]))
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
                    product.write(product.both(acc, product.read(sums)), sums);
                }
            }
        }
    }
}
