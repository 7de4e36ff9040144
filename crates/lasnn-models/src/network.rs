//! Builds a Burn module from the plan of an architecture.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::DenseBackend;
use lasnn_core::{Pass, Plan, Probe, Probes, Seed, Tap};
use lasnn_nn::{Constrained, Observable, Observations, Taps, attention_map};

use crate::activations::ActivationConfig;
use crate::init::{Init, Initializer};
use crate::layer::NetworkLayer;
use crate::trace::Trace;

/// A non-spiking network, built from a plan.
///
/// # Names
///
/// The names of the tensors in [`lasnn_nn::state`] begin with `layers.<i>`, where `i` is the
/// position of the layer in the plan. Layers without parameters are counted, too.
///
/// | layer | tensors below `layers.<i>` |
/// |---|---|
/// | conv | `conv.weight`, `conv.bias`, and `norm.*` |
/// | residual | the tensors of a conv below `first`, `second` and `shortcut` |
/// | dense | the tensors of a conv below `units.<u>.first` and `units.<u>.second` |
/// | norm | `norm.*` |
/// | linear, classifier | `linear.weight`, `linear.bias` |
///
/// A layer with an activation that has parameters has them below `activation`, for instance
/// `layers.0.activation.bound` or `layers.3.first.activation.bound`.
///
/// `norm.*` is `norm.gamma`, `norm.beta`, `norm.running_mean` and `norm.running_var`. The weights
/// of a convolution are `[outputs, inputs, height, width]`, the weights of a linear layer `[inputs,
/// outputs]`, with the inputs in the order channels, rows, columns.
///
/// # Batch norm
///
/// The running statistics are the only state that a forward pass changes, and only in
/// [`Mode::Train`](lasnn_core::Mode::Train). Burn stores them outside the module's value, which has
/// three consequences:
///
/// - A clone shares the statistics with its original. To keep a network as it is, save its tensors.
/// - The last update is pending until [`valid`](burn::module::AutodiffModule::valid) or the next
///   pass on the same thread applies it. Save and measure `network.valid()`.
/// - A pending update survives loading and then overwrites the loaded statistics. Load into a new
///   network, or into `network.valid()`.
#[derive(Module, Debug)]
pub struct Network<B: Backend> {
    layers: Vec<NetworkLayer<B>>,
    taps: Vec<Option<Tap>>,
    image: [usize; 3],
}

impl<B: Backend> Network<B> {
    /// Builds the network of a plan, with initial weights drawn from `seed`. Its activations are
    /// ReLUs.
    pub fn new(plan: &Plan, init: Init, seed: Seed, device: &B::Device) -> Self {
        Self::with_activation(plan, ActivationConfig::default(), init, seed, device)
    }

    /// Like [`Network::new`], with another activation in all layers that have one.
    pub fn with_activation(
        plan: &Plan,
        activation: ActivationConfig,
        init: Init,
        seed: Seed,
        device: &B::Device,
    ) -> Self {
        let mut initializer = Initializer::new(activation, init, seed, device);
        Self {
            layers: plan.layers.iter().map(|l| NetworkLayer::new(&mut initializer, l)).collect(),
            taps: plan.layers.iter().map(|l| l.layer.tap()).collect(),
            image: [plan.input.channels, plan.input.height, plan.input.width],
        }
    }
}

impl<B: DenseBackend> Network<B> {
    /// The output of every activation with its name, in the order in which the network computes
    /// them, before dropout and pooling. A spiking network has its neurons at the same positions.
    ///
    /// The outputs are `[batch, channels, height, width]`; the output of a linear layer is
    /// `[batch, features, 1, 1]`. The names are:
    ///
    /// - `layers.<i>` for a convolution, norm or linear layer,
    /// - `layers.<i>.first` and `layers.<i>.second` for a residual block, where the second is the
    ///   activation of the sum,
    /// - `layers.<i>.units.<u>.first` and `layers.<i>.units.<u>.second` for a dense block.
    ///
    /// # Panics
    ///
    /// Panics under the conditions of [`observe`](Observable::observe).
    pub fn activations(
        &self,
        images: Tensor<B, 4>,
        pass: &Pass<'_>,
    ) -> Vec<(String, Tensor<B, 4>)> {
        let mut trace = Trace::recording();
        self.run(images, pass, &mut trace, &Probes::NONE, &mut |_, map| map);
        trace.into_activations()
    }

    /// Runs the network. `at_tap` gets the feature map at each tap, and returns the one with which
    /// the network goes on.
    pub(crate) fn run(
        &self,
        images: Tensor<B, 4>,
        pass: &Pass<'_>,
        trace: &mut Trace<B>,
        probes: &Probes,
        at_tap: &mut dyn FnMut(Tap, Tensor<B, 4>) -> Tensor<B, 4>,
    ) -> Observations<B> {
        let found = images.dims();
        assert_eq!(found[1..], self.image, "the network is planned for images of another shape");
        let (mut features, mut attention) = (Taps::new(), Taps::new());
        let mut signal = images;
        for (index, (layer, tap)) in self.layers.iter().zip(&self.taps).enumerate() {
            signal = layer.forward(index, signal, pass, trace);
            let Some(tap) = *tap else { continue };
            signal = at_tap(tap, signal);
            if probes.contains(Probe::Features(tap)) {
                features.insert(tap, signal.clone());
            }
            if probes.contains(Probe::Attention(tap)) {
                attention.insert(tap, attention_map(signal.clone()));
            }
        }
        Observations { features, attention, ..Observations::new(signal.flatten(1, 3)) }
    }
}

/// Only trained parameters of activations have ranges.
impl<B: Backend> Constrained for Network<B> {
    fn constrained(self) -> Self {
        let layers = self.layers.into_iter().map(NetworkLayer::constrained).collect();
        Self { layers, ..self }
    }
}

impl<B: DenseBackend> Observable<B> for Network<B> {
    /// Runs the network. It has no values for the probes of time steps and neurons.
    ///
    /// In [`Mode::Evaluate`](lasnn_core::Mode::Evaluate) dropout does nothing and batch norm
    /// uses its running statistics, on an autodiff backend, too.
    ///
    /// # Panics
    ///
    /// Panics if the images do not have the shape of the plan, or, in training with dropout, if
    /// `pass` does not have one sample for each image.
    fn observe(&self, images: Tensor<B, 4>, pass: &Pass<'_>, probes: &Probes) -> Observations<B> {
        self.run(images, pass, &mut Trace::off(), probes, &mut |_, map| map)
    }
}
