//! Batch norms with statistics of the spiking network (after a submission to ICLR 2026,
//! "Distribution-aware parallel calibration", of which only the abstract is public).
//!
//! A batch norm normalises the output `x` of its convolution with the mean and the variance that
//! the ordinary network had in training. In the spiking network `x` has another distribution. So
//! both are measured again, and the batch norm is folded with them. The folded convolution gives
//! `y`, in the unit `u` of the currents. With its mean `m_c` and its standard deviation `s_c` over
//! images and positions, and with the trained `γ_c` and `β_c` of the channel, it becomes
//!
//! ```text
//! y ← |γ_c| / u (y - m_c) / s_c + β_c / u
//! ```
//!
//! `y` is the mean over the time steps, because a firing rate stands for an activation. The
//! convolution of a shortcut is normalised on its own.

use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, TensorData};
use lasnn_neurons::SpikingBackend;
use lasnn_snn::counting::to_host;
use lasnn_snn::network::SpikingNetwork;
use lasnn_snn::synapses::Weights;
use serde::{Deserialize, Serialize};

use super::{CalibratedLayer, Calibration, CalibrationKind, Measured, Need};
use crate::ann::Norm;
use crate::error::ConversionError;

/// The least variance of a channel, relative to the trained one, as in batch norms.
const EPSILON: f64 = 1e-5;

/// Batch norms with statistics of the spiking network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchNormCalibration {}

impl CalibrationKind for BatchNormCalibration {
    const NAME: &'static str = "batch-norm";
    const ABOUT: &'static str = "batch norms get the mean and variance of the spiking network";
    const SOURCE: &'static str =
        "after ICLR 2026 submission 16950 (distribution-aware calibration)";
    const NEED: Option<Need> = Some(Need::BatchNorms);
}

impl<B: SpikingBackend> Calibration<B> for BatchNormCalibration {
    fn calibrate(
        &self,
        network: SpikingNetwork<B>,
        layer: &CalibratedLayer<'_, B>,
    ) -> Result<SpikingNetwork<B>, ConversionError> {
        let norms = layer.ann.norms;
        let mut synapses = network.synapses(layer.number);
        // The shortcut of a block is beside its parts `first` and `second`.
        let shortcut_name = layer.name.replace(".second", ".shortcut");
        let (main_norm, shortcut_norm) = (norms.get(layer.name), norms.get(&shortcut_name));
        if main_norm.is_none() {
            return Ok(network);
        }
        let (mut main, mut shortcut) = (Moments::default(), Moments::default());
        layer.measure(&network, |Measured { input, .. }| {
            main.add(synapses.main.forward(input.main));
            if let (Some(conv), Some(maps)) = (&synapses.shortcut, input.shortcut) {
                shortcut.add(Weights::Conv(conv.clone()).forward(maps));
            }
        })?;
        if let (Weights::Conv(conv), Some(norm)) = (&mut synapses.main, main_norm) {
            *conv = normalised(conv.clone(), norm, &main, layer);
        }
        if let (Some(conv), Some(norm)) = (&mut synapses.shortcut, shortcut_norm) {
            *conv = normalised(conv.clone(), norm, &shortcut, layer);
        }
        Ok(network.with_synapses(layer.number, synapses))
    }
}

/// The convolution with the mean and the standard deviation that the batch norm gives its outputs.
fn normalised<B: SpikingBackend>(
    mut conv: Conv2d<B>,
    norm: &Norm,
    moments: &Moments,
    layer: &CalibratedLayer<'_, B>,
) -> Conv2d<B> {
    let channels = norm.gamma.len();
    let (mut factors, mut shifts) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
    for channel in 0..channels {
        let unit = f64::from(layer.scales.unit_of(channel));
        let deviation = f64::from(norm.gamma[channel]).abs() / unit;
        let (mean, variance) = moments.of_channel(channel);
        let factor = match deviation > 0.0 {
            true => 1.0 / (variance / (deviation * deviation) + EPSILON).sqrt(),
            false => 1.0,
        };
        factors.push(factor as f32);
        shifts.push((f64::from(norm.beta[channel]) / unit - factor * mean) as f32);
    }
    let factors = Tensor::<B, 1>::from_data(TensorData::new(factors, [channels]), layer.device);
    let shifts = Tensor::<B, 1>::from_data(TensorData::new(shifts, [channels]), layer.device);
    conv.weight = conv.weight.map(|weight| weight * factors.clone().reshape([channels, 1, 1, 1]));
    conv.bias = conv.bias.map(|bias| bias.map(|bias| bias * factors + shifts));
    conv
}

/// Sums over images and positions, for each channel.
#[derive(Default)]
struct Moments {
    sums: Vec<f64>,
    squares: Vec<f64>,
    count: usize,
}

impl Moments {
    /// Adds maps `[batch, channels, height, width]`.
    fn add<B: SpikingBackend>(&mut self, maps: Tensor<B, 4>) {
        let [batch, channels, height, width] = maps.dims();
        self.sums.resize(channels, 0.0);
        self.squares.resize(channels, 0.0);
        self.count += batch * height * width;
        for (index, map) in to_host(maps).chunks_exact(height * width).enumerate() {
            let channel = index % channels;
            for &number in map {
                self.sums[channel] += f64::from(number);
                self.squares[channel] += f64::from(number) * f64::from(number);
            }
        }
    }

    /// The mean and the variance of a channel, without Bessel's correction.
    fn of_channel(&self, channel: usize) -> (f64, f64) {
        let count = self.count.max(1) as f64;
        let mean = self.sums[channel] / count;
        (mean, (self.squares[channel] / count - mean * mean).max(0.0))
    }
}
