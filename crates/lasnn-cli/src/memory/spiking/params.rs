//! The memory of the parameters of neurons: thresholds, leaks and initial membrane potentials.
//!
//! Biases count as parameters of the plan. The kernels' own copies of parameters are not counted,
//! since they are as large as the state of one image.

use lasnn_neurons::{InitialMembranePer, LifConfig, NeuronConfig, ThresholdPer};
use lasnn_snn::SpikingConfig;

use super::graph::NeuronLayer;
use crate::memory::size::{Size, elements};

/// The parameters of the neurons of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// The number of elements of all their tensors.
    pub elements: Size,
    /// The number of elements of those that are trained.
    pub trained: Size,
    /// How many parameters of a layer get a copy with a number for each neuron of a batch where
    /// each layer is an operation of its own.
    pub expanded: usize,
    /// Whether the tape in bfloat16 has the membrane potentials, of two bytes each, in place of the
    /// surrogate derivatives, of one byte: the gradient of a leak needs them.
    pub saves_membranes: bool,
}

impl Params {
    /// The parameters that a recipe gives to the neurons of some layers.
    pub fn new(layers: &[NeuronLayer], config: &SpikingConfig) -> Self {
        // A model without a kernel has a few numbers for each layer, too.
        let LifConfig { leak, threshold, initial_membrane, .. } = match config.neuron {
            NeuronConfig::Lif(config) => config,
            _ => LifConfig::default(),
        };
        let (mut all, mut trained) = (Size::ZERO, Size::ZERO);
        let mut add = |elements: Size, is_trained: bool| {
            all += elements;
            trained += if is_trained { elements } else { Size::ZERO };
        };
        let by_channel = threshold.per == ThresholdPer::Channel;
        let by_neuron = initial_membrane.per == InitialMembranePer::Neuron;
        for layer in layers {
            add(Size::new(1), leak.train);
            let thresholds = if by_channel { layer.shape.channels } else { 1 };
            add(thresholds.into(), threshold.train);
            if !initial_membrane.is_rest() {
                let potentials = if by_neuron { elements(layer.shape) } else { Size::new(1) };
                add(potentials, initial_membrane.train);
            }
        }
        Self {
            elements: all,
            trained,
            expanded: usize::from(by_channel)
                + usize::from(by_neuron && !initial_membrane.is_rest()),
            saves_membranes: leak.train,
        }
    }
}
