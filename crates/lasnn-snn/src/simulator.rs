//! A spiking network that runs many times with the same weights.

use std::sync::Arc;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use lasnn_core::{Pass, Probes};
use lasnn_neurons::{SpikingBackend, mean_current};
use lasnn_nn::{Observable, Observations};
use lasnn_spiking_kernels::{PackedWeights, SpikeStats, WeightFormat};

use crate::counting::{chunks, fused_chunk_steps};
use crate::error::SnnError;
use crate::layers::SpikingLayer;
use crate::network::SpikingNetwork;
use crate::offset::offset_refused_because;

/// A network whose weights are packed once for all its fused passes.
///
/// It owns the network and lends it out for reading only, so the packed weights stay equal to the
/// network's.
#[derive(Clone, Debug)]
pub struct Simulator<B: Backend> {
    network: SpikingNetwork<B>,
    packed_weights: Option<Arc<PackedWeights>>,
    offset_steps: usize,
}

impl<B: SpikingBackend> Simulator<B> {
    /// Packs the weights of a network without rounding.
    pub fn new(network: SpikingNetwork<B>) -> Self {
        Self::with_format(network, WeightFormat::F32)
    }

    /// Packs the weights of a network in a number format. Where the network runs layer by layer,
    /// its weights are rounded to the format.
    ///
    /// Unless the input is spikes, the first layer is not rounded, because it multiplies.
    pub fn with_format(network: SpikingNetwork<B>, format: WeightFormat) -> Self {
        let network = match format {
            WeightFormat::F32 => network,
            WeightFormat::Int12 | WeightFormat::Bf16 => rounded(network, format),
        };
        let packed_weights =
            network.lowered().and_then(|lowered| lowered.prepare(&network, format));
        Self { network, packed_weights: packed_weights.map(Arc::new), offset_steps: 0 }
    }

    /// The network, with its weights rounded to the format.
    pub fn network(&self) -> &SpikingNetwork<B> {
        &self.network
    }

    /// Corrects each layer over `offset_steps` time steps before it runs ([`crate::offset`]). With
    /// 0, nothing is corrected. Only [`count_spikes`](crate::counting::count_spikes) and what is
    /// built on it, [`simulate`](crate::simulate()), do so.
    ///
    /// # Errors
    ///
    /// Says why the network cannot be corrected.
    pub fn with_offset_steps(self, offset_steps: usize) -> Result<Self, SnnError> {
        match offset_refused_because(self.network.config()).filter(|_| offset_steps > 0) {
            None => Ok(Self { offset_steps, ..self }),
            Some(reason) => Err(SnnError::Offset { reason }),
        }
    }

    /// The number of time steps over which each layer is corrected.
    pub fn offset_steps(&self) -> usize {
        self.offset_steps
    }

    /// The packed weights; `None` where the network runs layer by layer.
    pub(crate) fn packed_weights(&self) -> Option<&Arc<PackedWeights>> {
        self.packed_weights.as_ref()
    }

    /// The logits (class scores) by fused passes over `chunk` time steps each, so that the input of
    /// only one chunk is in memory. `None` where the network runs layer by layer.
    fn streamed(
        &self,
        images: &Tensor<B, 4>,
        pass: &Pass<'_>,
        chunk: usize,
    ) -> Option<Tensor<B, 2>> {
        let network = &self.network;
        let (lowered, packed_weights) = (network.lowered()?, Some(self.packed_weights()?));
        let mut membranes = None;
        let mut readout = vec![0.0; images.dims()[0] * network.plan().classes];
        for (first, steps) in chunks(network.time_steps(), chunk) {
            let input = network.encode(images.clone(), first, steps, pass);
            let stats = (steps, SpikeStats::Nothing);
            let outcome =
                lowered.advance(network, input, pass, stats, packed_weights, &mut membranes)?;
            readout.iter_mut().zip(outcome.readout).for_each(|(sum, chunk)| *sum += chunk);
        }
        let shape = [images.dims()[0], network.plan().classes];
        let readout = Tensor::from_data(TensorData::new(readout, shape), &images.device());
        Some(mean_current(readout, network.time_steps()))
    }
}

