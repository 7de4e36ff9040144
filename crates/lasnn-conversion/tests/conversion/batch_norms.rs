//! Networks with biases and with batch norms, which are folded.

use burn::tensor::Tensor;
use lasnn_conversion::{
    Ann, Balancing, ClassScores, ConversionConfig, ConversionError, MethodConfig,
    WeightNormalisation, convert, fold_batch_norm,
};
use lasnn_core::random::unit;
use lasnn_core::{Architecture, Batch, Layer, Pass, Plan, Probe, Probes, Shape, Stream};
use lasnn_models::{Init, Network};
use lasnn_nn::{BatchTensors, Observable, StateDict, state};
use lasnn_snn::{SpikingConfig, SpikingNetwork, progress};

use crate::helpers::{B, SEED, device, images, maximum};

/// A network with batch norms, some of them with a bias before, whose running statistics and
/// weights are random.
fn with_batch_norms() -> (Architecture, Network<B>, Plan) {
    let conv = |channels, bias| Layer::Conv {
        channels,
        kernel: 3,
        stride: 1,
        bias,
        batch_norm: true,
        activation: true,
        tap: None,
    };
    let block = |channels, stride| Layer::Residual {
        channels,
        stride,
        bias: false,
        batch_norm: true,
        dropout: 0.0,
        tap: None,
    };
    let layers = vec![
        conv(6, false),
        conv(6, true),
        block(6, 1),
        Layer::AveragePool { size: 2 },
        block(8, 2),
        Layer::Linear { features: 12, bias: true },
        Layer::Classifier { bias: true },
    ];
    let architecture = Architecture { name: "norms".into(), layers };
    let plan = architecture.plan(Shape { channels: 2, height: 8, width: 8 }, 5).unwrap();
    let network = Network::<B>::new(&plan, Init::default(), SEED, &device());
    let mut tensors = state::save(&network);
    for (index, (name, tensor)) in tensors.iter_mut().enumerate() {
        if tensor.shape.len() == 1 {
            let mut numbers = vec![0f32; tensor.num_elements()];
            SEED.draws(Stream::Test, [9, index as u32, 0]).fill(&mut numbers, unit);
            let is_scale = name.ends_with("running_var") || name.ends_with("gamma");
            numbers
                .iter_mut()
                .for_each(|x| *x = if is_scale { 0.5 + *x } else { 0.4 * (*x - 0.4) });
            *tensor = burn::tensor::TensorData::new(numbers, tensor.shape.clone());
        }
    }
    (architecture, state::load(network, tensors).unwrap(), plan)
}

#[test]
fn a_network_with_folded_batch_norms_computes_the_same() {
    let (architecture, network, plan) = with_batch_norms();
    let folded = architecture.folded().plan(plan.input, plan.classes).unwrap();
    let tensors = fold_batch_norm(&architecture, state::save(&network)).unwrap();
    assert!(tensors.keys().all(|name| !name.contains("norm")), "{:?}", tensors.keys());
    let plain = Network::<B>::new(&folded, Init::default(), SEED, &device());
    let plain = state::load(plain, tensors).unwrap();
    let batch = images(6);
    let pass = Pass::evaluate(SEED, &batch.samples);
    let [found, expected] = [&plain, &network].map(|network| {
        network.logits(batch.images(&device()), &pass).into_data().to_vec::<f32>().unwrap()
    });
    assert!(expected.iter().any(|logit| logit.abs() > 0.1));
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4, "{found} instead of {expected}");
    }
}

#[test]
fn a_missing_statistic_is_named() {
    let (architecture, network, _) = with_batch_norms();
    let mut tensors = state::save(&network);
    tensors.remove("layers.1.norm.running_var");
    let message = fold_batch_norm(&architecture, tensors).unwrap_err().to_string();
    assert!(message.contains("`layers.1.norm.running_var` is missing"), "{message}");
}

