//! Whether the kernels of a backend do what the reference does, on the device at hand.
//!
//! Made for machines that run no tests: a GPU without a toolchain runs [`check_parity`] from the
//! program. This crate's tests run the same comparison with more cases.

use std::fmt;

use burn::tensor::{Tensor, TensorData};
use lasnn_core::{Seed, Stream};

use crate::backend::{SpikingBackend, from_primitive, into_primitive};
use crate::reference;
use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};
use lasnn_core::surrogate::Surrogate;

/// The largest error of a gradient or membrane potential, as a share of the largest value.
///
/// A GPU may fuse a multiplication with an addition in a kernel where stock operations round
/// between them. Spikes have no tolerance.
pub const TOLERANCE: f64 = 1e-5;

/// How far, in units of the threshold, every membrane potential of a case stays from the threshold
/// (and, for the rectangular surrogate, from the rectangle's edges), so that no rounding decides a
/// spike.
const MARGIN: f64 = 1e-4;

/// One comparison to make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParityCase {
    /// Time steps.
    pub steps: usize,
    /// Neurons.
    pub neurons: usize,
    /// Threshold, above 0.
    pub threshold: f32,
    /// Leak.
    pub leak: f32,
    /// Reset, step order and surrogate.
    pub options: NeuronOptions,
    /// How the inputs lie in memory.
    pub layout: Layout,
}

/// How a tensor lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Row by row.
    Contiguous,
    /// Column by column.
    Transposed,
    /// As the inside of a larger tensor.
    Sliced,
}

impl fmt::Display for ParityCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, neurons, threshold, leak, options, layout } = self;
        let reset = match options.reset {
            Reset::Subtract => "subtract",
            Reset::Zero => "zero",
        };
        let order = match options.step_order {
            StepOrder::IntegrateThenFire => "integrate-then-fire",
            StepOrder::FireThenIntegrate => "fire-then-integrate",
        };
        let surrogate = options.surrogate.kind();
        let layout = match layout {
            Layout::Contiguous => "contiguous",
            Layout::Transposed => "transposed",
            Layout::Sliced => "sliced",
        };
        write!(
            f,
            "{steps} steps, {neurons} neurons, threshold {threshold}, leak {leak}, reset {reset}, \
             {order}, {surrogate}, {layout}"
        )
    }
}

impl ParityCase {
    /// Every combination of switches at one size, then the other sizes and layouts.
    pub fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        let base = Self {
            steps: 7,
            neurons: 17,
            threshold: 0.7,
            leak: 0.9,
            options: NeuronOptions::default(),
            layout: Layout::Contiguous,
        };
        for reset in Reset::ALL {
            for step_order in StepOrder::ALL {
                for surrogate in Surrogate::ALL {
                    let options = NeuronOptions { reset, step_order, surrogate };
                    cases.push(Self { options, ..base });
                }
            }
        }
        for steps in [1, 2, 100] {
            for neurons in [1, 3, 1000] {
                cases.push(Self { steps, neurons, threshold: 1.3, leak: 1.0, ..base });
            }
        }
        for layout in [Layout::Transposed, Layout::Sliced] {
            cases.push(Self { layout, ..base });
        }
        cases
    }

    /// Currents `[steps, neurons]` that make a typical neuron fire in about a quarter of the steps.
    fn currents(&self) -> Vec<f32> {
        let mut currents = vec![0f32; self.steps * self.neurons];
        for neuron in 0..self.neurons {
            for (step, current) in self.neuron_currents(neuron).into_iter().enumerate() {
                currents[step * self.neurons + neuron] = current;
            }
        }
        currents
    }

    /// The currents of one neuron, drawn until its membrane potential keeps its distance.
    fn neuron_currents(&self, neuron: usize) -> Vec<f32> {
        let attempt = |attempt| -> Vec<f32> {
            let key = [neuron as u32, attempt, self.steps as u32];
            let normals = Seed(0).draws(Stream::Test, key).normals(self.steps);
            normals.into_iter().map(|n| self.threshold * (0.25 + 0.6 * n)).collect()
        };
        let mut attempts = (0u32..).map(attempt);
        attempts.find(|currents| self.is_clear(currents)).unwrap_or_default()
    }

    fn is_clear(&self, currents: &[f32]) -> bool {
        let (threshold, leak) = (f64::from(self.threshold), f64::from(self.leak));
        let mut u = 0f64;
        currents.iter().all(|&current| {
            let spike = if u > threshold { 1.0 } else { 0.0 };
            u = match self.options.reset {
                Reset::Subtract => leak * u + f64::from(current) - threshold * spike,
                Reset::Zero => leak * u * (1.0 - spike) + f64::from(current),
            };
            let z = u / threshold - 1.0;
            let to_edge = match self.options.surrogate {
                Surrogate::Rectangular { width } => (z.abs() - width / 2.0).abs(),
                _ => f64::INFINITY,
            };
            z.abs().min(to_edge) > MARGIN
        })
    }

    /// Values `[steps, neurons]` as a tensor that lies in memory as the case says.
    fn tensor<B: SpikingBackend>(&self, values: &[f32], device: &B::Device) -> Tensor<B, 2> {
        let (steps, neurons) = (self.steps, self.neurons);
        match self.layout {
            Layout::Contiguous => {
                Tensor::from_data(TensorData::new(values.to_vec(), [steps, neurons]), device)
            }
            Layout::Transposed => {
                let columns = (0..neurons).flat_map(|n| (0..steps).map(move |t| t * neurons + n));
                let columns: Vec<f32> = columns.map(|index| values[index]).collect();
                let tensor = Tensor::from_data(TensorData::new(columns, [neurons, steps]), device);
                tensor.transpose()
            }
            Layout::Sliced => {
                let width = neurons + 3;
                let mut larger = vec![f32::NAN; (steps + 2) * width];
                for (row, values) in values.chunks_exact(neurons).enumerate() {
                    larger[(row + 1) * width + 2..][..neurons].copy_from_slice(values);
                }
                let data = TensorData::new(larger, [steps + 2, width]);
                Tensor::from_data(data, device).slice([1..steps + 1, 2..neurons + 2])
            }
        }
    }
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// What was compared.
    pub case: ParityCase,
    /// Spikes of the reference.
    pub spikes: usize,
    /// Spikes that only one of the two has.
    pub differing_spikes: usize,
    /// The largest error of the gradient, as a share of its largest value.
    pub gradient_error: f64,
    /// The largest error of the membrane potential, as a share of its largest value.
    pub membrane_error: f64,
}

