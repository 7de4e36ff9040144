//! The event-driven network against the same network written down densely.
//!
//! Weights and leaks are short binary fractions, so sums of currents are exact in any order and the
//! spikes must be the same, not merely close.

#![allow(clippy::unwrap_used)]

mod naive;

use lasnn_kernels::Precision;
use lasnn_kernels::spiking::{
    Call, Circuit, Connection, Drive, Neurons, Origin, OutcomeGrad, Prepared, Reset, Shape, Site,
    Source, StepOrder, Surrogate, View, WeightFormat,
};
use proptest::prelude::*;

/// A circuit with its numbers.
#[derive(Clone, Debug)]
struct Case {
    circuit: Circuit,
    neurons: Vec<Neurons>,
    weights: Vec<Vec<f32>>,
    masks: Vec<Option<Vec<f32>>>,
    batch: usize,
    steps: usize,
    input: Vec<f32>,
    readout_grad: Vec<f32>,
    count_grads: Vec<Option<Vec<f32>>>,
}

/// Numbers without meaning, the same for the same seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Multiples of 1/64 in [-range, range].
    fn weights(&mut self, count: usize, range: f32) -> Vec<f32> {
        (0..count).map(|_| ((self.next() * 2.0 - 1.0) * range * 64.0).round() / 64.0).collect()
    }

    fn any(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next() * 2.0 - 1.0).collect()
    }
}

/// What a case is drawn from.
#[derive(Clone, Debug)]
struct Recipe {
    seed: u64,
    direct: bool,
    shape: (usize, usize, usize),
    layers: Vec<LayerRecipe>,
    hidden: Vec<usize>,
    batch: usize,
    steps: usize,
    neurons: Neurons,
    input_rate: f32,
}

#[derive(Clone, Debug)]
struct LayerRecipe {
    channels: usize,
    kernel: usize,
    stride: usize,
    pool: [usize; 2],
    mask: bool,
    shortcut: bool,
}

impl Recipe {
    fn case(&self) -> Case {
        let mut numbers = Numbers(self.seed);
        let (channels, height, width) = self.shape;
        let input = Shape { channels, height, width };
        let mut case = Case {
            circuit: Circuit {
                input,
                sites: vec![],
                readout: Source {
                    origin: Origin::Input,
                    view: View::PLAIN,
                    connection: Connection::Identity,
                },
                classes: 3,
            },
            neurons: vec![],
            weights: vec![],
            masks: vec![],
            batch: self.batch,
            steps: self.steps,
            input: vec![],
            readout_grad: numbers.any(3 * self.batch),
            count_grads: vec![],
        };
        let mut origin = Origin::Input;
        if self.direct {
            case.circuit.sites.push(Site { shape: input, sources: vec![] });
            case.input = numbers.weights(input.neurons() * self.batch, 1.5);
            origin = Origin::Site(0);
        } else {
            let rate = self.input_rate;
            let spike = |number: f32| if number < rate { 1.0 } else { 0.0 };
            let count = self.steps * self.batch * input.neurons();
            case.input = (0..count).map(|_| spike(numbers.next())).collect();
        }
        for layer in &self.layers {
            let shape = case.circuit.shape(origin);
            let pool = [layer.pool[0].min(shape.height), layer.pool[1].min(shape.width)];
            let view = case.view(&mut numbers, shape, pool, layer.mask);
            let seen = view.shape(shape);
            let fan_in = seen.channels * layer.kernel * layer.kernel;
            let weight = case.weight(&mut numbers, layer.channels * fan_in, fan_in);
            let out = Shape {
                channels: layer.channels,
                height: seen.height.div_ceil(layer.stride),
                width: seen.width.div_ceil(layer.stride),
            };
            let connection =
                Connection::Conv { kernel: layer.kernel, stride: layer.stride, weight };
            let mut sources = vec![Source { origin, view, connection }];
            if layer.shortcut {
                let connection = if seen == out {
                    Connection::Identity
                } else {
                    let count = seen.channels * layer.channels;
                    let weight = case.weight(&mut numbers, count, seen.channels);
                    Connection::Conv { kernel: 1, stride: layer.stride, weight }
                };
                sources.push(Source { origin, view, connection });
            }
            case.circuit.sites.push(Site { shape: out, sources });
            origin = Origin::Site(case.circuit.sites.len() - 1);
        }
        for &features in &self.hidden {
            let source = case.linear(&mut numbers, origin, features);
            let shape = Shape { channels: features, height: 1, width: 1 };
            case.circuit.sites.push(Site { shape, sources: vec![source] });
            origin = Origin::Site(case.circuit.sites.len() - 1);
        }
        case.circuit.readout = case.linear(&mut numbers, origin, 3);
        case.circuit.check().unwrap();
        for (index, site) in case.circuit.sites.iter().enumerate() {
            case.neurons.push(self.neurons);
            let count = site.shape.neurons() * self.batch;
            case.count_grads.push((index % 2 == 1).then(|| numbers.any(count)));
        }
        case
    }
}

