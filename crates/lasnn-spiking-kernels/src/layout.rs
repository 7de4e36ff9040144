//! How a layer is computed for a format of weights: its tiles of channels, and whether its products
//! are sums over events or dense.

use lasnn_gemm::product::has_tiles;

use crate::event::linear;
use crate::event::weights::WeightFormat;
use crate::graph::{Graph, PoolAndMask, Synapse};
use crate::spikes::Grid;

/// Bytes of weights of a tile that stay in a core's second-level cache beside the membranes.
const TILE_BYTES: usize = 640 << 10;

/// How the channels of a layer are cut into tiles.
pub(crate) fn grid(graph: &Graph, layer: usize, format: WeightFormat) -> Grid {
    let layer = &graph.layers[layer];
    let shape = layer.shape;
    if layer.is_linear() {
        return Grid { shape, tile: linear::TILE };
    }
    let inputs = layer.projections.iter().map(|projection| match projection.synapse {
        Synapse::Conv { kernel, .. } => kernel * kernel * graph.pooled(projection).channels,
        _ => 1,
    });
    Grid { shape, tile: tile(shape.channels, inputs.max().unwrap_or(1), format) }
}

/// The widest tile of `channels` whose weights for `inputs` inputs fit into the cache, if at most a
/// fifth of all lanes is without a channel; else the narrowest tile that the kernels take.
pub(crate) fn tile(channels: usize, inputs: usize, format: WeightFormat) -> usize {
    let fits = |&tile: &usize| {
        let wasted = channels.next_multiple_of(tile) - channels;
        wasted * 4 <= channels && inputs * tile * format.bytes() <= TILE_BYTES
    };
    [128, 64, 32].into_iter().find(fits).unwrap_or(format.columns())
}

/// Whether all products of a layer are dense products in tiles of bfloat16.
pub(crate) fn is_dense(graph: &Graph, layer: usize, format: WeightFormat) -> bool {
    let projections = &graph.layers[layer].projections;
    !projections.is_empty()
        && projections.iter().all(|projection| takes_tiles(&projection.pooling, format))
}

/// Whether a product with spikes after a pooling is a dense product in tiles of bfloat16. It is so
/// where the processor multiplies tiles (AMX), whatever the firing rate (`docs/kernels.md`).
pub(crate) fn takes_tiles(pooling: &PoolAndMask, format: WeightFormat) -> bool {
    format == WeightFormat::Bf16 && has_tiles() && can_count(pooling)
}

/// Whether bfloat16 holds every spike count that can occur after a pooling. It holds all whole
/// numbers up to 256.
pub(crate) fn can_count(pooling: &PoolAndMask) -> bool {
    pooling.window() <= 256
}
