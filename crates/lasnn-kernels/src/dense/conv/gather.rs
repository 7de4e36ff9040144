//! The inner loop of the gradient with respect to the weights: a block of outputs times a few
//! columns of weights, summed over the positions of one image.

use pulp::{Arch, Simd, WithSimd};

use super::super::simd::{load, store};

/// Weights of a column: one vector of the longest kind.
pub(super) const LANES: usize = 16;

/// Outputs of a block.
pub(super) const OUTPUTS: usize = 8;

/// Adds `Σ_(y, x) source[starts[c] + y · pitch + x][lane] · grads[b][y][x][o]` to
/// `sums[b][c][o][lane]`.
pub(super) struct Gather<'a> {
    pub source: &'a [[f32; LANES]],
    pub starts: &'a [usize],
    pub pitch: usize,
    pub grads: &'a [[f32; OUTPUTS]],
    pub size: [usize; 2],
    pub sums: &'a mut [[[f32; LANES]; OUTPUTS]],
}

impl Gather<'_> {
    /// Runs on the best instructions that this machine has.
    pub fn run(self) {
        Arch::new().dispatch(self);
    }

    #[inline(always)]
    fn blocks<S: Simd, const WIDE: usize, const OUTS: usize>(self, simd: S, at_once: usize) {
        let positions = self.size[0] * self.size[1];
        let blocks = self.grads.chunks_exact(positions);
        for (grads, sums) in blocks.zip(self.sums.chunks_exact_mut(self.starts.len())) {
            let mut columns = self.starts.chunks(at_once).zip(sums.chunks_mut(at_once));
            columns.by_ref().for_each(
                #[inline(always)]
                |(starts, sums)| {
                    let columns =
                        Columns { source: self.source, pitch: self.pitch, size: self.size, grads };
                    for half in 0..OUTPUTS / OUTS {
                        match *starts {
                            [a, b, c] => {
                                columns.add::<S, 3, WIDE, OUTS>(simd, [a, b, c], half, sums)
                            }
                            [a, b] => columns.add::<S, 2, WIDE, OUTS>(simd, [a, b], half, sums),
                            [a] => columns.add::<S, 1, WIDE, OUTS>(simd, [a], half, sums),
                            _ => {}
                        }
                    }
                },
            );
        }
    }
}

impl WithSimd for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.blocks::<S, 1, 8>(simd, 3),
            8 => self.blocks::<S, 2, 4>(simd, 1),
            4 => self.blocks::<S, 4, 4>(simd, 1),
            _ => self.blocks::<S, 16, 1>(simd, 1),
        }
    }
}

struct Columns<'a> {
    source: &'a [[f32; LANES]],
    pitch: usize,
    size: [usize; 2],
    grads: &'a [[f32; OUTPUTS]],
}

impl Columns<'_> {
    /// The sums of `COUNT` columns for the outputs `part · OUTS..`. A place is `WIDE` vectors.
    #[inline(always)]
    fn add<S: Simd, const COUNT: usize, const WIDE: usize, const OUTS: usize>(
        &self,
        simd: S,
        starts: [usize; COUNT],
        part: usize,
        sums: &mut [[[f32; LANES]; OUTPUTS]],
    ) {
        let [_, width] = self.size;
        let lanes = S::F32_LANES;
        let outputs = part * OUTS..(part + 1) * OUTS;
        let mut acc = [[[simd.splat_f32s(0.0); OUTS]; WIDE]; COUNT];
        for (y, grads) in self.grads.chunks_exact(width).enumerate() {
            let rows: [&[[f32; LANES]]; COUNT] =
                starts.map(|start| &self.source[start + y * self.pitch..][..grads.len()]);
            for (x, grads) in grads.iter().enumerate() {
                let values: [[S::f32s; WIDE]; COUNT] = std::array::from_fn(|column| {
                    let place = &rows[column][x];
                    std::array::from_fn(|i| load::<S>(&place[i * lanes..]))
                });
                for (at, &grad) in grads[outputs.clone()].iter().enumerate().take(OUTS) {
                    let grad = simd.splat_f32s(grad);
                    for (acc, values) in acc.iter_mut().zip(&values) {
                        for (acc, &value) in acc.iter_mut().zip(values) {
                            acc[at] = simd.mul_add_f32s(grad, value, acc[at]);
                        }
                    }
                }
            }
        }
        for (acc, sums) in acc.iter().zip(sums) {
            for (i, acc) in acc.iter().enumerate() {
                for (&acc, sums) in acc.iter().zip(&mut sums[outputs.clone()]) {
                    let sums = &mut sums[i * lanes..][..lanes];
                    store::<S>(sums, simd.add_f32s(acc, load::<S>(sums)));
                }
            }
        }
    }
}
