//! The table of conversion methods, and one module for each of them.

pub mod activation_bounds;
pub mod local_threshold_balancing;
pub mod threshold_balancing;
pub mod weight_normalisation;

use lasnn_core::Kind;
use lasnn_neurons::SpikingBackend;
use lasnn_snn::network::SpikingNetwork;
use serde::{Deserialize, Serialize};

use crate::ann::Ann;
use crate::convert::Balancing;
use crate::error::ConversionError;
use crate::scales::Thresholds;

pub use activation_bounds::ActivationBounds;
pub use local_threshold_balancing::LocalThresholdBalancing;
pub use threshold_balancing::ThresholdBalancing;
pub use weight_normalisation::WeightNormalisation;

/// The words with which a list of methods describes one of them, and the range of its numbers.
pub trait MethodKind {
    /// The name in a recipe: the `kind` of `conversion.method`.
    const NAME: &'static str;
    /// How the method finds thresholds, in one sentence.
    const ABOUT: &'static str;
    /// The publication that has the method.
    const SOURCE: &'static str;

    /// Checks that every number is in its range.
    ///
    /// # Errors
    ///
    /// Names the key, the value and the expected range.
    fn check(&self) -> Result<(), ConversionError> {
        Ok(())
    }

    /// Whether the activations of the ordinary network must have an upper bound.
    fn needs_bounds(&self) -> bool {
        false
    }

    /// Whether the method finds a threshold of each channel.
    fn is_by_channel(&self) -> bool {
        false
    }
}

/// A method that finds the thresholds of a spiking network.
pub trait ConversionMethod<B: SpikingBackend> {
    /// The thresholds of each layer of neurons, in the order of [`SpikingNetwork::neurons`], before
    /// they are multiplied by `conversion.scale`.
    ///
    /// A threshold is the current at which a neuron fires at every time step, in the unit of its
    /// layer ([`crate::scales`]).
    ///
    /// # Errors
    ///
    /// Names the layer for which no threshold can be found.
    fn thresholds(&self, source: &Source<'_, B>) -> Result<Thresholds, ConversionError>;
}

/// What a method finds thresholds from.
pub struct Source<'a, B: SpikingBackend> {
    /// The spiking network with the weights and biases of the ordinary network, and with thresholds
    /// of 1.
    pub network: &'a SpikingNetwork<B>,
    /// The ordinary network.
    pub ann: Ann<'a, B>,
    /// The images for calibration.
    pub balancing: Balancing<'a>,
    /// The device of the network.
    pub device: &'a B::Device,
}

/// Declares the enum [`MethodConfig`] and its table.
macro_rules! methods {
    ($($variant:ident: $module:ident::$method:ident),+ $(,)?) => {
        /// A conversion method with its numbers: `conversion.method` in a recipe.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        pub enum MethodConfig {
            $(
                #[doc = concat!("[`", stringify!($module), "::", stringify!($method), "`].")]
                $variant($module::$method),
            )+
        }

        impl MethodConfig {
            /// All methods, for `lasnn list`.
            pub const KINDS: &'static [Kind] = &[$(
                Kind {
                    name: <$module::$method as MethodKind>::NAME,
                    about: <$module::$method as MethodKind>::ABOUT,
                    source: <$module::$method as MethodKind>::SOURCE,
                }
            ),+];

            /// Checks that every number is in its range.
            ///
            /// # Errors
            ///
            /// Names the key, the value and the expected range.
            pub fn check(&self) -> Result<(), ConversionError> {
                match self {
                    $(Self::$variant(method) => method.check(),)+
                }
            }

            /// See [`MethodKind::needs_bounds`].
            pub fn needs_bounds(&self) -> bool {
                match self {
                    $(Self::$variant(method) => method.needs_bounds(),)+
                }
            }

            /// See [`MethodKind::is_by_channel`].
            pub fn is_by_channel(&self) -> bool {
                match self {
                    $(Self::$variant(method) => method.is_by_channel(),)+
                }
            }

            /// This method on a backend.
            pub fn on<B: SpikingBackend>(&self) -> &dyn ConversionMethod<B> {
                match self {
                    $(Self::$variant(method) => method,)+
                }
            }

            #[cfg(test)]
            fn defaults() -> Vec<Self> {
                vec![$(Self::$variant(Default::default())),+]
            }
        }
    };
}

methods! {
    ThresholdBalancing: threshold_balancing::ThresholdBalancing,
    WeightNormalisation: weight_normalisation::WeightNormalisation,
    ActivationBounds: activation_bounds::ActivationBounds,
    LocalThresholdBalancing: local_threshold_balancing::LocalThresholdBalancing,
}

impl Default for MethodConfig {
    fn default() -> Self {
        Self::ThresholdBalancing(ThresholdBalancing::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_method_is_its_kind_in_a_recipe() {
        let defaults = MethodConfig::defaults();
        assert_eq!(defaults.len(), MethodConfig::KINDS.len());
        for (method, kind) in defaults.iter().zip(MethodConfig::KINDS) {
            let json = serde_json::to_value(method).unwrap();
            assert_eq!(json["kind"], kind.name);
            let text = format!(r#"{{"kind": "{}"}}"#, kind.name);
            assert_eq!(&serde_json::from_str::<MethodConfig>(&text).unwrap(), method);
            let text = format!(r#"{{"kind": "{}", "percentil": 1}}"#, kind.name);
            let error = serde_json::from_str::<MethodConfig>(&text).unwrap_err().to_string();
            assert!(error.contains("percentil"), "{error}");
            assert_eq!(method.check(), Ok(()));
        }
    }

    #[test]
    fn an_unknown_kind_is_refused_with_all_names() {
        let error = serde_json::from_str::<MethodConfig>(r#"{"kind": "unheard-of"}"#).unwrap_err();
        for kind in MethodConfig::KINDS {
            assert!(error.to_string().contains(kind.name), "{error}");
        }
    }
}
