//! The dense block (Huang et al., "Densely connected convolutional networks", 2017).

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::{DenseBackend, batch_norm::batch_norm};
use lasnn_core::{Pass, plan::DENSE_BOTTLENECK};

use crate::activations::{Activation, ActivationLayer};
use crate::convolution::conv2d;
use crate::init::Initializer;
use crate::trace::Trace;

/// Units whose outputs are appended to their inputs. Each unit gets the outputs of all units before
/// it.
#[derive(Module, Debug)]
pub struct Dense<B: Backend> {
    units: Vec<DenseUnit<B>>,
}

/// A 1×1 convolution to `4 · growth` channels and a 3×3 convolution to `growth` channels.
#[derive(Module, Debug)]
pub struct DenseUnit<B: Backend> {
    first: NormThenConvolution<B>,
    second: NormThenConvolution<B>,
}

/// Batch norm and activation *before* the convolution; in all other layers they follow it.
#[derive(Module, Debug)]
pub struct NormThenConvolution<B: Backend> {
    norm: BatchNorm<B>,
    activation: Activation<B>,
    conv: Conv2d<B>,
}

impl<B: Backend> Dense<B> {
    pub(crate) fn new(
        initializer: &mut Initializer<'_, B>,
        inputs: usize,
        units: usize,
        growth: usize,
    ) -> Self {
        let wide = DENSE_BOTTLENECK * growth;
        let unit = |index| DenseUnit {
            first: NormThenConvolution::new(initializer, [inputs + index * growth, wide], 1),
            second: NormThenConvolution::new(initializer, [wide, growth], 3),
        };
        Self { units: (0..units).map(unit).collect() }
    }

    /// See [`lasnn_nn::Constrained`].
    pub(crate) fn constrained(self) -> Self {
        let unit = |DenseUnit { first, second }| DenseUnit {
            first: NormThenConvolution::constrained(first),
            second: NormThenConvolution::constrained(second),
        };
        Self { units: self.units.into_iter().map(unit).collect() }
    }
}

impl<B: DenseBackend> Dense<B> {
    pub(crate) fn forward(
        &self,
        index: usize,
        input: Tensor<B, 4>,
        pass: &Pass<'_>,
        trace: &mut Trace<B>,
    ) -> Tensor<B, 4> {
        let mut all = input;
        for (number, unit) in self.units.iter().enumerate() {
            let mut new = all.clone();
            for (part, step) in [("first", &unit.first), ("second", &unit.second)] {
                let activation =
                    step.activation.after(|relu| batch_norm(&step.norm, new, pass.mode, relu));
                trace.record(index, &format!("units.{number}.{part}"), &activation);
                new = conv2d(&step.conv, activation, pass.precision, false);
            }
            all = Tensor::cat(vec![all, new], 1);
        }
        all
    }
}

impl<B: Backend> NormThenConvolution<B> {
    fn new(initializer: &mut Initializer<'_, B>, channels: [usize; 2], kernel: usize) -> Self {
        Self {
            norm: initializer.norm(channels[0]),
            activation: initializer.activation(),
            conv: initializer.convolution(channels, kernel, 1, false),
        }
    }

    fn constrained(self) -> Self {
        Self { activation: self.activation.constrained(), ..self }
    }
}
