//! A convolution followed by a batch norm, which is most of the work of a residual network.
//!
//! As separate operations, each would write feature maps to memory that the other reads again. The
//! combined kernel computes the statistics of a plane while it is in the first-level cache. In the
//! backward pass, the gradient of the feature map between the two exists for one image at a time
//! only. The output of the convolution is saved for the backward pass in the precision of the
//! products; in bfloat16 it takes half the memory traffic.

use pulp::bytemuck::{cast_slice, cast_slice_mut};

use crate::conv::{ConvShape, OutputGrads, ToInput, forward_with_statistics, gradients};
pub use crate::norm::OutputGrad;
use crate::norm::{self, ChannelGrad, InputGrads, MapShape, Statistics, batch_norm_with};
use crate::stored_float::StoredFloat;
use lasnn_core::Precision;

/// The sizes and options of a convolution with a batch norm.
#[derive(Clone, Copy, Debug)]
pub struct ConvBatchNorm {
    /// The sizes of the convolution, which has no bias.
    pub conv: ConvShape,
    /// The precision of the products, and of the saved output of the convolution.
    pub precision: Precision,
    /// Added to the variance, so that the division is finite.
    pub epsilon: f32,
    /// Whether a ReLU follows.
    pub relu: bool,
}

impl ConvBatchNorm {
    /// The sizes of the output of the convolution.
    pub fn maps(&self) -> MapShape {
        let positions = self.conv.output_height() * self.conv.output_width();
        MapShape { batch: self.conv.batch, channels: self.conv.outputs, positions }
    }

    /// The length of the slice of `f32` that [`forward`] needs to save the output of the
    /// convolution.
    pub fn saved_len(&self) -> usize {
        match self.precision {
            Precision::F32 => self.maps().elements(),
            Precision::Bf16 => self.maps().elements().div_ceil(2),
        }
    }

    /// Panics unless a slice has the length [`saved_len`](Self::saved_len).
    fn check_saved(&self, saved: usize) {
        assert_eq!(saved, self.saved_len(), "memory for the saved output of {self:?}");
    }
}

/// Writes `γ · (x - µ) / sqrt(σ² + ε) + β + added` to `output`, where `x` is the convolution of the
/// input and the weights. If [`relu`](ConvBatchNorm::relu), negative values become zero.
///
/// - `inputs`: the input `[batch, inputs, height, width]` and the weights
///   `[outputs, inputs, kernel, kernel]`
/// - `scales`: γ and β, `[outputs]` each
/// - `added`: a feature map of the shape of `output`, for the shortcut of a residual block
/// - `saved`: memory of [`saved_len`](ConvBatchNorm::saved_len) numbers for `x`, which [`backward`]
///   needs
/// - `output`: `[batch, outputs, output_height, output_width]`
///
/// Returns µ and σ² of each output channel.
///
/// # Panics
///
/// Panics if the length of a slice does not match the layer.
pub fn forward(
    layer: ConvBatchNorm,
    inputs: [&[f32]; 2],
    scales: [&[f32]; 2],
    added: Option<&[f32]>,
    [saved, output]: [&mut [f32]; 2],
) -> Vec<Statistics> {
    layer.check_saved(saved.len());
    match layer.precision {
        Precision::F32 => forward_as(layer, inputs, scales, added, saved, output),
        Precision::Bf16 => {
            let saved: &mut [u16] = &mut cast_slice_mut(saved)[..layer.maps().elements()];
            forward_as(layer, inputs, scales, added, saved, output)
        }
    }
}

fn forward_as<N: StoredFloat>(
    layer: ConvBatchNorm,
    [input, weights]: [&[f32]; 2],
    scales: [&[f32]; 2],
    added: Option<&[f32]>,
    map: &mut [N],
    output: &mut [f32],
) -> Vec<Statistics> {
    let ConvBatchNorm { conv, precision, epsilon, relu } = layer;
    let found = forward_with_statistics(conv, precision, input, weights, map);
    batch_norm_with(layer.maps(), map, scales, (&found, epsilon), added, relu, output);
    found
}

