//! Random small networks against a naive, dense implementation.
//!
//! Weights and leaks are short binary fractions, so sums of currents are exact in any order, and
//! the spikes must be equal, not close.

#![allow(clippy::unwrap_used)]

mod case;
mod naive;
mod numbers;

use lasnn_core::Precision;
use lasnn_spiking_kernels::{
    ForwardArgs, LayerProbes, NeuronOptions, PackedWeights, Presynaptic, Reset, SpikeStats,
    StepOrder, Surrogate, Synapse, WeightFormat,
};
use proptest::prelude::*;

use crate::case::{Case, Initial, LayerRecipe, NeuronRecipe, Recipe, assert_close};
use crate::numbers::Numbers;

const NEURONS: NeuronRecipe = NeuronRecipe {
    options: NeuronOptions {
        reset: Reset::Subtract,
        step_order: StepOrder::IntegrateThenFire,
        surrogate: Surrogate::Linear { damping: 0.3 },
    },
    threshold: 0.93,
    leak: 1.0,
    by_channel: false,
    bias: false,
    initial: Initial::Rest,
    trained: false,
};

fn layers() -> impl Strategy<Value = Vec<LayerRecipe>> {
    let layer = (
        prop_oneof![1usize..6, 14usize..20, Just(32), Just(40), Just(70)],
        prop_oneof![Just(1usize), Just(3), Just(5)],
        1usize..3,
        prop_oneof![Just([1, 1]), Just([2, 2]), Just([1, 2])],
        any::<bool>(),
        any::<bool>(),
    );
    let layer = layer.prop_map(|(channels, kernel, stride, pool, mask, shortcut)| LayerRecipe {
        channels,
        kernel,
        stride,
        pool,
        mask,
        shortcut,
    });
    prop::collection::vec(layer, 1..4)
}

fn recipes() -> impl Strategy<Value = Recipe> {
    let neurons = (
        prop_oneof![Just(1.0f32), Just(0.875)],
        prop_oneof![Just(Reset::Subtract), Just(Reset::Zero)],
        prop_oneof![Just(StepOrder::IntegrateThenFire), Just(StepOrder::FireThenIntegrate)],
        prop_oneof![
            Just(Surrogate::Linear { damping: 0.3 }),
            Just(Surrogate::Atan { alpha: 2.0 }),
            Just(Surrogate::FastSigmoid { slope: 10.0 }),
            Just(Surrogate::Rectangular { width: 1.0 }),
        ],
    );
    let params = (
        any::<bool>(),
        any::<bool>(),
        prop_oneof![Just(Initial::Rest), Just(Initial::OfLayer), Just(Initial::OfNeuron)],
        any::<bool>(),
    );
    let neurons = (neurons, params).prop_map(
        |((leak, reset, step_order, surrogate), (by_channel, bias, initial, trained))| {
            let options = NeuronOptions { reset, step_order, surrogate };
            NeuronRecipe { options, leak, by_channel, bias, initial, trained, ..NEURONS }
        },
    );
    (
        any::<u64>(),
        any::<bool>(),
        (1usize..4, 1usize..9, 1usize..9),
        layers(),
        prop::collection::vec(prop_oneof![1usize..20, Just(64), Just(100)], 0..3),
        (1usize..4, 1usize..6),
        neurons,
        0f32..1.0,
        any::<bool>(),
    )
        .prop_map(
            |(
                seed,
                direct,
                shape,
                layers,
                hidden,
                (batch, steps),
                neurons,
                input_rate,
                membranes,
            )| Recipe {
                seed,
                direct,
                shape,
                layers,
                hidden,
                batch,
                steps,
                neurons,
                input_rate,
                membranes,
            },
        )
}

proptest! {
    #[test]
    fn spikes_and_gradients_are_those_of_the_naive_network(recipe in recipes()) {
        recipe.case().check();
    }
}

fn layer(channels: usize) -> LayerRecipe {
    LayerRecipe { channels, kernel: 3, stride: 1, pool: [1, 1], mask: false, shortcut: false }
}

fn recipe(layers: Vec<LayerRecipe>, hidden: Vec<usize>) -> Recipe {
    Recipe {
        seed: 7,
        direct: true,
        shape: (3, 8, 8),
        layers,
        hidden,
        batch: 2,
        steps: 4,
        neurons: NEURONS,
        input_rate: 0.5,
        membranes: true,
    }
}

#[test]
fn wide_layers_have_several_channel_tiles_and_panels() {
    let layers = vec![layer(96), LayerRecipe { pool: [2, 2], ..layer(160) }];
    recipe(layers, vec![600, 70]).case().check();
}

