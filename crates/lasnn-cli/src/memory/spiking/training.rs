//! A training step of a spiking network: the forward pass with its tape, and the backward pass.

use super::forward::{GROUP_BYTES, SIDE, bf16_pairs, event_lists, row_pairs};
use super::graph::{GROUP, Graph, NeuronLayer, Projection, Synapse};
use crate::memory::ledger::Ledger;
use crate::memory::pass::Pass;
use crate::memory::purpose::Purpose;
use crate::memory::size::{Size, elements, positions};

const SCRATCH: Purpose = Purpose::Scratch;

impl Graph {
    /// A forward and a backward pass. The gradients of the weights stay allocated.
    pub fn train(&self, ledger: &mut Ledger, pass: Pass) {
        let saved = self.saved(pass);
        let states = self.states(pass);
        let stem_currents = self.stem_currents(pass);
        let input = self.encode_input(ledger, Purpose::Tape, pass);
        ledger.alloc_all(Purpose::Tape, &stem_currents);
        ledger.alloc_all(SCRATCH, &states);
        for (layer, &saved) in self.layers.iter().zip(&saved) {
            ledger.malloc(Purpose::Tape, layer.spikes(pass));
            ledger.alloc(Purpose::Tape, saved);
            layer.forward(ledger, SCRATCH, pass, saved == Size::ZERO);
        }
        ledger.release_all(&states);
        self.backward(ledger, pass);
        for layer in &self.layers {
            ledger.free(Purpose::Tape, layer.spikes(pass));
        }
        ledger.release_all(&saved);
        ledger.release_all(&stem_currents);
        ledger.free(Purpose::Tape, input);
    }

    /// A training step where each layer is an operation of its own, as on a GPU. For each layer the
    /// currents and the spikes of all time steps are saved in 32 bits, and the parameters that
    /// differ from neuron to neuron.
    pub fn train_layer_by_layer(&self, ledger: &mut Ledger, pass: Pass) {
        let saved = |layer: &NeuronLayer| {
            let pooled = layer.projections.iter().map(|projection| elements(projection.pooled));
            elements(layer.shape) * 2usize + pooled.sum::<Size>()
        };
        let saved: Size = self.layers.iter().map(saved).sum();
        let expanded = self.neurons() * pass.batch * self.params.expanded;
        let widest = self.layers.iter().map(|layer| elements(layer.shape)).max();
        let bytes = [
            (Purpose::Tape, (saved * pass.rows() + expanded) * size_of::<f32>()),
            (SCRATCH, widest.unwrap_or(Size::ZERO) * pass.rows() * (3 * size_of::<f32>())),
            (Purpose::Optimiser, self.weights().into_iter().sum::<Size>() * size_of::<f32>()),
        ];
        bytes.iter().for_each(|&(purpose, bytes)| ledger.malloc(purpose, bytes));
        bytes.iter().for_each(|&(purpose, bytes)| ledger.free(purpose, bytes));
    }

    /// The length of what the tape saves of each layer: 8-bit surrogate derivatives or membrane
    /// potentials of 16 bits in bfloat16, and input currents in `f32`. Currents are saved for the
    /// layers with the largest fan-in only, as long as they fit; the others are computed again.
    fn saved(&self, pass: Pass) -> Vec<Size> {
        let rows = pass.rows();
        let row: Vec<Size> = self.layers.iter().map(|layer| layer.row(pass)).collect();
        if pass.is_bf16() {
            let in_a_number = if self.params.saves_membranes { 2usize } else { 4 };
            return row.iter().map(|&row| row * rows / in_a_number).collect();
        }
        let spikes = row.iter().copied().sum::<Size>() / 8usize;
        let mut left = self.neurons() - spikes;
        let fan_in = |&layer: &usize| -> Size {
            self.layers[layer].projections.iter().map(Projection::fan_in).sum()
        };
        let mut largest_first: Vec<usize> = (0..self.layers.len()).collect();
        largest_first.sort_by_key(|layer| std::cmp::Reverse(fan_in(layer)));
        let mut saved = vec![Size::ZERO; self.layers.len()];
        for layer in largest_first {
            let bytes = row[layer] * size_of::<f32>();
            if bytes <= left && !self.layers[layer].projections.is_empty() {
                saved[layer] = row[layer] * rows;
                left = left - bytes;
            }
        }
        saved
    }

