//! CPU kernels of networks that do not spike, forward and backward.
//!
//! - [`conv`]: convolutions and their gradients,
//! - [`linear`]: linear layers, on the matrix products of [`lasnn_gemm::matrix`],
//! - [`conv_batch_norm`]: a convolution followed by a batch norm, as one kernel,
//! - [`norm`]: batch norm and sums over channels,
//! - [`pool`]: average and maximum pooling,
//! - [`relu`]: ReLU of a sum, and its gradient,
//! - [`optimizer`]: the update rules of Adam and of stochastic gradient descent.
//!
//! All kernels take slices of `f32` in row-major order, and write to slices of the caller. Work is
//! distributed over the threads of `rayon` so that each sum is added up in one order, whatever the
//! number of threads.

#![forbid(unsafe_code)]

pub mod conv;
pub mod conv_batch_norm;
pub mod linear;
pub mod norm;
pub mod optimizer;
pub mod pool;
pub mod relu;

mod stored_float;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