impl Case {
    fn weight(&mut self, numbers: &mut Numbers, count: usize, fan_in: usize) -> usize {
        self.weights.push(numbers.weights(count, 3.0 / (fan_in as f32).sqrt()));
        self.weights.len() - 1
    }

    fn view(&mut self, numbers: &mut Numbers, shape: Shape, pool: [usize; 2], mask: bool) -> View {
        let mut view = View { pool, mask: None };
        if mask {
            let count = view.shape(shape).neurons() * self.batch;
            let number = |number: f32| if number < 0.5 { 0.0 } else { 2.0 };
            self.masks.push(Some((0..count).map(|_| number(numbers.next())).collect()));
            view.mask = Some(self.masks.len() - 1);
        }
        view
    }

    fn linear(&mut self, numbers: &mut Numbers, origin: Origin, features: usize) -> Source {
        let shape = self.circuit.shape(origin);
        let pool = if shape.height > 1 && shape.width > 1 { [2, 2] } else { [1, 1] };
        let view = self.view(numbers, shape, pool, shape.channels.is_multiple_of(2));
        let inputs = view.shape(shape).neurons();
        let weight = self.weight(numbers, inputs * features, inputs);
        Source { origin, view, connection: Connection::Linear { weight } }
    }

    fn with_call<T>(&self, run: impl FnOnce(&Call<'_>, Drive<'_>) -> T) -> T {
        let weights: Vec<&[f32]> = self.weights.iter().map(|w| &w[..]).collect();
        let masks: Vec<Option<&[f32]>> = self.masks.iter().map(Option::as_deref).collect();
        let call = Call {
            circuit: &self.circuit,
            neurons: &self.neurons,
            weights: &weights,
            masks: &masks,
            batch: self.batch,
            prepared: None,
            precision: Precision::F32,
        };
        let direct = self.circuit.sites.first().is_some_and(|site| site.sources.is_empty());
        let drive = if direct { Drive::Currents(&self.input) } else { Drive::Spikes(&self.input) };
        run(&call, drive)
    }