    fn backward(&self, ledger: &mut Ledger, pass: Pass) {
        // The gradients at the taps and of the readout's input are the same at every time step.
        let is_constant = |&(index, layer): &(usize, &NeuronLayer)| {
            layer.tapped || self.readout.presynaptic == Some(index)
        };
        let constant = self.layers.iter().enumerate().filter(is_constant);
        let constant: Vec<Size> = constant.map(|(_, layer)| layer.row(pass) * pass.batch).collect();
        ledger.alloc_all(SCRATCH, &constant);
        ledger.alloc(Purpose::Optimiser, self.readout.weights);
        ledger.alloc_briefly(SCRATCH, elements(self.readout.pooled) * pass.batch);

        let conv = self.convolutions();
        let spike_gradient = self.backward_linear(ledger, pass, conv);
        self.backward_conv(ledger, pass, conv);
        ledger.release(spike_gradient);
        ledger.release_all(&constant);
        if let (Some(weights), Some(first)) = (self.stem, self.layers.first()) {
            ledger.alloc_briefly(SCRATCH, elements(first.shape) * pass.batch);
            ledger.alloc(Purpose::Optimiser, weights);
        }
    }

    /// The number of layers before the linear layers at the end.
    fn convolutions(&self) -> usize {
        let linear = self.layers.iter().rev().take_while(|layer| layer.is_linear()).count();
        self.layers.len() - linear
    }

    /// The images for which the backward pass copies gradients of a loss. It copies them for one
    /// group of images at a time, but blocks for the last, smaller group have another length.
    pub fn copied_images(&self, pass: Pass) -> Size {
        let group = group_of(&self.layers[..self.convolutions()], pass);
        let last = pass.batch - pass.batch / group * group;
        group + last
    }

    /// The backward pass of the linear layers from index `first` on, for the whole batch. Returns
    /// the length of the last spike gradient, which is still allocated.
    fn backward_linear(&self, ledger: &mut Ledger, pass: Pass, first: usize) -> Size {
        let rows = pass.rows();
        let mut spike_gradient = Size::ZERO;
        for layer in self.layers[first..].iter().rev() {
            let lanes = layer.lanes(pass);
            ledger.alloc(SCRATCH, lanes * rows);
            for projection in &layer.projections {
                let pooled = projection.pooled;
                if pass.is_bf16() {
                    ledger.alloc(SCRATCH, bf16_pairs(pooled, rows));
                    ledger.alloc_briefly(SCRATCH, lanes * row_pairs(rows));
                    ledger.release(bf16_pairs(pooled, rows));
                } else {
                    event_lists(ledger, SCRATCH, pooled, rows);
                }
                ledger.alloc(Purpose::Optimiser, projection.weights);
                if projection.presynaptic.is_none() {
                    continue;
                }
                let outputs = Size::from(layer.shape.channels);
                let operands = [outputs * rows, elements(pooled) * rows];
                let presynaptic_row = self.presynaptic_row(projection, pass);
                ledger.alloc_all(SCRATCH, &operands);
                ledger.alloc(SCRATCH, presynaptic_row * rows);
                ledger.release_all(&operands);
                if projection.masked {
                    ledger.alloc_briefly(SCRATCH, presynaptic_row * pass.batch);
                }
                ledger.release(spike_gradient);
                spike_gradient = presynaptic_row * rows;
            }
            ledger.release(lanes * rows);
        }
        spike_gradient
    }

