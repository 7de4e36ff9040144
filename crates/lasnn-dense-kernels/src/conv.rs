//! Convolutions and their gradients, computed directly on feature maps
//! `[batch, channels, height, width]`.
//!
//! There is no im2col matrix. The vectors of the inner loop run over positions, so that feature
//! maps keep the layout that the rest of the program uses. `padded` explains how each tap (one
//! position of the kernel) becomes a constant that is added to an index, and `tile` is the inner
//! loop.

mod forward;
mod gather;
mod gradients;
mod input_grad;
mod pack;
mod padded;
mod shape;
mod sums;
#[cfg(test)]
mod tests;
mod tile;
mod weight_grad;

pub use forward::forward;
pub(crate) use forward::forward_with_statistics;
pub(crate) use gradients::{OutputGrads, ToInput, gradients};
pub use gradients::{input_grad, weight_grad};
pub use shape::ConvShape;
