//! Dense operations that lasnn makes faster than Burn's own.
//!
//! - [`backend`]: the trait [`DenseBackend`], whose operations all have a default body,
//! - [`reference`](mod@reference): the default bodies, made of Burn's tensor operations,
//! - [`conv_batch_norm`]: the types of a convolution with batch norm as one operation,
//! - [`batch_norm`]: Burn's batch norm module in training and in evaluation,
//! - [`ops`]: the operations on tensors; networks and optimisers call these,
//! - [`parity`]: compares the kernels of a backend with the reference on the current device.
//!
//! Burn's Flex and NdArray backends run the kernels of `lasnn-dense-kernels`. GPU backends run
//! kernels in CubeCL for weight gradients, batch norm, dropout masks, the backward pass of max
//! pooling, optimiser steps and sums, and Burn's operations for the rest. The backward passes are
//! written by hand, so that they, too, are single operations of the backend under autodiff.

pub mod backend;
pub mod batch_norm;
pub mod conv_batch_norm;
pub mod ops;
pub mod parity;
pub mod reference;

mod formulas;
mod kernel;

pub use backend::{BatchNormOutput, Convolution, DenseBackend};
pub use conv_batch_norm::ConvBatchNorm;
#[cfg(feature = "flex")]
pub use kernel::recycle::bytes as recycled;
pub use lasnn_core::{Mask, Precision};
pub use lasnn_dense_kernels::optimizer::{AdamStep, SgdStep};
pub use lasnn_gemm::product::simd_level;
