//! Every probe of both passes against plain loops, its gradient, and what a probe
//! leaves unchanged.

use burn::backend::Autodiff;
use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use lasnn_core::{Pass, Probe, Probes, Seed, Shape, Tap, Trace};
use lasnn_neurons::{LifConfig, SpikingBackend};
use lasnn_nn::{Observable, Observations, state};
use lasnn_snn::runner::{FromRest, sum_over_time};
use lasnn_snn::{SpikingConfig, SpikingNetwork};

use crate::naive::{self, CLASSES, IMAGE, LOW, MIDDLE};
use crate::weights::DrawWeights;

const STEPS: usize = 6;
const BATCH: usize = 2;
/// The network has layers at these taps.
const TAPS: [(Tap, Shape); 2] = [(Tap::Low, LOW), (Tap::Middle, MIDDLE)];
/// A power of two, so that membrane potentials are not rounded and no spike depends on rounding.
const LEAK: f64 = 0.5;

fn all() -> Probes {
    let at = [Probe::Features, Probe::Attention, Probe::ActivationMap, Probe::Membranes];
    let at = at.into_iter().flat_map(|probe| Tap::ALL.map(probe));
    at.chain([Probe::LogitsByStep, Probe::SpikeCounts]).collect()
}

fn network<B: SpikingBackend>() -> SpikingNetwork<B> {
    let neuron = LifConfig { leak: LEAK.into(), ..Default::default() }.into();
    let config = SpikingConfig { neuron, ..Default::default() };
    let network = SpikingNetwork::new(&naive::plan(), &config, STEPS, &Default::default());
    network.unwrap().map(&mut DrawWeights(3))
}

/// Pixels that are multiples of 1/8.
fn pixels() -> Vec<f32> {
    (0..BATCH * IMAGE.len()).map(|index| (index * index % 19) as f32 / 8.0 - 0.75).collect()
}

fn images<B: Backend>() -> Tensor<B, 4> {
    let shape = [BATCH, IMAGE.channels, IMAGE.height, IMAGE.width];
    Tensor::from_data(TensorData::new(pixels(), shape), &Default::default())
}

fn observe<B: SpikingBackend>(network: &SpikingNetwork<B>, probes: &Probes) -> Observations<B> {
    network.observe(images(), &Pass::evaluate(Seed(1), &[0, 1]), probes)
}

#[track_caller]
fn equal<B: Backend, const D: usize>(name: &str, found: &Tensor<B, D>, expected: &[f64]) {
    let found: Vec<f64> = found.to_data().iter().collect();
    assert_eq!(found.len(), expected.len(), "{name}");
    assert!(expected.iter().any(|&value| value != 0.0), "{name}: only zeros are compared");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-5, "{name}[{index}]: {found}, not {expected}");
    }
}

/// The runs of all images.
fn naive_runs<B: SpikingBackend>(network: &SpikingNetwork<B>) -> Vec<naive::Run> {
    let tensors = state::save(network);
    let pixels: Vec<f64> = pixels().into_iter().map(f64::from).collect();
    let images = pixels.chunks_exact(IMAGE.len());
    images.map(|image| naive::run(&tensors, image, STEPS, LEAK)).collect()
}

/// The values of all images and steps, time-major.
fn by_step(runs: &[naive::Run], of: impl Fn(&naive::Run, usize) -> Vec<f64>) -> Vec<f64> {
    (0..STEPS)
        .flat_map(|step| runs.iter().flat_map(|run| of(run, step)).collect::<Vec<_>>())
        .collect()
}

/// The number of spikes of each neuron of each image.
fn counts(runs: &[naive::Run], tap: Tap) -> Vec<f64> {
    let count = |run: &naive::Run| -> Vec<f64> {
        let spikes = &run.layers[&tap].spikes;
        (0..spikes[0].len()).map(|neuron| spikes.iter().map(|step| step[neuron]).sum()).collect()
    };
    runs.iter().flat_map(count).collect()
}