impl<B: SpikingBackend> Observable<B> for Simulator<B> {
    /// Runs all time steps from rest, like the network itself.
    ///
    /// Without probes, and where the pass is fused, memory does not grow with the number of time
    /// steps.
    fn observe(&self, images: Tensor<B, 4>, pass: &Pass<'_>, probes: &Probes) -> Observations<B> {
        if probes.is_empty() {
            let chunk = fused_chunk_steps(self.network.plan(), images.dims()[0]);
            if let Some(logits) = self.streamed(&images, pass, chunk) {
                return Observations::new(logits);
            }
        }
        self.network.run(images, pass, self.packed_weights(), probes)
    }
}

/// Rounds the weights of a network to a format, except those of a layer that sees the image.
fn rounded<B: Backend>(mut network: SpikingNetwork<B>, format: WeightFormat) -> SpikingNetwork<B> {
    let multiplies = !network.config().encoding.values().are_spikes();
    let has_weights = |layer: &SpikingLayer<B>| {
        !matches!(layer, SpikingLayer::AveragePool(_) | SpikingLayer::Dropout(_))
    };
    let sees_image = network.layers.iter().position(has_weights).filter(|_| multiplies);
    let layers = std::mem::take(&mut network.layers).into_iter().enumerate();
    let round = |(index, layer): (usize, SpikingLayer<B>)| match sees_image == Some(index) {
        true => layer,
        false => layer.map(&mut Rounding(format)),
    };
    network.layers = layers.map(round).collect();
    network
}

/// Rounds every weight. A tensor with two dimensions is a matrix, one with four is a convolution.
/// Thresholds and leaks have one dimension and are not rounded.
struct Rounding(WeightFormat);

impl<B: Backend> ModuleMapper<B> for Rounding {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|weight| {
            let shape = weight.dims();
            let device = weight.device();
            let round = |weights: &mut [f32]| match shape[..] {
                [_, outputs] => self.0.round_matrix(weights, outputs),
                [outputs, _, _, _] => self.0.round_convolution(weights, outputs),
                _ => {}
            };
            let mut numbers: Vec<f32> = weight.into_data().iter().collect();
            round(&mut numbers);
            Tensor::from_data(TensorData::new(numbers, shape), &device)
        })
    }
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;
    use lasnn_core::{Architecture, Layer, Seed, Shape};
    use lasnn_neurons::{Direct, Encoding, Poisson, PoissonRange};

    use super::*;
    use crate::SpikingConfig;
    use crate::parity::Draw;

    #[test]
    fn the_length_of_a_chunk_does_not_change_logits() {
        let layers = vec![
            Layer::conv(8),
            Layer::AveragePool { size: 2 },
            Layer::Linear { features: 20, bias: false },
            Layer::Classifier { bias: false },
        ];
        let input = Shape { channels: 3, height: 8, width: 8 };
        let plan = Architecture { name: "test".into(), layers }.plan(input, 5).unwrap();
        let poisson = |range| Encoding::Poisson(Poisson { range });
        let encodings = [
            Encoding::Direct(Direct {}),
            poisson(PoissonRange::Signed),
            poisson(PoissonRange::Unit),
        ];
        for encoding in encodings {
            let config = SpikingConfig { encoding, ..Default::default() };
            let device = Default::default();
            let network = SpikingNetwork::<Flex>::new(&plan, &config, 7, &device).unwrap();
            let simulator = Simulator::new(network.map(&mut Draw(0)));
            let numbers: Vec<f32> = (0..2 * 3 * 64).map(|i| (i % 17) as f32 / 16.0).collect();
            let images = Tensor::from_data(TensorData::new(numbers, [2, 3, 8, 8]), &device);
            let pass = Pass::evaluate(Seed(3), &[4, 9]);
            let logits = |chunk| {
                let logits = simulator.streamed(&images, &pass, chunk).unwrap();
                logits.into_data().to_vec::<f32>().unwrap()
            };
            let at_once = simulator.network().run(images.clone(), &pass, None, &Probes::NONE);
            let expected = at_once.logits.into_data().to_vec::<f32>().unwrap();
            assert!(expected.iter().any(|logit| logit.abs() > 0.1), "no spikes: {expected:?}");
            for chunk in [1, 3, 7, 100] {
                for (found, expected) in logits(chunk).iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-5, "{encoding:?}, chunks of {chunk}");
                }
            }
        }
    }
}
