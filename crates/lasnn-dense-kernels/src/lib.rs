//! Dense kernels of ordinary networks.
//!
//! - [`conv`]: convolutions and their gradients,
//! - [`linear`]: linear layers, on the products of [`matrix`](lasnn_gemm::matrix),
//! - [`conv_batch_norm`]: a convolution with a batch norm behind it,
//! - [`norm`], [`pool`], [`relu`]: what stands between them,
//! - [`optimizer`]: update rules in one pass,
//!
//! All take slices of `f32`, row by row, and write into slices that the caller provides. Work is
//! dealt out to rayon's threads so that each sum is added up in one order, whatever their number.

#![forbid(unsafe_code)]

pub mod conv;
pub mod conv_batch_norm;
pub mod linear;
pub mod norm;
pub mod optimizer;
pub mod pool;
pub mod relu;

mod kept;