#[test]
fn every_probe_equals_a_loop_over_neurons() {
    let network = network::<Flex>();
    let runs = naive_runs(&network);
    check_probes(&network, &all(), &runs);
    check_probes(&network.layer_by_layer(), &all(), &runs);
}

fn check_probes(network: &SpikingNetwork<Flex>, probes: &Probes, runs: &[naive::Run]) {
    for include_current in [true, false] {
        let trace = Trace { gamma: 0.4, include_current };
        let found = observe(network, &probes.clone().with_trace(trace));

        let currents = by_step(runs, |run, step| run.currents[step].clone());
        equal("by step", found.logits_by_step.as_ref().unwrap(), &currents);
        let mut mean = vec![0.0; BATCH * CLASSES];
        for (index, current) in currents.iter().enumerate() {
            mean[index % (BATCH * CLASSES)] += current / STEPS as f64;
        }
        equal("logits", &found.logits, &mean);

        assert_eq!(found.spike_counts.len(), 2);
        for (layer, (tap, shape)) in TAPS.into_iter().enumerate() {
            let Shape { channels, height, width } = shape;
            let counts = counts(runs, tap);
            equal("counts", &found.spike_counts[layer], &counts);
            let rates: Vec<f64> = counts.iter().map(|count| count / STEPS as f64).collect();
            equal("features", &found.features[&tap], &rates);

            let area = height * width;
            let attention = rates.chunks_exact(shape.len()).flat_map(|rates| {
                (0..area).map(|position| {
                    let squares = rates.iter().skip(position).step_by(area).map(|rate| rate * rate);
                    squares.sum::<f64>() / channels as f64
                })
            });
            equal("attention", &found.attention[&tap], &attention.collect::<Vec<_>>());

            let map = &found.activation_maps[&tap];
            assert_eq!(map.dims(), [STEPS, BATCH, height, width]);
            let expected = by_step(runs, |run, step| {
                let spikes = &run.layers[&tap].spikes;
                let contribution = |neuron: usize| -> f64 {
                    let earlier = 0..step + usize::from(include_current);
                    let one = |t: usize| (-0.4 * (step - t) as f64).exp() * spikes[t][neuron];
                    earlier.map(one).sum::<f64>() * spikes[step][neuron]
                };
                let at = |p: usize| (p..shape.len()).step_by(area).map(contribution).sum();
                (0..area).map(at).collect()
            });
            equal("activation map", map, &expected);

            let membranes = &found.membranes[&tap];
            assert_eq!(membranes.dims(), [STEPS, BATCH, channels, height, width]);
            let expected = by_step(runs, |run, step| run.layers[&tap].membranes[step].clone());
            equal("membranes", membranes, &expected);
        }
    }
}

#[test]
fn only_requested_values_are_there() {
    let found = observe(&network::<Flex>(), &Probes::NONE);
    assert!(found.logits_by_step.is_none() && found.spike_counts.is_empty());
    assert!(found.features.is_empty() && found.attention.is_empty());
    assert!(found.activation_maps.is_empty() && found.membranes.is_empty());
    let probes = [Probe::Attention(Tap::Middle), Probe::Membranes(Tap::Low)];
    for network in [network::<Flex>(), network().layer_by_layer()] {
        let found = observe(&network, &Probes::from(probes));
        assert_eq!(found.attention.keys().collect::<Vec<_>>(), [&Tap::Middle]);
        assert_eq!(found.membranes.keys().collect::<Vec<_>>(), [&Tap::Low]);
        assert!(found.features.is_empty() && found.spike_counts.is_empty());
    }
}

#[test]
fn a_tap_that_the_network_lacks_has_no_value() {
    let found = observe(&network::<Flex>(), &Probes::from(Tap::ALL.map(Probe::Features)));
    assert_eq!(found.features.keys().collect::<Vec<_>>(), [&Tap::Low, &Tap::Middle]);
}

