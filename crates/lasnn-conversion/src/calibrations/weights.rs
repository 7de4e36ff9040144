//! Calibration of weights (Li et al., "A free lunch from ANN: towards efficient, accurate spiking
//! neural networks calibration", 2021).
//!
//! Adam moves the weights and the bias of a layer so that a model of its neurons gives the
//! activations `a` of the ordinary network. With the mean current `z` over `T` time steps, the
//! threshold `v`, the initial membrane potential `u^0` and the unit `u` of the currents:
//!
//! ```text
//! q = v / T clamp(floor((T z + u^0) / v), 0, T)
//! L = mean(Σ_c (u q_c - a_c)²)
//! ```
//!
//! The mean is over images and positions. The floor has the gradient 1. The learning rate falls to
//! 0 like a cosine. Batches follow each other in the order of the images for calibration.

use std::f64::consts::PI;

use burn::module::Param;
use burn::tensor::Tensor;
use lasnn_backend::{AdamStep, Convolution, DenseBackend, Precision, ops};
use lasnn_neurons::SpikingBackend;
use lasnn_snn::network::SpikingNetwork;
use lasnn_snn::synapses::Weights;
use serde::{Deserialize, Serialize};

use super::{CalibratedLayer, Calibration, CalibrationKind, Measured, Need};
use crate::error::{ConversionError, wrong};
use crate::measure::Curve;

/// The constants of Adam.
const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// Calibration of weights. The defaults are those of the authors' code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightCalibration {
    /// The number of Adam's steps for each layer; at least 1.
    pub steps: usize,
    /// The images of a step; at least 1.
    pub batch: usize,
    /// Adam's learning rate at the beginning; above 0 and at most 1.
    pub learning_rate: f64,
}

impl Default for WeightCalibration {
    fn default() -> Self {
        Self { steps: 5000, batch: 32, learning_rate: 1e-5 }
    }
}

impl CalibrationKind for WeightCalibration {
    const NAME: &'static str = "weights";
    const ABOUT: &'static str = "Adam moves weights until firing rates follow the activations";
    const SOURCE: &'static str = "Li et al. 2021 (advanced calibration)";
    const NEED: Option<Need> = None;

    fn check(&self) -> Result<(), ConversionError> {
        let counts = [
            ("conversion.calibration.steps", self.steps),
            ("conversion.calibration.batch", self.batch),
        ];
        for (key, count) in counts {
            if count == 0 {
                return Err(wrong(key, 0.0, "at least 1"));
            }
        }
        let rate = self.learning_rate;
        match rate > 0.0 && rate <= 1.0 {
            true => Ok(()),
            false => {
                let key = "conversion.calibration.learning_rate";
                Err(wrong(key, rate, "above 0 and at most 1"))
            }
        }
    }
}

