//! Calibration of the biases of a converted network: the light form of Li et al., "A free lunch
//! from ANN: towards efficient, accurate spiking neural networks calibration", 2021.
//!
//! Layer after layer, the bias of each channel `c` gets what the mean activation of the channel
//! lacks, in units `s` of the currents of the layer. Later layers see the corrected spikes:
//!
//! ```text
//! b_c ← b_c + mean(a_c) / s - v mean(r_c)
//! ```
//!
//! `a` are the activations of the ordinary network, `r` the firing rates over the time steps of the
//! network, `v` is the threshold, and means are over images and positions.

use std::ops::ControlFlow;

use lasnn_core::Batch;
use lasnn_neurons::SpikingBackend;
use lasnn_snn::counting::{count_spikes, to_host};
use lasnn_snn::network::SpikingNetwork;
use lasnn_snn::progress::{Progress, Task};
use lasnn_snn::simulator::Simulator;

use crate::convert::{Activations, Balancing};
use crate::error::ConversionError;
use crate::report::parts;

/// Calibrates the biases of a network with the given thresholds, over its own number of time steps.
///
/// # Errors
///
/// Names the first layer without a bias.
pub(crate) fn calibrate_biases<B: SpikingBackend>(
    mut network: SpikingNetwork<B>,
    thresholds: &[f32],
    reference: &dyn Fn(&Batch) -> Activations<B>,
    balancing: Balancing<'_>,
    device: &B::Device,
) -> Result<SpikingNetwork<B>, ConversionError> {
    let Balancing { batches, seed, on_progress, .. } = balancing;
    let steps = network.time_steps();
    let images: usize = batches.iter().map(Batch::len).sum();
    let total = (thresholds.len() * images * steps) as u64;
    let mut done = 0;
    let units = network.units(thresholds);
    for (layer, &threshold) in thresholds.iter().enumerate() {
        let simulator = Simulator::new(network.clone());
        let mut missing = Missing::default();
        for batch in batches.iter().flat_map(|batch| parts(batch, network.plan(), steps)) {
            let counts = count_spikes(&simulator, &batch, steps, seed, device, |_| {
                on_progress(Progress { task: Task::Calibrating, done, total })
            });
            let ControlFlow::Continue(counts) = counts else {
                return Err(ConversionError::Interrupted);
            };
            let (found, mut activations): (Vec<String>, Vec<_>) =
                reference(&batch).into_iter().unzip();
            if found.len() != counts.len() {
                let expected = network.neurons().into_iter().map(|(name, _)| name).collect();
                return Err(ConversionError::Activations { found, expected });
            }
            let activations = activations.swap_remove(layer);
            let [_, channels, height, width] = activations.dims();
            let size = [channels, height * width];
            missing.add(&to_host(activations), 1.0 / f64::from(units[layer]), size);
            missing.add(&counts[layer], -f64::from(threshold) / steps as f64, size);
            done += (batch.len() * steps) as u64;
        }
        let currents = missing.means(images);
        network = network.add_currents(layer, &currents).map_err(|layer| {
            let key = "conversion.calibration";
            ConversionError::NoBias { layer, key }
        })?;
    }
    Ok(network)
}

/// The current that each channel lacks, summed over images.
#[derive(Default)]
struct Missing {
    sums: Vec<f64>,
    positions: usize,
}

impl Missing {
    /// Adds `factor` times the numbers `[batch, channels, positions]`.
    fn add(&mut self, numbers: &[f32], factor: f64, [channels, positions]: [usize; 2]) {
        self.sums.resize(channels, 0.0);
        self.positions = positions;
        for image in numbers.chunks_exact(channels * positions) {
            for (sum, channel) in self.sums.iter_mut().zip(image.chunks_exact(positions)) {
                let of_channel: f64 = channel.iter().map(|&number| f64::from(number)).sum();
                *sum += factor * of_channel;
            }
        }
    }

    /// The mean over images and positions.
    fn means(&self, images: usize) -> Vec<f32> {
        let count = (images * self.positions).max(1) as f64;
        self.sums.iter().map(|sum| (sum / count) as f32).collect()
    }
}
