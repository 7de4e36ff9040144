//! A spiking network that is run again and again with the same weights.

use std::sync::Arc;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use lasnn_core::{Features, Pass, Tapped};
use lasnn_kernels::spiking::{Prepared, WeightFormat};
use lasnn_neurons::{Encoder, SpikingBackend};

use crate::layers::SpikingLayer;
use crate::network::{Show, SpikingNetwork};

/// A network whose weights are packed once for all its passes, where the backend runs it as a
/// whole. It owns them and lends them out for reading only, so what is packed stays true.
#[derive(Clone, Debug)]
pub struct Simulator<B: Backend> {
    network: SpikingNetwork<B>,
    prepared: Option<Arc<Prepared>>,
}

impl<B: SpikingBackend> Simulator<B> {
    /// Packs the weights of a network as they are.
    pub fn new(network: SpikingNetwork<B>) -> Self {
        Self::with_format(network, WeightFormat::F32)
    }

    /// Packs the weights of a network in a format. A backend that does not run the network as a
    /// whole takes the weights as the format rounds them.
    ///
    /// What sees the image and not spikes stays as it is: the first layer under direct encoding.
    pub fn with_format(network: SpikingNetwork<B>, format: WeightFormat) -> Self {
        let network = match format {
            WeightFormat::F32 => network,
            WeightFormat::Int12 | WeightFormat::Bf16 => rounded(network, format),
        };
        let prepared = network.wiring().and_then(|wiring| wiring.prepare(&network, format));
        Self { network, prepared: prepared.map(Arc::new) }
    }

    /// The network; its weights are those that the format stands for.
    pub fn network(&self) -> &SpikingNetwork<B> {
        &self.network
    }

    /// Its packed weights.
    pub(crate) fn prepared(&self) -> Option<&Arc<Prepared>> {
        self.prepared.as_ref()
    }
}

impl<B: SpikingBackend> Tapped<B> for Simulator<B> {
    /// What the network would give.
    fn features(&self, images: Tensor<B, 4>, pass: &Pass<'_>) -> Features<B> {
        self.network.run(images, pass, self.prepared(), Show::Rates)
    }

    fn logits(&self, images: Tensor<B, 4>, pass: &Pass<'_>) -> Tensor<B, 2> {
        self.network.run(images, pass, self.prepared(), Show::Scores).logits
    }
}

/// The network with the weights that a format makes of its own.
fn rounded<B: Backend>(mut network: SpikingNetwork<B>, format: WeightFormat) -> SpikingNetwork<B> {
    let direct = network.config().encoding.is_constant();
    let connects = |layer: &SpikingLayer<B>| {
        !matches!(layer, SpikingLayer::AveragePool(_) | SpikingLayer::Dropout(_))
    };
    let sees_image = network.layers.iter().position(connects).filter(|_| direct);
    let layers = std::mem::take(&mut network.layers).into_iter().enumerate();
    let round = |(index, layer): (usize, SpikingLayer<B>)| match sees_image == Some(index) {
        true => layer,
        false => layer.map(&mut Rounding(format)),
    };
    network.layers = layers.map(round).collect();
    network
}

/// Rounds every weight: those with two dimensions are matrices, those with four convolutions.
/// Thresholds and leaks have one and stay.
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
