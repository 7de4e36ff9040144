//! The definition of a network: everything on which its result depends, except its tensors.
//!
//! Every checkpoint contains its definition. A command that takes a checkpoint and a recipe
//! compares the two before it computes anything, and names every difference.

use std::collections::BTreeMap;
use std::path::Path;

use lasnn_core::{Architecture, Shape};
use lasnn_datasets::{Moments, Normalisation, Normaliser};
use lasnn_models::ActivationConfig;
use lasnn_snn::SpikingConfig;
use serde::{Deserialize, Serialize};

use crate::escape::printable;
use crate::failure::invalid_input;
use crate::recipe::{Recipe, StageNetwork};
use crate::splits::Splits;

/// Everything on which the result of a network depends, except its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The layers.
    pub network: Architecture,
    /// The activation of an ANN. Checkpoints of earlier versions lack it: they hold networks with
    /// ReLUs, as the default is.
    #[serde(default)]
    pub activation: ActivationConfig,
    /// The shape of the images.
    pub image: Shape,
    /// The normalisation of the pixels.
    pub normalisation: NormalisationNumbers,
    /// The name of each class, in the order of the class scores.
    pub classes: Vec<String>,
    /// The options of a spiking network. `None` for an ANN.
    pub spiking: Option<SpikingDefinition>,
}

/// A normalisation with its numbers: channel `c` of a pixel `p` from 0 to 255 becomes
/// `(p / 255 - mean[c]) / deviation[c]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NormalisationNumbers {
    /// The name of the normalisation in recipes.
    pub kind: Normalisation,
    /// One number per channel.
    pub mean: Vec<f64>,
    /// One number per channel.
    pub deviation: Vec<f64>,
}

/// The options of a spiking network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpikingDefinition {
    /// Neurons and encoding.
    pub config: SpikingConfig,
    /// The number of time steps for which the network was made.
    pub time_steps: usize,
}

impl Definition {
    /// The definition of the network of a stage, from the recipe and its images.
    pub fn of(recipe: &Recipe, splits: &Splits, network: &StageNetwork<'_>) -> Self {
        let spiking = network.time_steps.as_ref().map(|steps| SpikingDefinition {
            config: recipe.spiking.clone(),
            time_steps: steps.number,
        });
        Self {
            network: network.layers.clone().into_owned(),
            activation: recipe.activation_of(&network.stage),
            image: splits.dataset.shape,
            normalisation: NormalisationNumbers::of(
                recipe.data.normalisation,
                splits.normaliser().moments(),
            ),
            classes: splits.dataset.class_names.clone(),
            spiking,
        }
    }

    /// The definition as text for a person, on several lines.
    pub fn text(&self) -> String {
        let Self { network, activation, image, normalisation, classes, spiking } = self;
        let numbers = |numbers: &[f64]| {
            let rounded: Vec<_> = numbers.iter().map(|number| format!("{number:.4}")).collect();
            rounded.join(", ")
        };
        let names: Vec<_> = classes.iter().map(|name| printable(name)).collect();
        let mut text = format!(
            "{} on images of {image}, normalised by \"{}\" (mean {}, deviation {})\n{} classes: {}",
            network.name,
            normalisation.kind.name(),
            numbers(&normalisation.mean),
            numbers(&normalisation.deviation),
            names.len(),
            names.join(", ")
        );
        if *activation != ActivationConfig::default() {
            text.push_str(&format!("\nactivation {}", as_toml(activation)));
        }
        if let Some(SpikingDefinition { config, time_steps }) = spiking {
            let keys = spiking_keys(config);
            let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key} {value}")).collect();
            text.push_str(&format!("\n{time_steps} time steps; {}", keys.join(", ")));
        }
        text
    }
}

/// A value as a recipe writes it.
pub fn as_toml(value: &impl Serialize) -> String {
    toml::Value::try_from(value).map_or_else(|error| error.to_string(), |value| value.to_string())
}

/// The keys of `[spiking]` with their values. Those of the neurons begin with `neuron.`.
pub fn spiking_keys(config: &SpikingConfig) -> BTreeMap<String, toml::Value> {
    let mut keys = BTreeMap::new();
    for (name, value) in toml::Table::try_from(config).unwrap_or_default() {
        match value {
            toml::Value::Table(neuron) if name == "neuron" => {
                keys.extend(
                    neuron.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)),
                );
            }
            value => {
                keys.insert(name, value);
            }
        }
    }
    keys
}

impl NormalisationNumbers {
    /// The normalisation `kind` with these numbers.
    pub fn of(kind: Normalisation, moments: &Moments) -> Self {
        let Moments { mean, deviation } = moments.clone();
        Self { kind, mean, deviation }
    }

    /// The normaliser for images of `channels` channels.
    ///
    /// # Errors
    ///
    /// Fails if the number of channels differs, if a number is not finite, or if a deviation is not
    /// positive. The error names `path`, the file that contains the numbers.
    pub fn normaliser(&self, channels: usize, path: &Path) -> anyhow::Result<Normaliser> {
        let Self { mean, deviation, .. } = self;
        let valid = mean.iter().all(|value| value.is_finite())
            && deviation.iter().all(|value| value.is_finite() && *value > 0.0);
        if mean.len() != channels || deviation.len() != channels || !valid {
            return Err(invalid_input(format_args!(
                "{}: the normalisation has the mean {mean:?} and the deviation {deviation:?}, \
                 expected {channels} finite numbers each and deviations above 0",
                path.display()
            )));
        }
        Ok(Normaliser::from(Moments { mean: mean.clone(), deviation: deviation.clone() }))
    }

    /// Whether the numbers are equal up to rounding errors.
    pub fn is_close(&self, other: &Self) -> bool {
        let close = |a: &[f64], b: &[f64]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9)
        };
        close(&self.mean, &other.mean) && close(&self.deviation, &other.deviation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_normalisation_numbers_are_refused() {
        let numbers = |mean: &[f64], deviation: &[f64]| NormalisationNumbers {
            kind: Normalisation::Standard,
            mean: mean.to_vec(),
            deviation: deviation.to_vec(),
        };
        let path = Path::new("a.safetensors");
        assert!(numbers(&[0.5], &[0.1]).normaliser(1, path).is_ok());
        for (mean, deviation) in
            [(&[0.5][..], &[0.0][..]), (&[f64::NAN], &[1.0]), (&[0.5, 0.5], &[1.0, 1.0])]
        {
            let error = numbers(mean, deviation).normaliser(1, path).unwrap_err().to_string();
            assert!(error.starts_with("a.safetensors: the normalisation has"), "{error}");
        }
    }
}
