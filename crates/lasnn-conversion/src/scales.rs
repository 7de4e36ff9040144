//! Scales: what a spike and a current of the spiking network stand for in the ordinary network.
//!
//! A neuron with the threshold `v` that fires at the rate `r` stands for an activation of `r v u`,
//! where `u` is what a current of 1 stands for: the unit of its layer. So a spike stands for `v u`.
//! The unit of a layer is what the spikes that enter it stand for, or their mean over the channels
//! if it differs between channels. Weights are multiplied by what the mean leaves out, and biases
//! are divided by the unit.
//!
//! The shortcut of a residual block that changes no shape has no weights. Therefore the unit of the
//! block's second layer of neurons is, channel by channel, what the spikes of the shortcut stand
//! for. What a spike of the first layer stands for is multiplied into the second convolution.

use burn::module::Param;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use lasnn_snn::layers::SpikingLayer;
use lasnn_snn::network::SpikingNetwork;
use lasnn_snn::synapses::Weights;

use crate::config::ClassScores;

/// The thresholds of a network in units of the currents: for each layer of neurons one threshold,
/// or one for each channel.
pub type Thresholds = Vec<Vec<f32>>;

/// The scales at one layer of neurons, or at the readout. Every vector has one number, or one for
/// each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerScales {
    /// What a current of 1 stands for.
    pub unit: Vec<f32>,
    /// Factors of the weights by input channel.
    inputs: Vec<f32>,
    /// Factors of the weights by output channel.
    outputs: Vec<f32>,
    /// Factors of the weights of the shortcut that ends at the layer, by input channel.
    shortcut: Vec<f32>,
}

impl LayerScales {
    /// The unit of one channel.
    pub fn unit_of(&self, channel: usize) -> f32 {
        of_channel(&self.unit, channel)
    }

    /// The units of `channels` channels, `[1, channels, 1, 1]`.
    pub fn units<B: Backend>(&self, channels: usize, device: &B::Device) -> Tensor<B, 4> {
        by_channel(&self.unit, channels, device)
    }
}

/// Numbers of `channels` channels as a tensor, `[1, channels, 1, 1]`.
pub fn by_channel<B: Backend>(
    numbers: &[f32],
    channels: usize,
    device: &B::Device,
) -> Tensor<B, 4> {
    let numbers = (0..channels).map(|channel| of_channel(numbers, channel)).collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(numbers, [1, channels, 1, 1]), device)
}

/// The number of one channel.
pub fn of_channel(numbers: &[f32], channel: usize) -> f32 {
    numbers[if numbers.len() == 1 { 0 } else { channel }]
}

/// The scales of all layers of neurons and, as the last entry, of the readout.
pub fn scales<B: Backend>(
    network: &SpikingNetwork<B>,
    thresholds: &[Vec<f32>],
) -> Vec<LayerScales> {
    walk(network, &mut |layer, _| thresholds[layer].clone()).1
}

/// The thresholds with which a firing rate of 1 stands for the given activation, for each channel.
/// A layer without an activation keeps the scale of its inputs: its threshold is 1.
pub fn thresholds_of_activations<B: Backend>(
    network: &SpikingNetwork<B>,
    activations: &[Option<Vec<f32>>],
) -> Thresholds {
    let of_layer = &mut |layer: usize, unit: &[f32]| match &activations[layer] {
        Some(activations) => zip(activations, unit, |activation, unit| activation / unit),
        None => vec![1.0],
    };
    walk(network, of_layer).0
}

/// Calls `threshold` for each layer of neurons with its number and its unit.
fn walk<B: Backend>(
    network: &SpikingNetwork<B>,
    threshold: &mut dyn FnMut(usize, &[f32]) -> Vec<f32>,
) -> (Thresholds, Vec<LayerScales>) {
    let (mut thresholds, mut scales) = (Thresholds::new(), Vec::new());
    // What a spike stands for. Pixels stand for themselves.
    let mut spike = vec![1.0];
    for layer in &network.layers {
        let unit = vec![mean(&spike)];
        let inputs = match spike.len() {
            1 => vec![1.0],
            _ => zip(&spike, &unit, |spike, unit| spike / unit),
        };
        let plain = || LayerScales {
            unit: unit.clone(),
            inputs: inputs.clone(),
            outputs: vec![1.0],
            shortcut: vec![1.0],
        };
        match layer {
            SpikingLayer::Conv(_) | SpikingLayer::Linear(_) => {
                scales.push(plain());
                let found = threshold(thresholds.len(), &unit);
                spike = zip(&unit, &found, |unit, threshold| unit * threshold);
                thresholds.push(found);
            }
            SpikingLayer::Residual(block) => {
                scales.push(plain());
                let first = threshold(thresholds.len(), &unit);
                thresholds.push(first.clone());
                let second_unit = if block.shortcut.is_some() { &unit } else { &spike };
                scales.push(LayerScales {
                    unit: second_unit.clone(),
                    inputs: first,
                    outputs: zip(&unit, second_unit, |unit, second| unit / second),
                    shortcut: inputs.clone(),
                });
                let second = threshold(thresholds.len(), second_unit);
                spike = zip(second_unit, &second, |unit, threshold| unit * threshold);
                thresholds.push(second);
            }
            SpikingLayer::Classifier(_) => scales.push(plain()),
            SpikingLayer::AveragePool(_) | SpikingLayer::Dropout(_) => {}
        }
    }
    (thresholds, scales)
}

