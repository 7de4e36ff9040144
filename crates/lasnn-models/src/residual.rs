//! The basic residual block (He et al., "Deep residual learning for image recognition", 2016).

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::{DenseBackend, ops};
use lasnn_core::{Pass, Shape};

use crate::convolution::{Convolution, ConvolutionSpec};
use crate::init::Weights;
use crate::trace::Trace;

/// `relu(second(dropout(first(x))) + shortcut(x))`, the shortcut being the identity where the
/// shape stays the same.
#[derive(Module, Debug)]
pub struct Residual<B: Backend> {
    first: Convolution<B>,
    second: Convolution<B>,
    shortcut: Option<Convolution<B>>,
    dropout: f64,
}

impl<B: Backend> Residual<B> {
    pub(crate) fn new(
        weights: &mut Weights<'_, B>,
        input: Shape,
        output: Shape,
        stride: usize,
        batch_norm: bool,
        dropout: f64,
    ) -> Self {
        let outputs = output.channels;
        let first = ConvolutionSpec {
            inputs: input.channels,
            outputs,
            kernel: 3,
            stride,
            bias: false,
            batch_norm,
            activation: true,
        };
        let second = ConvolutionSpec { inputs: outputs, stride: 1, activation: false, ..first };
        let shortcut = ConvolutionSpec { kernel: 1, activation: false, ..first };
        Self {
            first: Convolution::new(weights, first),
            second: Convolution::new(weights, second),
            shortcut: (input != output).then(|| Convolution::new(weights, shortcut)),
            dropout,
        }
    }
}

impl<B: DenseBackend> Residual<B> {
    /// `index` is the block's place in the plan; the dropout between the convolutions is keyed by
    /// it. A dropout layer's key is its own place, so the two never share a mask.
    pub(crate) fn forward(
        &self,
        index: usize,
        input: Tensor<B, 4>,
        pass: &Pass<'_>,
        trace: &mut Trace<B>,
    ) -> Tensor<B, 4> {
        let mut inner = self.first.forward(input.clone(), pass);
        trace.see(index, "first", &inner);
        let [_, channels, height, width] = inner.dims();
        let mask = pass.dropout(index as u32, self.dropout, channels * height * width);
        if let Some(mask) = mask {
            inner = ops::masked(inner, mask);
        }
        let outer = match &self.shortcut {
            Some(shortcut) => shortcut.forward(input, pass),
            None => input,
        };
        let output = self.second.forward_added(inner, outer, pass);
        trace.see(index, "second", &output);
        output
    }
}
