//! Conversion end to end on small random networks.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::ops::ControlFlow;

use burn::tensor::{Tensor, backend::BackendTypes};
use burn_flex::Flex;
use lasnn_conversion::{
    ActivationBounds, Balancing, ClassScores, ConversionConfig, ConversionError, MethodConfig,
    Policy, ThresholdBalancing, WeightNormalisation, convert, fold_batch_norm,
};
use lasnn_core::random::unit;
use lasnn_core::{
    Architecture, Batch, BatchSource, Layer, Pass, Plan, Probe, Probes, Seed, Shape, Stream,
};
use lasnn_models::{Init, Network, QcfsConfig};
use lasnn_neurons::{InitialMembraneConfig, LifConfig, NeuronModel, PlifConfig, SpikingNeurons};
use lasnn_nn::{BatchTensors, Observable, StateDict, state};
use lasnn_snn::{Progress, Simulator, SpikingConfig, SpikingNetwork, Task, progress, simulate};

type B = Flex;

const SEED: Seed = Seed(7);

fn device() -> <B as BackendTypes>::Device {
    Default::default()
}

fn balancing_by(policy: Policy) -> MethodConfig {
    MethodConfig::ThresholdBalancing(ThresholdBalancing { policy })
}

fn maximum() -> MethodConfig {
    balancing_by(Policy::Maximum {})
}

/// Images that are served in one batch.
struct Fixed(Batch);

impl BatchSource for Fixed {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn batches(&self) -> usize {
        1
    }
    fn epoch(&self, _: u32, first: usize) -> Box<dyn Iterator<Item = Batch> + '_> {
        Box::new((first..1).map(|_| self.0.clone()))
    }
}

fn images(count: u32) -> Batch {
    let shape = Shape { channels: 2, height: 8, width: 8 };
    let mut pixels = vec![0f32; count as usize * shape.len()];
    SEED.draws(Stream::Test, [0; 3]).fill(&mut pixels, |bits| 2.0 * unit(bits) - 1.0);
    Batch {
        shape,
        pixels,
        labels: (0..count).map(|i| i % 5).collect(),
        samples: (0..count).collect(),
    }
}

fn residual_plan() -> Plan {
    let block = |channels, stride| Layer::Residual {
        channels,
        stride,
        bias: false,
        batch_norm: false,
        dropout: 0.2,
        tap: None,
    };
    let layers = vec![
        Layer::conv(6),
        Layer::Dropout { probability: 0.2 },
        block(6, 1),
        block(8, 2),
        Layer::AveragePool { size: 2 },
        Layer::Linear { features: 12, bias: false },
        Layer::Classifier { bias: false },
    ];
    let input = Shape { channels: 2, height: 8, width: 8 };
    Architecture { name: "residual".into(), layers }.plan(input, 5).unwrap()
}

fn balancing<'a>(config: &'a ConversionConfig, batches: &'a [Batch]) -> Balancing<'a> {
    Balancing { config, batches, seed: SEED, on_progress: &progress::go_on }
}

struct Converted {
    ann: Network<B>,
    snn: SpikingNetwork<B>,
    report: lasnn_conversion::ConversionReport,
}

fn converted(plan: &Plan, spiking: &SpikingConfig, config: &ConversionConfig) -> Converted {
    let ann = Network::<B>::new(plan, Init::Kaiming, SEED, &device());
    let network = SpikingNetwork::new(plan, spiking, 8, &device()).unwrap();
    let reference = |batch: &Batch| {
        ann.activations(batch.images(&device()), &Pass::evaluate(SEED, &batch.samples))
    };
    let weights = state::save::<B, _>(&ann);
    let batches = [images(16)];
    let (snn, report) =
        convert(network, &weights, &reference, balancing(config, &batches), &device()).unwrap();
    Converted { ann, snn, report }
}

