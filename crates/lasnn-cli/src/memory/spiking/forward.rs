//! The forward pass of one layer, and the buffers of its products.

use lasnn_core::Shape;

use super::graph::{GROUP, Graph, LANES, LINEAR_TILE, NeuronLayer, Synapse};
use crate::memory::ledger::Ledger;
use crate::memory::pass::Pass;
use crate::memory::purpose::Purpose;
use crate::memory::size::{Size, elements, positions};

/// The rows of a tile of bfloat16.
pub const SIDE: usize = 16;

/// The tiles of a linear layer that a thread computes at once.
const PANEL: usize = 8;

/// The bytes of gradients of feature maps, or of widened spikes, that a pass keeps at once.
pub const GROUP_BYTES: usize = 64 << 20;

impl NeuronLayer {
    /// Allocates what the layer needs while it runs. With `own_currents` it also needs memory for
    /// its input currents; otherwise the tape has it.
    pub fn forward(&self, ledger: &mut Ledger, purpose: Purpose, pass: Pass, own_currents: bool) {
        let rows = pass.rows();
        let lanes = self.lanes(pass);
        for projection in &self.projections {
            let pooled = projection.pooled;
            match projection.synapse {
                Synapse::Linear => {
                    let width = lanes.min(Size::from(PANEL * LINEAR_TILE));
                    let panels = lanes.div_ceil(width).min(pass.threads);
                    let currents = (width * rows, panels);
                    if own_currents || pass.is_bf16() {
                        ledger.alloc(purpose, currents);
                    }
                    if pass.is_bf16() {
                        let products = (width * rows.up_to_multiple_of(SIDE), panels);
                        ledger.alloc_briefly(purpose, products);
                        ledger.alloc_briefly(purpose, bf16_rows(pooled, rows));
                    } else {
                        event_lists(ledger, purpose, pooled, rows);
                    }
                    ledger.release(currents);
                }
                Synapse::Conv { .. } if pass.is_bf16() => {
                    ledger.alloc_briefly(purpose, lanes * projection.fan_in() / 2usize);
                }
                Synapse::Conv { .. } => {
                    ledger.alloc_briefly(purpose, lanes * projection.fan_in());
                    event_lists(ledger, purpose, pooled, rows);
                }
                Synapse::Identity if pass.is_bf16() => {}
                Synapse::Identity => event_lists(ledger, purpose, pooled, rows),
            }
        }
        if pass.is_bf16() && !self.is_linear() && !self.projections.is_empty() {
            self.widened_spikes(ledger, purpose, pass);
        }
    }

    /// Allocates the spikes that a convolution widens to bfloat16: at once those of as many images
    /// as fill a tile, for as many such groups as fit into [`GROUP_BYTES`].
    fn widened_spikes(&self, ledger: &mut Ledger, purpose: Purpose, pass: Pass) {
        let Pass { batch, steps, threads, .. } = pass;
        let jobs = batch * self.lanes(pass).div_ceil(128usize) / threads;
        let images = (Size::from(GROUP) / steps).min(jobs).max(Size::new(1)).min(batch);
        let pooled = || self.projections.iter().map(|projection| projection.pooled);
        let neurons: Size = pooled().map(elements).sum();
        let fitting = Size::from(GROUP_BYTES) / (neurons * images * steps * 2usize);
        let groups = fitting.max(Size::new(1)).min(batch.div_ceil(images));
        let buffers: Vec<_> =
            pooled().map(|shape| (bf16_rows(shape, images * steps), groups)).collect();
        buffers.iter().for_each(|&buffer| ledger.alloc(purpose, buffer));
        buffers.iter().for_each(|&buffer| ledger.release(buffer));
    }
}

impl Graph {
    /// The bytes of the spikes of the encoded input. `None` with direct encoding.
    fn input_spikes(&self, rows: Size) -> Option<Size> {
        let channels = Size::from(self.input.channels) * self.spikes_per_pixel;
        let lanes = channels.up_to_multiple_of(LANES);
        let is_encoded = self.layers.first().is_some_and(|layer| !layer.projections.is_empty());
        is_encoded.then(|| lanes * positions(self.input) * rows / 8usize)
    }

    /// Encodes the input of a pass. Returns the bytes that stay allocated.
    pub fn encode_input(&self, ledger: &mut Ledger, purpose: Purpose, pass: Pass) -> Size {
        let Some(spikes) = self.input_spikes(pass.rows()) else { return Size::ZERO };
        let encoded = elements(self.input) * pass.rows() * size_of::<f32>();
        // Signed spikes are copied to negate them, and both copies are concatenated.
        let copies = if self.spikes_per_pixel == 2 { 4usize } else { 1 };
        ledger.malloc_briefly(purpose, encoded * copies);
        let stays = encoded * self.spikes_per_pixel + spikes;
        ledger.malloc(purpose, stays);
        stays
    }
}

/// The length of a feature map in bfloat16 with one row after the other.
pub fn bf16_rows(shape: Shape, rows: Size) -> Size {
    let groups = Size::from(shape.channels).div_ceil(GROUP) * positions(shape);
    groups * rows.up_to_multiple_of(SIDE) * SIDE
}

/// The number of pairs of rows, padded to whole tiles.
pub fn row_pairs(rows: Size) -> Size {
    rows.div_ceil(2usize).up_to_multiple_of(SIDE)
}

/// The length of a feature map in bfloat16 with two rows packed into one.
pub fn bf16_pairs(shape: Shape, rows: Size) -> Size {
    Size::from(shape.channels).up_to_multiple_of(SIDE) * positions(shape) * row_pairs(rows)
}

/// Allocates event lists for a moment. They have room for an eighth of the neurons in each row,
/// with four bytes for each event, and a counter for each position.
pub fn event_lists(ledger: &mut Ledger, purpose: Purpose, shape: Shape, rows: Size) {
    let bytes = (elements(shape) / 2usize + positions(shape) * 4usize) * rows;
    ledger.malloc_briefly(purpose, bytes);
}