    /// Compares everything with the dense network.
    #[track_caller]
    fn check(&self) {
        self.with_call(|call, drive| {
            let expected = naive::forward(call, drive, self.steps);
            let counted = vec![true; self.circuit.sites.len()];
            let (outcome, tape) = call.record(drive, self.steps, &counted);
            for (site, counts) in outcome.counts.iter().enumerate() {
                let mut sums = vec![0.0; counts.len()];
                for step in &expected.spikes {
                    for (sum, spike) in sums.iter_mut().zip(&step[site]) {
                        *sum += spike;
                    }
                }
                assert_eq!(counts, &sums, "spikes of site {site}");
            }
            let readout: Vec<f64> = outcome.readout.iter().map(|&x| f64::from(x)).collect();
            close("readout", &readout, &expected.readout);
            let by_step: Vec<f64> = outcome.by_step.iter().map(|&x| f64::from(x)).collect();
            close("readout by step", &by_step, &expected.by_step.concat());

            let mut membranes = call.rest();
            let streamed = call.advance(drive, self.steps, &mut membranes, &counted);
            assert_eq!(streamed.counts, outcome.counts);
            assert_eq!(streamed.by_step, outcome.by_step);

            let prepared = Prepared::new(call.circuit, call.weights, WeightFormat::F32);
            let ready = &Call { prepared: Some(&prepared), ..*call };
            let again = ready.advance(drive, self.steps, &mut ready.rest(), &counted);
            assert_eq!(again.counts, outcome.counts);
            assert_eq!(again.by_step, outcome.by_step);

            // Weights of few bits lose none of them, and sums of whole numbers are exact.
            let prepared = Prepared::new(call.circuit, call.weights, WeightFormat::Int12);
            let fixed = &Call { prepared: Some(&prepared), ..*call };
            let again = fixed.advance(drive, self.steps, &mut fixed.rest(), &counted);
            assert_eq!(again.counts, outcome.counts);
            assert_eq!(again.by_step, outcome.by_step);

            let counts: Vec<Option<&[f32]>> =
                self.count_grads.iter().map(Option::as_deref).collect();
            let grad = OutcomeGrad { readout: &self.readout_grad, counts: &counts };
            let found = call.backward(&tape, grad);
            let (weights, outside) = naive::backward(call, &expected, grad);
            for (index, (found, expected)) in found.weights.iter().zip(&weights).enumerate() {
                let found: Vec<f64> = found.iter().map(|&x| f64::from(x)).collect();
                close(&format!("gradient of weight {index}"), &found, expected);
            }
            // What bfloat16 rounds away: much only where large parts of a gradient cancel out.
            let half = Call { precision: Precision::Bf16, ..*call }.backward(&tape, grad);
            let norm = |of: &[f32]| of.iter().map(|x| x * x).sum::<f32>().sqrt();
            let largest = found.weights.iter().map(|weight| norm(weight)).fold(0.0, f32::max);
            for (index, (half, full)) in half.weights.iter().zip(&found.weights).enumerate() {
                let error: Vec<f32> = half.iter().zip(full).map(|(a, b)| a - b).collect();
                let allowed = 0.1 * norm(full) + 0.002 * largest;
                assert!(norm(&error) <= allowed, "weight {index}: {} of {allowed}", norm(&error));
            }
            if let Some(found) = found.currents {
                let found: Vec<f64> = found.iter().map(|&x| f64::from(x)).collect();
                close("gradient of currents", &found, &outside);
            }
        });
    }
}

#[track_caller]
fn close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3f64, |max, x| max.max(x.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs() / scale;
        // Sums in f32 of parts that cancel out, against sums in f64.
        assert!(error < 1e-4, "{what}[{index}]: {found} instead of {expected}");
    }
}

const NEURONS: Neurons = Neurons {
    threshold: 0.93,
    leak: 1.0,
    reset: Reset::Subtract,
    step_order: StepOrder::IntegrateThenFire,
    surrogate: Surrogate::Linear { damping: 0.3 },
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
    let neurons = neurons.prop_map(|(leak, reset, step_order, surrogate)| Neurons {
        leak,
        reset,
        step_order,
        surrogate,
        ..NEURONS
    });
    (
        any::<u64>(),
        any::<bool>(),
        (1usize..4, 1usize..9, 1usize..9),
        layers(),
        prop::collection::vec(prop_oneof![1usize..20, Just(64), Just(100)], 0..3),
        (1usize..4, 1usize..6),
        neurons,
        0f32..1.0,
    )
        .prop_map(
            |(seed, direct, shape, layers, hidden, (batch, steps), neurons, input_rate)| Recipe {
                seed,
                direct,
                shape,
                layers,
                hidden,
                batch,
                steps,
                neurons,
                input_rate,
            },
        )
}

proptest! {
    #[test]
    fn spikes_and_gradients_are_those_of_the_dense_network(recipe in recipes()) {
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
    }
}

