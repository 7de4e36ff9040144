//! The probe of membrane potentials where every parameter of the neurons is trained: the fused pass
//! against the pass layer by layer, values and gradients, in `f32` and in bfloat16.

use burn::backend::Autodiff;
use burn::module::Module;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use lasnn_core::{Architecture, Layer, Pass, Precision, Probe, Probes, Seed, Shape, Tap};
use lasnn_neurons::{
    InitialMembraneConfig, InitialMembranePer, LeakConfig, LifConfig, Reset, SpikingBackend,
    StepOrder, ThresholdConfig, ThresholdPer,
};
use lasnn_nn::{Observable, StateDict, state};
use lasnn_snn::{SpikingConfig, SpikingNetwork};

use crate::golden::gradients;
use crate::weights::DrawWeights;

const STEPS: usize = 7;
const BATCH: usize = 3;
const INPUT: Shape = Shape { channels: 3, height: 8, width: 8 };

/// Convolutions, pooling, dropout and a linear layer, or residual blocks. All have biases.
fn layers(residual: bool) -> Vec<Layer> {
    let conv = |channels| {
        let mut conv = Layer::conv(channels);
        if let Layer::Conv { bias, .. } = &mut conv {
            *bias = true;
        }
        conv
    };
    let block = |channels, stride| Layer::Residual {
        channels,
        stride,
        bias: true,
        batch_norm: false,
        dropout: 0.5,
        tap: None,
    };
    let classifier = Layer::Classifier { bias: true };
    match residual {
        true => vec![
            conv(8).tapped(Tap::Low),
            block(8, 1).tapped(Tap::Middle),
            block(20, 2).tapped(Tap::High),
            Layer::GlobalAveragePool {},
            classifier,
        ],
        false => vec![
            conv(8).tapped(Tap::Low),
            Layer::AveragePool { size: 2 },
            conv(20).tapped(Tap::Middle),
            Layer::Dropout { probability: 0.5 },
            conv(16).tapped(Tap::High),
            Layer::Linear { features: 30, bias: true },
            classifier,
        ],
    }
}

fn configs() -> impl Iterator<Item = LifConfig> {
    let leaks = [(1.0, false), (0.875, false), (1.0, true), (0.875, true)];
    let leaks = leaks.map(|(value, train)| LeakConfig { value, train });
    let options = Reset::ALL.into_iter().flat_map(|reset| StepOrder::ALL.map(|o| (reset, o)));
    options.flat_map(move |(reset, step_order)| {
        leaks.into_iter().map(move |leak| {
            let is_shared = leak.value == 1.0;
            let per = if is_shared { ThresholdPer::Layer } else { ThresholdPer::Channel };
            let of_initial =
                if is_shared { InitialMembranePer::Neuron } else { InitialMembranePer::Layer };
            // Some neurons start above their threshold: it is 1.
            let value = if is_shared { 0.5 } else { 1.25 };
            LifConfig {
                leak,
                threshold: ThresholdConfig { per, train: true },
                initial_membrane: InitialMembraneConfig { value, per: of_initial, train: true },
                reset,
                step_order,
                ..Default::default()
            }
        })
    })
}

/// A network whose currents are sums of multiples of 1/64.
fn network<A: SpikingBackend>(neuron: LifConfig, residual: bool) -> SpikingNetwork<A> {
    let plan = Architecture { name: "test".into(), layers: layers(residual) };
    let plan = plan.plan(INPUT, 5).unwrap();
    let config = SpikingConfig { neuron: neuron.into(), ..Default::default() };
    let network = SpikingNetwork::<A>::new(&plan, &config, STEPS, &Default::default()).unwrap();
    let network = network.map(&mut DrawWeights(3));
    let mut tensors = state::save(&network);
    for (_, bias) in tensors.iter_mut().filter(|(name, _)| name.ends_with("bias")) {
        let count = bias.shape.num_elements();
        let numbers: Vec<f32> = (0..count).map(|i| (i * 5 % 9) as f32 / 16.0 - 0.25).collect();
        *bias = TensorData::new(numbers, bias.shape.clone());
    }
    state::load(network, tensors).unwrap()
}

/// Numbers of -1 to 1 that look random.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * i + 3 * i) % 17) as f32 / 8.0 - 1.0).collect()
}

