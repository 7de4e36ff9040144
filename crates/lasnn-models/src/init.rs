//! How the weights of a network start.

use burn::module::Param;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, PaddingConfig2d};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use lasnn_core::{Seed, Stream};
use serde::{Deserialize, Serialize};

/// The distribution that the weights are drawn from.
///
/// Biases start at 0, the scale of a batch norm at 1 and its shift at 0. Every weight is normal
/// with mean 0 and the standard deviation below, where `k` is the height of the kernel, `C_out`
/// the number of output channels and `n_in` the number of inputs of a linear layer.
///
/// | | convolutions | linear layers | classifier |
/// |---|---|---|---|
/// | `kaiming` | `sqrt(2 / (k² · C_out))` | `sqrt(2 / n_in)` | `sqrt(1 / n_in)` |
/// | `hybrid` | `sqrt(2 / (k² · C_out))` | `0.01` | `0.01` |
///
/// `hybrid` is what the public code of hybrid training has, for the paper's recipes. Its fixed
/// 0.01 is half of `sqrt(2 / n_in)` for 4096 inputs and a sixth for 512, so a signal dies out in
/// narrow layers; hence `kaiming` (He et al., "Delving deep into rectifiers", 2015) is the
/// default. The classifier has no rectifier behind it, hence no factor 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// Scaled by the size of each layer.
    #[default]
    Kaiming,
    /// As the public code of hybrid training does it.
    Hybrid,
}

/// Where a linear layer stands, which decides how it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before a rectifier.
    Hidden,
    /// Before the softmax.
    Classifier,
}

impl Init {
    fn convolution(self, kernel: usize, outputs: usize) -> f64 {
        (2.0 / (kernel * kernel * outputs) as f64).sqrt()
    }

    fn linear(self, inputs: usize, place: Place) -> f64 {
        match (self, place) {
            (Self::Kaiming, Place::Hidden) => (2.0 / inputs as f64).sqrt(),
            (Self::Kaiming, Place::Classifier) => (1.0 / inputs as f64).sqrt(),
            (Self::Hybrid, _) => 0.01,
        }
    }
}

/// Makes Burn's layers with weights of the run's seed.
///
/// Burn's own initialisers draw from a global generator, which would make a network's weights
/// depend on whatever drew before. Here the weights of the n-th convolution or linear layer are
/// a function of seed and n alone.
pub(crate) struct Weights<'a, B: Backend> {
    init: Init,
    seed: Seed,
    device: &'a B::Device,
    drawn: u32,
}

impl<'a, B: Backend> Weights<'a, B> {
    pub(crate) fn new(init: Init, seed: Seed, device: &'a B::Device) -> Self {
        Self { init, seed, device, drawn: 0 }
    }

    /// A convolution with padding `kernel / 2`, weights `[outputs, inputs, kernel, kernel]`.
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
            // Not `Same`: with a stride it pads less on one side than PyTorch and the plan do.
            padding: PaddingConfig2d::Explicit(pad, pad, pad, pad),
        }
    }

    /// A linear layer, weights `[inputs, outputs]`.
    pub(crate) fn linear(
        &mut self,
        [inputs, outputs]: [usize; 2],
        bias: bool,
        place: Place,
    ) -> Linear<B> {
        let deviation = self.init.linear(inputs, place);
        Linear {
            weight: self.normal([inputs, outputs], deviation),
            bias: bias.then(|| self.zeros(outputs)),
        }
    }

    /// A batch norm with PyTorch's momentum 0.1 and epsilon 1e-5, which are Burn's as well.
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