/// Brings the weights and the bias of layer `neuron_layer` of the neurons, which are those of the
/// ordinary network, into the given scales.
pub fn scale_layer<B: Backend>(
    network: SpikingNetwork<B>,
    neuron_layer: usize,
    scales: &LayerScales,
) -> SpikingNetwork<B> {
    let LayerScales { unit, inputs, outputs, shortcut } = scales;
    let mut synapses = network.synapses(neuron_layer);
    match &mut synapses.main {
        Weights::Conv(conv) => {
            let weight = conv.weight.clone();
            conv.weight = weight.map(|weight| scaled(scaled(weight, inputs, 1), outputs, 0));
        }
        Weights::Linear(linear) => {
            let weight = linear.weight.clone();
            linear.weight = weight.map(|weight| scaled_rows(weight, inputs));
        }
    }
    divide(synapses.main.bias_mut(), unit);
    if let Some(conv) = &mut synapses.shortcut {
        conv.weight = conv.weight.clone().map(|weight| scaled(weight, shortcut, 1));
        divide(&mut conv.bias, unit);
    }
    network.with_synapses(neuron_layer, synapses)
}

/// Brings the readout into the given scales. Its logits then have the scale of the ordinary
/// network's, or are these divided by the unit.
pub fn scale_readout<B: Backend>(
    mut network: SpikingNetwork<B>,
    scales: &LayerScales,
    class_scores: ClassScores,
) -> SpikingNetwork<B> {
    for layer in &mut network.layers {
        let SpikingLayer::Classifier(readout) = layer else { continue };
        let weight = readout.linear.weight.clone();
        let weight = weight.map(|weight| scaled_rows(weight, &scales.inputs));
        readout.linear.weight = match class_scores {
            ClassScores::Ann => weight.map(|weight| weight * scales.unit[0]),
            ClassScores::Raw => {
                divide(&mut readout.linear.bias, &scales.unit);
                weight
            }
        };
    }
    network
}

/// Adds constant currents to the neurons of layer `neuron_layer`: one current, or one for each
/// channel. The bias of the layer takes them.
///
/// # Errors
///
/// Returns the name of the layer if it has no bias.
pub fn add_currents<B: Backend>(
    network: SpikingNetwork<B>,
    neuron_layer: usize,
    currents: &[f32],
) -> Result<SpikingNetwork<B>, String> {
    let mut synapses = network.synapses(neuron_layer);
    let bias = synapses.main.bias_mut();
    let Some(found) = bias.take() else {
        return Err(network.neurons().swap_remove(neuron_layer).0);
    };
    *bias = Some(found.map(|bias| {
        let currents = Tensor::<B, 1>::from_floats(currents, &bias.device());
        bias + currents
    }));
    Ok(network.with_synapses(neuron_layer, synapses))
}

/// Divides a bias by one number, or by one for each channel.
fn divide<B: Backend>(bias: &mut Option<Param<Tensor<B, 1>>>, divisors: &[f32]) {
    *bias = bias.take().map(|bias| {
        bias.map(|bias| match divisors {
            [divisor] => bias / *divisor,
            _ => {
                let divisors = Tensor::from_floats(divisors, &bias.device());
                bias / divisors
            }
        })
    });
}

/// Multiplies the weights of a convolution, `[out, in, height, width]`, along one dimension.
fn scaled<B: Backend>(weight: Tensor<B, 4>, factors: &[f32], dimension: usize) -> Tensor<B, 4> {
    match factors {
        [1.0] => weight,
        [factor] => weight * *factor,
        _ => {
            let mut shape = [1; 4];
            shape[dimension] = factors.len();
            let factors = Tensor::<B, 1>::from_floats(factors, &weight.device());
            weight * factors.reshape(shape)
        }
    }
}

/// Multiplies the rows of a matrix `[in, out]`. Its inputs are feature maps, channel after channel.
fn scaled_rows<B: Backend>(weight: Tensor<B, 2>, factors: &[f32]) -> Tensor<B, 2> {
    match factors {
        [1.0] => weight,
        [factor] => weight * *factor,
        _ => {
            let [inputs, outputs] = weight.dims();
            let positions = inputs / factors.len();
            let by_channel = weight.clone().reshape([factors.len(), positions * outputs]);
            let factors = Tensor::<B, 1>::from_floats(factors, &weight.device());
            (by_channel * factors.unsqueeze_dim(1)).reshape([inputs, outputs])
        }
    }
}

fn mean(numbers: &[f32]) -> f32 {
    match numbers {
        [number] => *number,
        _ => {
            let sum: f64 = numbers.iter().copied().map(f64::from).sum();
            (sum / numbers.len().max(1) as f64) as f32
        }
    }
}

/// Combines two vectors by channel; one number stands for all channels.
fn zip(a: &[f32], b: &[f32], combine: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    let count = a.len().max(b.len());
    (0..count).map(|channel| combine(of_channel(a, channel), of_channel(b, channel))).collect()
}