#[test]
fn wide_layers_take_several_tiles_and_panels() {
    let layers = vec![layer(96), LayerRecipe { pool: [2, 2], ..layer(160) }];
    recipe(layers, vec![600, 70]).case().check();
}

#[test]
fn nobody_and_everybody_may_fire() {
    for input_rate in [0.0, 1.0] {
        let spikes = Recipe { direct: false, input_rate, ..recipe(vec![layer(8)], vec![20]) };
        spikes.case().check();
    }
    let mut silent = recipe(vec![layer(8)], vec![]).case();
    silent.neurons.iter_mut().for_each(|neurons| neurons.threshold = 1e9);
    silent.check();
}

#[test]
fn a_hundred_steps_and_one() {
    for steps in [1, 100] {
        Recipe { steps, shape: (2, 4, 4), ..recipe(vec![layer(9)], vec![10]) }.case().check();
    }
}

#[test]
fn more_images_than_a_group_holds_change_nothing() {
    // 40 steps of 64 channels at 32 by 32: a few images fill what a pass back holds at once.
    let wide =
        Recipe { shape: (2, 32, 32), steps: 40, batch: 5, ..recipe(vec![layer(64)], vec![]) };
    let case = wide.case();
    let all = gradients(&case, 5);
    let one_by_one: Vec<_> = (0..5).map(|image| gradients(&case.image(image), 1)).collect();
    for (weight, sums) in all.iter().enumerate() {
        let mut expected = vec![0.0; sums.len()];
        for one in &one_by_one {
            for (sum, &x) in expected.iter_mut().zip(&one[weight]) {
                *sum += f64::from(x);
            }
        }
        let found: Vec<f64> = sums.iter().map(|&x| f64::from(x)).collect();
        close("gradient", &found, &expected);
    }
}

#[test]
fn threads_change_no_bit() {
    let layers = vec![layer(64), LayerRecipe { stride: 2, shortcut: true, ..layer(64) }];
    let case = Recipe { batch: 3, ..recipe(layers, vec![200]) }.case();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| gradients(&case, 3))
    };
    assert_eq!(with(1), with(2));
    assert_eq!(with(1), with(5));
}

fn gradients(case: &Case, batch: usize) -> Vec<Vec<f32>> {
    assert_eq!(case.batch, batch);
    case.with_call(|call, drive| {
        let counted = vec![false; case.circuit.sites.len()];
        let (_, tape) = call.record(drive, case.steps, &counted);
        let counts: Vec<Option<&[f32]>> = case.count_grads.iter().map(Option::as_deref).collect();
        let grad = OutcomeGrad { readout: &case.readout_grad, counts: &counts };
        call.backward(&tape, grad).weights
    })
}

impl Case {
    /// One image of a case that is driven by currents.
    fn image(&self, image: usize) -> Self {
        let of = |all: &[f32]| {
            let size = all.len() / self.batch;
            all[image * size..(image + 1) * size].to_vec()
        };
        Self {
            batch: 1,
            input: of(&self.input),
            masks: self.masks.iter().map(|mask| mask.as_deref().map(of)).collect(),
            readout_grad: of(&self.readout_grad),
            count_grads: self.count_grads.iter().map(|grad| grad.as_deref().map(of)).collect(),
            ..self.clone()
        }
    }
}

#[test]
fn a_tape_holds_a_bit_per_neuron_and_step() {
    let case = Recipe { steps: 100, ..recipe(vec![layer(64), layer(128)], vec![]) }.case();
    case.with_call(|call, drive| {
        let (_, tape) = call.record(drive, case.steps, &[false; 3]);
        // The first site's 3 channels take a word of 16, and its currents are kept once.
        let bits = (16 + 64 + 128) * 64 * case.batch * case.steps;
        let currents = 16 * 64 * case.batch * size_of::<f32>();
        assert_eq!(tape.bytes(), bits / 8 + currents);
    });
}

