//! Parametric LIF neurons: against PyTorch's autograd (`tests/golden/make_plif.py`), in several
//! calls, and against LIF neurons with the same leak.

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Param, ParamId};
use burn::tensor::Tensor;
use lasnn_neurons::{
    Lif, LifConfig, NeuronConfig, NeuronKind, NeuronModel, Plif, PlifConfig, SpikingBackend,
    SpikingNeurons,
};
use lasnn_nn::state;
use serde::Deserialize;

use crate::support::{all_options, assert_close, normals, on_every_backend, tensor, values};

on_every_backend!(
    spikes_and_gradients_equal_pytorch,
    several_calls_equal_one_pass,
    with_the_same_leak_it_is_a_lif_neuron,
    the_leak_is_saved_and_stays_trained,
);

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl Array {
    fn tensor<B: SpikingBackend, const D: usize>(&self) -> Tensor<B, D> {
        let shape: [usize; D] = self.shape.clone().try_into().unwrap();
        tensor(self.numbers(), shape)
    }

    fn numbers(&self) -> Vec<f32> {
        self.data.iter().map(|&value| value as f32).collect()
    }
}

#[derive(Deserialize)]
struct Case {
    name: String,
    time_steps: usize,
    neuron: NeuronConfig,
    leak_logit: Array,
    thresholds: Array,
    currents: Array,
    output_grad: Array,
    spikes: Array,
    currents_grad: Array,
    leak_logit_grad: Array,
    thresholds_grad: Array,
}

/// The neurons of a layer of 2 feature maps. All numbers are arbitrary.
fn plif<B: SpikingBackend>(config: NeuronConfig) -> Plif<B> {
    match config.init::<B>(0.75, [2, 1, 3], &Default::default()) {
        SpikingNeurons::Plif(neurons) => neurons,
        other => panic!("{other:?}"),
    }
}

fn spikes_and_gradients_equal_pytorch<B: SpikingBackend>() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../golden/plif.json")).unwrap();
    assert_eq!(cases.len(), 12);
    for case in cases {
        let mut neurons =
            plif::<Autodiff<B>>(case.neuron).with_thresholds(&case.thresholds.numbers());
        let w = case.leak_logit.tensor::<Autodiff<B>, 1>();
        neurons.leak_logit = Param::initialized(ParamId::new(), w).set_require_grad(true);
        let currents = case.currents.tensor::<Autodiff<B>, 3>().require_grad();
        let spikes = neurons.forward(currents.clone(), case.time_steps);
        assert_eq!(values(spikes.clone()), case.spikes.data, "{}", case.name);

        let grads = (spikes * case.output_grad.tensor()).sum().backward();
        let found = values(currents.grad(&grads).unwrap());
        assert_close(&case.name, &found, &case.currents_grad.data, 1e-5);
        // The summands of these cancel each other in part.
        let found = values(neurons.leak_logit.val().grad(&grads).unwrap());
        assert_close(&format!("{}: w", case.name), &found, &case.leak_logit_grad.data, 1e-4);
        let found = values(neurons.threshold.val().grad(&grads).unwrap());
        assert_close(&format!("{}: v", case.name), &found, &case.thresholds_grad.data, 1e-4);
    }
}

/// Currents `[steps * 2, 2, 5, 5]` that make neurons fire.
fn currents<B: SpikingBackend>(key: u32, steps: usize) -> Tensor<B, 4> {
    let drawn = normals(key, steps * 100).into_iter().map(|n| 0.3 + 0.6 * n).collect();
    tensor(drawn, [steps * 2, 2, 5, 5])
}

fn several_calls_equal_one_pass<B: SpikingBackend>() {
    for (key, options) in all_options().into_iter().enumerate() {
        let (reset, step_order) = (options.reset, options.step_order);
        let config = PlifConfig { leak: 0.8, reset, step_order, ..Default::default() };
        let neurons = plif::<B>(config.into()).with_thresholds(&[0.5, 0.9]);
        let currents = currents::<B>(500 + key as u32, 7);
        let (mut parts, mut membrane, mut step) = (Vec::new(), None, 0);
        for steps in [1, 4, 2] {
            let part = currents.clone().narrow(0, step * 2, steps * 2);
            let (spikes, after) = neurons.advance(part, membrane, steps);
            assert_eq!(after.dims(), [2, 2, 5, 5]);
            parts.push(spikes);
            membrane = Some(after);
            step += steps;
        }
        let parts = values(Tensor::cat(parts, 0));
        let (at_once, after) = neurons.advance(currents.clone(), None, 7);
        assert!(parts == values(at_once), "{options:?}");
        assert!(parts == values(neurons.forward(currents.clone(), 7)), "{options:?}");
        assert!(parts.contains(&1.0) && parts.contains(&0.0));
        let after = values(after);
        assert!(values(membrane.unwrap()) == after, "{options:?}");
        let membranes = values(neurons.membranes(currents, 7));
        assert!(membranes[6 * 100..] == after, "{options:?}");
    }
}

/// The reference rounds like the kernels, so the bits are the same.
fn with_the_same_leak_it_is_a_lif_neuron<B: SpikingBackend>() {
    let neurons = plif::<B>(PlifConfig { leak: 0.7, ..Default::default() }.into());
    let leak = neurons.leak().into_data().iter::<f32>().next().unwrap();
    let lif = Lif::<B>::new(&LifConfig::default(), 0.75, &Default::default()).with_leak(leak);
    let currents = currents::<B>(600, 9);
    let spikes = values(neurons.forward(currents.clone(), 9));
    assert!(spikes.contains(&1.0));
    assert_eq!(spikes, values(lif.forward(currents, 9)));
}

fn the_leak_is_saved_and_stays_trained<B: SpikingBackend>() {
    let config = PlifConfig { leak: 0.9, ..Default::default() };
    let neurons: Plif<Autodiff<B>> = config.init(0.75, [2, 1, 3], &Default::default());
    let saved = state::save(&neurons.valid());
    assert_eq!(saved.keys().collect::<Vec<_>>(), ["leak_logit", "threshold"]);
    let fresh = plif::<Autodiff<B>>(PlifConfig::default().into());
    let loaded = state::load(fresh, saved).unwrap().with_threshold(1.25);
    assert_eq!(loaded.thresholds(), [1.25]);
    assert!((values(loaded.leak())[0] - 0.9).abs() < 1e-6);
    assert!(loaded.leak_logit.is_require_grad() && !loaded.threshold.is_require_grad());
}
