//! Surrogates and the hand-written backward pass against finite differences in `f64`.

use burn::tensor::{DType, Tensor, TensorData, TensorPrimitive, backend::Backend};
use lasnn_neurons::surrogate::Derivatives;
use lasnn_neurons::{NeuronOptions, Reset, ScanParams, SpikingBackend, StepOrder, Surrogate};
use std::f64::consts::{FRAC_PI_2, PI};

use crate::support::{all_options, assert_close, normals, on_every_backend, tensor, values};

/// The antiderivative of the surrogate with respect to z, `since_spike` steps after the last spike:
/// a smooth step from 0 far below the threshold, or a line.
fn soft_step(surrogate: Surrogate, z: f64, since_spike: f64) -> f64 {
    match surrogate {
        Surrogate::Linear { damping } => {
            let z = z.clamp(-1.0, 1.0);
            damping * (0.5 + z - 0.5 * z * z.abs())
        }
        Surrogate::Atan { alpha } => (FRAC_PI_2 * alpha * z).atan() / PI + 0.5,
        Surrogate::FastSigmoid { slope } => z / (1.0 + slope * z.abs()) + 1.0 / slope,
        Surrogate::Rectangular { width } => (z / width + 0.5).clamp(0.0, 1.0),
        Surrogate::SpikeTime { alpha, beta } => z * alpha / (beta * since_spike).exp(),
    }
}

const STEP: f64 = 1e-6;

