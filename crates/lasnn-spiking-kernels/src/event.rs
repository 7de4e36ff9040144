//! Event-driven kernels: they add up the weights that lists of spikes name.
//!
//! - `list` and `row_events`: the spikes of a layer as lists,
//! - `conv` and `linear`: the currents of convolutions and of linear layers,
//! - `weight_grad`: the gradients of weights,
//! - `weights`, `packed_bf16`, `int12`: the formats of weights,
//! - `simd`: sums of rows in vector registers.
//!
//! These modules know the graph and the spikes, but neither the arguments of a pass nor the dense
//! kernels of `bf16`.

pub(crate) mod conv;
pub(crate) mod int12;
pub(crate) mod linear;
pub(crate) mod list;
pub(crate) mod packed_bf16;
pub(crate) mod row_events;
pub(crate) mod simd;
pub(crate) mod weight_grad;
pub(crate) mod weights;
