//! Thresholds at which every layer fires at a given rate.
//!
//! The layers are set one after the other, beginning at the image. The firing rate falls as the
//! threshold rises, so bisection finds the threshold. This is not threshold balancing: the network
//! has random weights and computes nothing useful. Only its firing rate matters for a benchmark.

use burn::tensor::Tensor;
use burn::tensor::module::avg_pool2d;
use burn_flex::Flex;
use lasnn_core::{Batch, Pass, Seed};
use lasnn_neurons::{NeuronModel, SpikingNeurons};
use lasnn_nn::BatchTensors;
use lasnn_snn::SpikingNetwork;
use lasnn_snn::layers::{SpikingConv, SpikingLayer};
use lasnn_snn::signal::Signal;

/// The number of bisections of six decades, which leave a relative error of 1 in 10,000. After more
/// of them the threshold would equal the membrane potential of some neuron, and rounding would
/// decide whether that neuron fires.
const HALVINGS: usize = 17;

/// The network with thresholds at which each layer of neurons fires `rate` spikes per neuron and
/// time step on the images of `batch`.
pub fn calibrate(
    mut network: SpikingNetwork<Flex>,
    batch: &Batch,
    seed: Seed,
    rate: f64,
) -> SpikingNetwork<Flex> {
    let steps = network.time_steps();
    let pass = Pass::evaluate(seed, &batch.samples);
    let images = batch.images::<Flex>(&Default::default());
    let encoding = network.config().encoding;
    let target = Target { steps, rate };
    let mut signal = match encoding.values().is_constant() {
        true => Signal { maps: images, constant: true },
        false => Signal::changing(encoding.encode(images, 0, steps, &pass)),
    };
    for layer in &mut network.layers {
        signal = match layer {
            SpikingLayer::Conv(conv) => target.conv(conv, signal),
            SpikingLayer::Linear(layer) => {
                let currents = signal.map(|maps| {
                    let vectors: Tensor<Flex, 2> = maps.flatten(1, 3);
                    layer.linear.forward(vectors).unsqueeze_dims(&[2, 3])
                });
                target.fire(&mut layer.neurons, currents)
            }
            SpikingLayer::Residual(block) => {
                let shortcut = match &block.shortcut {
                    Some(shortcut) => signal.clone().map(|maps| shortcut.conv.forward(maps)),
                    None => signal.clone(),
                };
                let inner = target.conv(&mut block.first, signal);
                let currents = inner.map(|maps| block.second.conv.forward(maps));
                target.fire(&mut block.second.neurons, currents.add(shortcut, steps))
            }
            SpikingLayer::AveragePool(pool) => signal.map(|maps| average(maps, pool.size)),
            SpikingLayer::Dropout(_) => signal,
            SpikingLayer::Classifier(_) => break,
        };
    }
    network
}

/// Average pooling with windows that do not overlap. The size 0 stands for the whole feature map.
fn average(maps: Tensor<Flex, 4>, size: usize) -> Tensor<Flex, 4> {
    let [_, _, height, width] = maps.dims();
    let window = if size == 0 { [height, width] } else { [size; 2] };
    avg_pool2d(maps, window, window, [0, 0], true, false)
}

/// The firing rate of every layer, in spikes per neuron and time step.
struct Target {
    steps: usize,
    rate: f64,
}

impl Target {
    fn conv(&self, layer: &mut SpikingConv<Flex>, signal: Signal<Flex>) -> Signal<Flex> {
        let currents = signal.map(|maps| layer.conv.forward(maps));
        self.fire(&mut layer.neurons, currents)
    }

    /// Sets the threshold of a layer and returns its spikes.
    fn fire(&self, neurons: &mut SpikingNeurons<Flex>, currents: Signal<Flex>) -> Signal<Flex> {
        let currents = currents.unfold(self.steps);
        let spikes = |threshold: f32| {
            neurons.clone().with_threshold(threshold).forward(currents.clone(), self.steps)
        };
        // No membrane potential can exceed the sum of the largest current over all steps.
        let most = currents.clone().max().into_scalar() * self.steps as f32;
        let (mut low, mut high) = (most * 1e-6, most);
        for _ in 0..HALVINGS {
            let middle = (low * high).sqrt();
            match f64::from(spikes(middle).mean().into_scalar()) > self.rate {
                true => low = middle,
                false => high = middle,
            }
        }
        let fired = Signal::changing(spikes(high));
        *neurons = neurons.clone().with_threshold(high);
        fired
    }
}
