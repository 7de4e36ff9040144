//! Networks whose feature maps can be read.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Pass, Tap};

use crate::attention::Attention;

/// Maps `[batch, channels, height, width]` by tap.
pub type Taps<B> = BTreeMap<Tap, Tensor<B, 4>>;

/// What a forward pass leaves behind.
#[derive(Clone, Debug)]
pub struct Features<B: Backend> {
    /// Class scores before the softmax, `[batch, classes]`.
    pub logits: Tensor<B, 2>,
    /// Feature maps at the taps: activations of an ordinary network, firing rates of a spiking
    /// one, before dropout and pooling.
    pub taps: Taps<B>,
}

/// A network that shows its class scores and its feature maps. Teacher and student both are, and
/// that is all that distillation and the training loop see of them.
pub trait Tapped<B: Backend> {
    /// Runs the network on normalised images `[batch, channels, height, width]`.
    ///
    /// `pass` has one entry per image in `samples`.
    fn features(&self, images: Tensor<B, 4>, pass: &Pass<'_>) -> Features<B>;

    /// The class scores and the attention maps of the feature maps; a network that can spare itself the feature
    /// maps does.
    fn attention(&self, images: Tensor<B, 4>, pass: &Pass<'_>) -> Attention<B> {
        self.features(images, pass).into()
    }

    /// The class scores alone; a network that can spare itself the feature maps does.
    fn logits(&self, images: Tensor<B, 4>, pass: &Pass<'_>) -> Tensor<B, 2> {
        self.features(images, pass).logits
    }
}
