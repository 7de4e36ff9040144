//! Trained thresholds and leaks are moved into their ranges.

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Param};
use burn::tensor::Tensor;
use lasnn_neurons::{Lif, LifConfig, NeuronModel, SpikingBackend, TrainedParams};

use crate::support::{on_every_backend, values};

on_every_backend!(
    trained_parameters_are_moved_into_their_ranges,
    parameters_that_are_not_trained_stay_as_they_are,
    identities_and_gradients_are_kept,
);

/// Neurons of four channels with the given leak.
fn neurons<B: SpikingBackend>(leak: f32, trained: bool) -> Lif<Autodiff<B>> {
    let all = TrainedParams { threshold: trained, leak: trained, initial_membrane: trained };
    Lif::new(&LifConfig::default(), 1.0, &Default::default())
        .with_thresholds(&[-1.0, 1e-4, 1e-3, 7.0])
        .with_leak(leak)
        .with_initial_membrane(&[-3.0])
        .with_trained(all)
}

fn leak<B: SpikingBackend>(neurons: &Lif<B>) -> f32 {
    values(neurons.leak.val())[0] as f32
}

fn trained_parameters_are_moved_into_their_ranges<B: SpikingBackend>() {
    let found = neurons::<B>(1.5, true).constrained();
    assert_eq!(found.thresholds(), [1e-3, 1e-3, 1e-3, 7.0]);
    assert_eq!(values(found.initial_membrane.as_ref().unwrap().val()), [-3.0]);
    for (before, after) in [(1.5, 1.0), (1.0, 1.0), (0.7, 0.7), (1e-3, 1e-3), (-0.2, 1e-3)] {
        assert_eq!(leak(&neurons::<B>(before, true).constrained()), after);
    }
}

fn parameters_that_are_not_trained_stay_as_they_are<B: SpikingBackend>() {
    let found = neurons::<B>(1.5, false).constrained();
    assert_eq!(found.thresholds(), [-1.0, 1e-4, 1e-3, 7.0]);
    assert_eq!(leak(&found), 1.5);
    // Nothing is trained on a backend without autodiff.
    let inner = neurons::<B>(1.5, true).valid().constrained();
    assert_eq!((inner.thresholds()[0], leak(&inner)), (-1.0, 1.5));
}

fn identities_and_gradients_are_kept<B: SpikingBackend>() {
    let before = neurons::<B>(1.5, true);
    let after = before.clone().constrained();
    assert_eq!(after.threshold.id, before.threshold.id);
    assert_eq!(after.leak.id, before.leak.id);
    let loss = (after.threshold.val() * 2.0).sum() + after.leak.val() * 3.0;
    let gradients = loss.backward();
    let gradient =
        |param: &Param<Tensor<Autodiff<B>, 1>>| values(param.val().grad(&gradients).unwrap());
    assert_eq!(gradient(&after.threshold), [2.0; 4]);
    assert_eq!(gradient(&after.leak), [3.0]);
}
