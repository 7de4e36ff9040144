//! Weights in the order in which the kernels read them, for passes that share them.
//!
//! A pass packs its weights by itself; that is a small part of a training step, and of a single
//! inference a large one.

use lasnn_core::Precision;

use crate::args::ForwardArgs;
use crate::event::conv;
use crate::event::linear;
use crate::event::weights::{WeightFormat, Weights};
use crate::graph::{Graph, Projection, Synapse};

/// The packed weights of a graph.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    /// By weight.
    weights: Vec<Weights>,
    format: WeightFormat,
}

impl PackedWeights {
    /// Packs `weights`, as a [`ForwardArgs`] gets them.
    pub fn new(graph: &Graph, weights: &[&[f32]], format: WeightFormat) -> Self {
        let mut packed_weights = Self { weights: vec![Weights::none(); weights.len()], format };
        let mut packed = packed_weights.weights.clone();
        let args = ForwardArgs {
            graph,
            neurons: &[],
            weights,
            masks: &[],
            batch: 1,
            packed_weights: Some(&packed_weights),
            precision: Precision::F32,
        };
        for (index, layer) in graph.layers.iter().enumerate() {
            for projection in &layer.projections {
                match projection.synapse {
                    Synapse::Conv { kernel, weight, .. } => {
                        let size = [graph.pooled(projection).channels, kernel * kernel];
                        let format = (format, args.is_tiled(index));
                        let grid = args.grid(index);
                        packed[weight] = conv::pack_all(weights[weight], size, grid, format);
                    }
                    Synapse::Linear { weight } => {
                        let size = [graph.pooled(projection).positions(), layer.shape.channels];
                        packed[weight] =
                            linear::pack_all(weights[weight], size, &projection.pooling, format);
                    }
                    Synapse::Identity => {}
                }
            }
        }
        if let Projection { synapse: Synapse::Linear { weight }, pooling, .. } = graph.readout {
            let size = [graph.pooled(&graph.readout).positions(), graph.classes];
            packed[weight] = linear::pack_all(weights[weight], size, &pooling, format);
        }
        packed_weights.weights = packed;
        packed_weights
    }

    /// How the weights are stored.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// One of the weights.
    pub(crate) fn weight(&self, weight: usize) -> &Weights {
        &self.weights[weight]
    }
}
