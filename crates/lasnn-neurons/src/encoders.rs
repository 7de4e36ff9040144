//! The table of encoders, which turn images into input over time, and one module for each of them.

pub mod direct;
pub mod poisson;

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Kind, Pass};
use serde::{Deserialize, Serialize};

pub use direct::Direct;
pub use poisson::{Poisson, PoissonRange};

/// An encoder with its numbers. It turns images into the input of every time step.
pub trait Encoder {
    /// The name in a recipe: the `kind` of `spiking.encoding`.
    const NAME: &'static str;
    /// What the encoder does, in one line.
    const ABOUT: &'static str;
    /// The publication that has the encoder.
    const SOURCE: &'static str;

    /// What a network gets at a time step.
    fn values(&self) -> EncodedValues;

    /// Checks that the encoder has a meaning for all pixels from `lowest` to `highest`.
    ///
    /// # Errors
    ///
    /// Says why other pixels are needed, as the end of a sentence that begins with "since".
    fn check_pixels(&self, lowest: f32, highest: f32) -> Result<(), &'static str> {
        let _ = (lowest, highest);
        Ok(())
    }

    /// The input of `steps` time steps from `first_step` on, which is counted from 0.
    ///
    /// The steps or the batch can be split over several calls; the input stays the same.
    ///
    /// # Shapes
    ///
    /// - `images`: `[batch, channels, height, width]`
    /// - result: `[steps * batch, channels, height, width]`
    ///
    /// # Panics
    ///
    /// A random encoder panics if `pass` does not have one sample for each image.
    fn encode<B: Backend>(
        &self,
        images: Tensor<B, 4>,
        first_step: u32,
        steps: usize,
        pass: &Pass<'_>,
    ) -> Tensor<B, 4>;
}

/// The values of an encoded input. The kernels and the counts of operations depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodedValues {
    /// The images themselves, the same at every time step. A network computes the currents of its
    /// first convolution once and repeats them.
    Constant,
    /// Spikes: 0 or 1.
    Spikes,
    /// Spikes with a sign: 0, 1 or -1.
    SignedSpikes,
    /// Other numbers at every time step. There is no kernel for them, so a network runs layer by
    /// layer.
    Numbers,
}

impl EncodedValues {
    /// Whether the values are the same at every time step.
    pub fn is_constant(self) -> bool {
        self == Self::Constant
    }

    /// Whether every value is a spike, so that a network adds weights instead of multiplying.
    pub fn are_spikes(self) -> bool {
        matches!(self, Self::Spikes | Self::SignedSpikes)
    }

    /// Whether there can be spikes of -1.
    pub fn are_signed(self) -> bool {
        self == Self::SignedSpikes
    }
}

/// Declares the enum [`Encoding`] and its table.
macro_rules! encoders {
    ($($variant:ident: $module:ident::$encoder:ident),+ $(,)?) => {
        /// An encoder with its numbers: `spiking.encoding` in a recipe.
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        pub enum Encoding {
            $(
                #[doc = concat!("[`", stringify!($module), "::", stringify!($encoder), "`].")]
                $variant($module::$encoder),
            )+
        }

        $(
            impl From<$module::$encoder> for Encoding {
                fn from(encoder: $module::$encoder) -> Self {
                    Self::$variant(encoder)
                }
            }
        )+

        impl Encoding {
            /// All encoders, for `lasnn list`.
            pub const KINDS: &'static [Kind] = &[$(
                Kind {
                    name: <$module::$encoder as Encoder>::NAME,
                    about: <$module::$encoder as Encoder>::ABOUT,
                    source: <$module::$encoder as Encoder>::SOURCE,
                }
            ),+];

            /// The name of this encoder in a recipe.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => <$module::$encoder as Encoder>::NAME,)+
                }
            }

            /// See [`Encoder::values`].
            pub fn values(&self) -> EncodedValues {
                match self {
                    $(Self::$variant(encoder) => encoder.values(),)+
                }
            }

            /// See [`Encoder::check_pixels`].
            ///
            /// # Errors
            ///
            /// Says why other pixels are needed, as the end of a sentence that begins with "since".
            pub fn check_pixels(&self, lowest: f32, highest: f32) -> Result<(), &'static str> {
                match self {
                    $(Self::$variant(encoder) => encoder.check_pixels(lowest, highest),)+
                }
            }

            /// See [`Encoder::encode`].
            ///
            /// # Panics
            ///
            /// A random encoder panics if `pass` does not have one sample for each image.
            pub fn encode<B: Backend>(
                &self,
                images: Tensor<B, 4>,
                first_step: u32,
                steps: usize,
                pass: &Pass<'_>,
            ) -> Tensor<B, 4> {
                match self {
                    $(Self::$variant(encoder) => encoder.encode(images, first_step, steps, pass),)+
                }
            }

            /// Every encoder with its defaults.
            #[cfg(test)]
            fn defaults() -> Vec<Self> {
                vec![$(Self::$variant(Default::default())),+]
            }
        }
    };
}

encoders! {
    Direct: direct::Direct,
    Poisson: poisson::Poisson,
}

impl Default for Encoding {
    fn default() -> Self {
        Self::Direct(Direct {})
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use burn_flex::Flex;
    use lasnn_core::Seed;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_name_of_an_encoder_is_its_kind_in_a_recipe() {
        let defaults = Encoding::defaults();
        assert_eq!(defaults.len(), Encoding::KINDS.len());
        for (encoding, kind) in defaults.iter().zip(Encoding::KINDS) {
            assert_eq!(encoding.name(), kind.name);
            let written = serde_json::to_value(encoding).unwrap();
            assert_eq!(written["kind"], kind.name);
            assert_eq!(&serde_json::from_value::<Encoding>(written).unwrap(), encoding);
            let alone = json!({"kind": kind.name});
            assert_eq!(&serde_json::from_value::<Encoding>(alone).unwrap(), encoding);
            let wrong = json!({"kind": kind.name, "rage": "unit"});
            let error = serde_json::from_value::<Encoding>(wrong).unwrap_err().to_string();
            assert!(error.contains("rage"), "{error}");
        }
    }

    #[test]
    fn an_unknown_kind_is_refused_with_all_names() {
        let error = serde_json::from_value::<Encoding>(json!({"kind": "unheard-of"})).unwrap_err();
        for kind in Encoding::KINDS {
            assert!(error.to_string().contains(kind.name), "{error}");
        }
    }

    #[test]
    fn the_values_of_an_input_are_those_that_its_encoder_says() {
        let pixels = vec![-1.0f32, -0.25, 0.25, 0.75];
        let data = TensorData::new(pixels.clone(), [1, 1, 2, 2]);
        let images = Tensor::from_data(data, &Default::default());
        let pass = Pass::evaluate(Seed(1), &[0]);
        for encoding in Encoding::defaults() {
            let encoded = encoding.encode::<Flex>(images.clone(), 0, 20, &pass);
            let found: Vec<f32> = encoded.into_data().iter().collect();
            let values = encoding.values();
            let constant = found.chunks(pixels.len()).all(|step| step == pixels);
            assert_eq!(constant, values.is_constant(), "{encoding:?}");
            let spikes = found.iter().all(|value| [0.0, 1.0, -1.0].contains(value));
            assert_eq!(spikes, values.are_spikes(), "{encoding:?}");
            let signed = spikes && found.contains(&-1.0);
            assert_eq!(signed, values.are_signed(), "{encoding:?}");
        }
    }
}
