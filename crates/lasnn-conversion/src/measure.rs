//! A converted network beside the ordinary one, on the images for calibration.

use std::ops::ControlFlow;

use burn::tensor::{Tensor, TensorData};
use lasnn_core::{Batch, Pass, Plan};
use lasnn_neurons::models::lif::charge;
use lasnn_neurons::{NeuronModel, SpikingBackend};
use lasnn_nn::BatchTensors;
use lasnn_snn::counting::count_spikes;
use lasnn_snn::network::SpikingNetwork;
use lasnn_snn::progress::images_at_once;
use lasnn_snn::simulator::Simulator;
use lasnn_snn::synapses::MeanInput;

use crate::ann::Ann;
use crate::convert::Balancing;
use crate::error::ConversionError;
use crate::scales::of_channel;

/// What a part of the images for calibration gave at one layer of neurons. All values are
/// `[batch, channels, height, width]`.
pub struct Measured<B: SpikingBackend> {
    /// The activations of the ordinary network.
    pub activations: Tensor<B, 4>,
    /// The firing rates over the time steps of the network.
    pub rates: Tensor<B, 4>,
    /// The mean input of the layer.
    pub input: MeanInput<B>,
}

/// Runs both networks on the images for calibration, part by part, the spiking one over its own
/// number of time steps. Calls `each` with the number of images of the part and with all layers of
/// neurons. Calls `go_on` often, and ends if it breaks.
pub(crate) fn measure<B: SpikingBackend>(
    network: &SpikingNetwork<B>,
    ann: Ann<'_, B>,
    balancing: Balancing<'_>,
    device: &B::Device,
    go_on: &dyn Fn() -> ControlFlow<()>,
    each: &mut dyn FnMut(usize, Vec<Measured<B>>),
) -> Result<(), ConversionError> {
    let Balancing { batches, seed, .. } = balancing;
    let steps = network.time_steps();
    let simulator = Simulator::new(network.clone());
    for batch in batches.iter().flat_map(|batch| parts(batch, network.plan(), steps)) {
        let counts = count_spikes(&simulator, &batch, steps, seed, device, |_| go_on());
        let ControlFlow::Continue(counts) = counts else {
            return Err(ConversionError::Interrupted);
        };
        let (found, activations): (Vec<String>, Vec<_>) =
            (ann.activations)(&batch).into_iter().unzip();
        if found.len() != counts.len() {
            let expected = network.neurons().into_iter().map(|(name, _)| name).collect();
            return Err(ConversionError::Activations { found, expected });
        }
        let rate = |(counts, activations): (Vec<f32>, &Tensor<B, 4>)| {
            let counts = TensorData::new(counts, activations.dims());
            Tensor::<B, 4>::from_data(counts, device) / steps as f64
        };
        let rates: Vec<_> = counts.into_iter().zip(&activations).map(rate).collect();
        let pass = Pass::evaluate(seed, &batch.samples);
        let images = network.mean_images(batch.images(device), steps, &pass);
        let inputs = network.mean_inputs(images, &rates);
        let layers = activations.into_iter().zip(rates).zip(inputs);
        let measured =
            layers.map(|((activations, rates), input)| Measured { activations, rates, input });
        each(batch.len(), measured.collect());
    }
    Ok(())
}

/// Splits a batch into parts that take about half a second each, so that progress is shown often.
pub(crate) fn parts(batch: &Batch, plan: &Plan, time_steps: usize) -> Vec<Batch> {
    let images = images_at_once(plan, time_steps, batch.len()).max(1);
    let starts = (0..batch.len()).step_by(images);
    starts.map(|start| batch.slice(start..batch.len().min(start + images))).collect()
}

/// What integrate-and-fire neurons do with a constant current: their firing rate times their
/// threshold, as a function of the current.
///
/// With the threshold `v`, the charge `u` before the first step and `T` time steps it is
/// `v / T clamp(floor((T z + u) / v), 0, T)` for the current `z`.
pub struct Curve<B: SpikingBackend> {
    /// The thresholds, `[1, channels, 1, 1]`.
    thresholds: Tensor<B, 4>,
    /// The charges, `[1, channels, height, width]`.
    charges: Tensor<B, 4>,
    steps: f64,
}

impl<B: SpikingBackend> Curve<B> {
    /// The curve of a layer of neurons of the given shape `[_, channels, height, width]`.
    pub fn new(
        network: &SpikingNetwork<B>,
        neuron_layer: usize,
        [_, channels, height, width]: [usize; 4],
        device: &B::Device,
    ) -> Self {
        let (_, neurons) = network.neurons().swap_remove(neuron_layer);
        let thresholds = neurons.thresholds();
        let stored = neurons.initial_membranes().unwrap_or_else(|| vec![0.0]);
        let positions = height * width;
        let charge = |index: usize| {
            charge(of_channel(&stored, index), of_channel(&thresholds, index / positions))
        };
        let charges: Vec<f32> = (0..channels * positions).map(charge).collect();
        let charges = TensorData::new(charges, [1, channels, height, width]);
        let thresholds: Vec<f32> =
            (0..channels).map(|channel| of_channel(&thresholds, channel)).collect();
        let thresholds = TensorData::new(thresholds, [1, channels, 1, 1]);
        Self {
            thresholds: Tensor::from_data(thresholds, device),
            charges: Tensor::from_data(charges, device),
            steps: network.time_steps() as f64,
        }
    }

    /// The currents, clipped at 0 and at the threshold.
    pub fn clipped(&self, currents: Tensor<B, 4>) -> Tensor<B, 4> {
        let above = (currents.clone() - self.thresholds.clone()).clamp_min(0.0);
        (currents - above).clamp_min(0.0)
    }

    /// The charges after the last step without a spike, in thresholds.
    pub fn levels(&self, currents: Tensor<B, 4>) -> Tensor<B, 4> {
        (currents * self.steps + self.charges.clone()) / self.thresholds.clone()
    }

    /// The firing rates of the given levels, times the thresholds.
    pub fn of_levels(&self, levels: Tensor<B, 4>) -> Tensor<B, 4> {
        let counts = levels.floor().clamp(0.0, self.steps);
        counts / self.steps * self.thresholds.clone()
    }

    /// The number of time steps.
    pub fn steps(&self) -> f64 {
        self.steps
    }

    /// The firing rates, times the thresholds.
    pub fn scaled_rates(&self, rates: Tensor<B, 4>) -> Tensor<B, 4> {
        rates * self.thresholds.clone()
    }
}
