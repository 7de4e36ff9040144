//! Event-driven kernels: they add up the weights that lists of spikes name.
//!
//! - `list`: the spikes of a layer as lists,
//! - `conv` and `linear`: currents of convolutions and of linear layers,
//! - `weight_grad`: gradients of weights,
//! - `weights`, `packed_bf16`, `int12`: the formats of the weights,
//! - `simd`: vector operations that the compiler does not find by itself.

pub(crate) mod conv;
pub(crate) mod int12;
pub(crate) mod linear;
pub(crate) mod list;
pub(crate) mod packed_bf16;
pub(crate) mod simd;
pub(crate) mod weight_grad;
pub(crate) mod weights;