#[test]
fn a_tape_keeps_currents_behind_matrices_within_a_byte_per_neuron_and_step() {
    // 8 by 8 positions of 3 + 64 channels, and a matrix that is small or large beside them.
    for (hidden, kept) in [(500, true), (2000, false)] {
        let case = Recipe { steps: 3, batch: 1, ..recipe(vec![layer(64)], vec![hidden]) }.case();
        case.check();
        case.with_call(|call, drive| {
            let (_, tape) = call.record(drive, case.steps, &[false; 3]);
            let neurons = (3 + 64) * 64 + hidden;
            let constant = 16 * 64 * case.batch * size_of::<f32>();
            let bytes = tape.bytes() - constant;
            assert!(bytes <= neurons * case.batch * case.steps, "{bytes} bytes");
            let currents = hidden * size_of::<f32>() * case.batch * case.steps;
            assert_eq!(bytes >= currents, kept, "{bytes} bytes");
        });
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let case = recipe(vec![layer(4)], vec![]).case();
    let mut circuit = case.circuit.clone();
    circuit.sites[1].shape.height += 1;
    assert!(circuit.check().unwrap_err().reason.contains("site 1"));
    let mut circuit = case.circuit;
    circuit.sites[1].sources[0].origin = Origin::Site(1);
    assert!(circuit.check().unwrap_err().reason.contains("come before"));
}

#[test]
fn integers_of_12_bits_are_the_network_of_the_rounded_weights() {
    let layers = vec![layer(48), LayerRecipe { stride: 2, shortcut: true, ..layer(48) }];
    let mut case = recipe(layers, vec![70]).case();
    let mut numbers = Numbers(77);
    for weights in &mut case.weights {
        let range = weights.iter().fold(0.0f32, |max, weight| max.max(weight.abs()));
        *weights = numbers.any(weights.len()).into_iter().map(|weight| weight * range).collect();
    }
    let mut rounded = case.clone();
    let circuit = &case.circuit;
    let sources = circuit.sites.iter().flat_map(|site| {
        site.sources.iter().map(|source| (source.connection, site.shape.channels))
    });
    for (connection, outputs) in sources.chain([(circuit.readout.connection, circuit.classes)]) {
        match connection {
            Connection::Conv { weight, .. } => {
                let weights = &mut rounded.weights[weight];
                WeightFormat::Int12.round_convolution(weights, outputs);
            }
            Connection::Linear { weight } => {
                WeightFormat::Int12.round_matrix(&mut rounded.weights[weight], outputs);
            }
            Connection::Identity => {}
        }
    }
    for (weights, rounded) in case.weights.iter().zip(&rounded.weights) {
        assert_ne!(weights, rounded);
        let largest = weights.iter().fold(0.0f32, |max, weight| max.max(weight.abs()));
        for (weight, rounded) in weights.iter().zip(rounded) {
            assert!((weight - rounded).abs() <= largest / 2047.0, "{weight} became {rounded}");
        }
    }
    let counted = vec![true; case.circuit.sites.len()];
    let expected = rounded
        .with_call(|call, drive| call.advance(drive, case.steps, &mut call.rest(), &counted));
    let found = case.with_call(|call, drive| {
        let prepared = Prepared::new(call.circuit, call.weights, WeightFormat::Int12);
        let call = Call { prepared: Some(&prepared), ..*call };
        call.advance(drive, case.steps, &mut call.rest(), &counted)
    });
    assert_eq!(found.counts, expected.counts);
    assert_eq!(found.by_step, expected.by_step);
    assert!(found.counts.iter().flatten().any(|&count| count > 0.0));
}

#[test]
fn a_weight_that_is_not_a_number_shows_in_12_bits_too() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut weights = [0.5, bad, 0.25, 1.0];
        WeightFormat::Int12.round_matrix(&mut weights, 2);
        assert!(weights[1].is_nan() && weights[3].is_nan());
        assert_eq!([weights[0], weights[2]], [0.5, 0.25]);
    }
}
