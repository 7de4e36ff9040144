//! Networks with another activation than ReLU: golden values of PyTorch, parameters and ranges.

use std::collections::BTreeMap;

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleVisitor, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use lasnn_backend::DenseBackend;
use lasnn_core::{Architecture, Layer, Pass, Plan, Seed, Shape};
use lasnn_models::activations::bound::LEAST_BOUND;
use lasnn_models::{ActivationConfig, ClipConfig, Init, Network, QcfsConfig};
use lasnn_nn::state::{self, Path, StateDict};
use lasnn_nn::{Constrained, Observable};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    levels: Option<usize>,
    bound: f64,
    train: bool,
    input: Array,
    labels: Vec<i64>,
    weights: BTreeMap<String, Array>,
    activations: BTreeMap<String, Array>,
    logits: Array,
    loss: f32,
    gradients: BTreeMap<String, Array>,
}

#[derive(Clone, Deserialize)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Array {
    fn tensor_data(&self) -> TensorData {
        TensorData::new(self.data.clone(), self.shape.clone())
    }

    /// The tensor `name` in the layout of [`Network`], whose matrices are transposed.
    fn translated(&self, name: &str) -> Self {
        let [rows, columns] = self.shape[..] else { return self.clone() };
        assert!(name.ends_with("linear.weight"), "{name}");
        let at = |i: usize| self.data[(i % rows) * columns + i / rows];
        Self { shape: vec![columns, rows], data: (0..rows * columns).map(at).collect() }
    }
}

fn cases() -> Vec<Case> {
    let golden: Golden = serde_json::from_str(include_str!("../golden/activations.json")).unwrap();
    golden.cases
}

fn plan() -> Plan {
    let layers = vec![
        Layer::Conv {
            channels: 3,
            kernel: 3,
            stride: 1,
            bias: true,
            batch_norm: false,
            activation: true,
            tap: None,
        },
        Layer::Residual {
            channels: 4,
            stride: 2,
            bias: false,
            batch_norm: true,
            dropout: 0.0,
            tap: None,
        },
        Layer::Dense { units: 1, growth: 2, tap: None },
        Layer::Norm { tap: None },
        Layer::Linear { features: 5, bias: false },
        Layer::Classifier { bias: true },
    ];
    let architecture = Architecture { name: "golden".into(), layers };
    architecture.plan(Shape { channels: 2, height: 6, width: 6 }, 3).unwrap()
}

/// The network of a case. The running statistics of its batch norms are the initial ones.
fn network<B: DenseBackend>(case: &Case) -> Network<B> {
    let (bound, train) = (case.bound, case.train);
    let activation = match case.levels {
        Some(levels) => QcfsConfig { levels, bound, train }.into(),
        None => ClipConfig { bound, train }.into(),
    };
    let device = Default::default();
    let network = Network::with_activation(&plan(), activation, Init::Kaiming, Seed(0), &device);
    let running = state::save::<B, _>(&network).into_iter().filter(|(n, _)| n.contains("running"));
    let weights = case.weights.iter();
    let weights = weights.map(|(name, array)| (name.clone(), array.translated(name).tensor_data()));
    state::load(network, weights.chain(running).collect()).unwrap()
}

/// Asserts that no error is above `tolerance` times the largest expected value.
#[track_caller]
fn assert_close(what: &str, found: &TensorData, expected: &Array, tolerance: f32) {
    let elements: usize = found.shape.iter().product();
    assert_eq!(elements, expected.data.len(), "{what}");
    let scale = expected.data.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter::<f32>().zip(&expected.data).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance * scale,
            "{what}[{index}] is {found}, expected {expected} (largest {scale})"
        );
    }
}

