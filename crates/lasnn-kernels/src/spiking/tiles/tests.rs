//! What is done with tiles, in plain numbers, against the definition and the lists.

#![allow(clippy::unwrap_used)]

use pulp::bytemuck::cast_slice;

use super::super::backward::{Gradients, OutcomeGrad};
use super::super::circuit::{Call, Circuit, Connection, Drive, Origin, Shape, Site, Source};
use super::super::events::Events;
use super::super::forward::Show;
use super::super::geometry::{Geometry, Padded};
use super::super::linear::TILE;
use super::super::neuron::{Neurons, Reset, StepOrder, Surrogate};
use super::super::prepared::Prepared;
use super::super::site_grad::SiteGrad;
use super::super::spikes::Grid;
use super::super::spikes::Spikes;
use super::super::weight_grad;
use super::super::weights::WeightFormat;
use super::*;
use crate::product::{Precision, emulating};

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
    mask: Vec<f32>,
    counts: Vec<f32>,
    seen: Shape,
}

fn fired(shape: Shape, view: &View) -> Fired {
    let size = shape.neurons();
    let fires = |i: usize| if i * 7919 % 31 < 9 { 1.0 } else { 0.0 };
    let all: Vec<f32> = (0..STEPS * BATCH * size).map(fires).collect();
    let seen = view.shape(shape);
    let mask: Vec<f32> =
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
        if mask[index % mask.len()] == 0.0 {
            *count = 0.0;
        }
    }
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
                .map(|image| {
                    let mask = &fired.mask[image * fired.seen.neurons()..][..fired.seen.neurons()];
                    Events::of(spikes, &view, image, Some(mask))
                })
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
            let (view, mask) = (&view, Some(&fired.mask[..]));
            let of = WeightGrad { spikes, view, mask, reached, scale: 0.5 };
            let rounded = emulating(|| {
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
        let frames = Frames::of(&fired.spikes, &view, Some(&fired.mask), 0..BATCH);
        // All tiles but the first one.
        let tiles = outputs.div_ceil(TILE);
        let first = usize::from(tiles > 1);
        let packed = MatrixWeights::Packed(cast_slice(&packed));
        let plain = MatrixWeights::Plain { matrix: &weights, outputs };
        let [currents, same] = [packed, plain].map(|weights| {
            let mut currents = vec![1.0; (tiles - first) * BATCH * STEPS * TILE];
            emulating(|| {
                Precision::Bf16.run(Product {
                    frames: &frames,
                    weights,
                    first,
                    scale: 0.5,
                    currents: &mut currents,
                });
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

/// A network of all kinds of sources: behind poolings and masks, of which one cuts neurons off, with a stride,
/// a shortcut with weights and one without, and matrices.
fn network() -> Circuit {
    let map = |channels, side| Shape { channels, height: side, width: side };
    let conv = |kernel, stride, weight| Connection::Conv { kernel, stride, weight };
    let source =
        |site, connection| Source { origin: Origin::Site(site), view: View::PLAIN, connection };
    let pooled = |mask| View { pool: [2, 2], mask: Some(mask) };
    let input = Source { origin: Origin::Input, view: pooled(0), connection: conv(3, 1, 0) };
    let behind = Source { view: pooled(1), ..source(2, conv(3, 1, 4)) };
    Circuit {
        input: map(5, 12),
        sites: vec![
            Site { shape: map(40, 6), sources: vec![input] },
            Site {
                shape: map(40, 6),
                sources: vec![source(0, conv(3, 1, 1)), source(0, Connection::Identity)],
            },
            Site {
                shape: map(33, 3),
                sources: vec![source(1, conv(3, 2, 2)), source(1, conv(1, 2, 3))],
            },
            Site { shape: map(70, 1), sources: vec![behind] },
            Site { shape: map(50, 1), sources: vec![source(3, Connection::Linear { weight: 5 })] },
        ],
        readout: source(4, Connection::Linear { weight: 6 }),
        classes: 3,
    }
}

#[test]
fn a_network_fires_and_learns_as_it_does_without_tiles() {
    let circuit = network();
    // The same with currents from outside in place of the first site's source.
    let mut driven = circuit.clone();
    driven.sites[0].sources.clear();
    let sizes = [40 * 5 * 9, 40 * 40 * 9, 33 * 40 * 9, 33 * 40, 70 * 33 * 9, 70 * 50, 50 * 3];
    let weights: Vec<Vec<f32>> = sizes.map(|size| numbers(size, 11)).into();
    let weights: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
    // One thread, so that all of it emulates.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    // Fewer frames than tiles have rows, more, and images of which not all fit together.
    for ((batch, steps), step_order) in [
        ((1, 3), StepOrder::IntegrateThenFire),
        ((5, 8), StepOrder::IntegrateThenFire),
        ((5, 8), StepOrder::FireThenIntegrate),
        ((2, 33), StepOrder::IntegrateThenFire),
    ] {
        // Whole numbers lie far from most thresholds, so most surrogates are wide.
        let wide = Surrogate::Rectangular { width: 20.0 };
        let narrow = Surrogate::Linear { damping: 0.3 };
        let neurons = [(9.0, wide), (40.0, narrow), (60.0, wide), (9.0, wide), (30.0, wide)];
        let neurons = neurons.map(|(threshold, surrogate)| Neurons {
            threshold,
            leak: 1.0,
            reset: Reset::Subtract,
            step_order,
            surrogate,
        });
        let mask = |size: usize| -> Vec<f32> {
            (0..batch * size).map(|i| if i % 4 == 0 { 0.0 } else { 2.0 }).collect()
        };
        let masks = [mask(5 * 36), mask(33)];
        let masks = [Some(&masks[0][..]), Some(&masks[1][..])];
        let fires = |i: usize| if i * 7919 % 31 < 7 { 1.0 } else { 0.0 };
        let input: Vec<f32> = (0..steps * batch * circuit.input.neurons()).map(fires).collect();
        let currents: Vec<f32> = numbers(batch * 40 * 36, 13).iter().map(|x| x / 2.0).collect();
        let readout = numbers(batch * 3, 5);
        let counts = numbers(batch * 40 * 36, 7);
        for (circuit, drive) in
            [(&circuit, Drive::Spikes(&input)), (&driven, Drive::Currents(&currents))]
        {
            circuit.check().unwrap();
            let call = Call {
                circuit,
                neurons: &neurons,
                weights: &weights,
                masks: &masks,
                batch,
                prepared: None,
                precision: Precision::F32,
            };
            let run = |precision| {
                let call = Call { precision, ..call };
                let (outcome, tape) = call.record(drive, steps, &[Show::Counts; 5]);
                let counts = [None, Some(&counts[..]), None, None, None];
                (
                    outcome,
                    call.backward(
                        &tape,
                        OutcomeGrad { readout: &readout, counts: &counts, squares: &[] },
                    ),
                )
            };
            let (expected, exact) = run(Precision::F32);
            let (outcome, gradients) = pool.install(|| emulating(|| run(Precision::Bf16)));
            let streamed = pool.install(|| {
                emulating(|| {
                    let prepared = Prepared::new(circuit, &weights, WeightFormat::Bf16);
                    let call = Call { prepared: Some(&prepared), ..call };
                    call.advance(drive, steps, &mut call.rest(), &[Show::Counts; 5])
                })
            });
            for found in [&outcome, &streamed] {
                assert_eq!(found.counts, expected.counts);
                assert_eq!(found.by_step, expected.by_step);
            }
            assert!(expected.counts.iter().all(|counts| counts.iter().any(|&count| count > 0.0)));
            // Gradients are rounded in one and not in the other.
            let all = |gradients: &Gradients| -> Vec<Vec<f32>> {
                gradients.weights.iter().cloned().chain(gradients.currents.clone()).collect()
            };
            let (found, exact) = (all(&gradients), all(&exact));
            assert_eq!(found.len(), exact.len());
            for (found, exact) in found.iter().zip(&exact) {
                assert_eq!(found.len(), exact.len());
                let norm =
                    |of: &mut dyn Iterator<Item = f32>| of.map(|x| x * x).sum::<f32>().sqrt();
                let error = norm(&mut found.iter().zip(exact).map(|(a, b)| a - b));
                let size = norm(&mut exact.iter().copied());
                assert!(size > 0.0 || exact.is_empty());
                assert!(error <= 0.01 * size, "{error} of {size}");
            }
        }
    }
}
