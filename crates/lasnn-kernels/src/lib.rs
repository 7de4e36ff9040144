//! CPU kernels on slices: what makes a spiking network fast where few of its neurons fire.
//!
//! - [`spiking`]: a whole spiking network, forward and backward, computed only where neurons fire,
//! - [`dense`]: convolutions and optimiser steps of ordinary networks,
//! - [`matrix`]: products of matrices,
//! - [`mask`]: masks of dropout,
//! - [`memory`]: blocks that go from one training step to the next,
//! - [`random`]: draws that are functions of what they are for.
//!
//! Nothing here knows a tensor library; `lasnn-neurons` and `lasnn-backend` hang the kernels into
//! Burn.

pub mod dense;
mod level;
pub mod mask;
pub mod matrix;
pub mod memory;
mod product;
pub mod random;
mod simd;
pub mod spiking;
mod transpose;

pub use mask::{Mask, MaskRows};
pub use product::Precision;
