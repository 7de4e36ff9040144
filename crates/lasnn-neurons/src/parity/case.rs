//! The cases that are compared, and their inputs.

use std::fmt;

use burn::tensor::{Tensor, TensorData};
use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};
use lasnn_core::surrogate::Surrogate;
use lasnn_core::{Seed, Stream};

use crate::backend::SpikingBackend;

/// The minimum distance, in units of the threshold, of every membrane potential of a case from the
/// threshold and, for the rectangular surrogate, from the edges of the rectangle. With this margin,
/// rounding does not change a spike.
const MARGIN: f64 = 1e-4;

/// The sizes and the options of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParityCase {
    /// The number of time steps.
    pub steps: usize,
    /// The number of neurons.
    pub neurons: usize,
    /// The threshold of the first neuron; above 0.
    pub threshold: f32,
    /// The leak; above 0 and at most 1.
    pub leak: f32,
    /// Reset, step order and surrogate.
    pub options: NeuronOptions,
    /// Whether each neuron has a threshold and an initial membrane potential of its own. Otherwise
    /// all share the threshold and start at rest.
    pub per_neuron: bool,
    /// The memory layout of the inputs.
    pub layout: Layout,
}

/// The memory layout of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Row-major order.
    Contiguous,
    /// Column-major order.
    Transposed,
    /// A slice of a larger tensor.
    Sliced,
}

impl fmt::Display for ParityCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, neurons, threshold, leak, options, per_neuron, layout } = self;
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
             {order}, {surrogate}, {layout}{}",
            if *per_neuron { ", parameters of each neuron" } else { "" }
        )
    }
}

impl ParityCase {
    /// Every combination of options at one size, then other sizes and layouts.
    pub fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        let base = Self {
            steps: 7,
            neurons: 17,
            threshold: 0.7,
            leak: 0.9,
            options: NeuronOptions::default(),
            per_neuron: false,
            layout: Layout::Contiguous,
        };
        for reset in Reset::ALL {
            for step_order in StepOrder::ALL {
                for surrogate in Surrogate::ALL {
                    let options = NeuronOptions { reset, step_order, surrogate };
                    cases.push(Self { options, ..base });
                    cases.push(Self { options, per_neuron: true, ..base });
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

    /// The thresholds, `[1]` or `[neurons]`.
    pub fn thresholds(&self) -> Vec<f32> {
        let all = (0..self.neurons).map(|neuron| self.threshold_of(neuron));
        all.take(if self.per_neuron { self.neurons } else { 1 }).collect()
    }

    /// The membrane potentials before the first step, `[1]` or `[neurons]`.
    pub fn membranes(&self) -> Vec<f32> {
        let all = (0..self.neurons).map(|neuron| self.membrane_of(neuron));
        all.take(if self.per_neuron { self.neurons } else { 1 }).collect()
    }

    fn threshold_of(&self, neuron: usize) -> f32 {
        let share = if self.per_neuron { 0.125 * (neuron % 3) as f32 } else { 0.0 };
        self.threshold * (1.0 + share)
    }

    /// Some potentials are above the threshold, and some are negative.
    fn membrane_of(&self, neuron: usize) -> f32 {
        let share = if self.per_neuron { 0.5 * (neuron % 5) as f32 - 0.5 } else { 0.0 };
        self.threshold * share
    }

    /// Currents `[steps, neurons]` with which a typical neuron fires in about a quarter of the
    /// steps.
    pub(super) fn currents(&self) -> Vec<f32> {
        let mut currents = vec![0f32; self.steps * self.neurons];
        for neuron in 0..self.neurons {
            for (step, current) in self.neuron_currents(neuron).into_iter().enumerate() {
                currents[step * self.neurons + neuron] = current;
            }
        }
        currents
    }

    /// The currents of one neuron. They are drawn again until every membrane potential keeps the
    /// [`MARGIN`].
    fn neuron_currents(&self, neuron: usize) -> Vec<f32> {
        let attempt = |attempt| -> Vec<f32> {
            let key = [neuron as u32, attempt, self.steps as u32];
            let normals = Seed(0).draws(Stream::Test, key).normals(self.steps);
            normals.into_iter().map(|n| self.threshold * (0.25 + 0.6 * n)).collect()
        };
        let mut attempts = (0u32..).map(attempt);
        attempts.find(|currents| self.keeps_margin(neuron, currents)).unwrap_or_default()
    }

    /// Whether every membrane potential keeps the [`MARGIN`], computed in `f64`.
    fn keeps_margin(&self, neuron: usize, currents: &[f32]) -> bool {
        let (threshold, leak) = (f64::from(self.threshold_of(neuron)), f64::from(self.leak));
        let mut u = f64::from(self.membrane_of(neuron));
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

    /// A tensor of values `[steps, neurons]` with the memory layout of the case.
    pub(super) fn tensor<B: SpikingBackend>(
        &self,
        values: &[f32],
        device: &B::Device,
    ) -> Tensor<B, 2> {
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
