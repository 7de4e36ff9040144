//! Conversions that are exact in theory.

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use lasnn_conversion::{
    ActivationBounds, Ann, Balancing, ConversionConfig, ConversionError, MethodConfig,
    WeightNormalisation, convert,
};
use lasnn_core::{Architecture, Batch, Layer, Pass, Probe, Probes, Shape};
use lasnn_models::{Init, Network, QcfsConfig};
use lasnn_neurons::{InitialMembraneConfig, LifConfig};
use lasnn_nn::{BatchTensors, Observable, state};
use lasnn_snn::{Simulator, SpikingConfig, SpikingNetwork, progress, simulate};

use crate::helpers::{B, Fixed, SEED, device, images};

/// Diehl's form: weights times λ_(l-1) / λ_l, biases divided by λ_l, and thresholds of 1. Ours: the
/// weights as they are, thresholds λ_l / λ_(l-1). Both fire the same spikes.
#[test]
fn normalised_weights_and_thresholds_are_the_same_network() {
    let layers = vec![
        Layer::Conv {
            channels: 6,
            kernel: 3,
            stride: 1,
            bias: true,
            batch_norm: false,
            activation: true,
            tap: None,
        },
        Layer::AveragePool { size: 2 },
        Layer::Linear { features: 20, bias: true },
        Layer::Linear { features: 12, bias: true },
        Layer::Classifier { bias: true },
    ];
    let architecture = Architecture { name: "plain".into(), layers };
    let plan = architecture.plan(Shape { channels: 2, height: 8, width: 8 }, 5).unwrap();
    let ann = Network::<B>::new(&plan, Init::default(), SEED, &device());
    let mut tensors = state::save(&ann);
    for (name, tensor) in tensors.iter_mut().filter(|(name, _)| name.ends_with(".bias")) {
        let sign = if name.contains(".1") { -1.0 } else { 1.0 };
        let biases = vec![0.0625 * sign; tensor.num_elements()];
        *tensor = burn::tensor::TensorData::new(biases, tensor.shape.clone());
    }
    let ann = state::load(ann, tensors).unwrap();
    let batch = images(8);
    let reference = |batch: &Batch| {
        ann.activations(batch.images(&device()), &Pass::evaluate(SEED, &batch.samples))
    };
    let steps = 40;
    let method = MethodConfig::WeightNormalisation(WeightNormalisation { percentile: 100.0 });
    let config = ConversionConfig { time_steps: steps, method, ..Default::default() };
    let batches = [batch.clone()];
    let on_progress = |_| ControlFlow::Continue(());
    let balancing =
        Balancing { config: &config, batches: &batches, seed: SEED, on_progress: &on_progress };
    let spiking =
        || SpikingNetwork::<B>::new(&plan, &SpikingConfig::default(), steps, &device()).unwrap();
    let (ours, _) =
        convert(spiking(), Ann::new(&state::save(&ann), &reference), balancing, &device()).unwrap();

    // The maxima of the positive activations.
    let largest: Vec<f32> = reference(&batch)
        .into_iter()
        .map(|(_, map)| map.into_data().iter::<f32>().fold(0.0, f32::max))
        .collect();
    let mut scaled = state::save(&ann);
    let before = [1.0, largest[0], largest[1], largest[2]];
    // The readout has no neurons, so nothing normalises its scores.
    let after = [largest[0], largest[1], largest[2], largest[2]];
    for (layer, name) in ["layers.0", "layers.2", "layers.3", "layers.4"].iter().enumerate() {
        for (_, tensor) in scaled.iter_mut().filter(|(found, _)| found.starts_with(*name)) {
            let is_bias = tensor.shape.len() == 1;
            let factor = if is_bias { 1.0 } else { before[layer] } / after[layer];
            let numbers: Vec<f32> = tensor.iter::<f32>().map(|x| x * factor).collect();
            *tensor = burn::tensor::TensorData::new(numbers, tensor.shape.clone());
        }
    }
    let mut diehl = state::save(&spiking());
    diehl.extend(scaled);
    let diehl = state::load(spiking(), diehl).unwrap();
    let rates = |network: SpikingNetwork<B>| {
        let source = Fixed(batch.clone());
        let found = simulate(&Simulator::new(network), &source, steps, SEED, &device());
        found.firing_rate_by_layer.into_iter().map(|layer| layer.rate).collect::<Vec<f64>>()
    };
    let (found, expected) = (rates(ours), rates(diehl));
    for (found, expected) in found.iter().zip(&expected) {
        // Rounding may move single spikes.
        assert!(*expected > 0.01 && (found - expected).abs() < 2e-3, "{found}, not {expected}");
    }
}

