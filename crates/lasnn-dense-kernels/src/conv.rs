//! Convolutions and their gradients, directly on feature maps `[batch, channels, height, width]`.
//!
//! No matrix of patches is written. The vectors of the inner loop run over positions, so that maps
//! stay in the order that the rest of the program has them in; `padded` says how a tap of a kernel
//! becomes a number to add to an index, `tile` is the inner loop.

mod forward;
mod gather;
mod gradients;
mod input_grad;
mod padded;
mod shape;
mod tile;
mod weight_grad;

pub use forward::forward;
pub(super) use forward::forward_with_statistics;
pub(super) use gradients::{OutputGrads, ToInput, gradients};
pub use gradients::{input_grad, weight_grad};
pub use shape::ConvShape;

#[cfg(test)]
mod tests;
