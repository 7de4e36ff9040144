//! Compares the kernels of a backend with the reference on the current device.
//!
//! This module is for machines on which the tests cannot run, such as a GPU machine without a Rust
//! toolchain: `lasnn check-backend` calls [`compare`]. The tests of this crate make the same
//! comparison with more cases.

mod case;

use burn::tensor::{Tensor, TensorData};
use lasnn_core::{Seed, Stream};

pub use self::case::{Layout, ParityCase};
use crate::backend::{ScanParams, SpikingBackend, from_primitive, into_primitive};
use crate::reference;

/// The maximum error of a gradient or membrane potential relative to the maximum absolute value.
///
/// A GPU kernel may fuse a multiplication and an addition, while Burn's operations round between
/// them. Spikes must be equal.
pub const TOLERANCE: f64 = 1e-5;

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// The case that was compared.
    pub case: ParityCase,
    /// The number of spikes of the reference.
    pub spikes: usize,
    /// The number of spikes that differ between the kernel and the reference.
    pub differing_spikes: usize,
    /// The maximum error of a gradient, of the currents or a parameter, relative to its maximum
    /// absolute value.
    pub gradient_error: f64,
    /// The maximum error of the membrane potentials relative to their maximum absolute value.
    pub membrane_error: f64,
}

/// A difference between a kernel and the reference, or a failure of the device.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ParityError {
    /// Spikes differ.
    #[error(
        "{} spikes differ from the reference's {}, expected none ({})",
        .0.differing_spikes, .0.spikes, .0.case
    )]
    Spikes(Comparison),
    /// The error of the gradient is above [`TOLERANCE`] or NaN.
    #[error(
        "the gradient's error is {}, expected at most {TOLERANCE} ({})",
        .0.gradient_error, .0.case
    )]
    Gradient(Comparison),
    /// The error of the membrane potentials is above [`TOLERANCE`] or NaN.
    #[error(
        "the membrane potential's error is {}, expected at most {TOLERANCE} ({})",
        .0.membrane_error, .0.case
    )]
    Membrane(Comparison),
    /// The device failed.
    #[error("the device failed: {reason} ({case})")]
    Device {
        /// The case that was run.
        case: ParityCase,
        /// The backend's message.
        reason: String,
    },
}

/// Compares the kernels of a backend with the reference on `device`, in every case of
/// [`ParityCase::all`].
///
/// # Errors
///
/// Returns the first case in which they differ or the device fails.
pub fn check_parity<B: SpikingBackend>(device: &B::Device) -> Result<Vec<Comparison>, ParityError> {
    ParityCase::all().into_iter().map(|case| compare::<B>(case, device)).collect()
}

/// Compares the kernels of a backend with the reference in one case.
///
/// # Errors
///
/// Returns the difference, or the failure of the device.
pub fn compare<B: SpikingBackend>(
    case: ParityCase,
    device: &B::Device,
) -> Result<Comparison, ParityError> {
    let read = |tensor: Tensor<B, 2>| -> Result<Vec<f64>, ParityError> {
        match tensor.try_into_data() {
            Ok(data) => Ok(data.iter::<f64>().collect()),
            Err(error) => Err(ParityError::Device { case, reason: error.to_string() }),
        }
    };
    let draws = Seed(1).draws(Stream::Test, [case.steps as u32, case.neurons as u32, 0]);
    let currents = case.tensor::<B>(&case.currents(), device);
    let output_grad = case.tensor::<B>(&draws.normals(case.steps * case.neurons), device);
    let param = |values: Vec<f32>| {
        let shape = [values.len()];
        Tensor::<B, 1>::from_data(TensorData::new(values, shape), device)
    };
    let params = ScanParams {
        membrane: param(case.membranes()),
        threshold: param(case.thresholds()),
        leak: param(vec![case.leak]),
    };
    let (c, p) = (into_primitive(currents.clone()), params.clone().map(into_primitive));

    let spikes = read(from_primitive(B::scan(c.clone(), p.clone(), case.options)))?;
    let g = into_primitive(output_grad.clone());
    let grads = B::scan_backward(c.clone(), p.clone(), g.clone(), (case.options, true));
    let plain = B::scan_backward(c.clone(), p.clone(), g, (case.options, false));
    let grad = read(from_primitive(grads.currents))?;
    let plain = read(from_primitive(plain.currents))?;
    let (streamed, membrane) = B::advance(c, p, case.options);
    let streamed = read(from_primitive(streamed))?;
    let membrane = read(from_primitive::<B, 1>(membrane).unsqueeze())?;

    let expected =
        reference::scan_backward(currents.clone(), params.clone(), output_grad, case.options);
    let (expected_spikes, expected_membrane) = reference::advance(currents, params, case.options);
    let expected_spikes = read(expected_spikes)?;
    let expected_grad = read(expected.currents)?;
    let mut gradient_error = error(&grad, &expected_grad).max(error(&plain, &expected_grad));
    if let (Some(found), Some(expected)) = (grads.params, expected.params) {
        let row = |tensor: Tensor<B, 1>| read(tensor.unsqueeze());
        let found = found.map(from_primitive);
        for (found, expected) in [
            (found.membrane, expected.membrane),
            (found.threshold, expected.threshold),
            (found.leak, expected.leak),
        ] {
            let error = error(&row(found)?, &row(expected)?);
            // `max` would ignore NaN.
            gradient_error = if error.is_nan() { error } else { gradient_error.max(error) };
        }
    }

    let differing =
        |spikes: &[f64]| spikes.iter().zip(&expected_spikes).filter(|(a, b)| a != b).count();
    let comparison = Comparison {
        case,
        spikes: expected_spikes.iter().filter(|&&spike| spike == 1.0).count(),
        differing_spikes: differing(&spikes).max(differing(&streamed)),
        gradient_error,
        membrane_error: error(&membrane, &read(expected_membrane.unsqueeze())?),
    };
    // `<=` is false for NaN, so an error that is not a number fails too.
    let is_tolerable = |error: f64| error <= TOLERANCE;
    if comparison.differing_spikes > 0 {
        Err(ParityError::Spikes(comparison))
    } else if !is_tolerable(comparison.gradient_error) {
        Err(ParityError::Gradient(comparison))
    } else if !is_tolerable(comparison.membrane_error) {
        Err(ParityError::Membrane(comparison))
    } else {
        Ok(comparison)
    }
}

/// The maximum difference relative to the maximum absolute expected value; the maximum difference
/// if all expected values are zero.
fn error(values: &[f64], expected: &[f64]) -> f64 {
    let max_abs = |values: &mut dyn Iterator<Item = f64>| {
        values.fold(0.0, |max: f64, value| {
            if value.is_nan() || max.is_nan() { f64::NAN } else { max.max(value.abs()) }
        })
    };
    let scale = max_abs(&mut expected.iter().copied());
    let difference = max_abs(&mut values.iter().zip(expected).map(|(a, b)| a - b));
    if scale == 0.0 { difference } else { difference / scale }
}
