//! What is done with tiles, in plain numbers, against the definition and the lists.

use lasnn_gemm::product::with_format;
use pulp::bytemuck::cast_slice;

use super::super::circuit::Shape;
use super::super::events::Events;
use super::super::geometry::{Geometry, Padded};
use super::super::linear::TILE;
use super::super::site_grad::SiteGrad;
use super::super::spikes::Grid;
use super::super::spikes::Spikes;
use super::super::weight_grad;
use super::*;
use lasnn_core::Precision;
use lasnn_core::mask::Mask;
use lasnn_core::simd::Level;
use lasnn_gemm::product::{TileTask, Tiles, with_tiles};

/// Small whole numbers, which bfloat16 holds.
fn numbers(count: usize, by: usize) -> Vec<f32> {
    (0..count).map(|i| (i * by % 15) as f32 - 7.0).collect()
}

const STEPS: usize = 2;
const BATCH: usize = 3;

/// Spikes of a shape, a mask behind the view, and how often what is not masked fires there, by
/// step, image, channel and position.
struct Fired {
    spikes: Spikes,
    mask: Mask,
    counts: Vec<f32>,
    seen: Shape,
}

fn fired(shape: Shape, view: &View) -> Fired {
    let size = shape.neurons();
    let fires = |i: usize| if i * 7919 % 31 < 9 { 1.0 } else { 0.0 };
    let all: Vec<f32> = (0..STEPS * BATCH * size).map(fires).collect();
    let seen = view.shape(shape);
    let factors: Vec<f32> =
        (0..BATCH * seen.neurons()).map(|i| if i % 5 == 0 { 0.0 } else { 1.25 }).collect();
    let mut counts = vec![0.0; STEPS * BATCH * seen.neurons()];
    for (index, count) in counts.iter_mut().enumerate() {
        let (map, position) = (index / seen.positions(), index % seen.positions());
        let (y, x) = (position / seen.width, position % seen.width);
        for row in 0..view.pool[0] {
            for column in 0..view.pool[1] {
                let (y, x) = (y * view.pool[0] + row, x * view.pool[1] + column);
                *count += all[map * shape.positions() + y * shape.width + x];
            }
        }
        if factors[index % factors.len()] == 0.0 {
            *count = 0.0;
        }
    }
    let mask = Mask::of(seen.neurons(), &factors);
    Fired { spikes: Spikes::of(&all, shape, BATCH, STEPS), mask, counts, seen }
}

const POOLED: View = View { pool: [2, 2], mask: None };

#[test]
fn weight_gradients_are_those_of_the_lists() {
    for ([inputs, height, width], outputs, tile, kernel, stride, view) in [
        ([3, 5, 4], 32, 32, 3, 1, View::PLAIN),
        ([40, 12, 16], 100, 128, 3, 1, POOLED),
        ([33, 7, 9], 64, 32, 3, 2, View::PLAIN),
        ([64, 1, 1], 16, 16, 1, 1, View::PLAIN),
        ([16, 8, 8], 40, 64, 1, 2, POOLED),
    ] {
        let fired = fired(Shape { channels: inputs, height, width }, &view);
        let [height, width] = [fired.seen.height, fired.seen.width].map(|at| at.div_ceil(stride));
        let grid = Grid { shape: Shape { channels: outputs, height, width }, tile };
        let padded = Padded { shape: grid.shape, border: kernel / 2 };
        // An odd number of frames: the last one has no partner.
        let (images, steps) = (BATCH, 1);
        let spikes = Spikes { steps, ..fired.spikes.clone() };
        let words = fired.spikes.words.chunks_exact(fired.spikes.image_words());
        let words = words.flat_map(|image| &image[..spikes.image_words()]);
        let spikes = Spikes { words: words.copied().collect(), ..spikes };
        for spikes in [&fired.spikes, &spikes] {
            let steps = spikes.steps;
            let mut delta =
                Scratch::zeros(grid.tiles() * images * steps * padded.positions() * tile);
            let values = numbers(delta.len(), 7);
            for (place, lanes) in delta.chunks_exact_mut(tile).enumerate() {
                let position = place % padded.positions();
                let (row, column) = (position / padded.width(), position % padded.width());
                let inside =
                    |at: usize, size: usize| (padded.border..size + padded.border).contains(&at);
                if inside(row, height) && inside(column, width) {
                    lanes.copy_from_slice(&values[place * tile..][..tile]);
                }
            }
            let delta = SiteGrad { grid, padded, images, steps, gradient: delta };
            let geometry = Geometry::new(fired.seen, padded, kernel, stride);
            let taps = kernel * kernel;
            let events: Vec<Events> = (0..images)
                .map(|image| Events::of(spikes, &view, image, Some(fired.mask.rows())))
                .collect();
            let mut expected = vec![1.0; grid.lanes() * inputs * taps];
            let mut found = expected.clone();
            weight_grad::convolution(
                &mut expected,
                &events,
                &delta,
                &geometry,
                (inputs, taps),
                0.5,
            );
            let reached = &geometry.reached(padded, taps);
            let (view, mask) = (&view, Some(fired.mask.rows()));
            let of = WeightGrad { spikes, view, mask, reached, scale: 0.5 };
            let rounded = Level::EmulatedTiles.run(2, || {
                let rounded = Delta::rounded(&delta);
                of.add_to(&mut found, &rounded);
                rounded
            });
            assert_eq!(rounded.spread(padded).gradient[..], delta.gradient[..]);
            assert!(expected.iter().any(|&gradient| gradient != 1.0));
            assert_eq!(found, expected);
        }
    }
}

