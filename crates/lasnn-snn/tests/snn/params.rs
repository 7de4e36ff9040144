//! Networks in which weights, biases, thresholds, leaks and initial membrane potentials are all
//! trained, against PyTorch's autograd: fused on CPUs, and layer by layer on every backend.
//!
//! `tests/golden/make_golden.py` made the values. No membrane potential depends on rounding.

use burn::backend::Autodiff;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Int, Tensor, TensorData, Tolerance, activation::log_softmax};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use lasnn_core::{Architecture, Layer, Pass, Precision, Seed, Shape};
use lasnn_neurons::SpikingBackend;
use lasnn_nn::{Observable, StateDict, state};
use lasnn_snn::{SpikingConfig, SpikingNetwork};
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::golden::gradients;

#[derive(Deserialize)]
pub struct Case {
    name: String,
    time_steps: usize,
    layers: Vec<Layer>,
    spiking: SpikingConfig,
    image: Array,
    labels: Vec<i32>,
    state: BTreeMap<String, Array>,
    gradients: BTreeMap<String, Array>,
    /// The running statistics of batch norms after the pass.
    #[serde(default)]
    pub running: BTreeMap<String, Array>,
    logits: Array,
    loss: f64,
}

#[derive(Deserialize)]
pub struct Array {
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl Array {
    pub fn data(&self) -> TensorData {
        let data: Vec<f32> = self.data.iter().map(|&number| number as f32).collect();
        TensorData::new(data, self.shape.clone())
    }
}

pub fn network<A: SpikingBackend>(case: &Case, device: &A::Device) -> SpikingNetwork<A> {
    let [_, channels, height, width] = case.image.shape[..] else { panic!("image") };
    let architecture = Architecture { name: case.name.clone(), layers: case.layers.clone() };
    let plan = architecture.plan(Shape { channels, height, width }, 4).unwrap();
    let network = SpikingNetwork::new(&plan, &case.spiking, case.time_steps, device).unwrap();
    let tensors: StateDict =
        case.state.iter().map(|(name, array)| (name.clone(), array.data())).collect();
    state::load(network, tensors).unwrap()
}

/// The gradients of the loss with respect to all tensors.
fn run<A: SpikingBackend + AutodiffBackend>(
    case: &Case,
    network: &SpikingNetwork<A>,
    precision: Precision,
) -> (f64, StateDict) {
    let device = Default::default();
    let batch = case.labels.len();
    let samples: Vec<u32> = (0..batch as u32).collect();
    let pass = Pass::train(Seed(1), 0, &samples).with_precision(precision);
    let logits = network.logits(Tensor::from_data(case.image.data(), &device), &pass);
    let tolerance = Tolerance::rel_abs(1e-5, 1e-6);
    logits.to_data().assert_approx_eq::<f32>(&case.logits.data(), tolerance);
    let labels = TensorData::new(case.labels.clone(), [batch]);
    let labels = Tensor::<A, 1, Int>::from_data(labels, &device);
    let loss = log_softmax(logits, 1).gather(1, labels.unsqueeze_dim(1)).mean().neg();
    let found = gradients(network, &loss.backward());
    (loss.into_data().iter::<f64>().next().unwrap(), found)
}

pub fn check<A: SpikingBackend + AutodiffBackend>(case: &Case, network: &SpikingNetwork<A>) {
    let (loss, found) = run(case, network, Precision::F32);
    assert!((loss - case.loss).abs() < 1e-6, "{}: loss {loss}, expected {}", case.name, case.loss);
    assert_eq!(found.keys().collect::<Vec<_>>(), case.gradients.keys().collect::<Vec<_>>());
    for (name, expected) in &case.gradients {
        let largest = expected.data.iter().fold(0f64, |max, x| max.max(x.abs()));
        let found: Vec<f64> = found[name].iter().collect();
        assert_eq!(found.len(), expected.data.len(), "{}: {name}", case.name);
        for (index, (found, expected)) in found.iter().zip(&expected.data).enumerate() {
            let error = (found - expected).abs() / largest;
            assert!(error < 1e-4, "{}: {name}[{index}] is {found}, not {expected}", case.name);
        }
    }
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../golden/params.json")).unwrap();
    assert_eq!(cases.len(), 16);
    cases
}

fn every_parameter_has_the_gradient_of_pytorch<A: SpikingBackend + AutodiffBackend>() {
    for case in cases() {
        let network = network::<A>(&case, &Default::default());
        assert_eq!(network.layer_by_layer_because(), None);
        // GPUs have no kernels for whole networks.
        if A::on_host(&[], |_| ()).is_some() {
            check(&case, &network);
        }
        check(&case, &network.layer_by_layer());
    }
}

#[test]
fn every_parameter_has_the_gradient_of_pytorch_on_flex() {
    every_parameter_has_the_gradient_of_pytorch::<Autodiff<Flex>>();
}

#[test]
fn every_parameter_has_the_gradient_of_pytorch_on_ndarray() {
    every_parameter_has_the_gradient_of_pytorch::<Autodiff<NdArray>>();
}

#[cfg(feature = "vulkan")]
#[test]
fn every_parameter_has_the_gradient_of_pytorch_on_vulkan() {
    every_parameter_has_the_gradient_of_pytorch::<Autodiff<burn::backend::Vulkan>>();
}

/// Rounding changes gradients by a few per cent, and no spike here.
#[test]
fn bfloat16_changes_gradients_little() {
    for case in cases() {
        let network = network::<Autodiff<Flex>>(&case, &Default::default());
        let (_, found) = run(&case, &network, Precision::Bf16);
        for (name, expected) in &case.gradients {
            let norm = |numbers: &[f64]| numbers.iter().map(|x| x * x).sum::<f64>().sqrt();
            let found: Vec<f64> = found[name].iter().collect();
            let error: Vec<f64> = found.iter().zip(&expected.data).map(|(a, b)| a - b).collect();
            let allowed = 0.05 * norm(&expected.data) + 1e-3;
            assert!(norm(&error) < allowed, "{}: {name}: {}", case.name, norm(&error));
        }
    }
}
