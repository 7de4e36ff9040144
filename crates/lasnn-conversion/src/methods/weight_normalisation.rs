//! Data-based weight normalisation (Diehl et al., "Fast-classifying, high-accuracy spiking deep
//! networks through weight and threshold balancing", 2015), in the form with thresholds.
//!
//! With the percentile `λ_l` of the positive activations of layer `l` in the ordinary network, the
//! method multiplies the weights of layer `l` by `λ_(l-1) / λ_l`, divides its bias by `λ_l` and
//! sets all thresholds to 1. A network with the weights as they are, the thresholds
//! `λ_l / λ_(l-1)` and the biases divided by `λ_(l-1)` fires the same spikes, since all currents of
//! a layer and its threshold differ by one factor. This form is used here: it needs no weights of
//! shortcuts.

use lasnn_core::Batch;
use lasnn_neurons::SpikingBackend;
use lasnn_snn::counting::to_host;
use lasnn_snn::progress::{Progress, Task};
use serde::{Deserialize, Serialize};

use super::{ConversionMethod, MethodKind, Source};
use crate::error::{ConversionError, wrong};
use crate::quantile::StreamingQuantile;
use crate::scales::{Thresholds, thresholds_of_activations};

/// Data-based weight normalisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightNormalisation {
    /// The percentile of the positive activations that becomes a firing rate of 1, in per cent;
    /// above 0 and at most 100. With 100 it is the maximum.
    pub percentile: f64,
}

impl Default for WeightNormalisation {
    fn default() -> Self {
        Self { percentile: 99.9 }
    }
}

impl MethodKind for WeightNormalisation {
    const NAME: &'static str = "weight-normalisation";
    const ABOUT: &'static str =
        "thresholds from a percentile of the ordinary network's positive activations";
    const SOURCE: &'static str = "Diehl et al. 2015";

    fn check(&self) -> Result<(), ConversionError> {
        let percentile = self.percentile;
        match percentile > 0.0 && percentile <= 100.0 {
            true => Ok(()),
            false => {
                let key = "conversion.method.percentile";
                Err(wrong(key, percentile, "above 0 and at most 100"))
            }
        }
    }
}

impl<B: SpikingBackend> ConversionMethod<B> for WeightNormalisation {
    fn thresholds(&self, source: &Source<'_, B>) -> Result<Thresholds, ConversionError> {
        let names: Vec<String> =
            source.network.neurons().into_iter().map(|(name, _)| name).collect();
        let mut positive = vec![StreamingQuantile::default(); names.len()];
        let batches = source.balancing.batches;
        let total: u64 = batches.iter().map(|batch| batch.len() as u64).sum();
        let mut done = 0;
        for batch in batches.iter().filter(|batch: &&Batch| !batch.is_empty()) {
            let progress = Progress { task: Task::Balancing, done, total };
            if (source.balancing.on_progress)(progress).is_break() {
                return Err(ConversionError::Interrupted);
            }
            let (found, activations): (Vec<String>, Vec<_>) =
                (source.ann.activations)(batch).into_iter().unzip();
            if found != names {
                return Err(ConversionError::Activations { found, expected: names });
            }
            for ((positive, activations), layer) in positive.iter_mut().zip(activations).zip(&names)
            {
                let numbers = to_host(activations);
                if let Some(&found) = numbers.iter().find(|number| !number.is_finite()) {
                    return Err(ConversionError::NotFinite { layer: layer.clone(), found });
                }
                let numbers: Vec<f32> =
                    numbers.into_iter().filter(|&number| number > 0.0).collect();
                positive.extend(&numbers);
            }
            done += batch.len() as u64;
        }
        // A layer without positive activations keeps the scale of its inputs, and stays silent.
        let scale = |quantile: &StreamingQuantile| match quantile.positive_share() > 0.0 {
            true => Some(vec![quantile.percentile(self.percentile)]),
            false => None,
        };
        let scales: Vec<Option<Vec<f32>>> = positive.iter().map(scale).collect();
        Ok(thresholds_of_activations(source.network, &scales))
    }
}
