//! CPU kernels of spiking networks on slices. They compute only where neurons fire.
//!
//! - [`Graph`]: the layers of neurons, and the projections between them,
//! - [`ForwardArgs`]: a graph with its parameters, neurons and masks, for a batch of images,
//! - [`ForwardArgs::advance`]: a forward pass without a tape, for inference,
//! - [`ForwardArgs::record`] and [`ForwardArgs::backward`]: a forward pass that is recorded on a
//!   [`Tape`], and the gradients of its parameters,
//! - [`PackedWeights`]: weights packed once for many passes.
//!
//! Three folders hold the kernels. `event` adds up the weights that lists of spikes name. `bf16`
//! has the backward pass in bfloat16 and, for processors that multiply tiles of it (AMX), a dense
//! forward pass. `f32` has the backward pass in single precision. The walks over the layers,
//! `forward` and `backward`, call them.
//!
//! Every sum has one order, whatever the number of threads: threads share outputs, never sums.

#![forbid(unsafe_code)]

mod activation_map;
mod args;
mod backward;
#[cfg_attr(
    not(all(target_arch = "x86_64", target_os = "linux")),
    allow(dead_code, reason = "only x86-64 processors under Linux multiply tiles")
)]
mod bf16;
mod currents;
mod event;
mod f32;
mod forward;
mod geometry;
mod graph;
mod layout;
mod neuron;
mod pack;
mod packed_weights;
mod param_grads;
mod spikes;
mod tape;
#[cfg(test)]
mod tests;

pub use args::{ForwardArgs, NetworkInput};
pub use backward::{Gradients, OutcomeGrad};
pub use event::weights::WeightFormat;
pub use forward::{LayerProbes, Membranes, Outcome, SpikeStats};
pub use graph::{
    Graph, NeuronLayer, NeuronParams, ParamIndex, PoolAndMask, Presynaptic, Projection, Synapse,
    Unsupported,
};
pub use lasnn_core::neuron::{NeuronOptions, Reset, StepOrder};
pub use lasnn_core::surrogate::Surrogate;
pub use lasnn_core::{Shape, Trace};
pub use packed_weights::PackedWeights;
pub use tape::Tape;