/// With maximum thresholds, firing rates over many time steps approach the activations. This is the
/// theory of conversion, so it tests all parts of it, including residual blocks.
#[test]
fn with_many_steps_the_converted_network_classifies_like_the_ordinary_one() {
    let config = ConversionConfig { time_steps: 600, method: maximum(), ..Default::default() };
    let Converted { ann, snn, report } =
        converted(&residual_plan(), &SpikingConfig::default(), &config);
    let names: Vec<&str> = report.layers.iter().map(|layer| layer.name.as_str()).collect();
    let expected = [
        "layers.0",
        "layers.2.first",
        "layers.2.second",
        "layers.3.first",
        "layers.3.second",
        "layers.5",
    ];
    assert_eq!(names, expected);
    for layer in &report.layers {
        let correlation = layer.correlation.unwrap();
        assert!(correlation > 0.95, "{}: {correlation}", layer.name);
    }
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);

    let mut batch = images(16);
    let pass = Pass::evaluate(SEED, &batch.samples);
    let logits = ann.logits(batch.images(&device()), &pass);
    batch.labels = logits.argmax(1).into_data().iter::<u32>().collect();
    let simulation = simulate(&Simulator::new(snn.clone()), &Fixed(batch), 600, SEED, &device());
    assert!(simulation.accuracy >= 0.9, "{simulation:?}");
}

#[test]
fn the_first_threshold_is_the_scaled_maximum_of_the_first_convolution() {
    let config =
        ConversionConfig { time_steps: 3, method: maximum(), scale: 0.5, ..Default::default() };
    let Converted { ann, snn, report } =
        converted(&residual_plan(), &SpikingConfig::default(), &config);
    // The maximum of the ReLU activations is the maximum of the weighted input sums.
    let batch = images(16);
    let pass = Pass::evaluate(SEED, &batch.samples);
    let (_, activation) = ann.activations(batch.images(&device()), &pass).remove(0);
    let expected = 0.5 * activation.max().into_scalar();
    // The ordinary network sums its convolutions in another order.
    let found = report.layers[0].threshold;
    assert!((found - expected).abs() < 1e-6 * expected, "{found} instead of {expected}");
    assert_eq!(snn.neurons()[0].1.threshold_value(), found);
}

/// Layers are balanced without leak, so the thresholds do not depend on the neuron model.
#[test]
fn neurons_with_a_trained_leak_are_converted() {
    let config = ConversionConfig { time_steps: 20, ..Default::default() };
    let plif = PlifConfig { leak: 0.75, ..Default::default() };
    let spiking = SpikingConfig { neuron: plif.into(), ..Default::default() };
    let Converted { snn, report, .. } = converted(&residual_plan(), &spiking, &config);
    let expected = converted(&residual_plan(), &SpikingConfig::default(), &config).report;
    let thresholds = |report: &lasnn_conversion::ConversionReport| -> Vec<f32> {
        report.layers.iter().map(|layer| layer.threshold).collect()
    };
    assert_eq!(thresholds(&report), thresholds(&expected));
    for ((name, neurons), threshold) in snn.neurons().into_iter().zip(thresholds(&report)) {
        let SpikingNeurons::Plif(neurons) = neurons else { panic!("{name}: {neurons:?}") };
        assert_eq!(neurons.thresholds(), [threshold], "{name}");
        let leak = neurons.leak().into_scalar();
        assert!((leak - 0.75).abs() < 1e-6, "{name}: {leak}");
    }
}

#[test]
fn errors_name_the_tensor_or_the_layer() {
    let plan = residual_plan();
    let network =
        || SpikingNetwork::<B>::new(&plan, &SpikingConfig::default(), 8, &device()).unwrap();
    let run = |weights, batches: &[Batch]| {
        let reference = |_: &Batch| Vec::<(String, Tensor<B, 4>)>::new();
        let config = ConversionConfig { time_steps: 2, ..Default::default() };
        convert(network(), &weights, &reference, balancing(&config, batches), &device())
            .err()
            .unwrap()
    };
    let good = state::save::<B, _>(&Network::<B>::new(&plan, Init::Kaiming, SEED, &device()));

    assert_eq!(run(good.clone(), &[]), ConversionError::NoImages);
    assert!(matches!(run(good.clone(), &[images(2)]), ConversionError::Activations { .. }));

    let mut missing = good.clone();
    missing.remove("layers.2.first.conv.weight");
    let message = run(missing, &[images(2)]).to_string();
    assert!(message.contains("`layers.2.first.conv.weight` is missing"), "{message}");

    let mut broken = good;
    let (name, shape) = ("layers.0.conv.weight", broken["layers.0.conv.weight"].shape.clone());
    let values = vec![f32::NAN; shape.num_elements()];
    broken.insert(name.into(), burn::tensor::TensorData::new(values, shape));
    let message = run(broken, &[images(2)]).to_string();
    assert!(message.contains("layer `layers.0`") && message.contains("NaN"), "{message}");
}

