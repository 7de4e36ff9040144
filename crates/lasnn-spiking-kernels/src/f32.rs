//! The backward pass in single precision.
//!
//! - `bptt`: gradients of membrane potentials, by back-propagation through time,
//! - `input_grad`: gradients of the input spikes of a layer,
//! - `carried_input_grad`: the same for convolutions, carried from time step to time step.

pub(crate) mod bptt;
pub(crate) mod carried_input_grad;
pub(crate) mod input_grad;
