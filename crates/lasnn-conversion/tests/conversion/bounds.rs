//! Golden values of conversions by the bounds of activations, with initial membrane potentials, a
//! shift, and calibrated biases. `../golden/make_bounds.py` computed them with PyTorch.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use lasnn_conversion::{
    ActivationBounds, Ann, Balancing, BiasCalibration, CalibrationConfig, ConversionConfig,
    MethodConfig, convert,
};
use lasnn_core::{Architecture, Batch, Layer, Pass, Probe, Probes, Seed, Shape};
use lasnn_models::{ClipConfig, Init, Network};
use lasnn_neurons::{InitialMembraneConfig, LifConfig, NeuronModel};
use lasnn_nn::{BatchTensors, Observable, StateDict, state};
use lasnn_snn::{SpikingConfig, SpikingNetwork, progress};
use serde::Deserialize;

use crate::arrays::{Array, assert_close};

type B = Flex;

#[derive(Deserialize)]
struct Golden {
    time_steps: usize,
    bounds: Vec<f32>,
    input: Array,
    weights: BTreeMap<String, Array>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    initial: f64,
    shift_steps: usize,
    calibrated: bool,
    thresholds: Vec<f32>,
    biases: Vec<Array>,
    counts: Vec<Array>,
    logits: Array,
}

#[test]
fn conversions_by_bounds_agree_with_pytorch() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/bounds.json")).unwrap();
    let device = Default::default();
    let layers = vec![
        Layer::Conv {
            channels: 4,
            kernel: 3,
            stride: 1,
            bias: true,
            batch_norm: false,
            activation: true,
            tap: None,
        },
        Layer::Linear { features: 6, bias: true },
        Layer::Classifier { bias: true },
    ];
    let image = Shape { channels: 2, height: 6, width: 6 };
    let plan = Architecture { name: "golden".into(), layers }.plan(image, 3).unwrap();
    let mut tensors: StateDict =
        golden.weights.iter().map(|(name, array)| (name.clone(), array.translated())).collect();
    for (layer, &bound) in golden.bounds.iter().enumerate() {
        tensors.insert(format!("layers.{layer}.activation.bound"), TensorData::from([bound]));
    }
    let clip = ClipConfig { bound: 1.0, train: false }.into();
    let ann = Network::<B>::with_activation(&plan, clip, Init::default(), Seed(0), &device);
    let ann = state::load(ann, tensors.clone()).unwrap();
    let batch = Batch {
        pixels: golden.input.data.clone(),
        shape: image,
        labels: vec![0; 3],
        samples: vec![0, 1, 2],
    };
    let pass = Pass::evaluate(Seed(0), &batch.samples);
    let reference = |batch: &Batch| ann.activations(batch.images(&device), &pass);
    for case in golden.cases {
        let config = ConversionConfig {
            method: MethodConfig::ActivationBounds(ActivationBounds {}),
            shift_steps: case.shift_steps,
            calibration: match case.calibrated {
                true => vec![CalibrationConfig::Bias(BiasCalibration {})],
                false => Vec::new(),
            },
            ..Default::default()
        };
        let initial = InitialMembraneConfig { value: case.initial, ..Default::default() };
        let neuron =
            LifConfig { leak: 1.0.into(), initial_membrane: initial, ..Default::default() };
        let spiking = SpikingConfig { neuron: neuron.into(), ..Default::default() };
        let network = SpikingNetwork::<B>::new(&plan, &spiking, golden.time_steps, &device);
        let (batches, on_progress) = ([batch.clone()], &progress::go_on);
        let balancing =
            Balancing { config: &config, batches: &batches, seed: Seed(0), on_progress };
        let (network, _) =
            convert(network.unwrap(), Ann::new(&tensors, &reference), balancing, &device).unwrap();

        let neurons = network.neurons();
        let thresholds: Vec<f32> = neurons.iter().flat_map(|(_, n)| n.thresholds()).collect();
        assert_close("thresholds", &thresholds, &case.thresholds);
        let saved = state::save(&network);
        for (name, bias) in ["layers.0.conv.bias", "layers.1.linear.bias"].iter().zip(&case.biases)
        {
            assert_close(name, &saved[*name].to_vec::<f32>().unwrap(), &bias.data);
        }
        let probes = Probes::from([Probe::SpikeCounts]);
        let observed = network.observe(batch.images(&device), &pass, &probes);
        for (layer, counts) in observed.spike_counts.into_iter().enumerate() {
            let counts = counts.into_data().to_vec::<f32>().unwrap();
            assert_eq!(counts, case.counts[layer].data, "layer {layer}");
        }
        let read = |logits: Tensor<B, 2>| logits.into_data().to_vec::<f32>().unwrap();
        assert_close("logits", &read(observed.logits), &case.logits.data);
    }
}
