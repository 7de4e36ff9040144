//! Weights in the order and the format in which a kernel reads them.

use std::sync::Arc;

use pulp::Simd;
use pulp::bytemuck::cast_slice;
use serde::{Deserialize, Serialize};

use crate::event::int12 as fixed;
use crate::event::packed_bf16 as halves;
use crate::event::simd::{self, LANES};
use lasnn_gemm::memory::{CacheLevel, Scratch, prefetch};
use lasnn_gemm::product::round_to_bf16;

/// How a network's weights are stored for passes without gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightFormat {
    /// As they are.
    #[default]
    F32,
    /// Rounded to integers of 12 bits times a power of two for each output channel: an error of at
    /// most 1/2047 of the channel's largest weight. Half the memory, and twice as many weights in
    /// one addition.
    Int12,
    /// Rounded to bfloat16, an error of at most 1/256 of each. Half the memory. Where the processor multiplies
    /// tiles of them (AMX) they are multiplied densely; elsewhere they are added up as the `f32` numbers that
    /// they are.
    Bf16,
}

impl WeightFormat {
    /// Rounds weights `[outputs, …]` of a convolution to what is stored of them.
    pub fn round_convolution(self, weights: &mut [f32], outputs: usize) {
        match self {
            Self::F32 => {}
            Self::Int12 => {
                let size = (weights.len() / outputs.max(1)).max(1);
                for output in weights.chunks_exact_mut(size) {
                    let step = fixed::steps(output.chunks_exact(1), 1)[0];
                    output.iter_mut().for_each(|weight| *weight = fixed::rounded(*weight, step));
                }
            }
            Self::Bf16 => weights.iter_mut().for_each(|weight| *weight = round_to_bf16(*weight)),
        }
    }

    /// Rounds weights `[inputs, outputs]` of a matrix to what is stored of them.
    pub fn round_matrix(self, weights: &mut [f32], outputs: usize) {
        match self {
            Self::F32 => {}
            Self::Int12 => {
                let outputs = outputs.max(1);
                let steps = fixed::steps(weights.chunks_exact(outputs), outputs);
                for row in weights.chunks_exact_mut(outputs) {
                    for (weight, &step) in row.iter_mut().zip(&steps) {
                        *weight = fixed::rounded(*weight, step);
                    }
                }
            }
            Self::Bf16 => weights.iter_mut().for_each(|weight| *weight = round_to_bf16(*weight)),
        }
    }

    /// Bytes of a weight.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Int12 | Self::Bf16 => 2,
        }
    }

    /// Numbers of columns that the kernels can take are multiples of this.
    pub(crate) fn columns(self) -> usize {
        match self {
            Self::F32 => LANES,
            Self::Int12 | Self::Bf16 => simd::COLUMNS,
        }
    }
}

/// All weights of a synapse.
#[derive(Clone, Debug)]
pub(crate) enum Weights {
    Full(Arc<Scratch>),
    /// With the step of each column.
    Fixed {
        words: Vec<u32>,
        steps: Vec<f32>,
    },
    /// Bfloat16, two to a word.
    Halves(Arc<Scratch>),
    /// Pairs for tiles.
    Tiles(Arc<Scratch>),
}

impl Weights {
    /// Those of a synapse that has none.
    pub fn none() -> Self {
        Self::Full(Arc::new(Scratch::new(0)))
    }

    /// `length` weights from the `start`-th on, in rows that begin with `column` and have `width`
    /// columns.
    #[inline(always)]
    pub fn rows(&self, (start, length): (usize, usize), column: usize, width: usize) -> Rows<'_> {
        match self {
            Self::Full(all) => Rows::Full { matrix: &all[start..start + length], width },
            Self::Fixed { words, steps } => Rows::Fixed(fixed::Rows {
                words: &words[start / 2..(start + length) / 2],
                steps: &steps[column..column + width],
            }),
            Self::Halves(words) => {
                let words = cast_slice(&words[start / 2..(start + length) / 2]);
                Rows::Halves(halves::Rows { words, width })
            }
            Self::Tiles(_) => unreachable!("tiles have no rows to add up"),
        }
    }

    /// Asks for the cache line of a weight.
    #[inline(always)]
    pub fn prefetch(&self, at: usize) {
        match self {
            Self::Full(all) => prefetch(all, at, CacheLevel::L2),
            Self::Fixed { words, .. } => prefetch(words, at / 2, CacheLevel::L2),
            Self::Halves(words) => prefetch(words, at / 2, CacheLevel::L2),
            Self::Tiles(_) => {}
        }
    }
}

/// Some rows of weights.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    Full { matrix: &'a [f32], width: usize },
    Fixed(fixed::Rows<'a>),
    Halves(halves::Rows<'a>),
}

impl Rows<'_> {
    /// Adds the first `sum.len()` numbers, a multiple of [`WeightFormat::columns`], of the rows that
    /// events name to `sum`, times `scale`.
    #[inline(always)]
    pub fn add<S: Simd>(self, simd: S, sum: &mut [f32], events: &[u32], scale: f32) {
        match self {
            Self::Full { matrix, width } => {
                let rows = simd::Rows { matrix, width, first: 0 };
                simd::add_rows(simd, sum, rows, events, scale);
            }
            Self::Fixed(rows) => fixed::add_rows(simd, sum, rows, events, scale),
            Self::Halves(rows) => halves::add_rows(simd, sum, rows, events, scale),
        }
    }
}
