//! Thresholds from the upper bounds of the ordinary network's activations (Deng and Gu, "Optimal
//! conversion of conventional artificial neural networks to spiking neural networks", 2021; Bu et
//! al., "Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency spiking neural
//! networks", 2022).
//!
//! A neuron that fires at every time step stands for the bound `b_l` of its layer. So the threshold
//! is `b_l`, in units of what the spikes that enter the layer stand for. Nothing has to be measured
//! for it. With the activation `qcfs`, and half a threshold as the initial membrane potential, the
//! firing rate of a neuron with a constant current is exactly its activation divided by `b_l`, if
//! there are as many time steps as levels.

use lasnn_neurons::SpikingBackend;
use serde::{Deserialize, Serialize};

use super::{ConversionMethod, MethodKind, Source};
use crate::error::ConversionError;
use crate::scales::{Thresholds, thresholds_of_activations};

/// Thresholds from the bounds of activations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActivationBounds {}

impl MethodKind for ActivationBounds {
    const NAME: &'static str = "activation-bounds";
    const ABOUT: &'static str = "thresholds are the bounds of the ordinary network's activations";
    const SOURCE: &'static str = "Deng and Gu 2021; Bu et al. 2022 (QCFS)";

    fn needs_bounds(&self) -> bool {
        true
    }
}

impl<B: SpikingBackend> ConversionMethod<B> for ActivationBounds {
    fn thresholds(&self, source: &Source<'_, B>) -> Result<Thresholds, ConversionError> {
        let neurons = source.network.neurons();
        let bound = |(layer, _): &(String, _)| {
            let tensor = source.ann.tensors.get(&format!("{layer}.activation.bound"));
            let bound = tensor.and_then(|bound| bound.iter::<f32>().next());
            match bound {
                Some(bound) if bound.is_finite() && bound > 0.0 => Ok(Some(vec![bound])),
                found => Err(ConversionError::Bound { layer: layer.clone(), found }),
            }
        };
        let bounds: Vec<Option<Vec<f32>>> = neurons.iter().map(bound).collect::<Result<_, _>>()?;
        Ok(thresholds_of_activations(source.network, &bounds))
    }
}
