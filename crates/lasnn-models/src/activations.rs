//! The table of activations of ordinary networks, and one module for each of them.

pub mod bound;
pub mod clip;
pub mod qcfs;
pub mod relu;

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::Kind;
use serde::{Deserialize, Serialize};

/// The configuration of an activation: the key `activation` of an ordinary network in a recipe.
pub trait ActivationKind {
    /// The name in a recipe: the `kind` of `activation`.
    const NAME: &'static str;
    /// What the activation computes, in one line.
    const ABOUT: &'static str;
    /// The publication that has the activation.
    const SOURCE: &'static str;

    /// The activation of one layer.
    type Layer<B: Backend>: ActivationLayer<B>;

    /// Checks the ranges of all numbers.
    ///
    /// # Errors
    ///
    /// Returns the first number that is out of range, with its key, its value and the range.
    fn check(&self) -> Result<(), ActivationError> {
        Ok(())
    }

    /// The activation of one layer, with its initial parameters.
    fn init<B: Backend>(&self, device: &B::Device) -> Self::Layer<B>;

    /// Whether the kernels compute the activation together with the operation before it, so that
    /// [`ActivationLayer::after`] keeps no feature map of its own.
    fn is_fused(&self) -> bool {
        false
    }

    /// Whether a training changes parameters of the activation.
    fn is_trained(&self) -> bool {
        false
    }

    /// Whether the activation has an upper bound, the tensor `activation.bound` of each layer.
    fn has_bound(&self) -> bool {
        false
    }
}

/// The activation of one layer. Its parameters, if it has any, are saved and loaded like weights,
/// under names such as `layers.0.activation.bound`.
pub trait ActivationLayer<B: Backend>: Module<B> {
    /// The activation of every element, differentiable with respect to the input and the trained
    /// parameters.
    ///
    /// # Shapes
    ///
    /// - `input`: `[batch, channels, height, width]`
    /// - result: the shape of `input`
    fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4>;

    /// The activation of what `operation` computes. The kernels of operations can end in a ReLU:
    /// `operation` does so if its argument is true.
    fn after(&self, operation: impl FnOnce(bool) -> Tensor<B, 4>) -> Tensor<B, 4> {
        self.forward(operation(false))
    }

    /// This activation with its trained parameters moved into their ranges, as after a training
    /// step ([`lasnn_nn::Constrained`]).
    fn constrained(self) -> Self {
        self
    }
}

/// A number of an activation that is out of range.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("`{key}` is {found}, expected {expected}")]
pub struct ActivationError {
    /// The key in the table of the activation.
    pub key: &'static str,
    /// The number found.
    pub found: f64,
    /// The range that was expected.
    pub expected: &'static str,
}

