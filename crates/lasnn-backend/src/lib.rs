//! The dense operations that lasnn makes faster than Burn's own.
//!
//! - [`backend`]: the trait [`DenseBackend`], a few operations with default bodies,
//! - [`reference`](mod@reference): these bodies, made of stock tensor operations,
//! - [`conv_batch_norm`]: what a convolution with a batch norm behind it takes and gives,
//! - [`ops`]: the operations on tensors, the way in for networks,
//! - [`parity`]: whether kernels do what the reference does, on the device at hand.
//!
//! Burn's Flex and NdArray take the kernels of `lasnn-kernels`; GPU backends keep the default bodies but
//! for convolutions and update rules. On an autodiff backend the backward passes are written by hand,
//! so that they, too, are single operations of the backend below.

pub mod backend;
pub mod conv_batch_norm;
pub mod ops;
pub mod parity;
pub mod reference;

mod formulas;
mod kernel;

pub use backend::{Convolution, DenseBackend, Normalised};
pub use conv_batch_norm::NormalisedConvolution;
#[cfg(feature = "flex")]
pub use kernel::recycle::bytes as recycled;
pub use lasnn_core::{Mask, Precision};
pub use lasnn_dense_kernels::optimizer::{AdamStep, SgdStep};
