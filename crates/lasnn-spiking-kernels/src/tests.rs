//! A small network with each SIMD level that the machine has, and with several numbers of threads.

mod network;

use lasnn_core::Precision;
use lasnn_core::simd::Level;
use lasnn_gemm::product::levels;

use self::network::{Network, Size, Weights};
use crate::backward::Gradients;
use crate::event::weights::WeightFormat;
use crate::forward::{Outcome, SpikeStats};
use lasnn_core::neuron::StepOrder;

/// Fewer frames than a tile has rows, more frames, and so many steps that a job takes only one
/// image.
const SIZES: [Size; 3] =
    [Size { batch: 1, steps: 3 }, Size { batch: 5, steps: 8 }, Size { batch: 2, steps: 33 }];

/// All gradients of a pass.
fn all(gradients: &Gradients) -> Vec<&[f32]> {
    gradients.params.iter().chain(&gradients.currents).map(Vec::as_slice).collect()
}

/// The largest relative error of a gradient: the norm of the difference over the expected norm.
fn error(found: &Gradients, expected: &Gradients) -> f32 {
    let (found, expected) = (all(found), all(expected));
    assert_eq!(found.len(), expected.len());
    // A network that is driven by currents has no gradient for the weights that it does not use.
    let pairs = found.iter().zip(&expected).filter(|(_, expected)| !expected.is_empty());
    let errors = pairs.map(|(found, expected)| {
        assert_eq!(found.len(), expected.len());
        let norm = |of: &mut dyn Iterator<Item = f32>| of.map(|x| x * x).sum::<f32>().sqrt();
        let size = norm(&mut expected.iter().copied());
        assert!(size > 0.0);
        norm(&mut found.iter().zip(*expected).map(|(a, b)| a - b)) / size
    });
    errors.fold(0.0, f32::max)
}

#[track_caller]
fn assert_same(found: &Outcome, expected: &Outcome, what: &str) {
    assert!(found.counts == expected.counts, "other neurons fire: {what}");
    assert_eq!(found.by_step, expected.by_step, "{what}");
    assert_eq!(found.readout, expected.readout, "{what}");
    assert_eq!(found.squares, expected.squares, "{what}");
    assert!(found.membranes == expected.membranes, "other membrane potentials: {what}");
}

#[test]
fn a_network_on_tiles_fires_as_without_and_learns_nearly_so() {
    for (size, step_order) in [
        (SIZES[0], StepOrder::IntegrateThenFire),
        (SIZES[1], StepOrder::IntegrateThenFire),
        (SIZES[1], StepOrder::FireThenIntegrate),
        (SIZES[2], StepOrder::IntegrateThenFire),
    ] {
        for driven in [false, true] {
            let network = Network::new(size, Weights::Integers, step_order, driven);
            let (expected, exact) = network.learn(Precision::F32, SpikeStats::Counts);
            let (outcome, gradients) =
                Level::EmulatedTiles.run(2, || network.learn(Precision::Bf16, SpikeStats::Counts));
            let streamed = Level::EmulatedTiles.run(2, || network.stream(WeightFormat::Bf16));
            assert_same(&outcome, &expected, "recorded");
            assert_same(&streamed, &expected, "streamed");
            let fires = |counts: &Vec<f32>| counts.iter().any(|&count| count > 0.0);
            assert!(expected.counts.iter().all(fires));
            // Only the gradients on tiles are rounded.
            let error = error(&gradients, &exact);
            assert!(error <= 0.01, "{error}");
        }
    }
}

