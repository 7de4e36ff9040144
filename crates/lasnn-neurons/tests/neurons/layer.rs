//! The layer of neurons: simulation in several calls, state, gradients, dropout and readout.

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module};
use burn::tensor::Tensor;
use lasnn_core::{Pass, Seed};
use lasnn_neurons::{
    Lif, LifConfig, NeuronModel, NeuronOptions, SpikingBackend, Surrogate, TrainedParams,
    mean_current, time_locked_dropout,
};
use lasnn_nn::state;
use proptest::prelude::*;

use crate::support::{all_options, normals, on_every_backend, tensor, values};

on_every_backend!(
    several_calls_equal_one_scan,
    state_is_saved_and_loaded,
    parameters_take_a_gradient_only_if_they_are_trained,
    a_threshold_of_a_channel_is_that_of_all_its_neurons,
    an_initial_potential_is_where_neurons_start,
    dropout_has_one_mask_for_all_steps,
    the_readout_averages_over_time,
);

fn config(options: NeuronOptions) -> LifConfig {
    let NeuronOptions { reset, step_order, surrogate } = options;
    LifConfig { leak: 0.9.into(), reset, step_order, surrogate, ..Default::default() }
}

/// Simulates a batch of 2 in calls of the given numbers of steps, and in one call. Both must have
/// the same bits.
fn check_pieces<B: SpikingBackend>(options: NeuronOptions, pieces: &[usize], key: u32) {
    let steps: usize = pieces.iter().sum();
    let shape = [steps * 2, 3, 5, 5];
    let neurons = Lif::<B>::new(&config(options), 0.7, &Default::default());
    let currents = normals(key, shape.iter().product()).iter().map(|n| 0.2 + 0.5 * n).collect();
    let currents = tensor::<B, 4>(currents, shape);

    let mut membrane = None;
    let mut parts = Vec::new();
    let mut row = 0;
    for &piece in pieces {
        let part = currents.clone().narrow(0, row * 2, piece * 2);
        let (spikes, after) = neurons.advance(part, membrane, piece);
        assert_eq!(after.dims(), [2, 3, 5, 5]);
        parts.push(spikes);
        membrane = Some(after);
        row += piece;
    }
    let pieces = values(Tensor::cat(parts, 0));
    let (_, membrane_at_once) = neurons.advance(currents.clone(), None, steps);
    assert!(pieces == values(neurons.forward(currents, steps)), "{options:?}");
    assert!(pieces.contains(&1.0));
    assert!(values(membrane.unwrap()) == values(membrane_at_once), "{options:?}");
}

fn several_calls_equal_one_scan<B: SpikingBackend>() {
    for (key, options) in all_options().into_iter().enumerate() {
        check_pieces::<B>(options, &[1, 4, 2], key as u32);
    }
}

#[cfg(feature = "flex")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_split_into_calls_equals_one_scan(
        pieces in prop::collection::vec(1usize..6, 2..6),
        options in prop::sample::select(all_options()),
        key in any::<u32>(),
    ) {
        check_pieces::<burn_flex::Flex>(options, &pieces, key);
    }
}

fn state_is_saved_and_loaded<B: SpikingBackend>() {
    let device = Default::default();
    let neurons = Lif::<B>::new(&config(NeuronOptions::default()), 0.7, &device);
    let saved = state::save(&neurons.with_threshold(1.25));
    assert_eq!(saved.keys().collect::<Vec<_>>(), ["leak", "threshold"]);

    let fresh = Lif::<B>::new(&LifConfig::default(), 1.0, &device);
    let loaded = state::load(fresh, saved).unwrap();
    assert_eq!(loaded.threshold_value(), 1.25);
    assert_eq!(values(loaded.leak.val()), [f64::from(0.9f32)]);
}

fn parameters_take_a_gradient_only_if_they_are_trained<B: SpikingBackend>() {
    let device = Default::default();
    let fixed =
        Lif::<Autodiff<B>>::new(&LifConfig::default(), 0.7, &device).with_initial_membrane(&[0.2]);
    let all = TrainedParams { threshold: true, leak: true, initial_membrane: true };
    for trained in [TrainedParams::default(), all] {
        let neurons = fixed.clone().with_trained(trained);
        let loaded = state::load(neurons.clone(), state::save(&neurons.valid())).unwrap();
        let moved = neurons.clone().with_threshold(0.7).with_leak(1.0).fork(&device);
        for neurons in [neurons, loaded, moved] {
            let currents =
                tensor::<Autodiff<B>, 2>(vec![0.5, 1.0, 0.5, 0.0], [4, 1]).require_grad();
            let spikes = neurons.forward(currents.clone(), 4);
            let grads = spikes.sum().backward();
            assert!(values(currents.grad(&grads).unwrap()).iter().any(|&grad| grad != 0.0));
            let initial = neurons.initial_membrane.as_ref().unwrap();
            for param in [&neurons.threshold, &neurons.leak, initial] {
                assert_eq!(param.is_require_grad(), trained == all);
                let grad = param.val().grad(&grads);
                assert_eq!(grad.is_some(), trained == all);
                assert!(grad.is_none_or(|grad| values(grad)[0] != 0.0));
            }
        }
    }
}

