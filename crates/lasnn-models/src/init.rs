//! The initial weights of a network.

use burn::module::Param;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, PaddingConfig2d};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use lasnn_core::{Seed, Stream};
use serde::{Deserialize, Serialize};

use crate::activations::{Activation, ActivationConfig};

/// The distribution of the initial weights.
///
/// A bias starts at 0, the γ of a batch norm at 1 and its β at 0. Weights are drawn from a normal
/// distribution with mean 0 and the standard deviation below, where `k` is the height of the
/// kernel, `C_out` the number of output channels and `n_in` the number of inputs of a linear layer.
///
/// | | convolutions | linear layers | classifier |
/// |---|---|---|---|
/// | `kaiming` | `sqrt(2 / (k² · C_out))` | `sqrt(2 / n_in)` | `sqrt(1 / n_in)` |
/// | `hybrid` | `sqrt(2 / (k² · C_out))` | `0.01` | `0.01` |
///
/// `hybrid` is the initialisation in the public code of hybrid training, for the paper's recipes.
/// Its fixed 0.01 is half of `sqrt(2 / n_in)` for 4096 inputs and a sixth for 512, so that signals
/// vanish in narrow layers. The default is therefore `kaiming` (He et al., "Delving deep into
/// rectifiers", 2015). No ReLU follows the classifier, so its factor is 1 instead of 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// Scaled to the size of each layer.
    #[default]
    Kaiming,
    /// The initialisation in the public code of hybrid training.
    Hybrid,
}

/// The role of a linear layer, which decides its initial weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinearRole {
    /// A ReLU follows.
    Hidden,
    /// The softmax follows.
    Classifier,
}

impl Init {
    fn convolution(self, kernel: usize, outputs: usize) -> f64 {
        (2.0 / (kernel * kernel * outputs) as f64).sqrt()
    }

    fn linear(self, inputs: usize, role: LinearRole) -> f64 {
        match (self, role) {
            (Self::Kaiming, LinearRole::Hidden) => (2.0 / inputs as f64).sqrt(),
            (Self::Kaiming, LinearRole::Classifier) => (1.0 / inputs as f64).sqrt(),
            (Self::Hybrid, _) => 0.01,
        }
    }
}

/// Makes Burn's layers with weights that follow from the run's seed.
///
/// Burn's own initialisers draw from a global generator, so that the weights would depend on all
/// draws before. Here the weights of the n-th convolution or linear layer are a function of the
/// seed and n alone.
pub(crate) struct Initializer<'a, B: Backend> {
    init: Init,
    activation: ActivationConfig,
    seed: Seed,
    device: &'a B::Device,
    drawn: u32,
}

impl<'a, B: Backend> Initializer<'a, B> {
    pub(crate) fn new(
        activation: ActivationConfig,
        init: Init,
        seed: Seed,
        device: &'a B::Device,
    ) -> Self {
        Self { init, activation, seed, device, drawn: 0 }
    }

    /// The activation of one layer.
    pub(crate) fn activation(&self) -> Activation<B> {
        self.activation.init(self.device)
    }

    /// A convolution with padding `kernel / 2` and weights `[outputs, inputs, kernel, kernel]`.
    pub(crate) fn convolution(
        &mut self,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        stride: usize,
        bias: bool,
    ) -> Conv2d<B> {
        let deviation = self.init.convolution(kernel, outputs);
        let pad = kernel / 2;
        Conv2d {
            weight: self.normal([outputs, inputs, kernel, kernel], deviation),
            bias: bias.then(|| self.zeros(outputs)),
            stride: [stride; 2],
            kernel_size: [kernel; 2],
            dilation: [1; 2],
            groups: 1,
            // Burn's `Same` pads less on one side than PyTorch and the plan if there is a stride.
            padding: PaddingConfig2d::Explicit(pad, pad, pad, pad),
        }
    }

    /// A linear layer with weights `[inputs, outputs]`.
    pub(crate) fn linear(
        &mut self,
        [inputs, outputs]: [usize; 2],
        bias: bool,
        role: LinearRole,
    ) -> Linear<B> {
        let deviation = self.init.linear(inputs, role);
        Linear {
            weight: self.normal([inputs, outputs], deviation),
            bias: bias.then(|| self.zeros(outputs)),
        }
    }

    /// A batch norm with momentum 0.1 and ε 1e-5, which are the defaults of PyTorch and of Burn.
    pub(crate) fn norm(&self, channels: usize) -> BatchNorm<B> {
        BatchNormConfig::new(channels).init(self.device)
    }

    fn normal<const D: usize>(&mut self, shape: [usize; D], deviation: f64) -> Param<Tensor<B, D>> {
        let draws = self.seed.draws(Stream::Weights, [self.drawn, 0, 0]);
        self.drawn += 1;
        let mut values = draws.normals(shape.iter().product());
        for value in &mut values {
            *value *= deviation as f32;
        }
        Param::from_data(TensorData::new(values, shape), self.device)
    }

    fn zeros(&self, length: usize) -> Param<Tensor<B, 1>> {
        Param::from_data(TensorData::zeros::<f32, _>([length]), self.device)
    }
}
