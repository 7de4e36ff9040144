//! A convolution with a batch norm behind it, the most of a residual network.
//!
//! Apart, both would write maps that the other one reads again. Together, the statistics of a plane are
//! found while it is in the nearest cache; and on the way back the gradient of the map between the two
//! is made image by image, and is gone when the convolution has taken it.

use super::conv::{ConvShape, OutputGrads, forward_with_statistics, gradients};
use super::norm::{ChannelGrad, Gated, InputGrads, Layer, MapShape, Statistics, normalise_with};
use crate::product::Precision;

/// What a convolution with a batch norm does.
#[derive(Clone, Copy, Debug)]
pub struct NormalisedConv {
    /// The sizes of the convolution, which has no bias.
    pub conv: ConvShape,
    /// What is multiplied.
    pub precision: Precision,
    /// What keeps the norm's division finite.
    pub epsilon: f32,
    /// Whether negative outputs become zero.
    pub rectify: bool,
}

impl NormalisedConv {
    /// The sizes of the maps behind the convolution.
    pub fn maps(&self) -> MapShape {
        let positions = self.conv.output_height() * self.conv.output_width();
        MapShape { batch: self.conv.batch, channels: self.conv.outputs, positions }
    }
}

/// Writes the convolution of `input` to `map`, and `γ · (map - µ) / sqrt(σ² + ε) + β + added` to
/// `output`, µ and σ² being those of each channel, which are returned.
///
/// # Panics
///
/// Panics if a slice has not the elements that the layer says.
pub fn forward(
    layer: NormalisedConv,
    [input, weights]: [&[f32]; 2],
    scales: [&[f32]; 2],
    added: Option<&[f32]>,
    [map, output]: [&mut [f32]; 2],
) -> Vec<Statistics> {
    let NormalisedConv { conv, precision, epsilon, rectify } = layer;
    let found = forward_with_statistics(conv, precision, input, weights, map);
    normalise_with(layer.maps(), map, scales, (&found, epsilon), added, rectify, output);
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
    /// What it wrote between convolution and norm.
    pub map: &'a [f32],
    /// What it returned.
    pub statistics: &'a [Statistics],
}

/// Where gradients go.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// With respect to the input, if that is asked for.
    pub input: Option<&'a mut [f32]>,
    /// With respect to the weights.
    pub weights: &'a mut [f32],
    /// With respect to what was added before a rectifier, given its output.
    pub added: Option<(&'a [f32], &'a mut [f32])>,
}

/// Writes the gradients of [`forward`], given that with respect to its output, and returns those of γ
/// and β. Where something was added before a rectifier, its gradient must be asked for.
///
/// # Panics
///
/// Panics if a slice has not the elements that the layer says.
pub fn backward(
    layer: NormalisedConv,
    recorded: &Recorded<'_>,
    output_grad: &[f32],
    to: Gradients<'_>,
) -> Vec<ChannelGrad> {
    let NormalisedConv { conv, precision, epsilon, rectify } = layer;
    let &Recorded { input, weights, scales: [gamma, beta], map, statistics } = recorded;
    assert_eq!(input.len(), conv.batch * conv.image(), "elements of the input of {conv:?}");
    assert_eq!([weights.len(), to.weights.len()], [conv.weights(); 2], "weights of {conv:?}");
    if let Some(grad) = &to.input {
        assert_eq!(grad.len(), input.len(), "elements of the input gradient of {conv:?}");
    }
    let norm = Layer { shape: layer.maps(), input: map, gamma, statistics, epsilon };
    let gated = to.added.map(|(output, to)| Gated { output, to });
    let shifts = (rectify && gated.is_none()).then_some(beta);
    let (found, grads) = InputGrads::new(norm, shifts, output_grad, gated);
    let grads = Images { grads, shape: norm.shape };
    let to_input = to.input.map(|grad| (weights, grad));
    gradients(conv, precision, &grads, to_input, Some((input, to.weights)));
    found
}

/// The gradient with respect to the map, image by image.
struct Images<'a> {
    grads: InputGrads<'a>,
    shape: MapShape,
}

impl OutputGrads for Images<'_> {
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
