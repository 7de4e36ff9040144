//! The memory of neurons that have no kernel, and of batch norms between them, beyond that of other
//! networks layer by layer.

use lasnn_core::{Layer, Plan, PlannedLayer};

use super::pass::Pass;
use super::size::{Size, elements};

/// The numbers per neuron and time step that a backward pass through tensor operations needs in
/// addition to currents and spikes. Counting the tensors of the operations gave 6, but three
/// measurements gave 0.8, since most operations save nothing
/// (`results/2026-11-30-memory-students`).
const SAVED: usize = 1;

/// The tensors of a layer that a pass without gradients has at once: currents and spikes, both also
/// cut into time steps, and the spikes of the layer before.
const AT_ONCE: usize = 5;

/// The elements of a chunk of time steps of the widest layer (`lasnn_snn::counting`).
const CHUNK_ELEMENTS: usize = 1 << 24;

/// The bytes that a training pass saves for a number of neurons.
pub fn saved_bytes(neurons: Size, pass: Pass) -> Size {
    neurons * pass.rows() * (SAVED * size_of::<f32>())
}

/// The bytes of the currents that the batch norms of a network save in a training pass.
pub fn batch_norm_bytes(plan: &Plan, pass: Pass) -> Size {
    let convolutions = |planned: &PlannedLayer| match planned.layer {
        Layer::Conv { batch_norm: true, .. } => 1usize,
        Layer::Residual { batch_norm: true, .. } => {
            2 + usize::from(planned.input != planned.output)
        }
        _ => 0,
    };
    let currents: Size =
        plan.layers.iter().map(|planned| elements(planned.output) * convolutions(planned)).sum();
    currents * pass.rows() * size_of::<f32>()
}

/// The bytes of a simulation in chunks of time steps. This counts tensors and is not compared with
/// measurements.
pub fn simulation_bytes(plan: &Plan, pass: Pass) -> Size {
    let widest = plan.layers.iter().map(|layer| elements(layer.output)).max();
    let step = widest.unwrap_or(Size::ZERO) * pass.batch;
    let chunk = (step * pass.steps).min(step.max(CHUNK_ELEMENTS.into()));
    chunk * (AT_ONCE * size_of::<f32>())
}
