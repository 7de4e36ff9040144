//! The forward and backward pass of one small network against PyTorch in f64.

use std::collections::BTreeMap;

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleVisitor, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::Flex;
use lasnn_core::{Architecture, Layer, Pass, Probe, Probes, Seed, Shape, Tap};
use lasnn_models::{DifferentiableNetwork, Init, Network};
use lasnn_nn::Observable;
use lasnn_nn::state::{self, Path, StateDict};
use serde::Deserialize;

type B = Autodiff<Flex>;

#[derive(Deserialize)]
struct Golden {
    input: Array,
    labels: Vec<i64>,
    weights: BTreeMap<String, Array>,
    running: BTreeMap<String, Array>,
    train: Train,
    eval: Eval,
}

#[derive(Deserialize)]
struct Train {
    logits: Array,
    loss: f32,
    gradients: BTreeMap<String, Array>,
    running: BTreeMap<String, Array>,
}

#[derive(Deserialize)]
struct Eval {
    logits: Array,
    loss: f32,
    gradient_maps: [Array; 2],
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

    fn transposed(&self) -> Self {
        let [rows, columns] = self.shape[..] else { panic!("not a matrix: {:?}", self.shape) };
        let at = |i: usize| self.data[(i % rows) * columns + i / rows];
        Self { shape: vec![columns, rows], data: (0..rows * columns).map(at).collect() }
    }
}

/// Translates PyTorch's tensors to the names and layouts of [`Network`].
fn translated(arrays: &BTreeMap<String, Array>) -> BTreeMap<String, Array> {
    let translate = |(name, array): (&String, &Array)| {
        let (module, tensor) = name.split_once('.').unwrap();
        let module = match module {
            "conv" => "layers.0.conv",
            "bn" => "layers.0.norm",
            "conv1" => "layers.1.first.conv",
            "bn1" => "layers.1.first.norm",
            "conv2" => "layers.1.second.conv",
            "bn2" => "layers.1.second.norm",
            "shortcut_conv" => "layers.1.shortcut.conv",
            "shortcut_bn" => "layers.1.shortcut.norm",
            "linear" => "layers.3.linear",
            other => panic!("unknown module {other}"),
        };
        let tensor = match tensor {
            "weight" if module.ends_with("norm") => "gamma",
            "bias" if module.ends_with("norm") => "beta",
            other => other,
        };
        let matrix = module.ends_with("linear") && tensor == "weight";
        let array = if matrix { array.transposed() } else { array.clone() };
        (format!("{module}.{tensor}"), array)
    };
    arrays.iter().map(translate).collect()
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/forward.json")).unwrap()
}

fn network(golden: &Golden) -> Network<B> {
    let architecture = Architecture {
        name: "golden".into(),
        layers: vec![
            Layer::Conv {
                channels: 3,
                kernel: 3,
                stride: 1,
                bias: true,
                batch_norm: true,
                activation: true,
                tap: Some(Tap::Low),
            },
            Layer::Residual {
                channels: 4,
                stride: 2,
                bias: false,
                batch_norm: true,
                dropout: 0.0,
                tap: Some(Tap::High),
            },
            Layer::GlobalAveragePool {},
            Layer::Classifier { bias: true },
        ],
    };
    let plan = architecture.plan(Shape { channels: 2, height: 6, width: 6 }, 3).unwrap();
    let network = Network::new(&plan, Init::Kaiming, Seed(0), &Default::default());
    let tensors: StateDict = translated(&golden.weights)
        .into_iter()
        .chain(translated(&golden.running))
        .map(|(name, array)| (name, array.tensor_data()))
        .collect();
    state::load(network, tensors).unwrap()
}

fn images(golden: &Golden) -> Tensor<B, 4> {
    Tensor::from_data(golden.input.tensor_data(), &Default::default())
}

fn cross_entropy(golden: &Golden, logits: Tensor<B, 2>) -> Tensor<B, 1> {
    let device = Default::default();
    let targets = Tensor::<B, 1, Int>::from_data(golden.labels.as_slice(), &device);
    CrossEntropyLossConfig::new().init(&device).forward(logits, targets)
}

#[track_caller]
fn assert_close(what: &str, found: &TensorData, expected: &Array) {
    assert_eq!(found.shape.to_vec(), expected.shape, "{what}");
    for (index, (found, expected)) in found.iter::<f32>().zip(&expected.data).enumerate() {
        let allowed = 1e-5 + 1e-4 * expected.abs();
        assert!(
            (found - expected).abs() < allowed,
            "{what}[{index}] is {found}, expected {expected}"
        );
    }
}

/// Collects the gradient of every parameter by its name.
struct Gradients<'a> {
    path: Path,
    of: &'a <B as AutodiffBackend>::Gradients,
    found: StateDict,
}

impl ModuleVisitor<B> for Gradients<'_> {
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

