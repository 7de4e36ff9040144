//! A planned architecture as a Burn module.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_backend::DenseBackend;
use lasnn_core::{Pass, Plan, Seed, Tap};
use lasnn_nn::{Features, Tapped, Taps};

use crate::init::{Init, Weights};
use crate::layer::NetworkLayer;
use crate::trace::Trace;

/// An ordinary network: rectifiers, and whatever else its plan says.
///
/// # Names
///
/// [`lasnn_nn::state`] knows the tensors by names that begin with `layers.<i>`, `i` being the
/// layer's place in the plan; layers without parameters keep their place.
///
/// | layer | tensors below `layers.<i>` |
/// |---|---|
/// | conv | `conv.weight`, `conv.bias`, and `norm.*` |
/// | residual | the same below `first`, `second` and `shortcut` |
/// | dense | the same below `units.<u>.first` and `units.<u>.second` |
/// | norm | `norm.*` |
/// | linear, classifier | `linear.weight`, `linear.bias` |
///
/// `norm.*` is `norm.gamma`, `norm.beta`, `norm.running_mean` and `norm.running_var`. Weights of a
/// convolution are `[outputs, inputs, height, width]`, those of a linear layer
/// `[inputs, outputs]`, with the inputs in the order channels, rows, columns.
///
/// # Batch norm
///
/// The running statistics are the one state that a forward pass changes, and only in
/// [`Mode::Train`](lasnn_core::Mode::Train). Burn keeps them outside the module's value, which has consequences:
///
/// - A clone shares them with its original. To keep a network as it is now, save its tensors.
/// - The last update is pending until [`valid`](burn::module::AutodiffModule::valid) or the next
///   pass on the same thread takes it in. Save and measure `network.valid()`.
/// - A pending update survives loading and then overwrites what was loaded. Load into a new
///   network, or through `valid()`.
#[derive(Module, Debug)]
pub struct Network<B: Backend> {
    layers: Vec<NetworkLayer<B>>,
    taps: Vec<Option<Tap>>,
    image: [usize; 3],
}

impl<B: Backend> Network<B> {
    /// Builds the network of a plan, its weights drawn from `seed`.
    pub fn new(plan: &Plan, init: Init, seed: Seed, device: &B::Device) -> Self {
        let mut weights = Weights::new(init, seed, device);
        Self {
            layers: plan.layers.iter().map(|l| NetworkLayer::new(&mut weights, l)).collect(),
            taps: plan.layers.iter().map(|l| l.layer.tap()).collect(),
            image: [plan.input.channels, plan.input.height, plan.input.width],
        }
    }
}

impl<B: DenseBackend> Network<B> {
    /// The output of every activation, in the order of the signal, before dropout and pooling.
    ///
    /// Each comes as `[batch, channels, height, width]`, that of a linear layer as
    /// `[batch, features, 1, 1]`, and under the name of what closes with it: `layers.<i>` for a
    /// convolution, norm or linear layer, `layers.<i>.first` and `layers.<i>.second` for a
    /// residual block (the second one behind the sum), `layers.<i>.units.<u>.first` and
    /// `.second` for a dense block. A spiking network has its neurons at the same places.
    ///
    /// # Panics
    ///
    /// As [`features`](Tapped::features).
    pub fn activations(
        &self,
        images: Tensor<B, 4>,
        pass: &Pass<'_>,
    ) -> Vec<(String, Tensor<B, 4>)> {
        let mut trace = Trace::everything();
        self.run(images, pass, &mut trace);
        trace.into_collected()
    }

    fn run(&self, images: Tensor<B, 4>, pass: &Pass<'_>, trace: &mut Trace<B>) -> Features<B> {
        let found = images.dims();
        assert_eq!(found[1..], self.image, "the network is planned for other images");
        let mut taps = Taps::new();
        let mut signal = images;
        for (index, (layer, tap)) in self.layers.iter().zip(&self.taps).enumerate() {
            signal = layer.forward(index, signal, pass, trace);
            if let Some(tap) = tap {
                taps.insert(*tap, signal.clone());
            }
        }
        Features { logits: signal.flatten(1, 3), taps }
    }
}

impl<B: DenseBackend> Tapped<B> for Network<B> {
    /// Runs the network.
    ///
    /// In [`Mode::Evaluate`](lasnn_core::Mode::Evaluate) dropout does nothing and batch norm
    /// takes its running statistics, whatever the backend.
    ///
    /// # Panics
    ///
    /// Panics if the images are not of the planned shape, or, in training, if `pass` does not
    /// name one sample per image.
    fn features(&self, images: Tensor<B, 4>, pass: &Pass<'_>) -> Features<B> {
        self.run(images, pass, &mut Trace::nothing())
    }
}
