//! The gradient of a convolution's input spikes, carried from step to step.
//!
//! Back in time, a membrane gradient decays with the leak `λ`: `δ_t = s_t + λ · δ_{t+1}`. The
//! source `s_t` is zero where the membrane potential lies outside the support of the surrogate
//! derivative. A convolution is linear, so the gradient of its input decays in the same way, and
//! each step adds the contributions of the nonzero `s_t` only. These are sparse sums of weights as
//! in the forward pass, but each weight is multiplied by a value.

use lasnn_gemm::product::relative_speed;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use lasnn_core::Precision;
use lasnn_core::simd::vectors;
use lasnn_gemm::memory::Scratch;

use crate::event::list::SLACK;
use crate::event::weights::WeightFormat;
use crate::f32::membrane_grad::MembraneGrad;
use crate::geometry::{ConvShape, Geometry, Tap};
use crate::layout;

/// Frames from which the share of nonzero sources is estimated.
const SAMPLES: usize = 16;

/// Like [`crate::f32::input_grad::convolution`], for neurons whose reset subtracts the threshold;
/// `None` where the dense product is probably faster.
///
/// `width` is that of the input map.
pub(crate) fn convolution(
    weights: &[f32],
    ConvShape { inputs, taps, lanes }: ConvShape,
    membrane_grad: &MembraneGrad,
    (geometry, width): (&Geometry, usize),
    (leak, precision): (f32, Precision),
) -> Option<Scratch> {
    let frames = membrane_grad.images * membrane_grad.steps;
    if share(membrane_grad, leak) > worth_it(precision) {
        return None;
    }
    let sources: Vec<Sources> =
        (0..frames).into_par_iter().map(|frame| Sources::of(membrane_grad, frame, leak)).collect();
    let outputs = membrane_grad.grid.lanes();
    let tile = layout::tile(lanes, taps * outputs, WeightFormat::F32);
    let packed =
        pack(weights, (membrane_grad.grid.shape.channels, inputs, taps), outputs, (lanes, tile));
    let positions = geometry.bases.len();
    let mut taps_of = vec![&[][..]; positions];
    for class in geometry.classes() {
        for position in class.positions {
            taps_of[position] = class.taps;
        }
    }
    let mut gradient =
        Scratch::zeros(membrane_grad.images * membrane_grad.steps * positions * lanes);
    let row = width * lanes;
    let mut rows: Vec<Vec<&mut [f32]>> = Vec::new();
    for image in gradient.chunks_exact_mut(membrane_grad.steps * positions * lanes) {
        let mut of_image: Vec<Vec<&mut [f32]>> = (0..positions / width).map(|_| vec![]).collect();
        for (index, row) in image.chunks_exact_mut(row).enumerate() {
            of_image[index % (positions / width)].push(row);
        }
        rows.extend(of_image);
    }
    rows.into_par_iter().enumerate().for_each(|(index, rows)| {
        let (image, row) = (index / (positions / width), index % (positions / width));
        vectors().dispatch(Row {
            rows,
            first: row * width,
            sources: &sources[image * membrane_grad.steps..][..membrane_grad.steps],
            bases: &geometry.bases,
            taps: &taps_of,
            packed: &packed,
            size: taps * outputs * tile,
            outputs,
            lanes,
            tile,
            leak,
        });
    });
    Some(gradient)
}

/// The share of nonzero sources up to which this is faster than the dense product
/// (`docs/kernels.md`).
fn worth_it(precision: Precision) -> f64 {
    // At a share of 0.2 it takes half the time of the dense product, at 0.3 a fifth more.
    0.25 / relative_speed(precision)
}

/// The share of nonzero sources, estimated from [`SAMPLES`] frames.
fn share(membrane_grad: &MembraneGrad, leak: f32) -> f64 {
    let sample = sample(membrane_grad.images, membrane_grad.steps);
    let count = |&frame: &usize| Sources::of(membrane_grad, frame, leak).values.len() - SLACK;
    let changed: usize = sample.par_iter().map(count).sum();
    changed as f64 / (sample.len() * membrane_grad.grid.shape.len()) as f64
}