/// In evaluation a batch norm is a linear function of the currents at every time step.
#[test]
fn a_spiking_network_with_folded_batch_norms_fires_the_same_spikes() {
    let (architecture, ann, plan) = with_batch_norms();
    let folded = architecture.folded().plan(plan.input, plan.classes).unwrap();
    let network = |plan: &Plan, ann: StateDict| {
        let network =
            SpikingNetwork::<B>::new(plan, &SpikingConfig::default(), 5, &device()).unwrap();
        let own = state::save(&network).into_iter().filter(|(name, _)| name.contains(".neurons."));
        state::load(network, ann.into_iter().chain(own).collect()).unwrap()
    };
    let normalised = network(&plan, state::save(&ann));
    let tensors = fold_batch_norm(&architecture, state::save(&ann)).unwrap();
    let plain = network(&folded, tensors);
    let batch = images(6);
    let pass = Pass::evaluate(SEED, &batch.samples);
    let counts = Probes::from([Probe::SpikeCounts]);
    let [found, expected] = [&plain, &normalised].map(|network| {
        let observed = network.observe(batch.images(&device()), &pass, &counts);
        let counts = observed.spike_counts.into_iter().map(|counts| counts.into_data());
        counts.flat_map(|counts| counts.to_vec::<f32>().unwrap()).collect::<Vec<f32>>()
    });
    assert!(expected.iter().sum::<f32>() > 100.0, "the network must not be silent");
    assert_eq!(found, expected);
}

#[test]
fn a_network_with_batch_norms_must_be_folded_before_it_is_converted() {
    let (_, ann, plan) = with_batch_norms();
    let network = SpikingNetwork::<B>::new(&plan, &SpikingConfig::default(), 5, &device()).unwrap();
    let batches = [images(2)];
    let config = ConversionConfig::default();
    let on_progress = &progress::go_on;
    let balancing = Balancing { config: &config, batches: &batches, seed: SEED, on_progress };
    let error =
        convert(network, Ann::new(&state::save(&ann), &|_| Vec::new()), balancing, &device())
            .unwrap_err();
    assert_eq!(error, ConversionError::BatchNorm { layer: 0, kind: "conv" });
    assert!(error.to_string().contains("layer 0 (conv)"), "{error}");
}

#[test]
fn biases_and_folded_batch_norms_are_converted() {
    let normalisation = WeightNormalisation { percentile: 100.0 };
    for method in [maximum(), MethodConfig::WeightNormalisation(normalisation)] {
        converts_biases(method);
    }
}

/// With many time steps the mean logits of the converted network are those of the ordinary one.
/// Without the division of biases by thresholds they are not. Raw class scores differ by a factor.
fn converts_biases(method: MethodConfig) {
    let (architecture, network, plan) = with_batch_norms();
    let folded = architecture.folded().plan(plan.input, plan.classes).unwrap();
    let ann = fold_batch_norm(&architecture, state::save(&network)).unwrap();
    let batch = images(16);
    let pass = Pass::evaluate(SEED, &batch.samples);
    let reference = |batch: &Batch| network.activations(batch.images(&device()), &pass);
    let read = |logits: Tensor<B, 2>| logits.into_data().to_vec::<f32>().unwrap();
    let time_steps = 1000;
    let logits = |class_scores| {
        let method = method.clone();
        let config = ConversionConfig { time_steps, method, class_scores, ..Default::default() };
        let batches = [batch.clone()];
        let on_progress = &progress::go_on;
        let balancing = Balancing { config: &config, batches: &batches, seed: SEED, on_progress };
        let spiking =
            SpikingNetwork::<B>::new(&folded, &SpikingConfig::default(), time_steps, &device());
        let (spiking, report) =
            convert(spiking.unwrap(), Ann::new(&ann, &reference), balancing, &device()).unwrap();
        for layer in &report.layers {
            assert!(layer.correlation.unwrap() > 0.99, "{layer:?}");
        }
        read(spiking.logits(batch.images(&device()), &pass))
    };
    let expected = read(network.logits(batch.images(&device()), &pass));
    let found = logits(ClassScores::Ann);
    let error = relative_difference(&found, &expected);
    assert!(error < 0.1, "the relative error is {error}");

    let raw = logits(ClassScores::Raw);
    let largest = (0..found.len()).max_by(|&a, &b| found[a].total_cmp(&found[b])).unwrap();
    let factor = found[largest] / raw[largest];
    assert!((factor - 1.0).abs() > 0.1, "the factor is {factor}");
    let scaled: Vec<f32> = raw.iter().map(|raw| raw * factor).collect();
    let error = relative_difference(&scaled, &found);
    assert!(error < 1e-4, "the relative error is {error}");
}

/// The norm of the difference, divided by the norm of `expected`.
fn relative_difference(found: &[f32], expected: &[f32]) -> f32 {
    let norm = |numbers: Vec<f32>| numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
    let difference = found.iter().zip(expected).map(|(found, expected)| found - expected);
    norm(difference.collect()) / norm(expected.to_vec())
}