#[test]
fn no_neuron_or_every_neuron_may_fire() {
    for input_rate in [0.0, 1.0] {
        let spikes = Recipe { direct: false, input_rate, ..recipe(vec![layer(8)], vec![20]) };
        spikes.case().check();
    }
    let mut silent = recipe(vec![layer(8)], vec![]).case();
    for layer in &silent.graph.layers {
        silent.params[layer.params.threshold] = vec![1e9];
    }
    silent.check();
}

#[test]
fn one_step_and_hundreds() {
    // A pass without a tape runs at most 128 steps of two images at once.
    for steps in [1, 100, 300] {
        Recipe { steps, shape: (2, 4, 4), ..recipe(vec![layer(9)], vec![10]) }.case().check();
    }
}

#[test]
fn gradients_of_a_batch_are_the_sums_over_its_images() {
    // 40 steps of 64 channels at 32 by 32 are so many numbers that the backward pass takes only a
    // few images at once. The tape saves the currents of the small last layer, for all images.
    let layers = vec![layer(64), LayerRecipe { stride: 2, ..layer(16) }];
    let wide = Recipe { shape: (2, 32, 32), steps: 40, batch: 5, ..recipe(layers, vec![]) };
    let case = wide.case();
    let all = gradients(&case, 5, Precision::F32);
    let one_by_one: Vec<_> =
        (0..5).map(|image| gradients(&case.image(image), 1, Precision::F32)).collect();
    for (weight, sums) in all.iter().enumerate() {
        let mut expected = vec![0.0; sums.len()];
        for one in &one_by_one {
            for (sum, &x) in expected.iter_mut().zip(&one[weight]) {
                *sum += f64::from(x);
            }
        }
        let found: Vec<f64> = sums.iter().map(|&x| f64::from(x)).collect();
        assert_close("gradient", &found, &expected);
    }
}

#[test]
fn threads_change_no_bit() {
    let layers = vec![layer(64), LayerRecipe { stride: 2, shortcut: true, ..layer(64) }];
    let case = Recipe { batch: 3, ..recipe(layers, vec![200]) }.case();
    for precision in [Precision::F32, Precision::Bf16] {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| gradients(&case, 3, precision))
        };
        assert_eq!(with(1), with(2));
        assert_eq!(with(1), with(5));
    }
}

/// The gradients of the parameters of a pass.
fn gradients(case: &Case, batch: usize, precision: Precision) -> Vec<Vec<f32>> {
    assert_eq!(case.batch, batch);
    case.with_args(|args, input| {
        let args = &ForwardArgs { precision, ..*args };
        let (_, tape) = args.record(input, case.steps, LayerProbes::default());
        case.with_grad(|grad| args.backward(&tape, grad).params)
    })
}

#[test]
fn a_tape_holds_a_bit_per_neuron_and_step() {
    let case = Recipe { steps: 100, ..recipe(vec![layer(64), layer(128)], vec![]) }.case();
    case.with_args(|args, input| {
        let (_, tape) = args.record(input, case.steps, LayerProbes::default());
        // The 3 channels of the first layer take a word of 16 bits. Its currents are saved once,
        // because they are equal at all steps.
        let bits = (16 + 64 + 128) * 64 * case.batch * case.steps;
        let currents = 16 * 64 * case.batch * size_of::<f32>();
        assert_eq!(tape.bytes(), bits / 8 + currents);
        // Surrogate derivatives take a byte more for each neuron and step, and the first layer's
        // channels take two words.
        let rounded = ForwardArgs { precision: Precision::Bf16, ..*args };
        let (_, tape) = rounded.record(input, case.steps, LayerProbes::default());
        let neurons = (32 + 64 + 128) * 64 * case.batch * case.steps;
        assert_eq!(tape.bytes(), neurons / 8 + neurons + 2 * currents);
    });
}

#[test]
fn a_tape_saves_currents_of_linear_layers_within_a_byte_per_neuron_and_step() {
    // Two layers of 3 and 64 channels at 8 by 8, and a linear layer that is small or large beside
    // them.
    for (hidden, saved) in [(500, true), (2000, false)] {
        let case = Recipe { steps: 3, batch: 1, ..recipe(vec![layer(64)], vec![hidden]) }.case();
        case.check();
        case.with_args(|args, input| {
            let (_, tape) = args.record(input, case.steps, LayerProbes::default());
            let neurons = (3 + 64) * 64 + hidden;
            let constant = 16 * 64 * case.batch * size_of::<f32>();
            let bytes = tape.bytes() - constant;
            assert!(bytes <= neurons * case.batch * case.steps, "{bytes} bytes");
            let currents = hidden * size_of::<f32>() * case.batch * case.steps;
            assert_eq!(bytes >= currents, saved, "{bytes} bytes");
        });
    }
}

