//! Surrogates and the hand-written backward pass against finite differences in `f64`.

use burn::tensor::{DType, Tensor, TensorData, TensorPrimitive, backend::Backend};
use lasnn_neurons::{NeuronOptions, Reset, ScanParams, SpikingBackend, StepOrder, Surrogate};
use std::f64::consts::{FRAC_PI_2, PI};

use crate::support::{all_options, assert_close, normals, on_every_backend, tensor, values};

/// The antiderivative of the surrogate, a smooth step from 0 far below the threshold.
fn soft_step(surrogate: Surrogate, z: f64) -> f64 {
    match surrogate {
        Surrogate::Linear { damping } => {
            let z = z.clamp(-1.0, 1.0);
            damping * (0.5 + z - 0.5 * z * z.abs())
        }
        Surrogate::Atan { alpha } => (FRAC_PI_2 * alpha * z).atan() / PI + 0.5,
        Surrogate::FastSigmoid { slope } => z / (1.0 + slope * z.abs()) + 1.0 / slope,
        Surrogate::Rectangular { width } => (z / width + 0.5).clamp(0.0, 1.0),
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
    ];
    for surrogate in Surrogate::ALL.into_iter().chain(others) {
        // This grid avoids the corners, at which there is no derivative.
        for z in (-200..200).map(|i| f64::from(i) * 0.0137 + 0.001) {
            let difference = soft_step(surrogate, z + STEP) - soft_step(surrogate, z - STEP);
            let (found, expected) = (surrogate.derivative(z), difference / (2.0 * STEP));
            assert!(
                (found - expected).abs() < 1e-6,
                "{surrogate:?} at {z}: {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn surrogates_have_the_values_of_their_formulas() {
    let check = |surrogate: Surrogate, z, expected: f64| {
        let found = surrogate.derivative(z);
        assert!((found - expected).abs() < 1e-12, "{surrogate:?} at {z}: {found}");
    };
    let [linear, atan, fast_sigmoid, rectangular] = Surrogate::ALL;
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
}

on_every_backend!(surrogates_of_tensors_equal_surrogates_of_numbers);

fn surrogates_of_tensors_equal_surrogates_of_numbers<B: Backend>() {
    let z: Vec<f32> = normals(3, 500);
    for surrogate in Surrogate::ALL {
        let found =
            lasnn_neurons::surrogate::derivative(surrogate, tensor::<B, 1>(z.clone(), [500]));
        let expected: Vec<f64> = z.iter().map(|&z| surrogate.derivative(f64::from(z))).collect();
        assert_close(surrogate.kind(), &values(found), &expected, 1e-5);
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
    for step in 0..currents.len() {
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
            loss += weight * soft_step(options.surrogate, u / threshold - 1.0);
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
