//! Dense products in bfloat16, forward and backward.
//!
//! If a pass rounds to bfloat16, every processor runs the backward pass through layers on maps with
//! these kernels. Processors with AMX, which multiply tiles of 16 by 16 pairs, also run the forward
//! pass and the weight gradients of linear layers with them.
//!
//! The products do not skip zero factors. Membrane gradients, unlike spikes, are hardly ever zero,
//! and AMX multiplies so fast that skipping zero spikes hardly pays (`docs/kernels.md`). A spike
//! count is a bfloat16 number here: how often a channel fires in a pooling window, which is exact
//! up to 256.
//!
//! A *frame* is one image at one time step. Frames are the rows of products, or their depth where a
//! weight gradient sums over them. So even a map of one position fills tiles, and no border is
//! multiplied. The currents of a neuron at all time steps come out together and enter its membrane
//! at once.
//!
//! - `frames`: spike counts and gradients as the rows of products,
//! - `spike_pairs`: spike counts as the depth of products,
//! - `pack`: weights in the order in which products read them,
//! - `window`: the product of a convolution window with its weights,
//! - `conv` and `linear`: the forward pass,
//! - `bptt`: membrane gradients, by back-propagation through time,
//! - `downstream`: the projections from which spike gradients come,
//! - `membrane_grad`: membrane gradients as rows and as depth of products,
//! - `weight_grad` and `linear_weight_grad`: weight gradients,
//! - `input_grad`: spike gradients with AMX where membrane gradients are not rounded.

mod bptt;
mod conv;
mod downstream;
mod frames;
mod input_grad;
mod linear;
mod linear_weight_grad;
mod membrane_grad;
mod pack;
mod spike_pairs;
#[cfg(test)]
mod tests;
mod weight_grad;
mod window;

use lasnn_gemm::product::SIDE;

pub(crate) use bptt::Bptt;
pub(crate) use conv::run_maps;
pub(crate) use downstream::{Downstream, TransposedConv};
pub(crate) use frames::Frames;
pub(crate) use input_grad::input_grad;
pub(crate) use linear::{MatrixWeights, Product};
pub(crate) use linear_weight_grad::matrix_grad;
pub(crate) use membrane_grad::RoundedMembraneGrad;
pub(crate) use pack::{pack_convolution, pack_matrix};
pub(crate) use weight_grad::WeightGrad;

/// Lanes in a group: a tile is [`SIDE`] pairs deep.
const GROUP: usize = 2 * SIDE;

/// Frames that a job takes together: the rows of two tiles.
const FRAMES: usize = 2 * SIDE;

/// Numbers in a tile of sums, and pairs in a tile of factors.
const TILE_LEN: usize = SIDE * SIDE;