#[test]
fn probes_do_not_change_the_logits() {
    for network in [network::<Flex>(), network().layer_by_layer()] {
        let expected = observe(&network, &Probes::NONE).logits.into_data();
        assert_eq!(observe(&network, &all()).logits.into_data(), expected);
    }
}

/// Multiplied by a power of two, the mean current has the bits of the membrane potential.
#[test]
fn the_logits_times_a_power_of_two_are_the_membrane_potentials() {
    let steps = 8;
    let network = network::<Flex>().with_time_steps(steps);
    let mut tensors = state::save(&network);
    for (_, weight) in tensors.iter_mut().filter(|(name, _)| name.ends_with("weight")) {
        // The weights no longer fit into a few bits, so their sums are rounded.
        let scaled: Vec<f32> = weight.iter::<f32>().map(|weight| weight * 0.917_351).collect();
        *weight = TensorData::new(scaled, weight.shape.clone());
    }
    let network = state::load(network, tensors).unwrap().layer_by_layer();
    let pass = Pass::evaluate(Seed(1), &[0, 1]);
    let none = Probes::NONE;
    let mut runner = FromRest::new(steps, &none);
    let input = network.encode(images(), 0, steps, &pass);
    let reached = network.flow(input, &pass, &mut runner).unwrap().unfold(steps);
    let membranes = network.read_out(sum_over_time(reached, steps)).into_data();
    let logits = observe(&network, &none).logits;
    assert_eq!((logits * steps as f64).into_data(), membranes);
}

/// The kernels and the pass layer by layer give the same values.
#[test]
fn a_fused_network_has_every_probe() {
    let (fused, by_layer) = (network::<Flex>(), network::<Flex>().layer_by_layer());
    let [found, expected] = [&fused, &by_layer].map(|network| observe(network, &all()));
    assert_eq!(found.membranes[&Tap::Low].to_data(), expected.membranes[&Tap::Low].to_data());
    // Both statistics of one tap in one pass.
    let both = Probes::from([Probe::Features(Tap::Low), Probe::Attention(Tap::Low)]);
    let [found, expected] = [&fused, &by_layer].map(|network| observe(network, &both));
    assert_eq!(found.features[&Tap::Low].to_data(), expected.features[&Tap::Low].to_data());
    let expected: Vec<f64> = expected.attention[&Tap::Low].to_data().iter().collect();
    equal("attention", &found.attention[&Tap::Low], &expected);
}

/// The loss of each probe has a gradient with respect to the first weights.
#[test]
fn every_probe_is_differentiable() {
    every_probe_of_is_differentiable(network());
    every_probe_of_is_differentiable(network().layer_by_layer());
}

fn every_probe_of_is_differentiable(network: SpikingNetwork<Autodiff<Flex>>) {
    type A = Autodiff<Flex>;
    let weight = match &network.layers[0] {
        lasnn_snn::layers::SpikingLayer::Conv(layer) => layer.conv.weight.val(),
        _ => panic!("the first layer is a convolution"),
    };
    for probe in all().iter() {
        let found = observe(&network, &Probes::from([probe]));
        let mut loss = Tensor::<A, 1>::zeros([1], &Default::default());
        let maps = [found.features, found.attention, found.activation_maps];
        for map in maps.into_iter().flat_map(|maps| maps.into_values()).chain(found.spike_counts) {
            loss = loss + map.powi_scalar(2).sum();
        }
        for map in found.membranes.into_values() {
            loss = loss + map.powi_scalar(2).sum();
        }
        if let Some(logits) = found.logits_by_step {
            loss = loss + logits.powi_scalar(2).sum();
        }
        if probe.tap() == Some(Tap::High) {
            continue;
        }
        let gradient = weight.grad(&loss.backward()).unwrap_or_else(|| panic!("{probe}"));
        let gradient: Vec<f64> = gradient.into_data().iter().collect();
        assert!(gradient.iter().all(|value| value.is_finite()), "{probe}");
        assert!(gradient.iter().any(|&value| value != 0.0), "{probe}");
    }
}