#[test]
fn a_surrogate_is_the_derivative_of_its_soft_step() {
    let others = [
        Surrogate::Linear { damping: 1.0 },
        Surrogate::Atan { alpha: 1.0 },
        Surrogate::FastSigmoid { slope: 25.0 },
        Surrogate::Rectangular { width: 0.5 },
        Surrogate::SpikeTime { alpha: 1.5, beta: 0.2 },
    ];
    for surrogate in Surrogate::ALL.into_iter().chain(others) {
        // This grid avoids the corners, at which there is no derivative.
        for (since, z) in (-200..200).map(|i| (f64::from(i + 201), f64::from(i) * 0.0137 + 0.001)) {
            let step = |z| soft_step(surrogate, z, since);
            let difference = step(z + STEP) - step(z - STEP);
            let (found, expected) = (surrogate.derivative(z, since), difference / (2.0 * STEP));
            assert!(
                (found - expected).abs() < 1e-6,
                "{surrogate:?} at {z}: {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn surrogates_have_the_values_of_their_formulas() {
    let check_since = |surrogate: Surrogate, z, since, expected: f64| {
        let found = surrogate.derivative(z, since);
        assert!((found - expected).abs() < 1e-12, "{surrogate:?} at {z}, {since}: {found}");
    };
    let check = |surrogate, z, expected| check_since(surrogate, z, 3.0, expected);
    let [linear, atan, fast_sigmoid, rectangular, spike_time] = Surrogate::ALL;
    check(linear, 0.0, 0.3);
    check(linear, -0.5, 0.15);
    check(linear, 1.5, 0.0);
    check(atan, 0.0, 1.0);
    check(atan, -1.0 / PI, 0.5);
    check(fast_sigmoid, 0.0, 1.0);
    check(fast_sigmoid, 0.1, 0.25);
    check(rectangular, 0.49, 1.0);
    check(rectangular, -0.51, 0.0);
    check(Surrogate::Rectangular { width: 4.0 }, 1.9, 0.25);
    // 0.3 / e and 0.3 / e^10, at any z.
    check_since(spike_time, 0.0, 100.0, 0.110363832351);
    check_since(spike_time, -7.0, 1000.0, 1.3619978929e-5);
}

on_every_backend!(surrogates_of_tensors_equal_surrogates_of_numbers);

fn surrogates_of_tensors_equal_surrogates_of_numbers<B: Backend>() {
    // Neurons of which about a sixth fires in a step.
    let (steps, neurons) = (60, 50);
    for surrogate in Surrogate::ALL {
        let mut spikes = tensor::<B, 1>(vec![0.0; neurons], [neurons]);
        let mut since = vec![999.0; neurons];
        let mut derivatives = Derivatives::new(surrogate, &spikes);
        for step in 0..steps {
            let z: Vec<f32> = normals(3 + step, neurons);
            let found = derivatives.next(tensor::<B, 1>(z.clone(), [neurons]), &spikes);
            since.iter_mut().for_each(|since| *since += 1.0);
            let expected = z.iter().zip(&since);
            let expected: Vec<f64> =
                expected.map(|(&z, &since)| surrogate.derivative(z.into(), since)).collect();
            assert_close(surrogate.kind(), &values(found), &expected, 1e-5);
            let fires: Vec<bool> = z.iter().map(|&z| z > 1.0).collect();
            for (since, _) in since.iter_mut().zip(&fires).filter(|(_, fires)| **fires) {
                *since = 0.0;
            }
            spikes = tensor(fires.iter().map(|&fires| f32::from(fires)).collect(), [neurons]);
        }
    }
}

/// The loss of a soft neuron: its reset uses the spikes of the spiking neuron, given as constants
/// in `frozen`, while its output is the soft step, whose derivative is the surrogate.
///
/// The backward pass of a spiking neuron is not the exact gradient of its forward pass: no gradient
/// passes the reset, and the surrogate replaces the derivative of a spike. It is the exact gradient
/// of this soft neuron.
fn soft_output(
    currents: &[f64],
    frozen: &[f64],
    weights: &[f64],
    (threshold, leak, options): (f64, f64, NeuronOptions),
) -> f64 {
    let (mut u, mut loss, mut spike) = (0.0, 0.0, 0.0);
    let mut since_spike = 999.0;
    for step in 0..currents.len() {
        since_spike = if spike > 0.0 { 1.0 } else { since_spike + 1.0 };
        u = match options.reset {
            Reset::Subtract => leak * u + currents[step] - threshold * spike,
            Reset::Zero => leak * u * (1.0 - spike) + currents[step],
        };
        spike = frozen[step];
        let sent_at = match options.step_order {
            StepOrder::IntegrateThenFire => step,
            StepOrder::FireThenIntegrate => step + 1,
        };
        if let Some(weight) = weights.get(sent_at) {
            loss += weight * soft_step(options.surrogate, u / threshold - 1.0, since_spike);
        }
    }
    loss
}

/// The spikes that a neuron fires, at the step at which it fires, whatever the step order.
fn fired(currents: &[f64], (threshold, leak, options): (f64, f64, NeuronOptions)) -> Vec<f64> {
    let (mut u, mut spike) = (0.0, 0.0);
    let step = |&current: &f64| {
        u = match options.reset {
            Reset::Subtract => leak * u + current - threshold * spike,
            Reset::Zero => leak * u * (1.0 - spike) + current,
        };
        spike = if u > threshold { 1.0 } else { 0.0 };
        spike
    };
    currents.iter().map(step).collect()
}

fn scan_backward_is_the_gradient_of_the_soft_neuron<B: SpikingBackend>() {
    let (steps, neurons) = (12, 40);
    let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|&value| value.into()).collect() };
    for (key, options) in all_options().into_iter().enumerate() {
        let neuron = (0.8, 0.9, options);
        let draws = wide(&normals(200 + key as u32, 2 * steps * neurons));
        let currents: Vec<f64> = draws[..steps * neurons].iter().map(|n| 0.2 + 0.5 * n).collect();
        let weights = &draws[steps * neurons..];

        let tensor = |values: &[f64], shape: [usize; 2]| {
            let data = TensorData::new(values.to_vec(), shape);
            Tensor::<B, 2>::from_data(data, (&Default::default(), DType::F64))
        };
        let one = |value| tensor(&[value], [1, 1]).squeeze_dim::<1>(0).into_primitive().tensor();
        let grads = B::scan_backward(
            tensor(&currents, [steps, neurons]).into_primitive().tensor(),
            ScanParams { membrane: one(0.0), threshold: one(neuron.0), leak: one(neuron.1) },
            tensor(weights, [steps, neurons]).into_primitive().tensor(),
            (options, false),
        );
        let grad = Tensor::<B, 2>::from_primitive(TensorPrimitive::Float(grads.currents));
        assert_eq!(grad.dtype(), DType::F64);
        let grad = values(grad);

        let column = |values: &[f64], n| -> Vec<f64> {
            values.iter().skip(n).step_by(neurons).copied().collect()
        };
        for n in 0..neurons {
            let (mut currents, weights) = (column(&currents, n), column(weights, n));
            let frozen = fired(&currents, neuron);
            let expected: Vec<f64> = (0..steps)
                .map(|step| {
                    let current = currents[step];
                    let mut at = |value| {
                        currents[step] = value;
                        soft_output(&currents, &frozen, &weights, neuron)
                    };
                    let difference = at(current + STEP) - at(current - STEP);
                    currents[step] = current;
                    difference / (2.0 * STEP)
                })
                .collect();
            for (found, expected) in column(&grad, n).iter().zip(&expected) {
                assert!(
                    (found - expected).abs() < 1e-6,
                    "{options:?}: {found}, expected {expected}"
                );
            }
        }
    }
}

#[cfg(feature = "flex")]
#[test]
fn flex_scan_backward_is_the_gradient_of_the_soft_neuron() {
    scan_backward_is_the_gradient_of_the_soft_neuron::<burn_flex::Flex>();
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray_scan_backward_is_the_gradient_of_the_soft_neuron() {
    scan_backward_is_the_gradient_of_the_soft_neuron::<burn_ndarray::NdArray<f64>>();
}