/// The membrane potentials at the taps, and the gradients of a loss that depends on them and on the
/// logits.
fn run<A: SpikingBackend + AutodiffBackend>(
    network: &SpikingNetwork<A>,
    precision: Precision,
) -> (Vec<TensorData>, StateDict) {
    let device = Default::default();
    let Shape { channels, height, width } = INPUT;
    let images = TensorData::new(numbers(BATCH * INPUT.len()), [BATCH, channels, height, width]);
    let pass = Pass::train(Seed(5), 1, &[4, 9, 2]).with_precision(precision);
    let probes = Probes::from(Tap::ALL.map(Probe::Membranes));
    let found = network.observe(Tensor::from_data(images, &device), &pass, &probes);
    assert_eq!(found.membranes.len(), 3);
    let mut loss = found.logits.powi_scalar(2).mean();
    for membranes in found.membranes.values() {
        let [steps, batch, ..] = membranes.dims();
        assert_eq!([steps, batch], [STEPS, BATCH]);
        let factors = TensorData::new(numbers(membranes.shape().num_elements()), membranes.dims());
        loss = loss + (membranes.clone() * Tensor::from_data(factors, &device)).mean();
    }
    let gradients = gradients(network, &loss.backward());
    (found.membranes.into_values().map(Tensor::into_data).collect(), gradients)
}

fn norm(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.map(|x| x * x).sum::<f64>().sqrt()
}

fn membranes_and_all_gradients_agree<A: SpikingBackend + AutodiffBackend>() {
    for (neuron, residual) in configs().flat_map(|config| [(config, false), (config, true)]) {
        let network = network::<A>(neuron, residual);
        assert_eq!(network.layer_by_layer_because(), None);
        let (membranes, expected) = run(&network.clone().layer_by_layer(), Precision::F32);
        for (precision, tolerance) in [(Precision::F32, 2e-5), (Precision::Bf16, 0.02)] {
            let what = format!("{neuron:?}, residual: {residual}, {precision:?}");
            let (found, gradients) = run(&network, precision);
            // Rounding changes no weight here, so potentials are equal.
            for (found, expected) in found.iter().zip(&membranes) {
                assert!(found == expected, "membrane potentials: {what}");
            }
            assert!(gradients.keys().eq(expected.keys()), "{what}");
            for kind in ["threshold", "initial_membrane", "weight", "bias"] {
                assert!(gradients.keys().any(|name| name.ends_with(kind)), "{kind}: {what}");
            }
            assert_eq!(gradients.keys().any(|name| name.ends_with("leak")), neuron.leak.train);
            let largest = expected.values().map(|all| norm(all.iter())).fold(0.0, f64::max);
            for (name, expected) in &expected {
                let pairs = gradients[name].iter::<f64>().zip(expected.iter::<f64>());
                let error = norm(pairs.map(|(found, expected)| found - expected));
                // The terms of a leak or a threshold that a whole layer shares often cancel out.
                let allowed = tolerance * (norm(expected.iter()) + 0.1 * largest);
                assert!(error < allowed, "{name}: {error} of {allowed}, {largest}, {what}");
            }
        }
    }
}

#[test]
fn membranes_and_all_gradients_agree_on_flex() {
    membranes_and_all_gradients_agree::<Autodiff<Flex>>();
}

#[test]
fn membranes_and_all_gradients_agree_on_ndarray() {
    membranes_and_all_gradients_agree::<Autodiff<NdArray>>();
}

/// An evaluation, which has no tape, gives the same potentials.
#[test]
fn a_pass_without_gradients_has_the_same_membranes() {
    for neuron in configs() {
        let [fused, by_layer] = [true, false].map(|is_fused| {
            let network = network::<Flex>(neuron, false).with_time_steps(200);
            let network = if is_fused { network } else { network.layer_by_layer() };
            let Shape { channels, height, width } = INPUT;
            let images =
                TensorData::new(numbers(BATCH * INPUT.len()), [BATCH, channels, height, width]);
            let images = Tensor::from_data(images, &Default::default());
            let probes = Probes::from([Probe::Membranes(Tap::Low), Probe::Membranes(Tap::High)]);
            let found = network.observe(images, &Pass::evaluate(Seed(1), &[0, 1, 2]), &probes);
            found.membranes.into_values().map(|map| map.into_data()).collect::<Vec<_>>()
        });
        assert_eq!(fused.len(), 2);
        assert!(fused == by_layer, "{neuron:?}");
    }
}
