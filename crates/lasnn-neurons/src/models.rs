//! The table of neuron models, and one module for each of them.

pub mod lif;
pub mod plif;

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::Kind;
use lasnn_core::neuron::NeuronOptions;
use serde::{Deserialize, Deserializer, Serialize};

pub use lif::{Lif, LifConfig};
pub use plif::{Plif, PlifConfig};

use crate::backend::SpikingBackend;
use crate::default_kind;
use crate::model::{FusedNeurons, NeuronError, NeuronKind, NeuronModel, TrainedParams, kind_of};
use crate::params::{InitialMembranePer, Sharing};

/// Declares the enum [`NeuronConfig`] of all configurations, its table, and the enum
/// [`SpikingNeurons`] of all modules.
macro_rules! models {
    ($($variant:ident: $module:ident::{$config:ident, $neurons:ident}),+ $(,)?) => {
        /// The neurons of a network: the table `[spiking.neuron]` of a recipe. A table without
        /// `kind` describes [`LifConfig`].
        #[derive(Clone, Copy, Debug, PartialEq, Serialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        pub enum NeuronConfig {
            $(
                #[doc = concat!("[`", stringify!($module), "::", stringify!($config), "`].")]
                $variant($module::$config),
            )+
        }

        /// [`NeuronConfig`] with its kind.
        #[derive(Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        enum Tagged {
            $($variant($module::$config),)+
        }

        impl From<Tagged> for NeuronConfig {
            fn from(tagged: Tagged) -> Self {
                match tagged {
                    $(Tagged::$variant(config) => Self::$variant(config),)+
                }
            }
        }

        $(
            impl From<$module::$config> for NeuronConfig {
                fn from(config: $module::$config) -> Self {
                    Self::$variant(config)
                }
            }
        )+

        impl NeuronConfig {
            /// All models, for `lasnn list`.
            pub const KINDS: &'static [Kind] = &[$(kind_of::<$module::$config>()),+];

            /// The name of this model in a recipe.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => <$module::$config as NeuronKind>::NAME,)+
                }
            }

            /// See [`NeuronKind::options`].
            pub fn options(&self) -> NeuronOptions {
                match self {
                    $(Self::$variant(config) => config.options(),)+
                }
            }

            /// See [`NeuronKind::check`].
            ///
            /// # Errors
            ///
            /// Returns the first number that is out of range.
            pub fn check(&self) -> Result<(), NeuronError> {
                match self {
                    $(Self::$variant(config) => config.check(),)+
                }
            }

            /// See [`NeuronKind::is_fused`].
            pub fn is_fused(&self) -> bool {
                match self {
                    $(Self::$variant(config) => config.is_fused(),)+
                }
            }

            /// See [`NeuronKind::trained`].
            pub fn trained(&self) -> TrainedParams {
                match self {
                    $(Self::$variant(config) => config.trained(),)+
                }
            }

            /// See [`NeuronKind::initial_membrane`].
            pub fn initial_membrane(&self) -> f64 {
                match self {
                    $(Self::$variant(config) => config.initial_membrane(),)+
                }
            }

            /// See [`NeuronKind::sharing`].
            pub fn sharing(&self) -> Sharing {
                match self {
                    $(Self::$variant(config) => config.sharing(),)+
                }
            }

            /// See [`NeuronKind::init`].
            pub fn init<B: Backend>(
                &self,
                threshold: f32,
                shape: [usize; 3],
                device: &B::Device,
            ) -> SpikingNeurons<B> {
                match self {
                    $(Self::$variant(config) => {
                        SpikingNeurons::$variant(config.init(threshold, shape, device))
                    })+
                }
            }

            /// Every model with its defaults.
            #[cfg(test)]
            fn defaults() -> Vec<Self> {
                vec![$(Self::$variant(Default::default())),+]
            }
        }

        /// A layer of neurons of any model.
        #[derive(Module, Debug)]
        pub enum SpikingNeurons<B: Backend> {
            $(
                #[doc = concat!("[`", stringify!($module), "::", stringify!($neurons), "`].")]
                $variant($module::$neurons<B>),
            )+
        }

        impl<B: Backend> NeuronModel<B> for SpikingNeurons<B> {
            fn options(&self) -> NeuronOptions {
                match self {
                    $(Self::$variant(neurons) => neurons.options(),)+
                }
            }

            fn forward<const D: usize>(
                &self,
                currents: Tensor<B, D>,
                time_steps: usize,
            ) -> Tensor<B, D>
            where
                B: SpikingBackend,
            {
                match self {
                    $(Self::$variant(neurons) => neurons.forward(currents, time_steps),)+
                }
            }

            fn advance<const D: usize>(
                &self,
                currents: Tensor<B, D>,
                membrane: Option<Tensor<B, D>>,
                time_steps: usize,
            ) -> (Tensor<B, D>, Tensor<B, D>)
            where
                B: SpikingBackend,
            {
                match self {
                    $(Self::$variant(neurons) => neurons.advance(currents, membrane, time_steps),)+
                }
            }

            fn membranes<const D: usize>(
                &self,
                currents: Tensor<B, D>,
                time_steps: usize,
            ) -> Tensor<B, D> {
                match self {
                    $(Self::$variant(neurons) => neurons.membranes(currents, time_steps),)+
                }
            }

            fn thresholds(&self) -> Vec<f32> {
                match self {
                    $(Self::$variant(neurons) => neurons.thresholds(),)+
                }
            }

            fn with_thresholds(self, thresholds: &[f32]) -> Self {
                match self {
                    $(Self::$variant(neurons) => {
                        Self::$variant(neurons.with_thresholds(thresholds))
                    })+
                }
            }

            fn initial_membranes(&self) -> Option<Vec<f32>> {
                match self {
                    $(Self::$variant(neurons) => neurons.initial_membranes(),)+
                }
            }

            fn with_initial_membranes(self, potentials: &[f32]) -> Self {
                match self {
                    $(Self::$variant(neurons) => {
                        Self::$variant(neurons.with_initial_membranes(potentials))
                    })+
                }
            }

            fn constrained(self) -> Self {
                match self {
                    $(Self::$variant(neurons) => Self::$variant(neurons.constrained()),)+
                }
            }

            fn fused(&self) -> Option<FusedNeurons<B>> {
                match self {
                    $(Self::$variant(neurons) => neurons.fused(),)+
                }
            }
        }
    };
}

