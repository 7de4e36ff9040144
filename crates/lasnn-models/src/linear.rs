//! Linear layers.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::{DenseBackend, ops};
use lasnn_core::Precision;

use crate::activations::{Activation, ActivationLayer};
use crate::init::{Initializer, LinearRole};

/// A linear layer, followed by an activation unless it is the classifier.
#[derive(Module, Debug)]
pub struct LinearLayer<B: Backend> {
    linear: Linear<B>,
    activation: Option<Activation<B>>,
}

impl<B: Backend> LinearLayer<B> {
    pub(crate) fn new(
        initializer: &mut Initializer<'_, B>,
        sizes: [usize; 2],
        bias: bool,
        role: LinearRole,
    ) -> Self {
        Self {
            linear: initializer.linear(sizes, bias, role),
            activation: (role == LinearRole::Hidden).then(|| initializer.activation()),
        }
    }

    /// Whether the layer ends in an activation.
    pub(crate) fn has_activation(&self) -> bool {
        self.activation.is_some()
    }

    /// See [`lasnn_nn::Constrained`].
    pub(crate) fn constrained(self) -> Self {
        let activation = self.activation.map(ActivationLayer::<B>::constrained);
        Self { activation, ..self }
    }
}

impl<B: DenseBackend> LinearLayer<B> {
    /// Flattens each image in the order channels, rows, columns, and runs the layer.
    ///
    /// # Shapes
    ///
    /// - `input`: `[batch, channels, height, width]`
    /// - result: `[batch, features, 1, 1]`; all layers have inputs and outputs of rank 4, so that
    ///   any layer can follow any other
    pub(crate) fn forward(&self, input: Tensor<B, 4>, precision: Precision) -> Tensor<B, 4> {
        let bias = self.linear.bias.as_ref().map(|bias| bias.val());
        let (input, weights) = (input.flatten(1, 3), self.linear.weight.val());
        let operation = |relu| {
            let output = ops::linear(input, weights, bias, precision, relu);
            let [batch, features] = output.dims();
            output.reshape([batch, features, 1, 1])
        };
        match &self.activation {
            Some(activation) => activation.after(operation),
            None => operation(false),
        }
    }
}
