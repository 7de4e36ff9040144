//! The products, with tiles that scalar code emulates, against event lists and definitions.
//!
//! All numbers are small integers, so every result is exact.

use pulp::bytemuck::cast_slice;

use super::frames::LaneGroup;
use super::*;
use crate::event::linear::TILE;
use crate::event::list::Events;
use crate::event::weight_grad;
use crate::f32::membrane_grad::MembraneGrad;
use crate::geometry::{ConvShape, Geometry, Padded};
use crate::graph::PoolAndMask;
use crate::spikes::{Grid, Spikes};
use lasnn_core::mask::Mask;
use lasnn_core::simd::Level;
use lasnn_core::{Precision, Shape};
use lasnn_gemm::memory::Scratch;
use lasnn_gemm::product::{TileTask, Tiles, with_format, with_tiles};

/// Small integers, which bfloat16 holds exactly.
fn numbers(count: usize, by: usize) -> Vec<f32> {
    (0..count).map(|i| (i * by % 15) as f32 - 7.0).collect()
}

const STEPS: usize = 2;
const BATCH: usize = 3;

/// Spikes, with a mask after a pooling.
struct Input {
    spikes: Spikes,
    mask: Mask,
    /// How often each channel fires in each pooling window, 0 where masked,
    /// `[step][image][channel][pooled position]`.
    counts: Vec<f32>,
    /// The shape after the pooling.
    pooled: Shape,
}

fn input(shape: Shape, pooling: &PoolAndMask) -> Input {
    let size = shape.len();
    let fires = |i: usize| if i * 7919 % 31 < 9 { 1.0 } else { 0.0 };
    let all: Vec<f32> = (0..STEPS * BATCH * size).map(fires).collect();
    let pooled = pooling.shape(shape);
    let factors: Vec<f32> =
        (0..BATCH * pooled.len()).map(|i| if i % 5 == 0 { 0.0 } else { 1.25 }).collect();
    let mut counts = vec![0.0; STEPS * BATCH * pooled.len()];
    for (index, count) in counts.iter_mut().enumerate() {
        let (map, position) = (index / pooled.positions(), index % pooled.positions());
        let (y, x) = (position / pooled.width, position % pooled.width);
        for row in 0..pooling.pool[0] {
            for column in 0..pooling.pool[1] {
                let (y, x) = (y * pooling.pool[0] + row, x * pooling.pool[1] + column);
                *count += all[map * shape.positions() + y * shape.width + x];
            }
        }
        if factors[index % factors.len()] == 0.0 {
            *count = 0.0;
        }
    }
    let mask = Mask::of(pooled.len(), &factors);
    Input { spikes: Spikes::of(&all, shape, BATCH, STEPS), mask, counts, pooled }
}

const POOLED: PoolAndMask = PoolAndMask { pool: [2, 2], mask: None };

#[test]
fn weight_gradients_equal_those_from_event_lists() {
    for ([inputs, height, width], outputs, tile, kernel, stride, pooling) in [
        ([3, 5, 4], 32, 32, 3, 1, PoolAndMask::PLAIN),
        ([40, 12, 16], 100, 128, 3, 1, POOLED),
        ([33, 7, 9], 64, 32, 3, 2, PoolAndMask::PLAIN),
        ([64, 1, 1], 16, 16, 1, 1, PoolAndMask::PLAIN),
        ([16, 8, 8], 40, 64, 1, 2, POOLED),
    ] {
        let input = input(Shape { channels: inputs, height, width }, &pooling);
        let [height, width] =
            [input.pooled.height, input.pooled.width].map(|at| at.div_ceil(stride));
        let grid = Grid { shape: Shape { channels: outputs, height, width }, tile };
        let padded = Padded { shape: grid.shape, border: kernel / 2 };
        // Without all steps, the number of frames is odd, and the last one has no partner.
        let (images, steps) = (BATCH, 1);
        let spikes = Spikes { steps, ..input.spikes.clone() };
        let words = input.spikes.words.chunks_exact(input.spikes.image_words());
        let words = words.flat_map(|image| &image[..spikes.image_words()]);
        let spikes = Spikes { words: words.copied().collect(), ..spikes };
        for spikes in [&input.spikes, &spikes] {
            let steps = spikes.steps;
            let mut membrane_grad =
                Scratch::zeros(grid.tiles() * images * steps * padded.positions() * tile);
            let values = numbers(membrane_grad.len(), 7);
            for (place, lanes) in membrane_grad.chunks_exact_mut(tile).enumerate() {
                let position = place % padded.positions();
                let (row, column) = (position / padded.width(), position % padded.width());
                let inside =
                    |at: usize, size: usize| (padded.border..size + padded.border).contains(&at);
                if inside(row, height) && inside(column, width) {
                    lanes.copy_from_slice(&values[place * tile..][..tile]);
                }
            }
            let membrane_grad =
                MembraneGrad { grid, padded, images, steps, gradient: membrane_grad };
            let geometry = Geometry::new(input.pooled, padded, kernel, stride);
            let taps = kernel * kernel;
            let events: Vec<Events> = (0..images)
                .map(|image| Events::of(spikes, &pooling, image, Some(input.mask.rows())))
                .collect();
            let mut expected = vec![1.0; grid.lanes() * inputs * taps];
            let mut found = expected.clone();
            weight_grad::convolution(
                &mut expected,
                &events,
                &membrane_grad,
                &geometry,
                (inputs, taps),
                0.5,
            );
            let reached = &geometry.reached(padded, taps);
            let (pooling, mask) = (&pooling, Some(input.mask.rows()));
            let of = WeightGrad { spikes, pooling, mask, reached, scale: 0.5 };
            let rounded = Level::EmulatedTiles.run(2, || {
                let rounded = RoundedMembraneGrad::rounded(&membrane_grad);
                of.add_to(&mut found, &rounded);
                rounded
            });
            assert_eq!(rounded.spread(padded).gradient[..], membrane_grad.gradient[..]);
            assert!(expected.iter().any(|&gradient| gradient != 1.0));
            assert_eq!(found, expected);
        }
    }
}