#[test]
fn threads_change_no_bit_in_bfloat16() {
    let levels = levels();
    for (size, level) in
        SIZES.into_iter().flat_map(|size| levels.iter().map(move |level| (size, level)))
    {
        for driven in [false, true] {
            // With weights of many bits, a sum in another order has other bits.
            let order = StepOrder::IntegrateThenFire;
            let network = Network::new(size, Weights::ManyBits, order, driven);
            let with = |threads: usize| {
                level.run(threads, || {
                    let (counted, gradients) = network.learn(Precision::Bf16, SpikeStats::Counts);
                    let (squared, of_squares) = network.learn(Precision::Bf16, SpikeStats::Squares);
                    let streamed = network.stream(WeightFormat::Bf16);
                    ([counted, squared, streamed], [gradients, of_squares])
                })
            };
            let (expected, exact) = with(1);
            assert!(expected[1].squares.iter().flatten().any(|&square| square > 0.0));
            for threads in [2, 5] {
                let (outcomes, gradients) = with(threads);
                let what = format!("{threads} threads, {level:?}");
                for (found, expected) in outcomes.iter().zip(&expected) {
                    assert_same(found, expected, &what);
                }
                for (found, exact) in gradients.iter().zip(&exact) {
                    assert!(all(found) == all(exact), "other gradients with {what}");
                }
            }
        }
    }
}

#[test]
fn all_levels_give_the_same_bits_in_f32_and_int12() {
    for size in SIZES {
        for driven in [false, true] {
            let order = StepOrder::IntegrateThenFire;
            let network = Network::new(size, Weights::ManyBits, order, driven);
            let on = |level: Level| {
                level.run(2, || {
                    let (recorded, gradients) = network.learn(Precision::F32, SpikeStats::Counts);
                    let streamed = network.stream(WeightFormat::F32);
                    ([recorded, streamed, network.stream(WeightFormat::Int12)], gradients)
                })
            };
            let (expected, exact) = on(Level::Scalar);
            for level in levels() {
                let (outcomes, gradients) = on(level);
                for (found, expected) in outcomes.iter().zip(&expected) {
                    assert_same(found, expected, &format!("{level:?}"));
                }
                assert!(all(&gradients) == all(&exact), "other gradients with {level:?}");
            }
        }
    }
}

#[test]
fn event_lists_with_bf16_weights_give_the_bits_of_the_network_with_rounded_weights() {
    for (size, driven) in SIZES.into_iter().flat_map(|size| [(size, false), (size, true)]) {
        let network =
            || Network::new(size, Weights::ManyBits, StepOrder::IntegrateThenFire, driven);
        let (network, rounded) = (network(), network().rounded());
        let (recorded, streamed) = Level::Scalar.run(2, || {
            (rounded.learn(Precision::F32, SpikeStats::Counts).0, rounded.stream(WeightFormat::F32))
        });
        assert_ne!(streamed.by_step, network.stream(WeightFormat::F32).by_step);
        for level in levels().into_iter().filter(|level| !level.has_tiles()) {
            let found = level.run(2, || {
                let recorded = network.learn(Precision::Bf16, SpikeStats::Counts).0;
                (recorded, network.stream(WeightFormat::Bf16))
            });
            assert_same(&found.0, &recorded, &format!("recorded, {level:?}"));
            assert_same(&found.1, &streamed, &format!("streamed, {level:?}"));
        }
    }
}

#[test]
fn all_levels_give_the_same_spikes_and_nearly_the_same_gradients_in_bfloat16() {
    for size in SIZES {
        for driven in [false, true] {
            // Sums of integers are exact. Sums of other numbers have an order of their own on each
            // level, which may decide whether a neuron fires.
            let order = StepOrder::IntegrateThenFire;
            let network = Network::new(size, Weights::Integers, order, driven);
            let on = |level: Level| {
                level.run(2, || {
                    let (recorded, gradients) = network.learn(Precision::Bf16, SpikeStats::Counts);
                    ([recorded, network.stream(WeightFormat::Bf16)], gradients)
                })
            };
            let (expected, exact) = on(Level::Scalar);
            for level in levels() {
                let (outcomes, gradients) = on(level);
                for (found, expected) in outcomes.iter().zip(&expected) {
                    assert_same(found, expected, &format!("{level:?}"));
                }
                let error = error(&gradients, &exact);
                // Tiles round membrane gradients everywhere, the other levels only in places.
                assert!(error <= 0.005, "{error} with {level:?}");
            }
        }
    }
}