impl<B: SpikingBackend> Calibration<B> for WeightCalibration {
    fn calibrate(
        &self,
        network: SpikingNetwork<B>,
        layer: &CalibratedLayer<'_, B>,
    ) -> Result<SpikingNetwork<B>, ConversionError> {
        let mut synapses = network.synapses(layer.number);
        let (mut inputs, mut targets, mut others) = (Vec::new(), Vec::new(), Vec::new());
        layer.measure(&network, |Measured { activations, input, .. }| {
            // What the shortcut adds does not change.
            let main = synapses.main.forward(input.main.clone());
            others.push(network.mean_currents(layer.number, &input) - main);
            let channels = activations.dims()[1];
            targets.push(activations / layer.units(channels));
            inputs.push(input.main);
        })?;
        let [inputs, targets, others] =
            [inputs, targets, others].map(|parts| Tensor::<B, 4>::cat(parts, 0));
        let curve = Curve::new(&network, layer.number, targets.dims(), layer.device);
        let [images, channels, ..] = targets.dims();
        let batch = self.batch.min(images);
        let (mut of_weights, mut of_bias) = (Moments::new(), Moments::new());
        for step in 0..self.steps {
            if layer.progress().is_break() {
                return Err(ConversionError::Interrupted);
            }
            let first = step * batch % images;
            let rows = first..(first + batch).min(images);
            let part = |maps: &Tensor<B, 4>| maps.clone().slice([rows.clone()]);
            let input = part(&inputs);
            let currents = synapses.main.forward(input.clone()) + part(&others);
            let gradient = gradient(&curve, currents, part(&targets), layer.units(channels));
            let rate = self.learning_rate * (1.0 + (PI * step as f64 / self.steps as f64).cos());
            let rate = rate / 2.0;
            if let Some(found) = synapses.main.bias_mut() {
                let sums = gradient.clone().sum_dim(0).sum_dim(2).sum_dim(3).reshape([channels]);
                *found = of_bias.step(found, sums, rate);
            }
            match &mut synapses.main {
                Weights::Conv(found) => {
                    let padding = found.kernel_size[0] / 2;
                    let precision = Precision::F32;
                    let convolution = Convolution { stride: found.stride[0], padding, precision };
                    let weight = found.weight.val();
                    let gradient = ops::conv2d_weight_grad(input, weight, gradient, convolution);
                    found.weight = of_weights.step(&found.weight, gradient, rate);
                }
                Weights::Linear(found) => {
                    let rows: Tensor<B, 2> = input.flatten(1, 3);
                    let gradient = rows.transpose().matmul(gradient.flatten(1, 3));
                    found.weight = of_weights.step(&found.weight, gradient, rate);
                }
            }
        }
        Ok(network.with_synapses(layer.number, synapses))
    }
}

/// The gradient of the loss with respect to the mean currents, `[batch, channels, height, width]`.
fn gradient<B: SpikingBackend>(
    curve: &Curve<B>,
    currents: Tensor<B, 4>,
    targets: Tensor<B, 4>,
    units: Tensor<B, 4>,
) -> Tensor<B, 4> {
    let [batch, _, height, width] = currents.dims();
    let levels = curve.levels(currents);
    let clipped = levels.clone().lower_equal_elem(0.0);
    let clipped = clipped.bool_or(levels.clone().greater_equal_elem(curve.steps()));
    let scale = 2.0 / (batch * height * width) as f64;
    let gradient = (curve.of_levels(levels) - targets) * units.clone() * units * scale;
    gradient.mask_fill(clipped, 0.0)
}

/// The moments of Adam (Kingma and Ba, 2015) for one parameter.
struct Moments<B: DenseBackend> {
    /// The mean gradient and the mean squared gradient, flat. `None` before the first step.
    moments: Option<[Tensor<B, 1>; 2]>,
    steps: u64,
}

impl<B: DenseBackend> Moments<B> {
    /// The moments before the first step.
    fn new() -> Self {
        Self { moments: None, steps: 0 }
    }

    /// The parameter after the next step.
    fn step<const D: usize>(
        &mut self,
        param: &Param<Tensor<B, D>>,
        gradient: Tensor<B, D>,
        rate: f64,
    ) -> Param<Tensor<B, D>> {
        self.steps += 1;
        let [beta1, beta2] = BETAS;
        let step = AdamStep {
            rate,
            beta1,
            beta2,
            epsilon: EPSILON,
            weight_decay: 0.0,
            decoupled: false,
            step: self.steps,
        };
        let gradient: Tensor<B, 1> = gradient.reshape([-1]);
        let zeros = || [gradient.zeros_like(), gradient.zeros_like()];
        let moments = self.moments.take().unwrap_or_else(zeros);
        let numbers = param.val();
        let shape = numbers.shape();
        let (numbers, moments, _) = ops::adam(step, numbers.reshape([-1]), gradient, moments, None);
        self.moments = Some(moments);
        param.clone().map(|_| numbers.reshape(shape))
    }
}
