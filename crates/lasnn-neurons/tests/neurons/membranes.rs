//! The membrane potentials of the reference and their gradients, against a loop over one neuron.

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use lasnn_neurons::reference::membranes;
use lasnn_neurons::{NeuronOptions, Reset, ScanParams, SpikingBackend};

use crate::support::{all_options, assert_close, normals, on_every_backend, tensor, values};

on_every_backend!(membranes_and_gradients_equal_a_loop);

const STEPS: usize = 9;
const NEURONS: usize = 30;
const THRESHOLD: f64 = 0.8;
const LEAK: f64 = 0.9;

/// The membrane potentials of one neuron, and the gradient of `Σ_t weights^t u^t` with respect to
/// its currents, where the spikes of the reset are constants.
fn naive(currents: &[f64], weights: &[f64], options: NeuronOptions) -> [Vec<f64>; 2] {
    let (mut u, mut spike) = (0.0, 0.0);
    let mut membranes = Vec::new();
    for current in currents {
        u = match options.reset {
            Reset::Subtract => LEAK * u + current - THRESHOLD * spike,
            Reset::Zero => LEAK * u * (1.0 - spike) + current,
        };
        spike = if u > THRESHOLD { 1.0 } else { 0.0 };
        membranes.push(u);
    }
    let mut gradients = vec![0.0; currents.len()];
    let mut carried = 0.0;
    for step in (0..currents.len()).rev() {
        let gradient = weights[step] + carried;
        gradients[step] = gradient;
        // The membrane potential of the step before, which was perhaps reset to zero.
        carried = LEAK * gradient;
        if options.reset == Reset::Zero && step > 0 && membranes[step - 1] > THRESHOLD {
            carried = 0.0;
        }
    }
    [membranes, gradients]
}

fn membranes_and_gradients_equal_a_loop<B: SpikingBackend>() {
    for (key, options) in all_options().into_iter().enumerate() {
        let draws = normals(300 + key as u32, 2 * STEPS * NEURONS);
        let (currents, weights) = draws.split_at(STEPS * NEURONS);
        let currents: Vec<f32> = currents.iter().map(|n| 0.2 + 0.5 * n).collect();
        let one = |value: f64| tensor::<Autodiff<B>, 1>(vec![value as f32], [1]);
        let input = tensor::<Autodiff<B>, 2>(currents.clone(), [STEPS, NEURONS]).require_grad();
        let params = ScanParams { membrane: 0.0, threshold: THRESHOLD, leak: LEAK }.map(one);
        let found = membranes(input.clone(), params, options);
        let weighted = found.clone() * tensor(weights.to_vec(), [STEPS, NEURONS]);
        let gradients = weighted.sum().backward();
        let found: [Tensor<B, 2>; 2] = [found.inner(), input.grad(&gradients).unwrap()];

        let mut expected = [vec![0.0; STEPS * NEURONS], vec![0.0; STEPS * NEURONS]];
        for neuron in 0..NEURONS {
            let column = |values: &[f32]| -> Vec<f64> {
                values.iter().skip(neuron).step_by(NEURONS).map(|&value| value.into()).collect()
            };
            let naive = naive(&column(&currents), &column(weights), options);
            for (all, one) in expected.iter_mut().zip(naive) {
                one.iter().enumerate().for_each(|(t, value)| all[t * NEURONS + neuron] = *value);
            }
        }
        assert!(expected[0].iter().any(|&u| u > THRESHOLD), "a silent neuron tests no reset");
        for (found, expected) in found.into_iter().zip(expected) {
            assert_close(&format!("{options:?}"), &values(found), &expected, 1e-5);
        }
    }
}
