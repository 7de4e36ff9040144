//! The trait of a network that returns logits and feature maps.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Pass, Tap};

use crate::attention::Attention;

/// Feature maps `[batch, channels, height, width]` by tap.
pub type Taps<B> = BTreeMap<Tap, Tensor<B, 4>>;

/// The results of a forward pass.
#[derive(Clone, Debug)]
pub struct Features<B: Backend> {
    /// Class scores before the softmax, `[batch, classes]`.
    pub logits: Tensor<B, 2>,
    /// The feature maps at the taps, before dropout and pooling: the activations of a non-spiking
    /// network, or the firing rates of a spiking network.
    pub taps: Taps<B>,
}

/// A network that returns its logits and its feature maps. Teacher and student implement this
/// trait, and distillation and the training loop use nothing else of them.
pub trait Tapped<B: Backend> {
    /// Runs the network on normalised images `[batch, channels, height, width]`.
    ///
    /// `pass.samples` has one entry for each image.
    fn features(&self, images: Tensor<B, 4>, pass: &Pass<'_>) -> Features<B>;

    /// The logits and the attention maps of the feature maps. A network that can compute the
    /// attention maps without storing the feature maps overrides this.
    fn attention(&self, images: Tensor<B, 4>, pass: &Pass<'_>) -> Attention<B> {
        self.features(images, pass).into()
    }

    /// The logits alone. A network that can leave out the feature maps overrides this.
    fn logits(&self, images: Tensor<B, 4>, pass: &Pass<'_>) -> Tensor<B, 2> {
        self.features(images, pass).logits
    }
}