/// A product of a transposed convolution, and the masked one.
struct BothProducts<'a> {
    transposed_conv: &'a TransposedConv,
    membrane_grad: &'a RoundedMembraneGrad,
    at: LaneGroup,
    needed: &'a [u32],
    full: &'a mut [f32],
    masked: &'a mut [f32],
}

impl TileTask for BothProducts<'_> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { transposed_conv, membrane_grad, at, needed, full, masked } = self;
        let all = 0..membrane_grad.rows.room;
        transposed_conv.product(&mut tiles, (membrane_grad, all), at, full);
        transposed_conv.masked_product(&mut tiles, membrane_grad, at, needed, masked);
    }
}

#[test]
fn a_masked_product_equals_the_full_one_in_needed_lanes() {
    for ([inputs, height, width], outputs, kernel, stride) in
        [([33, 5, 4], 64, 3, 1), ([40, 6, 5], 48, 3, 2), ([64, 3, 3], 16, 1, 2)]
    {
        let pooled = Shape { channels: inputs, height, width };
        let [height, width] = [height, width].map(|at| at.div_ceil(stride));
        let grid = Grid { shape: Shape { channels: outputs, height, width }, tile: 16 };
        let padded = Padded { shape: grid.shape, border: kernel / 2 };
        let (images, steps, taps) = (BATCH, STEPS, kernel * kernel);
        let size = grid.tiles() * images * steps * padded.positions() * grid.tile;
        let gradient = Scratch::copy(&numbers(size, 7));
        let exact = MembraneGrad { grid, padded, images, steps, gradient };
        let geometry = Geometry::new(pooled, padded, kernel, stride);
        let reached = (&geometry.reached(padded, taps), pooled.positions());
        let weights = numbers(outputs * inputs * taps, 11);
        let lanes = inputs.next_multiple_of(16);
        Level::EmulatedTiles.run(2, || {
            let membrane_grad = &RoundedMembraneGrad::rounded(&exact);
            let shape = ConvShape { inputs, taps, lanes };
            let transposed_conv = &TransposedConv::new(&weights, shape, membrane_grad, reached);
            let mut any_nonzero = false;
            for index in 0..pooled.positions() * lanes.div_ceil(GROUP) {
                let (position, group) = (index % pooled.positions(), index / pooled.positions());
                let at = LaneGroup { position, group };
                // Every third lane, or all lanes, which are computed by the full product.
                let lanes = if position.is_multiple_of(4) { u32::MAX } else { 0x4924_9249 };
                let needed: Vec<u32> = (0..images * steps).map(|frame| lanes << frame).collect();
                let [mut full, mut masked] =
                    [(); 2].map(|()| vec![0.0; membrane_grad.room() * GROUP]);
                with_tiles(BothProducts {
                    transposed_conv,
                    membrane_grad,
                    at,
                    needed: &needed,
                    full: &mut full,
                    masked: &mut masked,
                });
                for (index, (full, masked)) in full.iter().zip(&masked).enumerate() {
                    let needed = needed.get(index / GROUP).copied().unwrap_or(0);
                    if needed >> (index % GROUP) & 1 == 1 {
                        assert_eq!(masked, full, "{index} at {at:?}");
                        any_nonzero |= *full != 0.0;
                    }
                }
            }
            assert!(any_nonzero);
        });
    }
}

#[test]
fn currents_are_the_product_of_counts_and_matrix() {
    for ([channels, height, width], outputs, pooling) in [
        ([1000, 1, 1], 70, PoolAndMask::PLAIN),
        ([20, 4, 6], 130, POOLED),
        ([1100, 1, 1], 10, PoolAndMask::PLAIN),
    ] {
        let input = input(Shape { channels, height, width }, &pooling);
        let positions = input.pooled.positions();
        let weights = numbers(channels * positions * outputs, 11);
        let packed = pack_matrix(&weights, outputs, positions);
        let frames = Frames::of(&input.spikes, &pooling, Some(input.mask.rows()), 0..BATCH);
        // All channel tiles but the first one, if there are several.
        let tiles = outputs.div_ceil(TILE);
        let first = usize::from(tiles > 1);
        let packed = MatrixWeights::Packed(cast_slice(&packed));
        let plain = MatrixWeights::Plain { matrix: &weights, outputs };
        let [currents, same] = [packed, plain].map(|weights| {
            let mut currents = vec![1.0; (tiles - first) * BATCH * STEPS * TILE];
            Level::EmulatedTiles.run(2, || {
                with_format(
                    Precision::Bf16,
                    Product {
                        frames: &frames,
                        weights,
                        first,
                        scale: 0.5,
                        currents: &mut currents,
                    },
                );
            });
            currents
        });
        assert_eq!(currents, same);
        for (index, current) in currents.iter().enumerate() {
            let output = (first + index / (BATCH * STEPS * TILE)) * TILE + index % TILE;
            let (image, step) = (index / TILE / STEPS % BATCH, index / TILE % STEPS);
            let counts = &input.counts[(step * BATCH + image) * channels * positions..];
            let terms = (0..channels * positions)
                .map(|input| counts[input] * weights.get(input * outputs + output).unwrap_or(&0.0));
            let expected: f32 = if output < outputs { terms.sum() } else { 0.0 };
            assert_eq!(*current, 1.0 + 0.5 * expected, "{index}");
        }
    }
}