/// A kernel that does not do what the reference does.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ParityError {
    /// Spikes differ.
    #[error(
        "{} spikes differ from the reference's {}, expected none ({})",
        .0.differing_spikes, .0.spikes, .0.case
    )]
    Spikes(Comparison),
    /// The gradient is too far off, or not a number.
    #[error(
        "the gradient's error is {}, expected at most {TOLERANCE} ({})",
        .0.gradient_error, .0.case
    )]
    Gradient(Comparison),
    /// The membrane potential is too far off, or not a number.
    #[error(
        "the membrane potential's error is {}, expected at most {TOLERANCE} ({})",
        .0.membrane_error, .0.case
    )]
    Membrane(Comparison),
    /// The device failed.
    #[error("the device failed: {reason} ({case})")]
    Device {
        /// What was to be compared.
        case: ParityCase,
        /// What the backend says.
        reason: String,
    },
}

/// Compares the kernels of a backend with the reference on `device`, in every case of
/// [`ParityCase::all`].
///
/// # Errors
///
/// The first case in which they differ, or in which the device failed.
pub fn check_parity<B: SpikingBackend>(device: &B::Device) -> Result<Vec<Comparison>, ParityError> {
    ParityCase::all().into_iter().map(|case| compare::<B>(case, device)).collect()
}

/// Compares the kernels of a backend with the reference in one case.
///
/// # Errors
///
/// Says how they differ, or that the device failed.
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
    let threshold = Tensor::<B, 1>::from_floats([case.threshold], device);
    let leak = Tensor::<B, 1>::from_floats([case.leak], device);
    let [c, v, l] = [
        into_primitive(currents.clone()),
        into_primitive(threshold.clone()),
        into_primitive(leak.clone()),
    ];

    let spikes = read(from_primitive(B::scan(c.clone(), v.clone(), l.clone(), case.options)))?;
    let g = into_primitive(output_grad.clone());
    let grad =
        read(from_primitive(B::scan_backward(c.clone(), v.clone(), l.clone(), g, case.options)))?;
    let rest = Tensor::<B, 1>::zeros([case.neurons], device);
    let (streamed, membrane) = B::advance(c, into_primitive(rest.clone()), v, l, case.options);
    let streamed = read(from_primitive(streamed))?;
    let membrane = read(from_primitive::<B, 1>(membrane).unsqueeze())?;

    let inputs = (currents.clone(), threshold.clone(), leak.clone());
    let expected_grad =
        reference::scan_backward(inputs.0, inputs.1, inputs.2, output_grad, case.options);
    let (expected_spikes, expected_membrane) =
        reference::advance(currents, rest, threshold, leak, case.options);
    let expected_spikes = read(expected_spikes)?;

    let differing =
        |spikes: &[f64]| spikes.iter().zip(&expected_spikes).filter(|(a, b)| a != b).count();
    let comparison = Comparison {
        case,
        spikes: expected_spikes.iter().filter(|&&spike| spike == 1.0).count(),
        differing_spikes: differing(&spikes).max(differing(&streamed)),
        gradient_error: error(&grad, &read(expected_grad)?),
        membrane_error: error(&membrane, &read(expected_membrane.unsqueeze())?),
    };
    // Asks for what is right, so that an error that is not a number fails too.
    let tolerable = |error: f64| error <= TOLERANCE;
    if comparison.differing_spikes > 0 {
        Err(ParityError::Spikes(comparison))
    } else if !tolerable(comparison.gradient_error) {
        Err(ParityError::Gradient(comparison))
    } else if !tolerable(comparison.membrane_error) {
        Err(ParityError::Membrane(comparison))
    } else {
        Ok(comparison)
    }
}

/// The largest difference as a share of the largest expected value; where all expected values are
/// zero, the largest value.
fn error(values: &[f64], expected: &[f64]) -> f64 {
    let largest = |values: &mut dyn Iterator<Item = f64>| {
        values.fold(0.0, |largest: f64, value| {
            if value.is_nan() || largest.is_nan() { f64::NAN } else { largest.max(value.abs()) }
        })
    };
    let scale = largest(&mut expected.iter().copied());
    let difference = largest(&mut values.iter().zip(expected).map(|(a, b)| a - b));
    if scale == 0.0 { difference } else { difference / scale }
}
