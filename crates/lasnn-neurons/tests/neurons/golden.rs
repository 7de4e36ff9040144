//! Spike trains and gradients against PyTorch's autograd (`tests/golden/make_golden.py`).

use std::collections::BTreeMap;
use std::path::Path;

use burn::backend::Autodiff;
use burn::tensor::activation::log_softmax;
use burn::tensor::module::{avg_pool2d, conv2d};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Int, Tensor};
use lasnn_neurons::{
    Lif, LifConfig, NeuronModel, Reset, SpikingBackend, StepOrder, Surrogate, mean_current,
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::support::{assert_close, on_every_backend, tensor, values};

on_every_backend!(scans_equal_pytorch, networks_equal_pytorch);

const TOLERANCE: f64 = 1e-5;

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl Array {
    fn tensor<B: SpikingBackend, const D: usize>(&self) -> Tensor<B, D> {
        let shape: [usize; D] = self.shape.clone().try_into().unwrap();
        tensor(self.data.iter().map(|&value| value as f32).collect(), shape)
    }
}

/// A surrogate as the script writes it. The parameter of the linear surrogate has the paper's name
/// γ.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum GoldenSurrogate {
    Linear { gamma: f64 },
    Atan { alpha: f64 },
    FastSigmoid { slope: f64 },
    Rectangular { width: f64 },
}

#[derive(Deserialize)]
struct Neuron {
    leak: f64,
    reset: Reset,
    step_order: StepOrder,
    surrogate: GoldenSurrogate,
}

impl Neuron {
    fn config(&self) -> LifConfig {
        let surrogate = match self.surrogate {
            GoldenSurrogate::Linear { gamma } => Surrogate::Linear { damping: gamma },
            GoldenSurrogate::Atan { alpha } => Surrogate::Atan { alpha },
            GoldenSurrogate::FastSigmoid { slope } => Surrogate::FastSigmoid { slope },
            GoldenSurrogate::Rectangular { width } => Surrogate::Rectangular { width },
        };
        let Self { leak, reset, step_order, .. } = *self;
        LifConfig { leak: leak.into(), reset, step_order, surrogate, ..Default::default() }
    }
}

#[derive(Deserialize)]
struct Scans {
    cases: Vec<Scan>,
}

#[derive(Deserialize)]
struct Scan {
    name: String,
    threshold: f32,
    #[serde(flatten)]
    neuron: Neuron,
    currents: Array,
    output_grad: Array,
    spikes: Array,
    currents_grad: Array,
}

#[derive(Deserialize)]
struct Networks {
    plain: Vec<Network>,
    residual: Vec<Network>,
}

/// The class scores of a network as the script computes them.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Readout {
    Sum,
    Mean,
}

#[derive(Deserialize)]
struct Network {
    name: String,
    #[serde(flatten)]
    neuron: Neuron,
    readout: Readout,
    thresholds: BTreeMap<String, f32>,
    labels: Vec<i32>,
    input: Array,
    weights: BTreeMap<String, Array>,
    spikes: BTreeMap<String, Array>,
    logits: Array,
    loss: f64,
    gradients: BTreeMap<String, Array>,
}

fn golden<T: DeserializeOwned>(file: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn scans_equal_pytorch<B: SpikingBackend>() {
    let scans: Scans = golden("scan.json");
    assert!(scans.cases.len() >= 12);
    for scan in scans.cases {
        let neurons = Lif::new(&scan.neuron.config(), scan.threshold, &Default::default());
        let currents = scan.currents.tensor::<Autodiff<B>, 2>().require_grad();
        let spikes = neurons.forward(currents.clone(), scan.currents.shape[0]);
        assert_eq!(values(spikes.clone()), scan.spikes.data, "{}", scan.name);

        let grads = (spikes * scan.output_grad.tensor()).sum().backward();
        let grad = values(currents.grad(&grads).unwrap());
        assert_close(&scan.name, &grad, &scan.currents_grad.data, TOLERANCE);
    }
}

/// A network with its weights on a backend. Linear weights have two trailing dimensions of size 1.
struct Run<'a, B: SpikingBackend> {
    network: &'a Network,
    weights: BTreeMap<&'a str, Tensor<B, 4>>,
    steps: usize,
}

