//! Calibration of biases: the light form of Li et al., "A free lunch from ANN: towards efficient,
//! accurate spiking neural networks calibration", 2021.
//!
//! The bias of each channel `c` gets what the mean activation of the channel lacks, in the unit `u`
//! of the currents:
//!
//! ```text
//! b_c ← b_c + mean(a_c) / u - v mean(r_c)
//! ```
//!
//! `a` are the activations of the ordinary network, `r` the firing rates over the time steps of the
//! network, `v` is the threshold, and means are over images and positions.

use lasnn_neurons::SpikingBackend;
use lasnn_snn::counting::to_host;
use lasnn_snn::network::SpikingNetwork;
use serde::{Deserialize, Serialize};

use super::{CalibratedLayer, Calibration, CalibrationKind, Measured, Need};
use crate::error::ConversionError;
use crate::scales::add_currents;

/// Calibration of biases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BiasCalibration {}

impl CalibrationKind for BiasCalibration {
    const NAME: &'static str = "bias";
    const ABOUT: &'static str = "biases get the mean difference of activations and firing rates";
    const SOURCE: &'static str = "Li et al. 2021 (light calibration)";
    const NEED: Option<Need> = Some(Need::Biases);
}

impl<B: SpikingBackend> Calibration<B> for BiasCalibration {
    fn calibrate(
        &self,
        network: SpikingNetwork<B>,
        layer: &CalibratedLayer<'_, B>,
    ) -> Result<SpikingNetwork<B>, ConversionError> {
        let mut sums: Vec<f64> = Vec::new();
        let mut positions = 0;
        layer.measure(&network, |Measured { activations, rates, .. }| {
            let [_, channels, height, width] = activations.dims();
            positions = height * width;
            sums.resize(channels, 0.0);
            let missing = activations / layer.units(channels) - rates * layer.thresholds(channels);
            for image in to_host(missing).chunks_exact(channels * positions) {
                for (sum, channel) in sums.iter_mut().zip(image.chunks_exact(positions)) {
                    *sum += channel.iter().map(|&number| f64::from(number)).sum::<f64>();
                }
            }
        })?;
        let count = (layer.images() * positions).max(1) as f64;
        let currents: Vec<f32> = sums.iter().map(|sum| (sum / count) as f32).collect();
        add_currents(network, layer.number, &currents)
            .map_err(|layer| ConversionError::NoBias { layer, key: "conversion.calibration" })
    }
}