#[test]
fn a_training_pass_has_the_logits_loss_gradients_and_statistics_of_pytorch() {
    let golden = golden();
    let network = network(&golden);
    let logits = network.logits(images(&golden), &Pass::train(Seed(0), 0, &[0, 1, 2, 3]));
    assert_close("logits", &logits.to_data(), &golden.train.logits);
    let loss = cross_entropy(&golden, logits);
    let value = loss.clone().into_scalar();
    assert!((value - golden.train.loss).abs() < 1e-5, "{value}");

    let of = loss.backward();
    let mut gradients = Gradients { path: Path::default(), of: &of, found: StateDict::new() };
    network.visit(&mut gradients);
    let expected = translated(&golden.train.gradients);
    assert!(gradients.found.keys().eq(expected.keys()), "{:?}", gradients.found.keys());
    for (name, expected) in &expected {
        assert_close(name, &gradients.found[name], expected);
    }

    let found = state::save(&network.valid());
    let before = translated(&golden.running);
    for (name, mut expected) in translated(&golden.train.running) {
        if name.ends_with("running_var") {
            // PyTorch's update takes the batch variance with divisor n - 1, ours with divisor n.
            let n = if name.starts_with("layers.0") { 4.0 * 36.0 } else { 4.0 * 9.0 };
            for (value, before) in expected.data.iter_mut().zip(&before[&name].data) {
                let kept = 0.9 * before;
                *value = kept + (*value - kept) * (n - 1.0) / n;
            }
        }
        assert_close(&name, &found[&name], &expected);
    }
}

#[test]
fn an_evaluation_has_the_logits_of_pytorch_and_changes_nothing() {
    let golden = golden();
    let network = network(&golden);
    let pass = Pass::evaluate(Seed(0), &[0, 1, 2, 3]);
    // Two passes on the autodiff backend: if the first one moved the running statistics, the second
    // one would apply the pending update and differ.
    for _ in 0..2 {
        let logits = network.logits(images(&golden), &pass);
        assert_close("logits", &logits.to_data(), &golden.eval.logits);
        let loss = cross_entropy(&golden, logits).into_scalar();
        assert!((loss - golden.eval.loss).abs() < 1e-5, "{loss}");
    }
    let logits = network.valid().logits(images(&golden).inner(), &pass);
    assert_close("logits of valid()", &logits.to_data(), &golden.eval.logits);
}

#[test]
fn an_evaluation_after_training_applies_the_pending_statistics() {
    let golden = golden();
    let network = network(&golden);
    network.logits(images(&golden), &Pass::train(Seed(0), 0, &[0, 1, 2, 3]));
    let pass = Pass::evaluate(Seed(0), &[0, 1, 2, 3]);
    let here = network.logits(images(&golden), &pass).to_data();
    let valid = network.valid().logits(images(&golden).inner(), &pass).to_data();
    assert_eq!(here, valid);
    assert_ne!(here.to_vec::<f32>().unwrap(), golden.eval.logits.data);
}

#[test]
fn a_teacher_has_the_gradient_maps_of_pytorch() {
    let golden = golden();
    let taps = [Tap::Low, Tap::High];
    let teacher = DifferentiableNetwork::new(network(&golden));
    let pass = Pass::evaluate(Seed(0), &[0, 1, 2, 3]);
    let device = Default::default();
    let targets = Tensor::<Flex, 1, Int>::from_data(golden.labels.as_slice(), &device);
    let observe = |probes: Probes| {
        teacher.observe_labelled(images(&golden).inner(), &targets, &pass, &probes)
    };
    let all = taps.map(Probe::GradientMap).into_iter().chain([Probe::Attention(Tap::Low)]);
    let found = observe(all.collect());
    assert_close("logits", &found.logits.to_data(), &golden.eval.logits);
    for (tap, expected) in taps.into_iter().zip(&golden.eval.gradient_maps) {
        // The maps are small, so they are compared on the scale of the largest number.
        let scale = expected.data.iter().fold(0.0f32, |most, &number| most.max(number));
        let scaled = |numbers: Vec<f32>| numbers.iter().map(|number| number / scale).collect();
        let map = found.gradient_maps[&tap].to_data();
        let map = TensorData::new(scaled(map.to_vec().unwrap()), map.shape);
        let data: Vec<f32> = scaled(expected.data.clone());
        assert_close(&tap.to_string(), &map, &Array { shape: expected.shape.clone(), data });
    }
    // Without gradient maps there is no graph, and the other values have the same bits.
    let plain = observe(Probes::from([Probe::Attention(Tap::Low)]));
    assert!(plain.gradient_maps.is_empty());
    let low = |found: &lasnn_nn::Observations<Flex>| found.attention[&Tap::Low].to_data();
    assert_eq!(low(&plain), low(&found));
}
