//! The basic residual block (He et al., "Deep residual learning for image recognition", 2016).

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::{DenseBackend, ops};
use lasnn_core::{Pass, Shape};

use crate::convolution::{Convolution, ConvolutionSpec};
use crate::init::Initializer;
use crate::trace::Trace;

/// `a(second(dropout(first(x))) + shortcut(x))`, where `first` ends in the activation `a`, too. The
/// shortcut is the identity if the output has the shape of the input, else a 1×1 convolution.
#[derive(Module, Debug)]
pub struct Residual<B: Backend> {
    first: Convolution<B>,
    /// Its activation is that of the sum.
    second: Convolution<B>,
    shortcut: Option<Convolution<B>>,
    dropout: f64,
}

impl<B: Backend> Residual<B> {
    pub(crate) fn new(
        initializer: &mut Initializer<'_, B>,
        input: Shape,
        output: Shape,
        stride: usize,
        (bias, batch_norm): (bool, bool),
        dropout: f64,
    ) -> Self {
        let outputs = output.channels;
        let first = ConvolutionSpec {
            inputs: input.channels,
            outputs,
            kernel: 3,
            stride,
            bias,
            batch_norm,
            activation: true,
        };
        let second = ConvolutionSpec { inputs: outputs, stride: 1, ..first };
        let shortcut = ConvolutionSpec { kernel: 1, activation: false, ..first };
        Self {
            first: Convolution::new(initializer, first),
            second: Convolution::new(initializer, second),
            shortcut: (input != output).then(|| Convolution::new(initializer, shortcut)),
            dropout,
        }
    }

    /// See [`lasnn_nn::Constrained`].
    pub(crate) fn constrained(self) -> Self {
        let (first, second) = (self.first.constrained(), self.second.constrained());
        Self { first, second, ..self }
    }
}

impl<B: DenseBackend> Residual<B> {
    /// Runs the block. `index` is its position in the plan and the key of its dropout masks. A
    /// dropout layer has its own position as its key, so the two never share a mask.
    pub(crate) fn forward(
        &self,
        index: usize,
        input: Tensor<B, 4>,
        pass: &Pass<'_>,
        trace: &mut Trace<B>,
    ) -> Tensor<B, 4> {
        let mut inner = self.first.forward(input.clone(), None, pass);
        trace.record(index, "first", &inner);
        let [_, channels, height, width] = inner.dims();
        let mask = pass.dropout(index as u32, self.dropout, channels * height * width);
        if let Some(mask) = mask {
            inner = ops::masked(inner, mask);
        }
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(input, None, pass),
            None => input,
        };
        let output = self.second.forward(inner, Some(shortcut), pass);
        trace.record(index, "second", &output);
        output
    }
}