/// What [`backward`] needs from a call of [`forward`].
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// The input.
    pub input: &'a [f32],
    /// The weights.
    pub weights: &'a [f32],
    /// γ and β.
    pub scales: [&'a [f32]; 2],
    /// The slice `saved`, which `forward` wrote.
    pub saved: &'a [f32],
    /// The statistics that `forward` returned.
    pub statistics: &'a [Statistics],
}

/// The destinations of the gradients.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// The gradient with respect to the input, if it is needed.
    pub input: Option<InputGrad<'a>>,
    /// The gradient with respect to the weights, `[outputs, inputs, kernel, kernel]`.
    pub weights: &'a mut [f32],
}

/// The destination of the gradient with respect to the input.
#[derive(Debug)]
pub struct InputGrad<'a> {
    /// The gradient, `[batch, inputs, height, width]`.
    pub to: &'a mut [f32],
    /// Whether the gradient is added to the contents of `to`, for an input that another branch
    /// uses, too.
    pub adds: bool,
}

/// Writes the gradients of [`forward`] to `to`, given the gradient with respect to its output.
/// Returns the gradients with respect to γ and β of each output channel.
///
/// # Panics
///
/// Panics if the length of a slice does not match the layer, or if `output_grad` is
/// [`OutputGrad::Added`] and the layer has no ReLU. Without ReLU, the gradient with respect to the
/// added feature map is the gradient with respect to the output.
pub fn backward(
    layer: ConvBatchNorm,
    recorded: &Recorded<'_>,
    output_grad: OutputGrad<'_>,
    to: Gradients<'_>,
) -> Vec<ChannelGrad> {
    layer.check_saved(recorded.saved.len());
    match layer.precision {
        Precision::F32 => backward_as(layer, recorded, recorded.saved, output_grad, to),
        Precision::Bf16 => {
            let saved: &[u16] = &cast_slice(recorded.saved)[..layer.maps().elements()];
            backward_as(layer, recorded, saved, output_grad, to)
        }
    }
}

fn backward_as<N: StoredFloat>(
    layer: ConvBatchNorm,
    recorded: &Recorded<'_>,
    map: &[N],
    output_grad: OutputGrad<'_>,
    to: Gradients<'_>,
) -> Vec<ChannelGrad> {
    let ConvBatchNorm { conv, precision, epsilon, relu } = layer;
    let &Recorded { input, weights, scales: [gamma, beta], saved: _, statistics } = recorded;
    assert_eq!(input.len(), conv.batch * conv.image(), "elements of the input of {conv:?}");
    assert_eq!([weights.len(), to.weights.len()], [conv.weights(); 2], "weights of {conv:?}");
    let to_input = to.input.map(|InputGrad { to, adds }| ToInput { weights, grad: to, adds });
    if let Some(to) = &to_input {
        assert_eq!(to.grad.len(), input.len(), "elements of the input gradient of {conv:?}");
    }
    let norm = norm::Recorded { shape: layer.maps(), input: map, gamma, statistics, epsilon };
    let alone = matches!(output_grad, OutputGrad::Whole(_));
    assert!(alone || relu, "the gradient of an added feature map without ReLU: {layer:?}");
    let (found, grads) = InputGrads::new(norm, (relu && alone).then_some(beta), output_grad);
    let grads = Images { grads, shape: norm.shape };
    gradients(conv, precision, &grads, to_input, Some((input, to.weights)));
    found
}

/// The gradient with respect to the output of the convolution, image by image.
struct Images<'a, N> {
    grads: InputGrads<'a, N>,
    shape: MapShape,
}

impl<N: StoredFloat> OutputGrads for Images<'_, N> {
    fn buffer_len(&self) -> usize {
        self.shape.channels * self.shape.positions
    }

    fn image<'a>(&'a self, image: usize, buffer: &'a mut [f32]) -> &'a [f32] {
        for (channel, plane) in buffer.chunks_exact_mut(self.shape.positions).enumerate() {
            self.grads.plane(image * self.shape.channels + channel, plane);
        }
        buffer
    }
}
