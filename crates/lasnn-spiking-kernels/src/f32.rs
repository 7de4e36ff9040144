//! The backward pass with gradients in `f32`.
//!
//! In `f32` precision it is all but the weight gradients and the readout. If a pass rounds to
//! bfloat16, linear layers still take it, and so do all layers of a network whose surrogate
//! derivatives do not fit 8 bits; only dense products of gradients and weights are rounded then.
//!
//! - `spike_grads`: gradients of a layer's spikes,
//! - `membrane_grad`: gradients of a layer's membrane potentials,
//! - `bptt` and `linear_bptt`: from spike gradients to membrane gradients, by back-propagation
//!   through time,
//! - `input_grad`: from membrane gradients to the spike gradients upstream, by dense products,
//! - `carried_input_grad`: the same for convolutions, by sparse updates from step to step.

pub(crate) mod bptt;
pub(crate) mod carried_input_grad;
pub(crate) mod input_grad;
pub(crate) mod linear_bptt;
pub(crate) mod membrane_grad;
pub(crate) mod spike_grads;