/// Declares the enum [`ActivationConfig`] of all configurations, its table, and the enum
/// [`Activation`] of all modules.
macro_rules! activations {
    ($($variant:ident: $module:ident::{$config:ident, $layer:ident}),+ $(,)?) => {
        /// The activation of all layers of an ordinary network, as a recipe describes it.
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        pub enum ActivationConfig {
            $(
                #[doc = concat!("[`", stringify!($module), "::", stringify!($config), "`].")]
                $variant($module::$config),
            )+
        }

        $(
            impl From<$module::$config> for ActivationConfig {
                fn from(config: $module::$config) -> Self {
                    Self::$variant(config)
                }
            }
        )+

        impl ActivationConfig {
            /// All activations, for `lasnn list`.
            pub const KINDS: &'static [Kind] = &[$(
                Kind {
                    name: <$module::$config as ActivationKind>::NAME,
                    about: <$module::$config as ActivationKind>::ABOUT,
                    source: <$module::$config as ActivationKind>::SOURCE,
                }
            ),+];

            /// See [`ActivationKind::check`].
            ///
            /// # Errors
            ///
            /// Returns the first number that is out of range.
            pub fn check(&self) -> Result<(), ActivationError> {
                match self {
                    $(Self::$variant(config) => config.check(),)+
                }
            }

            /// See [`ActivationKind::init`].
            pub fn init<B: Backend>(&self, device: &B::Device) -> Activation<B> {
                match self {
                    $(Self::$variant(config) => {
                        Activation::$variant(ActivationKind::init::<B>(config, device))
                    })+
                }
            }

            /// See [`ActivationKind::is_fused`].
            pub fn is_fused(&self) -> bool {
                match self {
                    $(Self::$variant(config) => config.is_fused(),)+
                }
            }

            /// See [`ActivationKind::is_trained`].
            pub fn is_trained(&self) -> bool {
                match self {
                    $(Self::$variant(config) => config.is_trained(),)+
                }
            }

            /// See [`ActivationKind::has_bound`].
            pub fn has_bound(&self) -> bool {
                match self {
                    $(Self::$variant(config) => config.has_bound(),)+
                }
            }

            /// Every activation with its defaults.
            #[cfg(test)]
            fn defaults() -> Vec<Self> {
                vec![$(Self::$variant(Default::default())),+]
            }
        }

        /// The activation of one layer, of any kind.
        #[derive(Module, Debug)]
        pub enum Activation<B: Backend> {
            $(
                #[doc = concat!("[`", stringify!($module), "::", stringify!($layer), "`].")]
                $variant(<$module::$config as ActivationKind>::Layer<B>),
            )+
        }

        impl<B: Backend> ActivationLayer<B> for Activation<B> {
            fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
                match self {
                    $(Self::$variant(layer) => layer.forward(input),)+
                }
            }

            fn after(&self, operation: impl FnOnce(bool) -> Tensor<B, 4>) -> Tensor<B, 4> {
                match self {
                    $(Self::$variant(layer) => layer.after(operation),)+
                }
            }

            fn constrained(self) -> Self {
                match self {
                    $(Self::$variant(layer) => {
                        Self::$variant(ActivationLayer::<B>::constrained(layer))
                    })+
                }
            }
        }
    };
}

activations! {
    Relu: relu::{ReluConfig, Relu},
    Clip: clip::{ClipConfig, Clip},
    Qcfs: qcfs::{QcfsConfig, Qcfs},
}

impl Default for ActivationConfig {
    fn default() -> Self {
        Self::Relu(relu::ReluConfig {})
    }
}

#[cfg(test)]
mod tests {
    use burn_flex::Flex;
    use lasnn_core::{Seed, Stream};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_name_of_an_activation_is_its_kind_in_a_recipe() {
        let defaults = ActivationConfig::defaults();
        assert_eq!(defaults.len(), ActivationConfig::KINDS.len());
        for (config, kind) in defaults.iter().zip(ActivationConfig::KINDS) {
            let written = serde_json::to_value(config).unwrap();
            assert_eq!(written["kind"], kind.name);
            assert_eq!(&serde_json::from_value::<ActivationConfig>(written).unwrap(), config);
            let alone = json!({"kind": kind.name});
            assert_eq!(&serde_json::from_value::<ActivationConfig>(alone).unwrap(), config);
            let wrong = json!({"kind": kind.name, "bond": 1.0});
            let error = serde_json::from_value::<ActivationConfig>(wrong).unwrap_err().to_string();
            assert!(error.contains("bond"), "{error}");
            assert_eq!(config.check(), Ok(()));
        }
    }

    #[test]
    fn an_unknown_kind_is_refused_with_all_names() {
        let error = serde_json::from_value::<ActivationConfig>(json!({"kind": "unheard-of"}));
        let error = error.unwrap_err().to_string();
        for kind in ActivationConfig::KINDS {
            assert!(error.contains(kind.name), "{error}");
        }
    }

    /// An operation that ends in a ReLU itself must only do so if nothing else comes out.
    #[test]
    fn the_activation_of_an_operation_is_that_of_its_result() {
        let device = Default::default();
        let numbers = Seed(1).draws(Stream::Test, [0; 3]).normals(24);
        let input = Tensor::<Flex, 1>::from_data(&numbers[..], &device).reshape([2, 3, 2, 2]);
        for config in ActivationConfig::defaults() {
            let layer = config.init::<Flex>(&device);
            let mut ended_in_relu = false;
            let output = layer.after(|relu| {
                ended_in_relu = relu;
                if relu { input.clone().clamp_min(0.0) } else { input.clone() }
            });
            assert_eq!(output.into_data(), layer.forward(input.clone()).into_data(), "{config:?}");
            assert_eq!(ended_in_relu, config.is_fused(), "{config:?}");
        }
    }
}
