//! Weights in the order in which the kernels read them, for passes that share them.
//!
//! A pass packs its weights by itself; that is a small part of a training step, and of a single
//! inference a large one.

use super::circuit::{Call, Circuit, Connection, Source};
use super::convolution;
use super::linear;

/// The packed weights of a circuit.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// By weight.
    weights: Vec<Vec<f32>>,
}

impl Prepared {
    /// Packs `weights`, as a [`Call`] gets them.
    pub fn new(circuit: &Circuit, weights: &[&[f32]]) -> Self {
        let call = Call { circuit, neurons: &[], weights, masks: &[], batch: 1, prepared: None };
        let mut packed = vec![Vec::new(); weights.len()];
        for (index, site) in circuit.sites.iter().enumerate() {
            for source in &site.sources {
                match source.connection {
                    Connection::Conv { kernel, weight, .. } => {
                        let inputs = circuit.seen(source).channels;
                        let grid = call.grid(index);
                        let taps = kernel * kernel;
                        packed[weight] = convolution::pack(weights[weight], inputs, taps, grid);
                    }
                    Connection::Linear { weight } => {
                        packed[weight] = linear::pack_all(weights[weight], site.shape.channels);
                    }
                    Connection::Identity => {}
                }
            }
        }
        if let Source { connection: Connection::Linear { weight }, .. } = circuit.readout {
            packed[weight] = linear::pack_all(weights[weight], circuit.classes);
        }
        Self { weights: packed }
    }

    /// One of the weights.
    pub(super) fn weight(&self, weight: usize) -> &[f32] {
        &self.weights[weight]
    }
}