impl<B: SpikingBackend> Run<'_, B> {
    fn conv(&self, name: &str, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        conv2d(input, self.weights[name].clone(), None, options)
    }

    fn linear(&self, name: &str, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let [outputs, inputs, ..] = self.weights[name].dims();
        input.matmul(self.weights[name].clone().reshape([outputs, inputs]).transpose())
    }

    /// Runs the neurons of a layer, compares their spikes with the golden ones, and returns them.
    fn neurons<const D: usize>(&self, name: &str, currents: Tensor<B, D>) -> Tensor<B, D> {
        let config = self.network.neuron.config();
        let threshold = self.network.thresholds[name];
        let neurons = Lif::new(&config, threshold, &currents.device());
        let spikes = neurons.forward(currents, self.steps);
        let expected = &self.network.spikes[name].data;
        assert_eq!(&values(spikes.clone()), expected, "{}, {name}", self.network.name);
        spikes
    }

    fn plain(&self, input: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = self.neurons("conv", self.conv("conv", input));
        let x = avg_pool2d(x, [2, 2], [2, 2], [0, 0], false, false).flatten(1, 3);
        self.neurons("linear", self.linear("linear", x))
    }

    fn residual(&self, input: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = self.neurons("conv", self.conv("conv", input));
        let inner = self.neurons("conv1", self.conv("conv1", x.clone()));
        self.neurons("conv2", self.conv("conv2", inner) + x).flatten(1, 3)
    }
}

type Features<B> = fn(&Run<'_, B>, Tensor<B, 4>) -> Tensor<B, 2>;

fn check_network<B: SpikingBackend>(network: &Network, features: Features<Autodiff<B>>) {
    let [steps, batch, channels, height, width] = network.input.shape[..] else {
        panic!("{}: the input has shape {:?}", network.name, network.input.shape)
    };
    let input: Vec<f32> = network.input.data.iter().map(|&value| value as f32).collect();
    let input = tensor(input, [steps * batch, channels, height, width]);
    let weight = |array: &Array| {
        let mut shape = [1; 4];
        shape[..array.shape.len()].copy_from_slice(&array.shape);
        let weight: Vec<f32> = array.data.iter().map(|&value| value as f32).collect();
        tensor::<Autodiff<B>, 4>(weight, shape).require_grad()
    };
    let weights = network.weights.iter().map(|(name, array)| (name.as_str(), weight(array)));
    let run = Run { network, weights: weights.collect(), steps };

    let currents = run.linear("readout", features(&run, input));
    let classes = currents.dims()[1];
    let membranes = currents.reshape([steps, batch, classes]).sum_dim(0).squeeze_dim(0);
    let mean = mean_current(membranes, steps);
    let logits = match network.readout {
        Readout::Sum => mean * steps as f64,
        Readout::Mean => mean,
    };
    assert_close(&network.name, &values(logits.clone()), &network.logits.data, TOLERANCE);

    let labels = Tensor::<Autodiff<B>, 1, Int>::from_ints(&network.labels[..], &logits.device());
    let loss = -log_softmax(logits, 1).gather(1, labels.unsqueeze_dim(1)).mean();
    assert_close(&network.name, &values(loss.clone()), &[network.loss], TOLERANCE);
    let grads = loss.backward();
    for (name, weight) in &run.weights {
        let grad = values(weight.grad(&grads).unwrap());
        let expected = &network.gradients[*name].data;
        assert_close(&format!("{}, {name}", network.name), &grad, expected, TOLERANCE);
    }
}

fn networks_equal_pytorch<B: SpikingBackend>() {
    let networks: Networks = golden("network.json");
    assert!(networks.plain.len() >= 8 && networks.residual.len() >= 2);
    for network in &networks.plain {
        check_network::<B>(network, |run, input| run.plain(input));
    }
    for network in &networks.residual {
        check_network::<B>(network, |run, input| run.residual(input));
    }
}
