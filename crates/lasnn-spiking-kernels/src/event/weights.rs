//! The formats of weights, and weights packed in the order in which a kernel reads them.

use std::sync::Arc;

use pulp::Simd;
use pulp::bytemuck::cast_slice;
use serde::{Deserialize, Serialize};

use lasnn_gemm::memory::{CacheLevel, Scratch, prefetch};
use lasnn_gemm::product::round_to_bf16;

use crate::event::simd::{self, LANES};
use crate::event::{int12, packed_bf16};

/// How the weights of a network are stored for passes without gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightFormat {
    /// Single precision, not rounded.
    #[default]
    F32,
    /// Integers of 12 bits times a power of two per output channel. The error is at most 1/2047 of
    /// the largest weight of the channel. The weights take half the memory, and one addition adds
    /// twice as many of them.
    Int12,
    /// Bfloat16, with an error of at most 1/256 of each weight. The weights take half the memory.
    /// Processors that multiply tiles of bfloat16 (AMX) multiply them densely; other processors add
    /// them up as the `f32` numbers that they are.
    Bf16,
}

impl WeightFormat {
    /// Rounds the weights `[outputs, …]` of a convolution to the values that this format stores.
    pub fn round_convolution(self, weights: &mut [f32], outputs: usize) {
        match self {
            Self::F32 => {}
            Self::Int12 => {
                let size = (weights.len() / outputs.max(1)).max(1);
                for output in weights.chunks_exact_mut(size) {
                    let scale = int12::scales(output.chunks_exact(1), 1)[0];
                    output.iter_mut().for_each(|weight| *weight = int12::rounded(*weight, scale));
                }
            }
            Self::Bf16 => weights.iter_mut().for_each(|weight| *weight = round_to_bf16(*weight)),
        }
    }

    /// Rounds the weights `[inputs, outputs]` of a matrix to the values that this format stores.
    pub fn round_matrix(self, weights: &mut [f32], outputs: usize) {
        match self {
            Self::F32 => {}
            Self::Int12 => {
                let outputs = outputs.max(1);
                let scales = int12::scales(weights.chunks_exact(outputs), outputs);
                for row in weights.chunks_exact_mut(outputs) {
                    for (weight, &scale) in row.iter_mut().zip(&scales) {
                        *weight = int12::rounded(*weight, scale);
                    }
                }
            }
            Self::Bf16 => weights.iter_mut().for_each(|weight| *weight = round_to_bf16(*weight)),
        }
    }

    /// Bytes per weight.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Int12 | Self::Bf16 => 2,
        }
    }

    /// The kernels take numbers of columns that are multiples of this.
    pub(crate) fn columns(self) -> usize {
        match self {
            Self::F32 => LANES,
            Self::Int12 | Self::Bf16 => simd::COLUMNS,
        }
    }
}

/// The packed weights of one projection.
#[derive(Clone, Debug)]
pub(crate) enum Weights {
    /// Rows for events, in single precision.
    F32(Arc<Scratch>),
    /// Rows for events, in integers of 12 bits, with the scale of each column.
    Int12 { words: Vec<u32>, scales: Vec<f32> },
    /// Rows for events, in bfloat16, two to a word.
    Bf16(Arc<Scratch>),
    /// Pairs of bfloat16 for dense products in tiles.
    Tiles(Arc<Scratch>),
}

impl Weights {
    /// The weights of an identity.
    pub fn none() -> Self {
        Self::F32(Arc::new(Scratch::new(0)))
    }

    /// Some rows: `length` weights from weight `start` on. Each row has `width` columns, of which
    /// the first is column `column` of the projection.
    #[inline(always)]
    pub fn rows(&self, (start, length): (usize, usize), column: usize, width: usize) -> Rows<'_> {
        match self {
            Self::F32(all) => Rows::F32 { matrix: &all[start..start + length], width },
            Self::Int12 { words, scales } => Rows::Int12(int12::Rows {
                words: &words[start / 2..(start + length) / 2],
                scales: &scales[column..column + width],
            }),
            Self::Bf16(words) => {
                let words = cast_slice(&words[start / 2..(start + length) / 2]);
                Rows::Bf16(packed_bf16::Rows { words, width })
            }
            Self::Tiles(_) => unreachable!("weights for tiles are not packed in rows"),
        }
    }

    /// Prefetches the cache line of a weight.
    #[inline(always)]
    pub fn prefetch(&self, at: usize) {
        match self {
            Self::F32(all) => prefetch(all, at, CacheLevel::L2),
            Self::Int12 { words, .. } => prefetch(words, at / 2, CacheLevel::L2),
            Self::Bf16(words) => prefetch(words, at / 2, CacheLevel::L2),
            Self::Tiles(_) => {}
        }
    }
}

/// Some rows of packed weights.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    F32 { matrix: &'a [f32], width: usize },
    Int12(int12::Rows<'a>),
    Bf16(packed_bf16::Rows<'a>),
}

impl Rows<'_> {
    /// Adds `scale` times the rows that events name to `sum`.
    ///
    /// Only the first `sum.len()` weights of each row are added, a multiple of
    /// [`WeightFormat::columns`].
    #[inline(always)]
    pub fn add<S: Simd>(self, simd: S, sum: &mut [f32], events: &[u32], scale: f32) {
        match self {
            Self::F32 { matrix, width } => {
                let rows = simd::Rows { matrix, width, first: 0 };
                simd::add_rows(simd, sum, rows, events, scale);
            }
            Self::Int12(rows) => int12::add_rows(simd, sum, rows, events, scale),
            Self::Bf16(rows) => packed_bf16::add_rows(simd, sum, rows, events, scale),
        }
    }
}