/// Converts the residual network, with `go_on` as the progress function.
fn convert_while(
    config: &ConversionConfig,
    go_on: &dyn Fn(Progress) -> ControlFlow<()>,
) -> Result<(), ConversionError> {
    let plan = residual_plan();
    let ann = Network::<B>::new(&plan, Init::Kaiming, SEED, &device());
    let network = SpikingNetwork::new(&plan, &SpikingConfig::default(), 8, &device())?;
    let reference = |batch: &Batch| {
        ann.activations(batch.images(&device()), &Pass::evaluate(SEED, &batch.samples))
    };
    let batches = [images(16), images(5)];
    let balancing = Balancing { on_progress: go_on, ..balancing(config, &batches) };
    convert(network, &state::save::<B, _>(&ann), &reference, balancing, &device()).map(|_| ())
}

#[test]
fn a_conversion_reports_progress_and_can_be_stopped_anywhere() {
    let config = ConversionConfig { time_steps: 40, ..Default::default() };
    let reports = RefCell::new(Vec::new());
    let report = |progress: Progress| {
        reports.borrow_mut().push(progress);
        ControlFlow::Continue(())
    };
    convert_while(&config, &report).unwrap();
    let reports = reports.into_inner();
    for task in [Task::Balancing, Task::Comparing] {
        let of_task: Vec<_> = reports.iter().filter(|progress| progress.task == task).collect();
        assert!(of_task.windows(2).all(|pair| pair[0].done <= pair[1].done), "{of_task:?}");
        let last = of_task.last().unwrap();
        assert_eq!(last.done, last.total, "{task:?}");
    }
    for end in 0..reports.len() {
        let calls = RefCell::new(0);
        let stop = |_: Progress| {
            *calls.borrow_mut() += 1;
            match *calls.borrow() == end + 1 {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        assert_eq!(convert_while(&config, &stop), Err(ConversionError::Interrupted), "{end}");
    }
}

#[test]
fn a_percentile_that_is_not_positive_is_an_error() {
    let method = balancing_by(Policy::Percentile { percentile: 10.0 });
    let config = ConversionConfig { time_steps: 4, method, ..Default::default() };
    let error = convert_while(&config, &progress::go_on).unwrap_err();
    assert!(matches!(error, ConversionError::NotPositive { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("layer `layers.0`: only"), "{message}");
    assert!(message.contains("`conversion.method.policy`"), "{message}");
}

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
        convert(network, &state::save(&ann), &|_| Vec::new(), balancing, &device()).unwrap_err();
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
            convert(spiking.unwrap(), &ann, &reference, balancing, &device()).unwrap();
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
        convert(spiking(), &state::save(&ann), &reference, balancing, &device()).unwrap();

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
    let (network, report) = convert(spiking(), &tensors, &reference, balancing, &device()).unwrap();
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
    let (network, _) = convert(rest, &tensors, &reference, shifted, &device()).unwrap();
    let observed =
        network.observe(batch.images(&device()), &pass, &Probes::from([Probe::SpikeCounts]));
    let shifted = read(observed.spike_counts[0].clone());
    let same = shifted.iter().zip(&counts).filter(|(a, b)| a == b).count();
    // A sum of 8 currents that ends at a threshold may round either way.
    assert!(same * 100 > 98 * counts.len(), "{same} of {} counts are equal", counts.len());

    let mut without = tensors;
    without.remove("layers.1.activation.bound");
    let error = convert(spiking(), &without, &reference, balancing, &device()).unwrap_err();
    assert_eq!(error, ConversionError::Bound { layer: "layers.1".into(), found: None });
    assert!(error.to_string().contains("`layers.1`"), "{error}");
}
