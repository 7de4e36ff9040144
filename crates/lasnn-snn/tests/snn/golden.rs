//! Whole spiking networks against PyTorch autograd: the logits and the gradients of every weight,
//! on both CPU backends. The script that made the values is
//! `lasnn-neurons/tests/golden/make_golden.py`.

use std::collections::BTreeMap;

use burn::backend::Autodiff;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Int, Tensor, TensorData, Tolerance, activation::log_softmax};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use lasnn_core::{Architecture, Layer, Pass, Seed, Shape};
use lasnn_neurons::{LifConfig, Reset, SpikingBackend, StepOrder};
use lasnn_nn::{Observable, StateDict, state};
use lasnn_snn::{SpikingConfig, SpikingNetwork};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    plain: Vec<Case>,
    residual: Vec<Case>,
}

/// The class scores of a case as the script computes them.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Readout {
    Sum,
    Mean,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    leak: f64,
    reset: Reset,
    step_order: StepOrder,
    readout: Readout,
    thresholds: BTreeMap<String, f32>,
    labels: Vec<i32>,
    input: Array,
    weights: BTreeMap<String, Array>,
    logits: Array,
    gradients: BTreeMap<String, Array>,
}

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Array {
    /// In Burn's layout, where linear weights are `[in, out]`.
    fn data(&self) -> TensorData {
        let data = TensorData::new(self.data.clone(), self.shape.clone());
        match self.shape.len() {
            2 if !self.data.is_empty() => {
                Tensor::<Flex, 2>::from_data(data, &Default::default()).transpose().into_data()
            }
            _ => data,
        }
    }
}

/// For each golden name the name of our weight, and of the neurons that the weight drives.
type Names = &'static [(&'static str, &'static str, Option<&'static str>)];

const PLAIN: Names = &[
    ("conv", "layers.0.conv.weight", Some("layers.0.neurons")),
    ("linear", "layers.2.linear.weight", Some("layers.2.neurons")),
    ("readout", "layers.3.linear.weight", None),
];

const RESIDUAL: Names = &[
    ("conv", "layers.0.conv.weight", Some("layers.0.neurons")),
    ("conv1", "layers.1.first.conv.weight", Some("layers.1.first.neurons")),
    ("conv2", "layers.1.second.conv.weight", Some("layers.1.second.neurons")),
    ("readout", "layers.2.linear.weight", None),
];

fn check<A: SpikingBackend + AutodiffBackend>(case: &Case, names: Names, layers: &[Layer]) {
    let device = Default::default();
    let [steps, batch, channels, height, width] = case.input.shape[..] else { panic!("input") };
    let input = Shape { channels, height, width };
    let classes = case.logits.shape[1];
    let architecture = Architecture { name: case.name.clone(), layers: layers.to_vec() };
    let plan = architecture.plan(input, classes).unwrap();
    let neuron = LifConfig {
        leak: case.leak.into(),
        reset: case.reset,
        step_order: case.step_order,
        ..Default::default()
    };
    let config = SpikingConfig { neuron: neuron.into(), ..Default::default() };
    let network = SpikingNetwork::<A>::new(&plan, &config, steps, &device).unwrap();
    let mut tensors: StateDict = state::save(&network);
    for (theirs, weight, neurons) in names {
        tensors.insert((*weight).into(), case.weights[*theirs].data());
        if let Some(neurons) = neurons {
            let threshold = TensorData::from([case.thresholds[*theirs]]);
            tensors.insert(format!("{neurons}.threshold"), threshold);
        }
    }
    let network = state::load(network, tensors).unwrap();

    // Direct encoding: the golden input repeats the image at every step.
    let size = batch * input.len();
    let image = TensorData::new(case.input.data[..size].to_vec(), [batch, channels, height, width]);
    let pass = Pass::train(Seed(1), 0, &[0, 1]);
    let mean = network.logits(Tensor::from_data(image, &device), &pass);
    let scores = match case.readout {
        Readout::Sum => mean * steps as f64,
        Readout::Mean => mean,
    };
    let logits = TensorData::new(case.logits.data.clone(), case.logits.shape.clone());
    let tolerance = Tolerance::rel_abs(1e-4, 1e-6);
    scores.to_data().assert_approx_eq::<f32>(&logits, tolerance);

    let labels =
        Tensor::<A, 1, Int>::from_data(TensorData::new(case.labels.clone(), [batch]), &device);
    let loss = log_softmax(scores, 1).gather(1, labels.unsqueeze_dim(1)).mean().neg();
    let gradients = gradients(&network, &loss.backward());
    assert_eq!(gradients.len(), names.len(), "only weights are trained");
    for (theirs, weight, _) in names {
        let expected = case.gradients[*theirs].data();
        gradients[*weight].assert_approx_eq::<f32>(&expected, Tolerance::rel_abs(1e-4, 1e-6));
    }
}

fn on_both_backends(case: &Case, names: Names, layers: &[Layer]) {
    check::<Autodiff<Flex>>(case, names, layers);
    check::<Autodiff<NdArray>>(case, names, layers);
}

/// The gradients by the names of their weights.
pub fn gradients<A: SpikingBackend + AutodiffBackend>(
    network: &SpikingNetwork<A>,
    gradients: &A::Gradients,
) -> StateDict {
    struct Collect<'a, A: AutodiffBackend> {
        gradients: &'a A::Gradients,
        path: state::Path,
        found: StateDict,
    }
    impl<A: AutodiffBackend> ModuleVisitor<A> for Collect<'_, A> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<A, D>>) {
            if let Some(gradient) = param.val().grad(self.gradients) {
                self.found.insert(self.path.name(), gradient.into_data());
            }
        }
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.path.exit(container);
        }
    }
    let mut collect: Collect<'_, A> =
        Collect { gradients, path: Default::default(), found: StateDict::new() };
    network.visit(&mut collect);
    collect.found
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../lasnn-neurons/tests/golden/network.json")).unwrap()
}

#[test]
fn networks_of_convolution_pool_and_linear_layers_equal_pytorch() {
    let golden = golden();
    assert_eq!(golden.plain.len(), 8);
    for case in &golden.plain {
        let (channels, features) = (case.weights["conv"].shape[0], case.weights["linear"].shape[0]);
        let layers = [
            Layer::conv(channels),
            Layer::AveragePool { size: 2 },
            Layer::Linear { features, bias: false },
            Layer::Classifier { bias: false },
        ];
        on_both_backends(case, PLAIN, &layers);
    }
}

#[test]
fn residual_blocks_equal_pytorch() {
    let golden = golden();
    assert_eq!(golden.residual.len(), 2);
    for case in &golden.residual {
        let channels = case.weights["conv"].shape[0];
        let block = Layer::Residual {
            channels,
            stride: 1,
            bias: false,
            batch_norm: false,
            dropout: 0.0,
            tap: None,
        };
        let layers = [Layer::conv(channels), block, Layer::Classifier { bias: false }];
        on_both_backends(case, RESIDUAL, &layers);
    }
}
