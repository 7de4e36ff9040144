//! Local threshold balancing (Bu et al., "Inference-scale complexity in ANN-SNN conversion for
//! high-performance and low-power applications", 2025).
//!
//! Every channel `c` of every layer gets a threshold of its own, from the activations of the
//! ordinary network alone. The threshold starts at 0, and each batch of images moves it:
//!
//! ```text
//! v_c ← v_c + 2 mean(max(0, a_c - v_c))
//! ```
//!
//! `a_c` are the activations of the channel over images and positions. The next layer gets them
//! clipped at the new threshold, as the spiking network will represent them. The method needs many
//! batches, since the first ones leave the thresholds too small. The publication starts the neurons
//! at half a threshold; the key `spiking.neuron.initial_membrane` does that.

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Batch, Pass};
use lasnn_neurons::{SpikingBackend, SpikingNeurons};
use lasnn_nn::BatchTensors;
use lasnn_snn::counting::to_host;
use lasnn_snn::progress::{Progress, Task};
use lasnn_snn::runner::NeuronRunner;
use lasnn_snn::signal::Signal;
use serde::{Deserialize, Serialize};

use super::{ConversionMethod, MethodKind, Source};
use crate::error::{ConversionError, wrong};
use crate::scales::{Thresholds, thresholds_of_activations};

/// A threshold below this share of the layer's mean belongs to a channel without activations.
const SILENT_SHARE: f32 = 1e-3;

/// Local threshold balancing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalThresholdBalancing {
    /// How often the batches of `conversion.batches` are used; at least 1.
    pub passes: usize,
}

impl Default for LocalThresholdBalancing {
    fn default() -> Self {
        Self { passes: 1 }
    }
}

impl MethodKind for LocalThresholdBalancing {
    const NAME: &'static str = "local-threshold-balancing";
    const ABOUT: &'static str = "a threshold of each channel, moved by the activations above it";
    const SOURCE: &'static str = "Bu et al. 2025";

    fn check(&self) -> Result<(), ConversionError> {
        match self.passes {
            0 => Err(wrong("conversion.method.passes", 0.0, "at least 1")),
            _ => Ok(()),
        }
    }

    fn is_by_channel(&self) -> bool {
        true
    }
}

impl<B: SpikingBackend> ConversionMethod<B> for LocalThresholdBalancing {
    fn thresholds(&self, source: &Source<'_, B>) -> Result<Thresholds, ConversionError> {
        let Source { network, device, .. } = *source;
        let batches = source.balancing.batches;
        let images: usize = batches.iter().map(Batch::len).sum();
        let total = (images * self.passes) as u64;
        let names: Vec<String> = network.neurons().into_iter().map(|(name, _)| name).collect();
        let bound = |name: &String| {
            let bound = source.ann.tensors.get(&format!("{name}.activation.bound"));
            bound.and_then(|bound| bound.iter::<f32>().next())
        };
        let bounds: Vec<Option<f32>> = names.iter().map(bound).collect();
        let mut thresholds: Vec<Option<Tensor<B, 4>>> = vec![None; names.len()];
        let mut done = 0;
        for _ in 0..self.passes {
            for batch in batches.iter().filter(|batch| !batch.is_empty()) {
                let progress = Progress { task: Task::Balancing, done, total };
                if (source.balancing.on_progress)(progress).is_break() {
                    return Err(ConversionError::Interrupted);
                }
                let pass = Pass::evaluate(source.balancing.seed, &batch.samples);
                let images = Signal { maps: batch.images::<B>(device), constant: true };
                let mut runner = Clipping { thresholds: &mut thresholds, bounds: &bounds };
                network.flow(images, &pass, &mut runner);
                done += batch.len() as u64;
            }
        }
        let found = |(threshold, layer): (Option<Tensor<B, 4>>, &String)| {
            let numbers = threshold.map(to_host).unwrap_or_default();
            match numbers.iter().find(|number| !number.is_finite()) {
                Some(&found) => Err(ConversionError::NotFinite { layer: layer.clone(), found }),
                None => Ok(with_silent_channels(numbers)),
            }
        };
        let activations: Result<Vec<_>, _> =
            thresholds.into_iter().zip(&names).map(found).collect();
        Ok(thresholds_of_activations(network, &activations?))
    }
}

/// Gives channels without activations the mean threshold, with which they stay silent, too. Returns
/// `None` if no channel has activations.
fn with_silent_channels(mut thresholds: Vec<f32>) -> Option<Vec<f32>> {
    let mean = thresholds.iter().sum::<f32>() / thresholds.len().max(1) as f32;
    let is_silent = |threshold: f32| threshold <= SILENT_SHARE * mean;
    thresholds.iter_mut().filter(|threshold| is_silent(**threshold)).for_each(|t| *t = mean);
    (mean > 0.0).then_some(thresholds)
}

/// Runs the network as an ordinary one, whose activations are clipped at thresholds that move.
struct Clipping<'a, B: Backend> {
    /// A threshold of each channel, `[1, channels, 1, 1]`, for each layer of neurons.
    thresholds: &'a mut [Option<Tensor<B, 4>>],
    /// The bounds of the ordinary network's activations, if they have one.
    bounds: &'a [Option<f32>],
}

impl<B: SpikingBackend> NeuronRunner<B> for Clipping<'_, B> {
    fn fire(
        &mut self,
        neuron_layer: usize,
        _: &SpikingNeurons<B>,
        currents: Signal<B>,
    ) -> Option<Tensor<B, 4>> {
        let mut activations = currents.maps.clone().clamp_min(0.0);
        if let Some(bound) = self.bounds[neuron_layer] {
            activations = activations.clamp_max(bound);
        }
        let channels = activations.dims()[1];
        let threshold = self.thresholds[neuron_layer].take();
        let threshold =
            threshold.unwrap_or_else(|| Tensor::zeros([1, channels, 1, 1], &activations.device()));
        let above = (activations.clone() - threshold.clone()).clamp_min(0.0);
        // A backend may turn a current that is no number into an activation of 0. The sum of zeros
        // keeps it.
        let added = above * 2.0 + currents.maps * 0.0;
        let threshold = threshold + added.mean_dim(0).mean_dim(2).mean_dim(3);
        self.thresholds[neuron_layer] = Some(threshold.clone());
        let above = (activations.clone() - threshold).clamp_min(0.0);
        Some(activations - above)
    }

    fn steps(&self) -> usize {
        1
    }
}
