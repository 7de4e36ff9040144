//! Fully connected layers.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::{DenseBackend, ops};
use lasnn_core::Precision;

use crate::init::{Place, Weights};

/// A fully connected layer, with an activation unless it is the classifier.
#[derive(Module, Debug)]
pub struct FullyConnected<B: Backend> {
    linear: Linear<B>,
    activation: bool,
}

impl<B: Backend> FullyConnected<B> {
    pub(crate) fn new(
        weights: &mut Weights<'_, B>,
        sizes: [usize; 2],
        bias: bool,
        place: Place,
    ) -> Self {
        Self { linear: weights.linear(sizes, bias, place), activation: place == Place::Hidden }
    }

    /// Whether the output is an activation.
    pub(crate) fn has_activation(&self) -> bool {
        self.activation
    }
}

impl<B: DenseBackend> FullyConnected<B> {
    /// Flattens each image in the order channels, rows, columns.
    ///
    /// # Shapes
    ///
    /// `[batch, channels, height, width]` to `[batch, features, 1, 1]`: the signal keeps its rank
    /// through the whole network, so that every layer can follow every other.
    pub(crate) fn forward(&self, input: Tensor<B, 4>, precision: Precision) -> Tensor<B, 4> {
        let bias = self.linear.bias.as_ref().map(|bias| bias.val());
        let (input, weights) = (input.flatten(1, 3), self.linear.weight.val());
        let output = ops::linear(input, weights, bias, precision, self.activation);
        let [batch, features] = output.dims();
        output.reshape([batch, features, 1, 1])
    }
}
