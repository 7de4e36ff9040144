//! The trait of a network that can be observed, and what it returns.

use std::collections::BTreeMap;

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor};
use lasnn_core::{Pass, Probes, Tap};

/// Maps by tap, for instance feature maps `[batch, channels, height, width]`.
pub type Taps<B> = BTreeMap<Tap, Tensor<B, 4>>;

/// The results of a forward pass: the logits, and the values of the probes that were requested.
///
/// A probe that was not requested has no value here. Neither has a probe at a tap that the network
/// lacks, nor a probe of time steps or neurons if the network does not spike.
#[derive(Clone, Debug)]
pub struct Observations<B: Backend> {
    /// Class scores before the softmax, `[batch, classes]`. Those of a spiking network are the mean
    /// current into its readout over the time steps.
    pub logits: Tensor<B, 2>,
    /// The current into the readout at each time step, `[steps, batch, classes]`. Their mean over
    /// the steps is `logits`.
    pub logits_by_step: Option<Tensor<B, 3>>,
    /// Feature maps `[batch, channels, height, width]`, before dropout and pooling: the activations
    /// of an ordinary network, or the firing rates of a spiking network.
    pub features: Taps<B>,
    /// Attention maps `[batch, 1, height, width]` of the feature maps.
    pub attention: Taps<B>,
    /// Spike activation maps `[steps, batch, height, width]`.
    pub activation_maps: Taps<B>,
    /// Maps `[batch, 1, height, width]` of the gradient of each image's cross-entropy with respect
    /// to the feature map: the mean of its squares over the channels.
    pub gradient_maps: Taps<B>,
    /// The number of spikes of each neuron over all time steps, `[batch, channels, height, width]`
    /// for each layer of neurons, from the image on.
    pub spike_counts: Vec<Tensor<B, 4>>,
    /// Membrane potentials `[steps, batch, channels, height, width]` after each time step.
    pub membranes: BTreeMap<Tap, Tensor<B, 5>>,
}

impl<B: Backend> Observations<B> {
    /// Logits `[batch, classes]` without the value of any probe.
    pub fn new(logits: Tensor<B, 2>) -> Self {
        Self {
            logits,
            logits_by_step: None,
            features: Taps::new(),
            attention: Taps::new(),
            activation_maps: Taps::new(),
            gradient_maps: Taps::new(),
            spike_counts: Vec::new(),
            membranes: BTreeMap::new(),
        }
    }

    /// Moves these observations to an autodiff backend, as constants without gradient.
    pub fn constant<A: AutodiffBackend<InnerBackend = B>>(self) -> Observations<A> {
        fn maps<A: AutodiffBackend, const D: usize>(
            maps: BTreeMap<Tap, Tensor<A::InnerBackend, D>>,
        ) -> BTreeMap<Tap, Tensor<A, D>> {
            maps.into_iter().map(|(tap, map)| (tap, Tensor::from_inner(map))).collect()
        }
        Observations {
            logits: Tensor::from_inner(self.logits),
            logits_by_step: self.logits_by_step.map(Tensor::from_inner),
            features: maps(self.features),
            attention: maps(self.attention),
            activation_maps: maps(self.activation_maps),
            gradient_maps: maps(self.gradient_maps),
            spike_counts: self.spike_counts.into_iter().map(Tensor::from_inner).collect(),
            membranes: maps(self.membranes),
        }
    }
}

/// A network that can be observed: it returns its logits and the values that probes name. Teacher
/// and student implement this trait, and losses and the training loop use nothing else of them.
pub trait Observable<B: Backend> {
    /// Runs the network on normalised images `[batch, channels, height, width]`.
    ///
    /// `pass.samples` has one entry for each image. The logits are the same for all sets of probes.
    fn observe(&self, images: Tensor<B, 4>, pass: &Pass<'_>, probes: &Probes) -> Observations<B>;

    /// Like [`Observable::observe`], for images of the given classes `[batch]`. A network that
    /// computes gradient maps needs the classes; all others ignore them.
    fn observe_labelled(
        &self,
        images: Tensor<B, 4>,
        _targets: &Tensor<B, 1, Int>,
        pass: &Pass<'_>,
        probes: &Probes,
    ) -> Observations<B> {
        self.observe(images, pass, probes)
    }

    /// The logits alone, `[batch, classes]`.
    fn logits(&self, images: Tensor<B, 4>, pass: &Pass<'_>) -> Tensor<B, 2> {
        self.observe(images, pass, &Probes::NONE).logits
    }
}