/// Frames that are spread over all images and, independently, over all steps: in the first steps,
/// membrane potentials are far from the threshold, so these alone would mislead.
fn sample(images: usize, steps: usize) -> Vec<usize> {
    if images * steps <= SAMPLES {
        return (0..images * steps).collect();
    }
    // Multiples of the golden ratio modulo 1 are spread evenly.
    let step = |index: usize| (index * 618 % 1000) * steps / 1000;
    (0..SAMPLES).map(|index| index * images / SAMPLES * steps + step(index)).collect()
}

/// Packs weights `[outputs, inputs, taps]` as `[tile of inputs][tap][output lane][input of the
/// tile]`.
fn pack(
    weights: &[f32],
    (outputs, inputs, taps): (usize, usize, usize),
    output_lanes: usize,
    (lanes, tile): (usize, usize),
) -> Vec<f32> {
    let mut packed = vec![0.0; lanes.next_multiple_of(tile) * taps * output_lanes];
    packed.par_chunks_mut(taps * output_lanes * tile).enumerate().for_each(|(index, packed)| {
        let first = index * tile;
        let count = tile.min(inputs.saturating_sub(first));
        for (output, weights) in weights.chunks_exact(inputs * taps).take(outputs).enumerate() {
            for lane in 0..count {
                let weights = &weights[(first + lane) * taps..][..taps];
                for (tap, &weight) in weights.iter().enumerate() {
                    packed[(tap * output_lanes + output) * tile + lane] = weight;
                }
            }
        }
    });
    packed
}

/// The nonzero sources `s_t` of one frame.
struct Sources {
    /// The lane of each source, and [`SLACK`] more.
    lanes: Vec<u32>,
    /// Its value, and [`SLACK`] more.
    values: Vec<f32>,
    /// Where each padded position starts, and the end of the last one.
    starts: Vec<u32>,
}

impl Sources {
    fn of(membrane_grad: &MembraneGrad, frame: usize, leak: f32) -> Self {
        let (image, step) = (frame / membrane_grad.steps, frame % membrane_grad.steps);
        let grid = membrane_grad.grid;
        let tiles: Vec<(&[f32], Option<&[f32]>)> = (0..grid.tiles())
            .map(|tile| {
                let later = (step + 1 < membrane_grad.steps)
                    .then(|| membrane_grad.step(tile, image, step + 1));
                (membrane_grad.step(tile, image, step), later)
            })
            .collect();
        let mut sources = Self { lanes: vec![], values: vec![], starts: vec![] };
        for position in 0..membrane_grad.padded.positions() {
            sources.starts.push(sources.values.len() as u32);
            let range = position * grid.tile..(position + 1) * grid.tile;
            for (tile, (now, later)) in tiles.iter().enumerate() {
                let first = (tile * grid.tile) as u32;
                for (lane, &now) in now[range.clone()].iter().enumerate() {
                    // Outside the support, `now` was computed by the same product, so the
                    // difference is exactly zero.
                    let source = now - leak * later.map_or(0.0, |later| later[range.start + lane]);
                    if source != 0.0 {
                        sources.lanes.push(first + lane as u32);
                        sources.values.push(source);
                    }
                }
            }
        }
        sources.starts.push(sources.values.len() as u32);
        sources.lanes.resize(sources.lanes.len() + SLACK, 0);
        sources.values.resize(sources.values.len() + SLACK, 0.0);
        sources
    }

    /// Appends the sources at a position; `offset` is added to their lanes.
    #[inline(always)]
    fn append(&self, list: &mut WeightedRows, position: usize, offset: u32) {
        let (start, end) = (self.starts[position] as usize, self.starts[position + 1] as usize);
        let mut at = start;
        while at < end {
            // Copies in blocks, as `Events::append` does.
            let to = list.len + at - start;
            for (to, &from) in list.rows[to..][..SLACK].iter_mut().zip(&self.lanes[at..][..SLACK]) {
                *to = from + offset;
            }
            list.values[to..][..SLACK].copy_from_slice(&self.values[at..][..SLACK]);
            at += SLACK;
        }
        list.len += end - start;
    }
}

/// Rows of weights, each with the value that multiplies it.
struct WeightedRows {
    rows: Vec<u32>,
    values: Vec<f32>,
    len: usize,
}

