//! The operands of a layer's currents: its weights packed, and its spikes listed or as numbers.

use std::borrow::Cow;

use pulp::Simd;
use pulp::bytemuck::cast_slice;

use lasnn_core::Precision;
use lasnn_gemm::product::with_format;

use crate::args::ForwardArgs;
use crate::bf16::{self, Frames, MatrixWeights};
use crate::event::conv::{self, Feed};
use crate::event::linear::{self, PANEL, TILE};
use crate::event::list::Events;
use crate::event::row_events::RowEvents;
use crate::event::weights::Weights;
use crate::graph::{Projection, Synapse};
use crate::layout;
use crate::neuron::{LaneParams, fill_bias};
use crate::spikes::{Grid, Spikes};
use crate::tape::Tape;

impl<'a> ForwardArgs<'a> {
    /// The operands of a layer on feature maps, from the spikes of each projection.
    pub(crate) fn feeds(
        &self,
        projections: &[Projection],
        grid: Grid,
        spikes: &[&Spikes],
    ) -> Vec<Feed<'a>> {
        let feed = |(projection, spikes): (&Projection, &&Spikes)| {
            let pooled = self.graph.pooled(projection);
            let packed = match projection.synapse {
                Synapse::Conv { kernel, weight, .. } => match self.packed_weights {
                    Some(packed_weights) => Cow::Borrowed(packed_weights.weight(weight)),
                    None => {
                        let size = [pooled.channels, kernel * kernel];
                        Cow::Owned(conv::pack(self.params[weight], size, grid, self.format()))
                    }
                },
                _ => Cow::Owned(Weights::none()),
            };
            let (events, scale) = (self.events(projection, spikes), self.scale(projection));
            Feed { projection: *projection, pooled, packed, events, scale }
        };
        projections.iter().zip(spikes).map(feed).collect()
    }

    /// The events of all images after the pooling and the mask of a projection.
    pub(crate) fn events(&self, projection: &Projection, spikes: &Spikes) -> Vec<Events> {
        Events::of_images(spikes, &projection.pooling, self.mask(projection))
    }

    /// The rows of its matrix that the spikes of a linear projection name.
    pub(crate) fn row_events(&self, projection: &Projection, tape: &Tape) -> RowEvents {
        let pooled = self.graph.pooled(projection);
        let events = self.events(projection, tape.spikes(projection.presynaptic));
        RowEvents::of(&events, pooled.channels, pooled.positions(), tape.steps)
    }

    /// The operands of a linear projection into `outputs` neurons.
    pub(crate) fn matrix(
        &self,
        projection: &Projection,
        weight: usize,
        outputs: usize,
        tape: &Tape,
    ) -> Matrix<'a> {
        let (weights, format) = (self.params[weight], self.format());
        let packed = self.packed_weights.map(|packed_weights| packed_weights.weight(weight));
        let scale = self.scale(projection);
        if layout::takes_tiles(&projection.pooling, format) {
            let spikes = tape.spikes(projection.presynaptic);
            let mask = self.mask(projection);
            let frames = Frames::of(spikes, &projection.pooling, mask, 0..spikes.batch);
            return Matrix::Dense { frames, weights, packed, outputs, scale };
        }
        let size = [self.graph.pooled(projection).len(), outputs];
        let events = self.row_events(projection, tape);
        Matrix::Events(linear::Matrix::new((weights, packed), size, events, format, scale))
    }
}

/// A matrix `[inputs, outputs]` with the spikes that it is multiplied by.
pub(crate) enum Matrix<'a> {
    /// Rows of the matrix are added up.
    Events(linear::Matrix<'a>),
    /// Everything is multiplied, in tiles of bfloat16.
    Dense {
        frames: Frames,
        weights: &'a [f32],
        packed: Option<&'a Weights>,
        outputs: usize,
        scale: f32,
    },
}

impl Matrix<'_> {
    /// The number of currents of one panel, lanes without an output included.
    pub fn size(&self, panel: usize) -> usize {
        let outputs = match self {
            Self::Events(matrix) => matrix.outputs(),
            Self::Dense { outputs, .. } => *outputs,
        };
        let columns = outputs.saturating_sub(panel * PANEL * TILE).min(PANEL * TILE);
        columns.div_ceil(TILE) * TILE * self.frames()
    }

    /// The number of frames.
    pub fn frames(&self) -> usize {
        match self {
            Self::Events(matrix) => matrix.frames(),
            Self::Dense { frames, .. } => frames.count,
        }
    }

    /// Writes the bias of the neurons of one panel to all frames of `currents`,
    /// `[tile][frame][lane]`; zeros without a bias.
    #[inline(always)]
    pub fn fill_bias(&self, params: &LaneParams, panel: usize, currents: &mut [f32]) {
        for (index, currents) in currents.chunks_exact_mut(self.frames() * TILE).enumerate() {
            fill_bias(params.bias(panel * PANEL + index), currents);
        }
    }

    /// Adds the currents of one panel to `currents`, `[tile][frame][lane]`.
    #[inline(always)]
    pub fn add_currents<S: Simd>(&self, simd: S, panel: usize, currents: &mut [f32]) {
        match self {
            Self::Events(matrix) => matrix.add_currents(simd, panel, currents),
            Self::Dense { frames, weights, packed, outputs, scale } => {
                let weights = match packed {
                    Some(Weights::Tiles(weights)) => MatrixWeights::Packed(cast_slice(weights)),
                    _ => MatrixWeights::Plain { matrix: weights, outputs: *outputs },
                };
                let (first, scale) = (panel * PANEL, *scale);
                let product = bf16::Product { frames, weights, first, scale, currents };
                with_format(Precision::Bf16, product);
            }
        }
    }

    /// The rows that the spikes name, if they are listed.
    pub fn into_events(self) -> Option<RowEvents> {
        match self {
            Self::Events(matrix) => Some(matrix.into_events()),
            Self::Dense { .. } => None,
        }
    }
}