fn a_threshold_of_a_channel_is_that_of_all_its_neurons<B: SpikingBackend>() {
    let (steps, shape) = (6, [12, 2, 3, 3]);
    let currents = normals(5, 12 * 18).iter().map(|n| 0.3 + 0.5 * n).collect();
    let currents = tensor::<B, 4>(currents, shape);
    let device = Default::default();
    let neurons = Lif::<B>::new(&LifConfig::default(), 1.0, &device);
    let both = neurons.clone().with_thresholds(&[0.5, 1.5]).forward(currents.clone(), steps);
    for (channel, threshold) in [0.5, 1.5].into_iter().enumerate() {
        let channel = |maps: Tensor<B, 4>| maps.narrow(1, channel, 1);
        let one = neurons.clone().with_threshold(threshold);
        let alone = one.forward(channel(currents.clone()), steps);
        assert_eq!(values(channel(both.clone())), values(alone));
    }
}

fn an_initial_potential_is_where_neurons_start<B: SpikingBackend>() {
    let device = Default::default();
    let neurons = Lif::<B>::new(&LifConfig::default(), 1.0, &device);
    let silent = || tensor::<B, 4>(vec![0.0; 2 * 2 * 3], [4, 3, 1, 1]);
    // A neuron that starts above its threshold has fired before the first step, whose reset it
    // gets; what is left may be above the threshold again.
    let started = neurons.clone().with_initial_membrane(&[0.5, 1.5, 2.5]);
    let spikes = values(started.forward(silent(), 2));
    assert_eq!(spikes, [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let (streamed, potentials) = started.advance(silent(), None, 2);
    assert_eq!(values(streamed), spikes);
    assert_eq!(values(potentials), [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
}

#[cfg(feature = "flex")]
#[test]
#[should_panic(expected = "7 rows are not 2 time steps of a batch")]
fn a_batch_that_is_no_multiple_of_the_steps_is_refused() {
    type B = burn_flex::Flex;
    let neurons = Lif::<B>::new(&LifConfig::default(), 1.0, &Default::default());
    neurons.forward(tensor::<B, 2>(vec![0.0; 7], [7, 1]), 2);
}

fn dropout_has_one_mask_for_all_steps<B: SpikingBackend>() {
    let (steps, per_sample) = (5, 200);
    let samples = [3, 8];
    let ones = |steps: usize| tensor::<B, 3>(vec![1.0; steps * 400], [steps * 2, 10, 20]);
    let train = Pass::train(Seed(1), 4, &samples);
    let dropped = values(time_locked_dropout(ones(steps), 0, 0.2, steps, &train));

    let (first, later) = dropped.split_at(2 * per_sample);
    assert!(later.chunks_exact(2 * per_sample).all(|step| step == first), "one mask for all steps");
    assert_eq!(
        values(time_locked_dropout(ones(1), 0, 0.2, 1, &train)),
        first,
        "the mask does not depend on the number of steps"
    );
    assert_ne!(first[..per_sample], first[per_sample..], "every sample has a mask of its own");
    let kept = first.iter().filter(|&&value| value == f64::from(1.25f32)).count();
    assert_eq!(kept + first.iter().filter(|&&value| value == 0.0).count(), 2 * per_sample);
    assert!((280..360).contains(&kept), "{kept} of 400 kept, expected about 320");

    let evaluate = Pass::evaluate(Seed(1), &samples);
    let kept = values(time_locked_dropout(ones(steps), 0, 0.2, steps, &evaluate));
    assert!(kept.iter().all(|&value| value == 1.0));
}

fn the_readout_averages_over_time<B: SpikingBackend>() {
    let membranes = tensor::<B, 2>(vec![11.0, 22.0, 33.0, 44.0], [2, 2]);
    assert_eq!(values(mean_current(membranes, 2)), [5.5, 11.0, 16.5, 22.0]);
}

#[test]
fn surrogates_in_a_recipe_have_defaults() {
    for surrogate in Surrogate::ALL {
        let text = format!(r#"{{"kind": "{}"}}"#, surrogate.kind());
        assert_eq!(serde_json::from_str::<Surrogate>(&text).unwrap(), surrogate);
    }
    let error = serde_json::from_str::<Surrogate>(r#"{"kind": "linear", "gamma": 1}"#).unwrap_err();
    assert!(error.to_string().contains("gamma"), "{error}");
}
