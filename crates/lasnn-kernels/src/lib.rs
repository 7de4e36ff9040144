//! CPU kernels on slices: what makes a spiking network fast where few of its neurons fire.
//!
//! - [`spiking`]: a whole spiking network, forward and backward, computed only where neurons fire,
//! - [`dense`]: convolutions and optimiser steps of ordinary networks,
//! - [`matrix`]: products of matrices,
//! - [`memory`]: blocks that go from one training step to the next,
//! - [`random`]: draws that are functions of what they are for.
//!
//! Nothing here knows a tensor library; `lasnn-neurons` and `lasnn-backend` hang the kernels into
//! Burn.

pub mod dense;
mod level;
pub mod matrix;
pub mod memory;
mod product;
pub mod random;
pub mod spiking;

pub use product::Precision;
