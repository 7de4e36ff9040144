//! Passes of a spiking network without gradients: simulation and threshold balancing.

use super::graph::Graph;
use crate::memory::ledger::Ledger;
use crate::memory::pass::Pass;
use crate::memory::purpose::Purpose;
use crate::memory::size::{Size, elements};

/// The rows of images and time steps that a simulation runs at once.
const CHUNK_ROWS: usize = 256;

/// The elements of a simulation's input, or of a layer's currents, that are in memory at once.
const CHUNK_ELEMENTS: usize = 1 << 24;

impl Graph {
    /// A simulation. With `counts_spikes` the spikes of each neuron are counted.
    pub fn simulate(&self, ledger: &mut Ledger, purpose: Purpose, pass: Pass, counts_spikes: bool) {
        let Pass { batch, steps, .. } = pass;
        let encoded_steps = match counts_spikes {
            true => steps_at_once(elements(self.input) * batch, steps),
            false => steps,
        };
        let input = self.encode_input(ledger, purpose, Pass { steps: encoded_steps, ..pass });
        let stem_currents = self.stem_currents(pass);
        ledger.alloc_all(purpose, &stem_currents);
        let counts = match counts_spikes {
            true => self.neurons() * batch * (2 * size_of::<f32>()),
            false => Size::ZERO,
        };
        ledger.malloc(purpose, counts);
        let states = self.states(pass);
        ledger.alloc_all(purpose, &states);
        let steps = (Size::from(CHUNK_ROWS) / batch).max(Size::new(1)).min(steps);
        let chunk = Pass { steps, ..pass };
        let mut spikes = Size::ZERO;
        for layer in &self.layers {
            ledger.malloc(purpose, layer.spikes(chunk));
            spikes += layer.spikes(chunk);
            layer.forward(ledger, purpose, chunk, true);
        }
        ledger.free(purpose, spikes);
        ledger.release_all(&states);
        ledger.free(purpose, counts);
        ledger.release_all(&stem_currents);
        ledger.free(purpose, input);
    }

    /// Threshold balancing, layer by layer. Of each layer some time steps are computed at once.
    pub fn balance(&self, ledger: &mut Ledger, pass: Pass) {
        let (purpose, batch) = (Purpose::Activations, pass.batch);
        let widest = self.layers.iter().map(|layer| elements(layer.shape)).max();
        let widest = widest.unwrap_or(Size::ZERO).max(elements(self.input));
        let rows = batch * steps_at_once(widest * batch, pass.steps);
        let input = elements(self.input) * batch * size_of::<f32>();
        ledger.malloc(purpose, input);
        let mut potentials = Size::ZERO;
        let mut previous_spikes = Size::ZERO;
        for layer in &self.layers {
            for projection in &layer.projections {
                let presynaptic = projection.presynaptic.map(|index| self.layers[index].shape);
                let pooled = elements(projection.pooled);
                if pooled != elements(presynaptic.unwrap_or(self.input)) {
                    ledger.alloc_briefly(purpose, pooled * rows);
                }
            }
            let neurons = elements(layer.shape);
            // The currents, and on the host their copy for the threshold, or the spikes.
            let spikes = neurons * rows * size_of::<f32>();
            ledger.alloc(purpose, neurons * rows);
            ledger.malloc(purpose, spikes);
            let layer_potentials = neurons * batch * size_of::<f32>();
            ledger.malloc(purpose, layer_potentials);
            potentials += layer_potentials;
            ledger.release(neurons * rows);
            ledger.free(purpose, previous_spikes);
            previous_spikes = spikes;
        }
        ledger.free(purpose, previous_spikes + potentials + input);
    }
}

/// The number of time steps whose elements are in memory at once.
fn steps_at_once(elements_per_step: Size, steps: Size) -> Size {
    (Size::from(CHUNK_ELEMENTS) / elements_per_step).max(Size::new(1)).min(steps)
}