/// As many steps as levels, and half a threshold at the start: the paper's identity. It holds for
/// layers with a constant current, so for the first layer.
#[test]
fn a_quantised_network_is_converted_without_loss_in_its_first_layer() {
    let (levels, bound) = (8, 0.75);
    let layers = vec![
        Layer::Conv {
            channels: 6,
            kernel: 3,
            stride: 1,
            bias: true,
            batch_norm: false,
            activation: true,
            tap: None,
        },
        Layer::Linear { features: 12, bias: true },
        Layer::Classifier { bias: true },
    ];
    let architecture = Architecture { name: "quantised".into(), layers };
    let plan = architecture.plan(Shape { channels: 2, height: 8, width: 8 }, 5).unwrap();
    let activation = QcfsConfig { levels, bound, train: false }.into();
    let ann = Network::<B>::with_activation(&plan, activation, Init::default(), SEED, &device());
    let batch = images(8);
    let pass = Pass::evaluate(SEED, &batch.samples);
    let reference = |batch: &Batch| ann.activations(batch.images(&device()), &pass);
    let method = MethodConfig::ActivationBounds(ActivationBounds {});
    let config = ConversionConfig { time_steps: levels, method, ..Default::default() };
    let batches = [batch.clone()];
    let on_progress = &progress::go_on;
    let balancing = Balancing { config: &config, batches: &batches, seed: SEED, on_progress };
    let half = InitialMembraneConfig { value: 0.5, ..Default::default() };
    let neuron = LifConfig { leak: 1.0.into(), initial_membrane: half, ..Default::default() };
    let spiking = SpikingConfig { neuron: neuron.into(), ..Default::default() };
    let spiking = || SpikingNetwork::<B>::new(&plan, &spiking, levels, &device()).unwrap();
    let tensors = state::save(&ann);
    let (network, report) =
        convert(spiking(), Ann::new(&tensors, &reference), balancing, &device()).unwrap();
    assert_eq!(report.layers[0].threshold, bound as f32);
    let counts = Probes::from([Probe::SpikeCounts]);
    let observed = network.observe(batch.images(&device()), &pass, &counts);
    let read = |tensor: Tensor<B, 4>| tensor.into_data().to_vec::<f32>().unwrap();
    let counts = read(observed.spike_counts[0].clone());
    let activations = read(reference(&batch)[0].1.clone());
    assert!(activations.iter().any(|&a| a > 0.0 && a < bound as f32), "nothing is quantised");
    for (count, activation) in counts.iter().zip(&activations) {
        let level = activation / bound as f32 * levels as f32;
        assert!((count - level).abs() < 1e-3, "{count} spikes, expected {level}");
    }

    // The current of the shift adds the same half threshold, in equal parts.
    let method = MethodConfig::ActivationBounds(ActivationBounds {});
    let config = ConversionConfig { shift_steps: levels, method, ..config.clone() };
    let shifted = Balancing { config: &config, ..balancing };
    let rest = SpikingConfig::default();
    let rest = SpikingNetwork::<B>::new(&plan, &rest, levels, &device()).unwrap();
    let (network, _) = convert(rest, Ann::new(&tensors, &reference), shifted, &device()).unwrap();
    let observed =
        network.observe(batch.images(&device()), &pass, &Probes::from([Probe::SpikeCounts]));
    let shifted = read(observed.spike_counts[0].clone());
    let same = shifted.iter().zip(&counts).filter(|(a, b)| a == b).count();
    // A sum of 8 currents that ends at a threshold may round either way.
    assert!(same * 100 > 98 * counts.len(), "{same} of {} counts are equal", counts.len());

    let mut without = tensors;
    without.remove("layers.1.activation.bound");
    let error =
        convert(spiking(), Ann::new(&without, &reference), balancing, &device()).unwrap_err();
    assert_eq!(error, ConversionError::Bound { layer: "layers.1".into(), found: None });
    assert!(error.to_string().contains("`layers.1`"), "{error}");
}