#[test]
fn a_tape_saves_the_currents_of_the_layers_with_most_inputs_first() {
    // Three layers of 3, 64 and 16 channels at 8 by 8, and one of 32 channels at 4 by 4. The
    // neurons of the layer of 16 channels have the most inputs.
    let layers = vec![layer(64), layer(16), LayerRecipe { stride: 2, ..layer(32) }];
    let case = Recipe { steps: 3, batch: 2, ..recipe(layers, vec![]) }.case();
    case.check();
    case.with_args(|args, input| {
        let (_, tape) = args.record(input, case.steps, LayerProbes::default());
        let bits = (16 + 64 + 16) * 64 + 32 * 16;
        let constant = 16 * 64 * case.batch * size_of::<f32>();
        let saved = tape.bytes() - constant - bits / 8 * case.batch * case.steps;
        // 5824 neurons leave 4992 bytes beside the spike bits: enough for the currents of the layer
        // of 16 channels only.
        assert_eq!(saved, 16 * 64 * size_of::<f32>() * case.batch * case.steps);
    });
}

#[test]
fn check_refuses_graphs_whose_parts_do_not_fit() {
    let case = recipe(vec![layer(4)], vec![]).case();
    let mut graph = case.graph.clone();
    graph.layers[1].shape.height += 1;
    assert!(graph.check().unwrap_err().reason.contains("layer 1"));
    let mut graph = case.graph;
    graph.layers[1].projections[0].presynaptic = Presynaptic::NeuronLayer(1);
    assert!(graph.check().unwrap_err().reason.contains("come before"));
}

#[test]
fn int12_gives_the_spikes_of_the_network_with_rounded_weights() {
    let layers = vec![layer(48), LayerRecipe { stride: 2, shortcut: true, ..layer(48) }];
    let mut case = recipe(layers, vec![70]).case();
    let mut numbers = Numbers(77);
    let trained = case.trained.clone();
    // All trained parameters are weights.
    for (weights, _) in case.params.iter_mut().zip(&trained).filter(|(_, trained)| **trained) {
        let range = weights.iter().fold(0.0f32, |max, weight| max.max(weight.abs()));
        *weights = numbers.signed(weights.len()).into_iter().map(|weight| weight * range).collect();
    }
    let mut rounded = case.clone();
    let graph = &case.graph;
    let projections = graph.layers.iter().flat_map(|layer| {
        layer.projections.iter().map(|projection| (projection.synapse, layer.shape.channels))
    });
    for (synapse, outputs) in projections.chain([(graph.readout.synapse, graph.classes)]) {
        match synapse {
            Synapse::Conv { weight, .. } => {
                let weights = &mut rounded.params[weight];
                WeightFormat::Int12.round_convolution(weights, outputs);
            }
            Synapse::Linear { weight } => {
                WeightFormat::Int12.round_matrix(&mut rounded.params[weight], outputs);
            }
            Synapse::Identity => {}
        }
    }
    let pairs = case.params.iter().zip(&rounded.params).zip(&trained);
    for ((weights, rounded), _) in pairs.filter(|(_, trained)| **trained) {
        assert_ne!(weights, rounded);
        let largest = weights.iter().fold(0.0f32, |max, weight| max.max(weight.abs()));
        for (weight, rounded) in weights.iter().zip(rounded) {
            assert!((weight - rounded).abs() <= largest / 2047.0, "{weight} became {rounded}");
        }
    }
    let counted = vec![SpikeStats::Counts; case.graph.layers.len()];
    let counted = LayerProbes::stats(&counted);
    let expected = rounded
        .with_args(|args, input| args.advance(input, case.steps, &mut args.start(), counted));
    let found = case.with_args(|args, input| {
        let packed_weights = PackedWeights::new(args.graph, args.params, WeightFormat::Int12);
        let args = ForwardArgs { packed_weights: Some(&packed_weights), ..*args };
        args.advance(input, case.steps, &mut args.start(), counted)
    });
    assert_eq!(found.counts, expected.counts);
    assert_eq!(found.by_step, expected.by_step);
    assert!(found.counts.iter().flatten().any(|&count| count > 0.0));
}

#[test]
fn a_nan_or_infinite_weight_is_nan_in_int12() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut weights = [0.5, bad, 0.25, 1.0];
        WeightFormat::Int12.round_matrix(&mut weights, 2);
        assert!(weights[1].is_nan() && weights[3].is_nan());
        assert_eq!([weights[0], weights[2]], [0.5, 0.25]);
    }
}
