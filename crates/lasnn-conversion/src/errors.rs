//! Where a converted network loses: the errors of its layers by their cause.
//!
//! With the activation `a` of the ordinary network, the firing rate `r`, the mean current `z` of
//! the spiking network and the curve `Q` of its neurons ([`Curve`]), all in units of the ordinary
//! network, and the threshold `v`:
//!
//! ```text
//! total         v r - a
//! clipping      a - min(a, v)
//! quantisation  Q(min(a, v)) - min(a, v)
//! unevenness    v r - Q(z)
//! ```
//!
//! An error is a root mean square over images and neurons. It is divided by the root mean square of
//! the activations. The parts do not add up to the total: currents also carry the errors of the
//! layers before. The curve has no leak, so the leak is a part of the unevenness.

use burn::tensor::Tensor;
use lasnn_neurons::SpikingBackend;
use lasnn_snn::counting::to_host;
use lasnn_snn::network::SpikingNetwork;
use serde::{Deserialize, Serialize};

use crate::measure::{Curve, Measured};
use crate::scales::LayerScales;

/// The errors of one layer of neurons, relative to its activations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerErrors {
    /// The difference of what firing rates stand for and the activations.
    pub total: f64,
    /// Activations above the threshold, which no firing rate stands for.
    pub clipping: f64,
    /// A few time steps have a few firing rates only.
    pub quantisation: f64,
    /// Spikes that come early or late, so that a neuron fires more or less often than with a
    /// constant current of the same mean.
    pub unevenness: f64,
}

/// The cause of an error of a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// See [`LayerErrors::clipping`].
    Clipping,
    /// See [`LayerErrors::quantisation`].
    Quantisation,
    /// See [`LayerErrors::unevenness`].
    Unevenness,
}

impl Cause {
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clipping => "clipping",
            Self::Quantisation => "quantisation",
            Self::Unevenness => "unevenness",
        }
    }

    /// What makes the error smaller.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Clipping => {
                "higher thresholds (`conversion.scale`, or the percentile of `conversion.method`), \
                 or an intermediate network with the activation `clip`"
            }
            Self::Quantisation => {
                "more time steps, `spiking.neuron.initial_membrane = { value = 0.5 }`, or an \
                 intermediate network with the activation `qcfs`"
            }
            Self::Unevenness => {
                "more time steps, the calibration `potential` or `bias`, or \
                 `evaluation.offset_steps`"
            }
        }
    }
}

impl LayerErrors {
    /// The largest of the three causes, and its error.
    pub fn largest(&self) -> (Cause, f64) {
        let all = [
            (Cause::Clipping, self.clipping),
            (Cause::Quantisation, self.quantisation),
            (Cause::Unevenness, self.unevenness),
        ];
        all.into_iter()
            .fold(all[0], |largest, next| if next.1 > largest.1 { next } else { largest })
    }
}

/// Sums of squares over images and neurons of one layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Squares {
    activations: f64,
    total: f64,
    clipping: f64,
    quantisation: f64,
    unevenness: f64,
}

impl Squares {
    /// Adds a part of the images.
    pub fn add<B: SpikingBackend>(
        &mut self,
        network: &SpikingNetwork<B>,
        neuron_layer: usize,
        scales: &LayerScales,
        measured: Measured<B>,
        device: &B::Device,
    ) {
        let Measured { activations, rates, input } = measured;
        let shape = activations.dims();
        let curve = Curve::new(network, neuron_layer, shape, device);
        let units = scales.units(shape[1], device);
        let activations = activations / units.clone();
        let clipped = curve.clipped(activations.clone());
        let of_clipped = curve.of_levels(curve.levels(clipped.clone()));
        let currents = network.mean_currents(neuron_layer, &input);
        let of_currents = curve.of_levels(curve.levels(currents));
        let rates = curve.scaled_rates(rates);
        let square = |numbers: Tensor<B, 4>| {
            let numbers: Tensor<B, 2> = (numbers * units.clone()).flatten(1, 3);
            // On a GPU, the sum of a whole tensor has no fixed order.
            let of_images = to_host((numbers.clone() * numbers).sum_dim(1));
            of_images.into_iter().map(f64::from).sum::<f64>()
        };
        self.activations += square(activations.clone());
        self.total += square(rates.clone() - activations.clone());
        self.clipping += square(activations - clipped.clone());
        self.quantisation += square(of_clipped - clipped);
        self.unevenness += square(rates - of_currents);
    }

    /// The errors; `None` if no neuron of the ordinary network is active.
    pub fn errors(&self) -> Option<LayerErrors> {
        let relative = |square: f64| (square / self.activations).sqrt();
        (self.activations > 0.0).then(|| LayerErrors {
            total: relative(self.total),
            clipping: relative(self.clipping),
            quantisation: relative(self.quantisation),
            unevenness: relative(self.unevenness),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_cause_is_named() {
        let errors = LayerErrors { total: 0.9, clipping: 0.1, quantisation: 0.3, unevenness: 0.2 };
        assert_eq!(errors.largest(), (Cause::Quantisation, 0.3));
        let even = LayerErrors { unevenness: 0.0, quantisation: 0.0, ..errors };
        assert_eq!(even.largest().0.name(), "clipping");
    }
}
