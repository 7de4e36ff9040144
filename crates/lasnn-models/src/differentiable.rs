//! A teacher that also returns the gradient of its loss with respect to its feature maps (Eq. 10).

use burn::module::{AutodiffModule, Module};
use burn::tensor::activation::log_softmax;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Int, Tensor};
use lasnn_backend::DenseBackend;
use lasnn_core::{Pass, Probe, Probes};
use lasnn_nn::{Observable, Observations, Taps, attention_map};

use crate::network::Network;
use crate::trace::Trace;

/// A network without trained parameters. It records a graph only if gradient maps are requested,
/// and only from the first of their taps on.
#[derive(Clone, Debug)]
pub struct DifferentiableNetwork<A: AutodiffBackend> {
    plain: Network<A::InnerBackend>,
    recording: Network<A>,
}

impl<A: AutodiffBackend> DifferentiableNetwork<A> {
    /// The network with its parameters as constants.
    pub fn new(network: Network<A>) -> Self {
        let recording = network.no_grad();
        Self { plain: recording.valid(), recording }
    }
}

impl<A> Observable<A::InnerBackend> for DifferentiableNetwork<A>
where
    A: AutodiffBackend<InnerBackend: DenseBackend> + DenseBackend,
{
    /// Runs the network without a graph. There are no gradient maps.
    fn observe(
        &self,
        images: Tensor<A::InnerBackend, 4>,
        pass: &Pass<'_>,
        probes: &Probes,
    ) -> Observations<A::InnerBackend> {
        self.plain.observe(images, pass, probes)
    }

    /// The cross-entropy of an image depends on this image alone, as long as `pass` evaluates.
    /// Therefore one backward pass of the sum over the batch gives the gradients of all images.
    fn observe_labelled(
        &self,
        images: Tensor<A::InnerBackend, 4>,
        targets: &Tensor<A::InnerBackend, 1, Int>,
        pass: &Pass<'_>,
        probes: &Probes,
    ) -> Observations<A::InnerBackend> {
        if !probes.iter().any(|probe| matches!(probe, Probe::GradientMap(_))) {
            return self.observe(images, pass, probes);
        }
        // Burn keeps the gradients of leaves only. That of a sum is the gradient of a summand, so a
        // leaf of zeros is added to the map.
        let mut leaves = Vec::new();
        let mut at_tap = |tap, map: Tensor<A, 4>| {
            if !probes.contains(Probe::GradientMap(tap)) {
                return map;
            }
            let leaf = map.zeros_like().detach().require_grad();
            leaves.push((tap, leaf.clone()));
            map + leaf
        };
        let images = Tensor::<A, 4>::from_inner(images);
        let found = self.recording.run(images, pass, &mut Trace::off(), probes, &mut at_tap);
        let targets = Tensor::<A, 1, Int>::from_inner(targets.clone()).unsqueeze_dim(1);
        let loss = log_softmax(found.logits.clone(), 1).gather(1, targets).sum().neg();
        let mut gradients = loss.backward();
        let map = |(tap, leaf): (_, Tensor<A, 4>)| {
            leaf.grad_remove(&mut gradients).map(|gradient| (tap, attention_map(gradient)))
        };
        let gradient_maps: Taps<A::InnerBackend> = leaves.into_iter().filter_map(map).collect();
        let inner = |maps: Taps<A>| maps.into_iter().map(|(tap, map)| (tap, map.inner())).collect();
        Observations {
            features: inner(found.features),
            attention: inner(found.attention),
            gradient_maps,
            ..Observations::new(found.logits.inner())
        }
    }
}
