//! Packs the weights of a graph.
//!
//! Packing stands apart from [`PackedWeights`], because it calls all kernels, and the kernels take
//! packed weights.

use std::sync::Arc;

use crate::bf16;
use crate::event::weights::{WeightFormat, Weights};
use crate::event::{conv, linear};
use crate::graph::{Graph, Projection, Synapse};
use crate::layout;
use crate::packed_weights::PackedWeights;

impl PackedWeights {
    /// Packs weights, which are in the layouts that [`Synapse`] describes.
    ///
    /// # Panics
    ///
    /// Panics if `weights` has fewer entries, or shorter ones, than `graph` names.
    pub fn new(graph: &Graph, weights: &[&[f32]], format: WeightFormat) -> Self {
        let mut packed = vec![Weights::none(); weights.len()];
        for (index, layer) in graph.layers.iter().enumerate() {
            for projection in &layer.projections {
                match projection.synapse {
                    Synapse::Conv { kernel, weight, .. } => {
                        let size = [graph.pooled(projection).channels, kernel * kernel];
                        let grid = layout::grid(graph, index, format);
                        packed[weight] = match layout::is_dense(graph, index, format) {
                            true => {
                                let lanes = grid.lanes();
                                let pairs = bf16::pack_convolution(weights[weight], size, lanes);
                                Weights::Tiles(Arc::new(pairs))
                            }
                            false => conv::pack(weights[weight], size, grid, format),
                        };
                    }
                    Synapse::Linear { weight } => {
                        let outputs = layer.shape.channels;
                        packed[weight] =
                            matrix(graph, projection, weights[weight], outputs, format);
                    }
                    Synapse::Identity => {}
                }
            }
        }
        if let Synapse::Linear { weight } = graph.readout.synapse {
            packed[weight] = matrix(graph, &graph.readout, weights[weight], graph.classes, format);
        }
        Self { weights: packed, format }
    }
}

fn matrix(
    graph: &Graph,
    projection: &Projection,
    weights: &[f32],
    outputs: usize,
    format: WeightFormat,
) -> Weights {
    if layout::takes_tiles(&projection.pooling, format) {
        let positions = graph.pooled(projection).positions();
        return Weights::Tiles(Arc::new(bf16::pack_matrix(weights, outputs, positions)));
    }
    linear::pack(weights, outputs, format)
}
