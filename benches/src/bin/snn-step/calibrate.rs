//! Thresholds at which every layer fires at a given rate.
//!
//! Layer by layer from the image on, with the layers before it already set. The rate falls as the
//! threshold rises, so halving an interval finds it. This is not threshold balancing: a network with
//! random weights computes nothing, it only has to be as busy as asked.

use burn::tensor::Tensor;
use burn::tensor::module::avg_pool2d;
use burn_flex::Flex;
use lasnn_core::{Batch, Pass, Seed};
use lasnn_neurons::{Encoder, SpikingNeurons};
use lasnn_nn::BatchTensors;
use lasnn_snn::SpikingNetwork;
use lasnn_snn::layers::{SpikingConv, SpikingLayer};
use lasnn_snn::signal::Signal;

/// Halvings of six decades; afterwards the threshold is known to a part in 10,000. With more of them it would
/// lie on some neuron's potential, and rounding would decide whether that one fires.
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
    let mut signal = match encoding.is_constant() {
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

/// Means over windows that do not overlap; `size` 0 means over the whole map.
fn average(maps: Tensor<Flex, 4>, size: usize) -> Tensor<Flex, 4> {
    let [_, _, height, width] = maps.dims();
    let window = if size == 0 { [height, width] } else { [size; 2] };
    avg_pool2d(maps, window, window, [0, 0], true, false)
}

/// What every layer is set to.
struct Target {
    steps: usize,
    rate: f64,
}

impl Target {
    fn conv(&self, layer: &mut SpikingConv<Flex>, signal: Signal<Flex>) -> Signal<Flex> {
        let currents = signal.map(|maps| layer.conv.forward(maps));
        self.fire(&mut layer.neurons, currents)
    }

    /// Sets the threshold and gives the spikes.
    fn fire(&self, neurons: &mut SpikingNeurons<Flex>, currents: Signal<Flex>) -> Signal<Flex> {
        let currents = currents.unfold(self.steps);
        let spikes = |threshold: f32| {
            neurons.clone().with_threshold(threshold).forward(currents.clone(), self.steps)
        };
        // No membrane potential gets above the largest current at every step.
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
