//! The memory of the values of probes.

use lasnn_core::{Plan, Probe, Probes, Tap};

use super::pass::Pass;
use super::size::{Size, elements};

/// The numbers per neuron and time step that a spike activation map saves layer by layer for its
/// backward pass: the contributions before and after the decay, and their product with the spikes.
const ACTIVATION_MAP: usize = 3;

/// The same for membrane potentials: the potential, the two summands before it, and the result.
const MEMBRANES: usize = 4;

/// The numbers per neuron and time step of membrane potentials in a fused pass: the potential, its
/// gradient, and the same gradient in the order of the kernels. During the forward pass, the third
/// is the potential in that order.
const FUSED_MEMBRANES: usize = 3;

/// The bytes of the values of probes in a fused pass, and of what their backward passes need.
/// Probes without a number for each neuron and time step are small and are left out. The backward
/// pass copies gradients for `copied` images.
pub fn fused_probe_bytes(probes: &Probes, plan: &Plan, pass: Pass, copied: Size) -> Size {
    let numbers = |probe| match probe {
        // The gradient of the spikes, and its copies.
        Probe::ActivationMap(tap) => at(plan, tap) * (pass.batch + copied) * pass.steps,
        Probe::Membranes(tap) => at(plan, tap) * pass.rows() * FUSED_MEMBRANES,
        Probe::Features(_) | Probe::Attention(_) | Probe::GradientMap(_) => Size::ZERO,
        Probe::LogitsByStep | Probe::SpikeCounts => Size::ZERO,
    };
    probes.iter().map(numbers).sum::<Size>() * size_of::<f32>()
}

/// The same for a pass layer by layer. This is an approximation: it counts the tensors of the
/// operations, and it is not compared with measurements.
pub fn probe_bytes(probes: &Probes, plan: &Plan, pass: Pass) -> Size {
    let at = |tap| at(plan, tap);
    let all: Size = plan.layers.iter().map(|layer| elements(layer.output)).sum();
    let numbers = |probe| match probe {
        // Feature maps and attention maps are small, since they are sums over the time steps.
        // Gradient maps are the teacher's.
        Probe::Features(_) | Probe::Attention(_) | Probe::GradientMap(_) => Size::ZERO,
        // The logits and their gradient.
        Probe::LogitsByStep => Size::from(plan.classes) * pass.rows() * 2usize,
        Probe::ActivationMap(tap) => at(tap) * pass.rows() * ACTIVATION_MAP,
        Probe::Membranes(tap) => at(tap) * pass.rows() * MEMBRANES,
        Probe::SpikeCounts => all * pass.batch,
    };
    probes.iter().map(numbers).sum::<Size>() * size_of::<f32>()
}

/// The neurons at a tap of an image; none if the network lacks the tap.
fn at(plan: &Plan, tap: Tap) -> Size {
    plan.tap(tap).map(elements).unwrap_or(Size::ZERO)
}
