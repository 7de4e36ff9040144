//! The memory of the values of probes that only a pass layer by layer has.

use lasnn_core::{Plan, Probe, Probes};

use super::pass::Pass;
use super::size::{Size, elements};

/// The numbers per neuron and time step that a spike activation map saves for its backward pass:
/// the contributions before and after the decay, and their product with the spikes.
const ACTIVATION_MAP: usize = 3;

/// The same for membrane potentials: the potential, the two summands before it, and the result.
const MEMBRANES: usize = 4;

/// The bytes of the values of probes and of what their backward passes need. This is an
/// approximation: it counts the tensors of the operations, and it is not compared with
/// measurements.
pub fn probe_bytes(probes: &Probes, plan: &Plan, pass: Pass) -> Size {
    let at = |tap| plan.tap(tap).map(elements).unwrap_or(Size::ZERO);
    let all: Size = plan.layers.iter().map(|layer| elements(layer.output)).sum();
    let numbers = |probe| match probe {
        // Feature maps and attention maps are small, since they are sums over the time steps.
        Probe::Features(_) | Probe::Attention(_) => Size::ZERO,
        // The logits and their gradient.
        Probe::LogitsByStep => Size::from(plan.classes) * pass.rows() * 2usize,
        Probe::ActivationMap(tap) => at(tap) * pass.rows() * ACTIVATION_MAP,
        Probe::Membranes(tap) => at(tap) * pass.rows() * MEMBRANES,
        Probe::SpikeCounts => all * pass.batch,
    };
    probes.iter().map(numbers).sum::<Size>() * size_of::<f32>()
}
