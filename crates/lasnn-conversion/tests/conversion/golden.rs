//! Golden values of whole conversions: thresholds of all methods, all calibrations, and offset
//! spikes, in a network with residual blocks, pooling and batch norms.
//! `../golden/make_conversions.py` computed them with PyTorch.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use lasnn_conversion::scales::{of_channel, scales};
use lasnn_conversion::{Ann, Balancing, ConversionConfig, batch_norms, convert, fold_batch_norm};
use lasnn_core::{Architecture, Batch, Layer, Pass, Probe, Probes, Seed, Shape};
use lasnn_models::{Init, Network};
use lasnn_neurons::{NeuronConfig, NeuronModel};
use lasnn_nn::{BatchTensors, Observable, StateDict, state};
use lasnn_snn::counting::{Chunk, count_spikes};
use lasnn_snn::{Simulator, SpikingConfig, SpikingNetwork, progress};
use serde::Deserialize;

use crate::arrays::{Array, assert_close};
use crate::helpers::{B, device};

#[derive(Deserialize)]
struct Case {
    name: String,
    config: ConversionConfig,
    neuron: NeuronConfig,
    steps: usize,
    batches: Vec<Array>,
    weights: BTreeMap<String, Array>,
    thresholds: Vec<Array>,
    potentials: Option<Vec<Array>>,
    counts: Vec<Array>,
    logits: Array,
    offset: Vec<Offset>,
}

#[derive(Deserialize)]
struct Offset {
    offset_steps: usize,
    time_steps: usize,
    counts: Vec<Array>,
    logits: Array,
}

fn architecture() -> Architecture {
    let block = |channels, stride| Layer::Residual {
        channels,
        stride,
        bias: false,
        batch_norm: true,
        dropout: 0.0,
        tap: None,
    };
    let layers = vec![
        Layer::Conv {
            channels: 4,
            kernel: 3,
            stride: 1,
            bias: false,
            batch_norm: true,
            activation: true,
            tap: None,
        },
        block(4, 1),
        block(6, 2),
        Layer::AveragePool { size: 2 },
        Layer::Linear { features: 8, bias: true },
        Layer::Classifier { bias: true },
    ];
    Architecture { name: "golden".into(), layers }
}

fn batch(array: &Array) -> Batch {
    let count = array.shape[0];
    Batch {
        pixels: array.data.clone(),
        shape: Shape { channels: 2, height: 8, width: 8 },
        labels: vec![0; count],
        samples: (0..count as u32).collect(),
    }
}

#[test]
fn conversions_agree_with_pytorch() {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../golden/conversions.json")).unwrap();
    assert!(cases.len() > 8);
    cases.iter().for_each(check);
}

fn check(case: &Case) {
    let name = &case.name;
    let architecture = architecture();
    let image = Shape { channels: 2, height: 8, width: 8 };
    let plan = architecture.plan(image, 3).unwrap();
    let folded = architecture.folded().plan(image, 3).unwrap();
    let tensors: StateDict =
        case.weights.iter().map(|(name, array)| (name.clone(), array.translated())).collect();
    let ann = Network::<B>::new(&plan, Init::default(), Seed(0), &device());
    let ann = state::load(ann, tensors.clone()).unwrap();
    let reference = |batch: &Batch| {
        ann.activations(batch.images(&device()), &Pass::evaluate(Seed(0), &batch.samples))
    };
    let norms = batch_norms(&tensors);
    let tensors = fold_batch_norm(&architecture, tensors).unwrap();
    let known = Ann::new(&tensors, &reference).with_norms(&norms);
    let batches: Vec<Batch> = case.batches.iter().map(batch).collect();
    let on_progress = &progress::go_on;
    let balancing =
        Balancing { config: &case.config, batches: &batches, seed: Seed(0), on_progress };
    let spiking = SpikingConfig { neuron: case.neuron, ..Default::default() };
    let network = SpikingNetwork::<B>::new(&folded, &spiking, case.steps, &device()).unwrap();
    let (network, _) = convert(network, known, balancing, &device()).unwrap();

    let thresholds: Vec<Vec<f32>> =
        network.neurons().iter().map(|(_, neurons)| neurons.thresholds()).collect();
    let scales = scales(&network, &thresholds);
    for (layer, (neuron_layer, neurons)) in network.neurons().into_iter().enumerate() {
        let what = |found: &str| format!("{name}, {neuron_layer}: {found}");
        let in_units = |(channel, found): (usize, &f32)| found * scales[layer].unit_of(channel);
        let found: Vec<f32> = thresholds[layer].iter().enumerate().map(in_units).collect();
        assert_close(&what("thresholds"), &found, &case.thresholds[layer].data);
        if let Some(potentials) = &case.potentials {
            let found = neurons.initial_membranes().unwrap();
            let positions = found.len() / case.counts[layer].shape[1];
            let in_units = |(index, found): (usize, &f32)| {
                found * of_channel(&scales[layer].unit, index / positions)
            };
            let found: Vec<f32> = found.iter().enumerate().map(in_units).collect();
            assert_close(&what("potentials"), &found, &potentials[layer].data);
        }
    }
    let pass = Pass::evaluate(Seed(0), &batches[0].samples);
    let counts = Probes::from([Probe::SpikeCounts]);
    let observed = network.observe(batches[0].images(&device()), &pass, &counts);
    for (layer, counts) in observed.spike_counts.into_iter().enumerate() {
        let counts = counts.into_data().to_vec::<f32>().unwrap();
        assert_eq!(counts, case.counts[layer].data, "{name}, spikes of layer {layer}");
    }
    let logits = observed.logits.into_data().to_vec::<f32>().unwrap();
    assert_close(&format!("{name}, logits"), &logits, &case.logits.data);
    let simulator = Simulator::new(network);
    case.offset.iter().for_each(|offset| check_offset(name, &simulator, offset, &batches[0]));
}

fn check_offset(name: &str, simulator: &Simulator<B>, offset: &Offset, batch: &Batch) {
    let what = format!("{name}, {} offset steps", offset.offset_steps);
    let simulator = simulator.clone().with_offset_steps(offset.offset_steps).unwrap();
    let mut logits = vec![0.0; offset.logits.data.len()];
    let each = |chunk: Chunk<'_, B>| {
        assert_eq!(chunk.steps, offset.time_steps);
        for currents in chunk.logits.chunks(logits.len()) {
            let mean = currents.iter().map(|current| current / offset.time_steps as f32);
            logits.iter_mut().zip(mean).for_each(|(sum, current)| *sum += current);
        }
        ControlFlow::Continue(())
    };
    let counts = count_spikes(&simulator, batch, offset.time_steps, Seed(0), &device(), each);
    let ControlFlow::Continue(counts) = counts else { panic!("{what}: stopped") };
    for (layer, (counts, expected)) in counts.iter().zip(&offset.counts).enumerate() {
        assert_eq!(counts, &expected.data, "{what}, spikes of layer {layer}");
    }
    assert_close(&format!("{what}, logits"), &logits, &offset.logits.data);
}