    /// The backward pass of the first `count` layers, for a group of images at a time.
    fn backward_conv(&self, ledger: &mut Ledger, pass: Pass, count: usize) {
        let layers = &self.layers[..count];
        let group = group_of(layers, pass);
        let rows = group * pass.steps;
        let mut packed_gradients = Size::ZERO;
        // The blocks that are released when the backward pass reaches a layer.
        let mut until: Vec<Vec<Size>> = vec![Vec::new(); count];
        for (index, layer) in layers.iter().enumerate().rev() {
            if layer.tapped {
                ledger.alloc_briefly(SCRATCH, layer.row(pass) * group);
            }
            // The spike gradient from the linear layers is copied for the images of the group.
            let is_copied = index + 1 == count && group < pass.batch;
            let copy = if is_copied { layer.row(pass) * rows } else { Size::ZERO };
            ledger.alloc(SCRATCH, copy);
            let membrane_gradients = layer.membrane_gradients(pass, group);
            ledger.alloc_all(SCRATCH, &membrane_gradients);
            ledger.release_all(&std::mem::take(&mut until[index]));
            ledger.release(copy);
            for projection in &layer.projections {
                if let Synapse::Conv { .. } = projection.synapse {
                    match pass.is_bf16() {
                        true => {
                            ledger.alloc_briefly(SCRATCH, bf16_pairs(projection.pooled, rows));
                        }
                        false => event_lists(ledger, SCRATCH, projection.pooled, rows),
                    }
                    let bytes = layer.lanes(pass) * projection.fan_in() * size_of::<f32>();
                    ledger.malloc(SCRATCH, bytes);
                    packed_gradients += bytes;
                }
                if let Some(presynaptic) = projection.presynaptic {
                    let blocks = self.input_gradient(layer, projection, pass, group);
                    ledger.alloc_all(SCRATCH, &blocks);
                    until[presynaptic].extend(blocks);
                }
            }
            // In bfloat16 the presynaptic layer computes its spike gradient from these gradients.
            let earliest =
                layer.projections.iter().filter_map(|projection| projection.presynaptic).min();
            match earliest.filter(|_| pass.is_bf16()) {
                Some(presynaptic) => until[presynaptic].extend(membrane_gradients),
                None => ledger.release_all(&membrane_gradients),
            }
        }
        for projection in layers.iter().flat_map(|layer| &layer.projections) {
            ledger.alloc(Purpose::Optimiser, projection.weights);
        }
        ledger.free(SCRATCH, packed_gradients);
    }

    /// The lengths of what is needed for the spike gradient of a projection's presynaptic layer:
    /// the transposed weights in bfloat16 or the gradient itself in `f32`, and a dropout mask.
    fn input_gradient(
        &self,
        layer: &NeuronLayer,
        projection: &Projection,
        pass: Pass,
        group: Size,
    ) -> Vec<Size> {
        let presynaptic_row = self.presynaptic_row(projection, pass);
        let mut blocks = Vec::new();
        match (projection.synapse, pass.is_bf16()) {
            (Synapse::Conv { area }, true) => {
                let inputs = Size::from(projection.pooled.channels).up_to_multiple_of(GROUP);
                blocks.push(inputs * area * layer.lanes(pass) / 2usize);
            }
            (_, true) => {}
            (_, false) => blocks.push(presynaptic_row * group * pass.steps),
        }
        if projection.masked {
            blocks.push(presynaptic_row * group);
        }
        blocks
    }
}

impl NeuronLayer {
    /// The lengths of the membrane gradients of a group of images.
    fn membrane_gradients(&self, pass: Pass, group: Size) -> Vec<Size> {
        let rows = group * pass.steps;
        let lanes = self.lanes(pass);
        match (self.projections.is_empty(), pass.is_bf16()) {
            // The gradient of the stem's currents is summed over the time steps.
            (true, is_bf16) => {
                let sums = match is_bf16 {
                    true => self.row(pass).up_to_multiple_of(GROUP) * group,
                    false => self.row(pass) * group,
                };
                vec![sums, elements(self.shape) * pass.batch]
            }
            // One row after the other, and two rows packed into one.
            (false, true) => {
                let groups = lanes.div_ceil(GROUP) * positions(self.shape);
                let by_row = groups * rows.up_to_multiple_of(SIDE) * SIDE;
                vec![by_row, groups * row_pairs(rows) * GROUP]
            }
            // With a border of one position.
            (false, false) => {
                let height = Size::from(self.shape.height) + 2usize;
                let width = Size::from(self.shape.width) + 2usize;
                vec![height * width * lanes * rows]
            }
        }
    }
}

/// The number of images at once in the backward pass through feature maps.
fn group_of(layers: &[NeuronLayer], pass: Pass) -> Size {
    let bytes = |layer: &NeuronLayer| layer.row(pass) * pass.steps * (2 * size_of::<f32>());
    let largest = layers.iter().map(bytes).max().unwrap_or(Size::new(1));
    (Size::from(GROUP_BYTES) / largest).min(pass.batch).max(Size::new(1))
}
