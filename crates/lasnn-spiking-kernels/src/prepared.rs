//! Weights in the order in which the kernels read them, for passes that share them.
//!
//! A pass packs its weights by itself; that is a small part of a training step, and of a single
//! inference a large one.

use lasnn_core::Precision;

use super::circuit::{Call, Circuit, Connection, Source};
use super::weights::{WeightFormat, Weights};
use super::{convolution, linear};

/// The packed weights of a circuit.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// By weight.
    weights: Vec<Weights>,
    format: WeightFormat,
}

impl Prepared {
    /// Packs `weights`, as a [`Call`] gets them.
    pub fn new(circuit: &Circuit, weights: &[&[f32]], format: WeightFormat) -> Self {
        let mut prepared = Self { weights: vec![Weights::none(); weights.len()], format };
        let mut packed = prepared.weights.clone();
        let call = Call {
            circuit,
            neurons: &[],
            weights,
            masks: &[],
            batch: 1,
            prepared: Some(&prepared),
            precision: Precision::F32,
        };
        for (index, site) in circuit.sites.iter().enumerate() {
            for source in &site.sources {
                match source.connection {
                    Connection::Conv { kernel, weight, .. } => {
                        let size = [circuit.seen(source).channels, kernel * kernel];
                        let format = (format, call.is_tiled(index));
                        let grid = call.grid(index);
                        packed[weight] = convolution::pack_all(weights[weight], size, grid, format);
                    }
                    Connection::Linear { weight } => {
                        let size = [circuit.seen(source).positions(), site.shape.channels];
                        packed[weight] =
                            linear::pack_all(weights[weight], size, &source.view, format);
                    }
                    Connection::Identity => {}
                }
            }
        }
        if let Source { connection: Connection::Linear { weight }, view, .. } = circuit.readout {
            let size = [circuit.seen(&circuit.readout).positions(), circuit.classes];
            packed[weight] = linear::pack_all(weights[weight], size, &view, format);
        }
        prepared.weights = packed;
        prepared
    }

    /// How the weights are stored.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// One of the weights.
    pub(super) fn weight(&self, weight: usize) -> &Weights {
        &self.weights[weight]
    }
}
