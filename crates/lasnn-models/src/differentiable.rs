//! A teacher that also returns the gradient of its loss with respect to its feature maps (Eq. 10).

use burn::module::{AutodiffModule, Module};
use burn::tensor::activation::softmax;
use burn::tensor::backend::{AutodiffBackend, Backend};
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

/// The gradient of the cross-entropy of each image with respect to its logits `[batch, classes]`.
///
/// At the right class it is the probability minus 1, which rounds to 0 if the network is sure. The
/// sum of the other probabilities, with the other sign, is the same number and does not.
fn cross_entropy_gradient<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
) -> Tensor<B, 2> {
    let [batch, classes] = logits.dims();
    let numbers = Tensor::<B, 1, Int>::arange(0..classes as i64, &logits.device());
    let numbers = numbers.unsqueeze_dim::<2>(0).expand([batch, classes]);
    let is_target = numbers.equal(targets.unsqueeze_dim::<2>(1).expand([batch, classes]));
    let others = softmax(logits, 1).mask_fill(is_target.clone(), 0.0);
    let sum = others.clone().sum_dim(1).expand([batch, classes]);
    others.mask_where(is_target, -sum)
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
        let gradient = cross_entropy_gradient(found.logits.clone().inner(), targets.clone());
        // This sum and the cross-entropies have the same gradient with respect to the logits.
        let sum = (found.logits.clone() * Tensor::from_inner(gradient)).sum();
        let mut gradients = sum.backward();
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

#[cfg(test)]
mod tests {
    use burn_flex::Flex;

    use super::*;

    #[test]
    fn a_sure_network_has_a_gradient() {
        let device = Default::default();
        let logits = Tensor::<Flex, 2>::from_floats([[30.0, 0.0, -1.0], [1.0, 2.0, 0.0]], &device);
        let targets = Tensor::from_ints([0, 1], &device);
        let found = cross_entropy_gradient(logits, targets).into_data().to_vec::<f32>().unwrap();
        let probability = |logit: f64, all: [f64; 3]| {
            logit.exp() / all.iter().map(|logit| logit.exp()).sum::<f64>()
        };
        let (sure, unsure) = ([30.0, 0.0, -1.0], [1.0, 2.0, 0.0]);
        let others = [probability(0.0, sure), probability(-1.0, sure)];
        let expected = [
            -(others[0] + others[1]),
            others[0],
            others[1],
            probability(1.0, unsure),
            probability(2.0, unsure) - 1.0,
            probability(0.0, unsure),
        ];
        for (found, expected) in found.into_iter().zip(expected) {
            let error = (f64::from(found) - expected).abs() / expected.abs();
            assert!(expected != 0.0 && error < 1e-5, "{found} instead of {expected}");
        }
    }
}