/// One row of a map of one image, at all steps.
struct Row<'a> {
    /// By step, `[column][lane]`.
    rows: Vec<&'a mut [f32]>,
    /// The first position of the row.
    first: usize,
    /// By step.
    sources: &'a [Sources],
    bases: &'a [u32],
    /// By position.
    taps: &'a [&'a [Tap]],
    packed: &'a [f32],
    /// Numbers in a tile of inputs of `packed`.
    size: usize,
    outputs: usize,
    lanes: usize,
    tile: usize,
    leak: f32,
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let most = self.size / self.tile + SLACK;
        let mut list = WeightedRows { rows: vec![0; most], values: vec![0.0; most], len: 0 };
        for (index, packed) in self.packed.chunks_exact(self.size).enumerate() {
            let columns = index * self.tile..self.lanes.min((index + 1) * self.tile);
            for step in (0..self.rows.len()).rev() {
                let (now, later) = self.rows.split_at_mut(step + 1);
                let now = &mut now[step];
                for (column, now) in now.chunks_exact_mut(self.lanes).enumerate() {
                    let position = self.first + column;
                    list.len = 0;
                    for &Tap { index: tap, offset } in self.taps[position] {
                        let place = self.bases[position] as usize + offset;
                        self.sources[step].append(&mut list, place, (tap * self.outputs) as u32);
                    }
                    let now = &mut now[columns.clone()];
                    if let Some(later) = later.first() {
                        let later = &later[column * self.lanes..][columns.clone()];
                        for (now, later) in now.iter_mut().zip(later) {
                            *now = self.leak * later;
                        }
                    }
                    add_weighted(simd, now, packed, self.tile, &list);
                }
            }
        }
    }
}

/// Adds the listed rows of a matrix, each times its value; rows have `width` numbers.
#[inline(always)]
fn add_weighted<S: Simd>(
    simd: S,
    sum: &mut [f32],
    matrix: &[f32],
    width: usize,
    list: &WeightedRows,
) {
    let matrix = S::as_simd_f32s(matrix).0;
    let sum = S::as_mut_simd_f32s(sum).0;
    let width = width / S::F32_LANES;
    let mut at = 0;
    while at < sum.len() {
        let left = sum.len() - at;
        let to = &mut sum[at..];
        at += match left {
            8.. => columns::<S, 8>(simd, to, (matrix, width, at), list),
            4.. => columns::<S, 4>(simd, to, (matrix, width, at), list),
            2.. => columns::<S, 2>(simd, to, (matrix, width, at), list),
            _ => columns::<S, 1>(simd, to, (matrix, width, at), list),
        };
    }
}

#[inline(always)]
fn columns<S: Simd, const N: usize>(
    simd: S,
    sum: &mut [S::f32s],
    (matrix, width, first): (&[S::f32s], usize, usize),
    list: &WeightedRows,
) -> usize {
    let mut sums = [simd.splat_f32s(0.0); N];
    sums.copy_from_slice(&sum[..N]);
    for (&row, &value) in list.rows[..list.len].iter().zip(&list.values[..list.len]) {
        let start = row as usize * width + first;
        let row = &matrix[start..start + N];
        let value = simd.splat_f32s(value);
        for lane in 0..N {
            sums[lane] = simd.mul_add_f32s(value, row[lane], sums[lane]);
        }
    }
    sum[..N].copy_from_slice(&sums);
    N
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_early_and_late_steps_of_many_images() {
        for (images, steps) in [(16, 8), (16, 100), (3, 100), (64, 4), (1, 1), (2, 3)] {
            let sample = sample(images, steps);
            assert_eq!(sample.len(), SAMPLES.min(images * steps));
            let quarters = |step: &usize| step * 4 / steps;
            for quarter in 0..4.min(steps) {
                let quarter = if steps < 4 { quarter * 4 / steps } else { quarter };
                let found = sample.iter().filter(|&frame| quarters(&(frame % steps)) == quarter);
                assert!(found.count() >= sample.len() / 8, "{images} images, {steps} steps");
            }
            let found: std::collections::HashSet<_> = sample.iter().map(|f| f / steps).collect();
            assert_eq!(found.len(), SAMPLES.min(images), "{images} images, {steps} steps");
        }
    }
}