models! {
    Lif: lif::{LifConfig, Lif},
    Plif: plif::{PlifConfig, Plif},
}

impl Default for NeuronConfig {
    fn default() -> Self {
        Self::Lif(LifConfig::default())
    }
}

impl<'de> Deserialize<'de> for NeuronConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tagged: Tagged = default_kind::deserialize(deserializer, LifConfig::NAME)?;
        Ok(tagged.into())
    }
}

impl NeuronConfig {
    /// Integrate-and-fire neurons that start at rest, with reset, step order and surrogate of these
    /// neurons. Threshold balancing runs the layers that are balanced already with them, since its
    /// theory has no leak.
    pub fn without_leak(&self) -> Self {
        LifConfig::without_leak(self.options()).into()
    }

    /// Whether [`NeuronModel::fused`] returns initial membrane potentials.
    pub fn has_initial_membrane(&self) -> bool {
        self.sharing().initial_membrane.is_some()
    }

    /// The neurons of a layer with the shape `[channels, height, width]` and with one threshold for
    /// all, or with one for each channel. Initial membrane potentials are fractions of the
    /// thresholds.
    pub fn init_channels<B: Backend>(
        &self,
        thresholds: &[f32],
        shape: [usize; 3],
        device: &B::Device,
    ) -> SpikingNeurons<B> {
        let neurons = self.init(thresholds[0], shape, device);
        if thresholds.len() == 1 {
            return neurons;
        }
        let neurons = neurons.with_thresholds(thresholds);
        if self.sharing().initial_membrane != Some(InitialMembranePer::Neuron) {
            return neurons;
        }
        let [_, height, width] = shape;
        let fraction = self.initial_membrane() as f32;
        let of_channel =
            |&threshold: &f32| std::iter::repeat_n(fraction * threshold, height * width);
        neurons.with_initial_membranes(&thresholds.iter().flat_map(of_channel).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;
    use lasnn_core::neuron::Reset;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_name_of_a_model_is_its_kind_in_a_recipe() {
        let defaults = NeuronConfig::defaults();
        assert_eq!(defaults.len(), NeuronConfig::KINDS.len());
        for (config, description) in defaults.iter().zip(NeuronConfig::KINDS) {
            assert_eq!(config.name(), description.name);
            let written = serde_json::to_value(config).unwrap();
            assert_eq!(written["kind"], description.name);
            assert_eq!(&serde_json::from_value::<NeuronConfig>(written).unwrap(), config);
            let alone = json!({"kind": description.name});
            assert_eq!(&serde_json::from_value::<NeuronConfig>(alone).unwrap(), config);
            assert_eq!(config.check(), Ok(()));
        }
    }

    #[test]
    fn a_table_without_a_kind_is_lif() {
        let read = |text: &str| serde_json::from_str::<NeuronConfig>(text).unwrap();
        assert_eq!(read("{}"), NeuronConfig::default());
        let expected = LifConfig { leak: 0.5.into(), reset: Reset::Zero, ..Default::default() };
        for text in [
            r#"{"leak": 0.5, "reset": "zero"}"#,
            r#"{"leak": 0.5, "kind": "lif", "reset": "zero"}"#,
            r#"{"kind": "lif", "leak": 0.5, "reset": "zero"}"#,
        ] {
            assert_eq!(read(text), expected.into(), "{text}");
        }
    }

    #[test]
    fn unknown_kinds_and_keys_are_refused_with_the_known_ones() {
        let error = |value| serde_json::from_value::<NeuronConfig>(value).unwrap_err().to_string();
        let unknown = error(json!({"kind": "unheard-of"}));
        for description in NeuronConfig::KINDS {
            assert!(unknown.contains(description.name), "{unknown}");
            let wrong = error(json!({"kind": description.name, "leek": 1.0}));
            assert!(wrong.contains("leek") && wrong.contains("`leak`"), "{wrong}");
        }
        assert!(error(json!({"leek": 1.0})).contains("`leek`"));
        assert!(error(json!("plif")).contains("expected a table"));
    }

    #[test]
    fn a_model_has_fused_parameters_if_its_configuration_says_so() {
        for config in NeuronConfig::defaults() {
            let fused = config.init::<Flex>(0.75, [2, 3, 3], &Default::default()).fused();
            assert_eq!(fused.is_some(), config.is_fused(), "{config:?}");
            let has_initial = fused.is_some_and(|fused| fused.initial_membrane.is_some());
            assert_eq!(has_initial, config.has_initial_membrane(), "{config:?}");
        }
    }

    #[test]
    fn layers_are_balanced_without_leak() {
        let config = NeuronConfig::from(PlifConfig { reset: Reset::Zero, ..Default::default() });
        let expected = LifConfig { leak: 1.0.into(), reset: Reset::Zero, ..Default::default() };
        assert_eq!(config.without_leak(), expected.into());
    }
}