/// Collects the gradient of every parameter by its name.
struct Gradients<'a, B: AutodiffBackend> {
    path: Path,
    of: &'a B::Gradients,
    found: StateDict,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Gradients<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(gradient) = param.val().grad(self.of) {
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

fn agrees_with_pytorch<B: DenseBackend + AutodiffBackend>()
where
    B::InnerBackend: DenseBackend,
{
    for case in cases() {
        let device = Default::default();
        let network = network::<B>(&case);
        // Steps of an activation leave a gradient of differences, which has fewer digits.
        let tolerance = if case.levels.is_some() { 1e-4 } else { 1e-5 };
        let images = || Tensor::<B, 4>::from_data(case.input.tensor_data(), &device);
        let pass = Pass::train(Seed(0), 0, &[0, 1, 2, 3]);
        let activations = network.activations(images(), &pass);
        assert_eq!(activations.len(), case.activations.len());
        for (name, found) in activations {
            assert_close(&name, &found.into_data(), &case.activations[&name], tolerance);
        }
        let logits = network.logits(images(), &pass);
        assert_close("logits", &logits.to_data(), &case.logits, tolerance);
        let targets = Tensor::<B, 1, Int>::from_data(case.labels.as_slice(), &device);
        let loss = CrossEntropyLossConfig::new().init(&device).forward(logits, targets);
        let value: f32 = loss.to_data().iter().next().unwrap();
        assert!((value - case.loss).abs() <= tolerance * case.loss, "{value}");

        let of = loss.backward();
        let mut gradients =
            Gradients::<B> { path: Path::default(), of: &of, found: StateDict::new() };
        network.visit(&mut gradients);
        assert!(gradients.found.keys().eq(case.gradients.keys()), "{:?}", gradients.found.keys());
        for (name, expected) in &case.gradients {
            assert_close(name, &gradients.found[name], &expected.translated(name), tolerance);
        }
    }
}

#[test]
fn bounded_networks_agree_with_pytorch_on_flex() {
    agrees_with_pytorch::<Autodiff<Flex>>();
}

#[test]
fn bounded_networks_agree_with_pytorch_on_ndarray() {
    agrees_with_pytorch::<Autodiff<NdArray<f32>>>();
}

/// The weights follow from the seed alone, so that only the activation differs.
#[test]
fn an_activation_draws_no_weights_and_a_relu_has_no_tensors() {
    let device = Default::default();
    let with = |activation: ActivationConfig| {
        let network =
            Network::<Flex>::with_activation(&plan(), activation, Init::Kaiming, Seed(3), &device);
        state::save(&network)
    };
    let plain = with(ActivationConfig::default());
    assert!(!plain.keys().any(|name| state::is_of_activation(name)));
    let mut clipped = with(ClipConfig { bound: 0.5, train: false }.into());
    let bounds: Vec<String> =
        clipped.keys().filter(|name| state::is_of_activation(name)).cloned().collect();
    assert_eq!(bounds.len(), 7);
    for name in bounds {
        assert_eq!(clipped.remove(&name).unwrap().to_vec::<f32>().unwrap(), [0.5], "{name}");
    }
    assert_eq!(clipped, plain);
    let of_plan = Network::<Flex>::new(&plan(), Init::Kaiming, Seed(3), &device);
    assert_eq!(state::save(&of_plan), plain);
}

#[test]
fn trained_bounds_stay_in_their_range_and_fixed_ones_keep_their_bits() {
    type A = Autodiff<Flex>;
    let device = Default::default();
    let clip = |train| ClipConfig { bound: 1.0, train }.into();
    let qcfs = |train| QcfsConfig { levels: 4, bound: 1.0, train }.into();
    let cases =
        [(clip(true), true), (clip(false), false), (qcfs(true), true), (qcfs(false), false)];
    for (activation, train) in cases {
        let expected = if train { LEAST_BOUND } else { -1.0 };
        let network =
            Network::<A>::with_activation(&plan(), activation, Init::Kaiming, Seed(3), &device);
        let mut tensors = state::save(&network.valid());
        let names: Vec<String> =
            tensors.keys().filter(|name| state::is_of_activation(name)).cloned().collect();
        // As after a training step that was too long.
        for name in &names {
            tensors.insert(name.clone(), TensorData::from([-1.0f32]));
        }
        let network = state::load(network, tensors).unwrap().constrained();
        let found = state::save(&network.valid());
        for name in &names {
            assert_eq!(found[name].to_vec::<f32>().unwrap(), [expected], "{name}");
        }
        let images = Tensor::<A, 4>::ones([2, 2, 6, 6], &device);
        let of = network.logits(images, &Pass::train(Seed(0), 0, &[0, 1])).sum().backward();
        let mut gradients =
            Gradients::<A> { path: Path::default(), of: &of, found: StateDict::new() };
        network.visit(&mut gradients);
        assert_eq!(gradients.found.contains_key(&names[0]), train);
    }
}

#[test]
fn a_bound_that_is_not_positive_is_refused() {
    for bound in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-60, 1e60] {
        let clip = ActivationConfig::from(ClipConfig { bound, train: false });
        let qcfs = ActivationConfig::from(QcfsConfig { levels: 4, bound, train: false });
        for config in [clip, qcfs] {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains("`bound`") && error.contains("above 0"), "{error}");
        }
    }
    let config = ActivationConfig::from(QcfsConfig { levels: 0, ..Default::default() });
    let error = config.check().unwrap_err().to_string();
    assert_eq!(error, "`levels` is 0, expected 1 to 1000000");
}
