//! The surrogate that follows from the time of the last spike, against PyTorch's autograd
//! (`tests/golden/make_spike_time.py`).

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use lasnn_neurons::{NeuronConfig, NeuronModel, SpikingBackend, SpikingNeurons};
use serde::Deserialize;

use crate::support::{assert_close, on_every_backend, tensor, values};

on_every_backend!(spikes_and_gradients_equal_pytorch);

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
    thresholds: Array,
    membranes: Array,
    currents: Array,
    output_grad: Array,
    spikes: Array,
    currents_grad: Array,
    leak_grad: Array,
    thresholds_grad: Array,
    membranes_grad: Array,
}

fn spikes_and_gradients_equal_pytorch<B: SpikingBackend>() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../golden/spike_time.json")).unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let neurons = case.neuron.init::<Autodiff<B>>(1.0, [2, 1, 3], &Default::default());
        let SpikingNeurons::Lif(neurons) = neurons else { panic!("{neurons:?}") };
        let neurons = neurons.with_thresholds(&case.thresholds.numbers());
        let neurons = neurons.with_initial_membrane(&case.membranes.numbers());
        let currents = case.currents.tensor::<Autodiff<B>, 3>().require_grad();
        let spikes = neurons.forward(currents.clone(), case.time_steps);
        assert_eq!(values(spikes.clone()), case.spikes.data, "{}", case.name);

        let grads = (spikes * case.output_grad.tensor()).sum().backward();
        let membranes = neurons.initial_membrane.as_ref().unwrap();
        let found = [
            ("currents", currents.grad(&grads).map(values), &case.currents_grad),
            ("leak", neurons.leak.val().grad(&grads).map(values), &case.leak_grad),
            ("threshold", neurons.threshold.val().grad(&grads).map(values), &case.thresholds_grad),
            ("membranes", membranes.val().grad(&grads).map(values), &case.membranes_grad),
        ];
        for (of, found, expected) in found {
            let name = format!("{}: {of}", case.name);
            // The summands of the gradients of shared parameters cancel each other in part.
            let tolerance = if of == "currents" { 1e-5 } else { 1e-4 };
            assert_close(&name, &found.unwrap(), &expected.data, tolerance);
        }
    }
}
