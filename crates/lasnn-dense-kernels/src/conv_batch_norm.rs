//! A convolution with a batch norm behind it, the most of a residual network.
//!
//! Apart, both would write maps that the other one reads again. Together, the statistics of a plane are
//! found while it is in the nearest cache; and on the way back the gradient of the map between the two
//! is made image by image, and is gone when the convolution has taken it. The map itself is kept as what
//! is multiplied: a number that is rounded takes half the way through memory.

use pulp::bytemuck::{cast_slice, cast_slice_mut};

use super::conv::{ConvShape, OutputGrads, ToInput, forward_with_statistics, gradients};
use super::kept::Kept;
pub use super::norm::OutputGrad;
use super::norm::{ChannelGrad, InputGrads, Layer, MapShape, Statistics, batch_norm_with};
use lasnn_core::Precision;

/// What a convolution with a batch norm does.
#[derive(Clone, Copy, Debug)]
pub struct ConvBatchNorm {
    /// The sizes of the convolution, which has no bias.
    pub conv: ConvShape,
    /// What is multiplied, and what the map between the two is kept as.
    pub precision: Precision,
    /// What keeps the norm's division finite.
    pub epsilon: f32,
    /// Whether negative outputs become zero.
    pub relu: bool,
}

impl ConvBatchNorm {
    /// The sizes of the maps behind the convolution.
    pub fn maps(&self) -> MapShape {
        let positions = self.conv.output_height() * self.conv.output_width();
        MapShape { batch: self.conv.batch, channels: self.conv.outputs, positions }
    }

    /// Numbers of `f32` that the map between the two takes the room of.
    pub fn kept(&self) -> usize {
        match self.precision {
            Precision::F32 => self.maps().elements(),
            Precision::Bf16 => self.maps().elements().div_ceil(2),
        }
    }

    /// Panics unless there is as much room for the map between the two as [`kept`](Self::kept) says.
    fn check_kept(&self, kept: usize) {
        assert_eq!(kept, self.kept(), "room for the map of {self:?}");
    }
}

/// Writes `γ · (map - µ) / sqrt(σ² + ε) + β + added` to `output`, map being the convolution of `input`,
/// and µ and σ² those of each of its channels, which are returned. The map goes to `kept`, for
/// [`backward`].
///
/// # Panics
///
/// Panics if a slice has not the elements that the layer says.
pub fn forward(
    layer: ConvBatchNorm,
    inputs: [&[f32]; 2],
    scales: [&[f32]; 2],
    added: Option<&[f32]>,
    [kept, output]: [&mut [f32]; 2],
) -> Vec<Statistics> {
    layer.check_kept(kept.len());
    match layer.precision {
        Precision::F32 => forward_as(layer, inputs, scales, added, kept, output),
        Precision::Bf16 => {
            let kept: &mut [u16] = &mut cast_slice_mut(kept)[..layer.maps().elements()];
            forward_as(layer, inputs, scales, added, kept, output)
        }
    }
}

fn forward_as<N: Kept>(
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

/// What the way back needs of [`forward`].
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// Its input.
    pub input: &'a [f32],
    /// Its weights.
    pub weights: &'a [f32],
    /// γ and β.
    pub scales: [&'a [f32]; 2],
    /// What it kept.
    pub kept: &'a [f32],
    /// What it returned.
    pub statistics: &'a [Statistics],
}

/// Where gradients go.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// With respect to the input, if that is asked for.
    pub input: Option<InputGrad<'a>>,
    /// With respect to the weights.
    pub weights: &'a mut [f32],
}

/// Where the gradient with respect to the input goes.
#[derive(Debug)]
pub struct InputGrad<'a> {
    /// Its place.
    pub to: &'a mut [f32],
    /// Whether it is added to what is there, which came to the same input on another way.
    pub adds: bool,
}

/// Writes the gradients of [`forward`], given that with respect to its output, and returns those of γ
/// and β.
///
/// # Panics
///
/// Panics if a slice has not the elements that the layer says.
pub fn backward(
    layer: ConvBatchNorm,
    recorded: &Recorded<'_>,
    output_grad: OutputGrad<'_>,
    to: Gradients<'_>,
) -> Vec<ChannelGrad> {
    layer.check_kept(recorded.kept.len());
    match layer.precision {
        Precision::F32 => backward_as(layer, recorded, recorded.kept, output_grad, to),
        Precision::Bf16 => {
            let kept: &[u16] = &cast_slice(recorded.kept)[..layer.maps().elements()];
            backward_as(layer, recorded, kept, output_grad, to)
        }
    }
}

fn backward_as<N: Kept>(
    layer: ConvBatchNorm,
    recorded: &Recorded<'_>,
    map: &[N],
    output_grad: OutputGrad<'_>,
    to: Gradients<'_>,
) -> Vec<ChannelGrad> {
    let ConvBatchNorm { conv, precision, epsilon, relu } = layer;
    let &Recorded { input, weights, scales: [gamma, beta], kept: _, statistics } = recorded;
    assert_eq!(input.len(), conv.batch * conv.image(), "elements of the input of {conv:?}");
    assert_eq!([weights.len(), to.weights.len()], [conv.weights(); 2], "weights of {conv:?}");
    let to_input = to.input.map(|InputGrad { to, adds }| ToInput { weights, grad: to, adds });
    if let Some(to) = &to_input {
        assert_eq!(to.grad.len(), input.len(), "elements of the input gradient of {conv:?}");
    }
    let norm = Layer { shape: layer.maps(), input: map, gamma, statistics, epsilon };
    let alone = matches!(output_grad, OutputGrad::Whole(_));
    assert!(alone || relu, "a sum without a rectifier has the gradient of its output: {layer:?}");
    let (found, grads) = InputGrads::new(norm, (relu && alone).then_some(beta), output_grad);
    let grads = Images { grads, shape: norm.shape };
    gradients(conv, precision, &grads, to_input, Some((input, to.weights)));
    found
}

/// The gradient with respect to the map, image by image.
struct Images<'a, N> {
    grads: InputGrads<'a, N>,
    shape: MapShape,
}

impl<N: Kept> OutputGrads for Images<'_, N> {
    fn spare(&self) -> usize {
        self.shape.channels * self.shape.positions
    }

    fn image<'a>(&'a self, image: usize, spare: &'a mut [f32]) -> &'a [f32] {
        for (channel, plane) in spare.chunks_exact_mut(self.shape.positions).enumerate() {
            self.grads.plane(image * self.shape.channels + channel, plane);
        }
        spare
    }
}