/// All sums of a convolution from outputs to inputs, and those that are asked for.
struct Back<'a> {
    turned: &'a Turned,
    delta: &'a Delta,
    place: (usize, usize),
    asked: &'a [u32],
    sums: [&'a mut [f32]; 2],
}

impl TileTask for Back<'_> {
    fn run<T: Tiles>(self, mut tiles: T) {
        let Self { turned, delta, place, asked, sums: [all, some] } = self;
        turned.sums(&mut tiles, (delta, 0..delta.rows.room), place, all);
        turned.some_sums(&mut tiles, delta, place, asked, some);
    }
}

#[test]
fn sums_that_are_asked_for_are_those_of_all() {
    for ([inputs, height, width], outputs, kernel, stride) in
        [([33, 5, 4], 64, 3, 1), ([40, 6, 5], 48, 3, 2), ([64, 3, 3], 16, 1, 2)]
    {
        let seen = Shape { channels: inputs, height, width };
        let [height, width] = [height, width].map(|at| at.div_ceil(stride));
        let grid = Grid { shape: Shape { channels: outputs, height, width }, tile: 16 };
        let padded = Padded { shape: grid.shape, border: kernel / 2 };
        let (images, steps, taps) = (BATCH, STEPS, kernel * kernel);
        let size = grid.tiles() * images * steps * padded.positions() * grid.tile;
        let gradient = Scratch::copy(&numbers(size, 7));
        let exact = SiteGrad { grid, padded, images, steps, gradient };
        let geometry = Geometry::new(seen, padded, kernel, stride);
        let reached = (&geometry.reached(padded, taps), seen.positions());
        let weights = numbers(outputs * inputs * taps, 11);
        let lanes = inputs.next_multiple_of(16);
        Level::EmulatedTiles.run(2, || {
            let delta = &Delta::rounded(&exact);
            let shape = super::super::input_grad::Shape { inputs, taps, lanes };
            let turned = &Turned::new(&weights, shape, delta, reached);
            let mut is_any = false;
            for place in 0..seen.positions() * lanes.div_ceil(GROUP) {
                let place = (place % seen.positions(), place / seen.positions());
                // Every third lane or all of them, which are computed otherwise.
                let lanes = if place.0.is_multiple_of(4) { u32::MAX } else { 0x4924_9249 };
                let asked: Vec<u32> = (0..images * steps).map(|frame| lanes << frame).collect();
                let [mut all, mut some] = [(); 2].map(|()| vec![0.0; delta.room() * GROUP]);
                let (sums, asked) = ([&mut all[..], &mut some[..]], &asked[..]);
                with_tiles(Back { turned, delta, place, asked, sums });
                for (index, (all, some)) in all.iter().zip(&some).enumerate() {
                    let asked = asked.get(index / GROUP).copied().unwrap_or(0);
                    if asked >> (index % GROUP) & 1 == 1 {
                        assert_eq!(some, all, "{index} at {place:?}");
                        is_any |= *all != 0.0;
                    }
                }
            }
            assert!(is_any);
        });
    }
}

#[test]
fn currents_are_those_of_the_matrix() {
    for ([channels, height, width], outputs, view) in [
        ([1000, 1, 1], 70, View::PLAIN),
        ([20, 4, 6], 130, POOLED),
        ([1100, 1, 1], 10, View::PLAIN),
    ] {
        let fired = fired(Shape { channels, height, width }, &view);
        let positions = fired.seen.positions();
        let weights = numbers(channels * positions * outputs, 11);
        let packed = pack_matrix(&weights, outputs, positions);
        let frames = Frames::of(&fired.spikes, &view, Some(fired.mask.rows()), 0..BATCH);
        // All tiles but the first one.
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
            let counts = &fired.counts[(step * BATCH + image) * channels * positions..];
            let terms = (0..channels * positions)
                .map(|input| counts[input] * weights.get(input * outputs + output).unwrap_or(&0.0));
            let expected: f32 = if output < outputs { terms.sum() } else { 0.0 };
            assert_eq!(*current, 1.0 + 0.5 * expected, "{index}");
        }
    }
}
