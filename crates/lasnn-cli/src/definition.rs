//! The definition of a network: everything on which its result depends, except its tensors.
//!
//! Every checkpoint holds its definition. A command that is given a checkpoint and a recipe
//! compares the two before anything is computed, and refuses what differs by name.

use std::collections::BTreeSet;
use std::path::Path;

use lasnn_core::{Architecture, Layer, Shape};
use lasnn_datasets::{Moments, Normalisation, Normaliser};
use lasnn_snn::SpikingConfig;
use serde::{Deserialize, Serialize};

use crate::data::Data;
use crate::failure::wrong;
use crate::recipe::Recipe;
use crate::stage::StageName;

/// Everything on which the result of a network depends, except its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Its layers.
    pub network: Architecture,
    /// The shape of its images.
    pub image: Shape,
    /// How pixels become numbers.
    pub normalisation: NormalisationNumbers,
    /// The name of each class, in the order of the class scores.
    pub classes: Vec<String>,
    /// What only a spiking network has.
    pub spiking: Option<SpikingDefinition>,
}

/// A normalisation with its numbers: channel `c` of a pixel `p` of 0 to 255 becomes
/// `(p / 255 - mean[c]) / deviation[c]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NormalisationNumbers {
    /// The name by which recipes call it.
    pub kind: Normalisation,
    /// One number per channel.
    pub mean: Vec<f64>,
    /// One number per channel.
    pub deviation: Vec<f64>,
}

/// What a spiking network is beside its layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpikingDefinition {
    /// Neurons, encoding and readout.
    pub config: SpikingConfig,
    /// The number of time steps that it was made for.
    pub time_steps: usize,
}

/// What a command line says in place of a checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// The normalisation of the images.
    pub normalisation: Option<Normalisation>,
    /// The number of time steps.
    pub time_steps: Option<usize>,
}

impl Definition {
    /// The definition of the network of a stage of a recipe on its images.
    pub fn of(recipe: &Recipe, data: &Data, stage: StageName) -> Self {
        let spiking = stage.is_spiking().then(|| SpikingDefinition {
            config: recipe.spiking.clone(),
            time_steps: recipe.student.time_steps,
        });
        Self {
            network: recipe.network(stage).clone(),
            image: data.dataset.shape,
            normalisation: NormalisationNumbers::of(
                recipe.data.normalisation,
                data.normaliser().moments(),
            ),
            classes: data.dataset.class_names.clone(),
            spiking,
        }
    }

    /// The differences between this definition, which is a checkpoint's, and that of the recipe:
    /// one sentence each.
    ///
    /// The numbers of a normalisation may differ as long as its name agrees, because `standard`
    /// follows from the images trained on; those of the checkpoint are the right ones. The
    /// surrogate gradient may differ too, because it acts in training only.
    fn differences(&self, recipe: &Self, stage: StageName, overrides: Overrides) -> Vec<String> {
        let mut all = Vec::new();
        let mut differ = |what: &str, found: String, expected: String| {
            all.push(format!("{what} is {found} in the checkpoint and {expected} in the recipe"));
        };
        if let Some((layer, found, expected)) = first_layer(&self.network, &recipe.network) {
            let what = format!("`layers.{layer}` of `{}.network`", stage.table());
            differ(&what, found, expected);
        }
        if self.image != recipe.image {
            let what = "the shape of the images";
            differ(what, self.image.to_string(), recipe.image.to_string());
        }
        let same_numbers = self.normalisation.is_close(&recipe.normalisation);
        if self.normalisation.kind != recipe.normalisation.kind
            && !same_numbers
            && overrides.normalisation.is_none()
        {
            let name = |numbers: &NormalisationNumbers| format!("\"{}\"", numbers.kind.name());
            differ("`data.normalisation`", name(&self.normalisation), name(&recipe.normalisation));
        }
        if let Some((class, found, expected)) = first_class(&self.classes, &recipe.classes) {
            differ(&format!("class {class}"), found, expected);
        }
        if let (Some(found), Some(expected)) = (&self.spiking, &recipe.spiking) {
            for (key, found, expected) in keys(&found.config, &expected.config) {
                differ(&format!("`spiking.{key}`"), found, expected);
            }
            if found.time_steps != expected.time_steps && overrides.time_steps.is_none() {
                let (found, expected) = (found.time_steps, expected.time_steps);
                differ("`student.time_steps`", found.to_string(), expected.to_string());
            }
        }
        all
    }

    /// Checks that the recipe says the same as the checkpoint `path`, which this one is of.
    ///
    /// # Errors
    ///
    /// Names everything that differs and is not overridden.
    pub fn check(
        &self,
        recipe: &Self,
        stage: StageName,
        overrides: Overrides,
        path: &Path,
    ) -> anyhow::Result<()> {
        let differences = self.differences(recipe, stage, overrides);
        if differences.is_empty() {
            return Ok(());
        }
        Err(wrong(format_args!(
            "{} does not fit the {} of the recipe:\n  {}",
            path.display(),
            stage.name(),
            differences.join("\n  "),
        )))
    }
}

impl NormalisationNumbers {
    /// A normalisation with these numbers.
    pub fn of(kind: Normalisation, moments: &Moments) -> Self {
        let Moments { mean, deviation } = moments.clone();
        Self { kind, mean, deviation }
    }

    /// What normalises images of `channels` channels with these numbers.
    ///
    /// # Errors
    ///
    /// Fails if there are not as many numbers as channels, or if one makes no sense. `path` is the
    /// file that they come from.
    pub fn normaliser(&self, channels: usize, path: &Path) -> anyhow::Result<Normaliser> {
        let Self { mean, deviation, .. } = self;
        let sensible = mean.iter().all(|value| value.is_finite())
            && deviation.iter().all(|value| value.is_finite() && *value > 0.0);
        if mean.len() != channels || deviation.len() != channels || !sensible {
            return Err(wrong(format_args!(
                "{}: the normalisation has the means {mean:?} and the deviations {deviation:?}, \
                 expected {channels} finite numbers each, deviations above 0",
                path.display()
            )));
        }
        Ok(Normaliser::from(Moments { mean: mean.clone(), deviation: deviation.clone() }))
    }

    /// Whether the numbers are equal but for rounding.
    pub fn is_close(&self, other: &Self) -> bool {
        let close = |a: &[f64], b: &[f64]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9)
        };
        close(&self.mean, &other.mean) && close(&self.deviation, &other.deviation)
    }
}

/// The first layer that is not the same, with both layers as a recipe writes them. Taps do not
/// count: they say where distillation looks, and change no result.
fn first_layer(found: &Architecture, expected: &Architecture) -> Option<(usize, String, String)> {
    let plain = |network: &Architecture, index: usize| {
        network.layers.get(index).map(|layer| layer.clone().untapped())
    };
    let longest = found.layers.len().max(expected.layers.len());
    let differs = |&index: &usize| plain(found, index) != plain(expected, index);
    let index = (0..longest).find(differs)?;
    let text = |layer: Option<Layer>| layer.as_ref().map_or("absent".into(), written);
    Some((index, text(plain(found, index)), text(plain(expected, index))))
}

/// The first class that has not the same name.
fn first_class(found: &[String], expected: &[String]) -> Option<(usize, String, String)> {
    let longest = found.len().max(expected.len());
    let index = (0..longest).find(|&index| found.get(index) != expected.get(index))?;
    // Quoted, because a name may hold what a terminal takes for an order.
    let text = |names: &[String]| names.get(index).map_or("absent".into(), |n| format!("{n:?}"));
    Some((index, text(found), text(expected)))
}

/// The keys of two tables `spiking` whose values differ and change results, with both values.
fn keys(found: &SpikingConfig, expected: &SpikingConfig) -> Vec<(String, String, String)> {
    let table = |config| toml::Table::try_from(config).unwrap_or_default();
    let (found, expected) = (table(found), table(expected));
    let all: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differing = all.into_iter().filter(|key| found.get(*key) != expected.get(*key));
    let shown = |table: &toml::Table, key: &String| {
        table.get(key).map_or("absent".into(), toml::Value::to_string)
    };
    differing
        .filter(|key| *key != "surrogate")
        .map(|key| (key.clone(), shown(&found, key), shown(&expected, key)))
        .collect()
}

/// A value as a recipe writes it.
fn written(value: &impl Serialize) -> String {
    toml::Value::try_from(value).map_or_else(|error| error.to_string(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use lasnn_core::Tap;
    use lasnn_neurons::{Reset, Surrogate};

    use super::*;

    fn definition() -> Definition {
        let layers = vec![Layer::conv(4).tapped(Tap::Low), Layer::Classifier { bias: false }];
        Definition {
            network: Architecture { name: "net".into(), layers },
            image: Shape { channels: 1, height: 8, width: 8 },
            normalisation: NormalisationNumbers {
                kind: Normalisation::Standard,
                mean: vec![0.3],
                deviation: vec![0.2],
            },
            classes: vec!["ant".into(), "bee".into()],
            spiking: Some(SpikingDefinition { config: SpikingConfig::default(), time_steps: 8 }),
        }
    }

    /// What is said where the recipe differs from the checkpoint by `change`.
    fn said(change: impl FnOnce(&mut Definition), overrides: Overrides) -> Vec<String> {
        let mut recipe = definition();
        change(&mut recipe);
        definition().differences(&recipe, StageName::Student, overrides)
    }

    #[track_caller]
    fn refuses(change: impl FnOnce(&mut Definition), words: &[&str]) {
        let said = said(change, Overrides::default());
        assert_eq!(said.len(), 1, "{said:?}");
        for word in words {
            assert!(said[0].contains(word), "no `{word}` in {said:?}");
        }
    }

    #[test]
    fn each_difference_is_named_with_both_values() {
        assert!(said(|_| {}, Overrides::default()).is_empty());
        refuses(
            |d| d.network.layers[0] = Layer::conv(5),
            &["`layers.0` of `intermediate.network`", "channels = 4", "channels = 5"],
        );
        refuses(|d| d.network.layers.push(Layer::conv(5)), &["`layers.2`", "absent"]);
        refuses(|d| d.image.width = 9, &["1x8x8", "1x8x9"]);
        refuses(|d| d.classes[0] = "zebra".into(), &["class 0", "\"ant\"", "\"zebra\""]);
        refuses(|d| d.classes.truncate(1), &["class 1", "\"bee\"", "absent"]);
        let unit = |d: &mut Definition| {
            d.normalisation = NormalisationNumbers {
                kind: Normalisation::Unit,
                mean: vec![0.0],
                deviation: vec![1.0],
            };
        };
        refuses(unit, &["`data.normalisation`", "\"standard\"", "\"unit\""]);
        let spiking = |change: fn(&mut SpikingDefinition)| {
            move |d: &mut Definition| change(d.spiking.as_mut().unwrap())
        };
        refuses(spiking(|s| s.config.leak = 0.7), &["`spiking.leak`", "1.0", "0.7"]);
        refuses(spiking(|s| s.config.reset = Reset::Zero), &["`spiking.reset`", "\"zero\""]);
        refuses(spiking(|s| s.time_steps = 4), &["`student.time_steps`", "8", "4"]);
    }

    #[test]
    fn what_changes_no_result_may_differ() {
        let may_differ = |change: fn(&mut Definition)| {
            assert!(said(change, Overrides::default()).is_empty());
        };
        may_differ(|d| d.network.name = "other".into());
        may_differ(|d| d.network.layers[0] = Layer::conv(4));
        // Another seed holds other images out, and the mean of the others is another one.
        may_differ(|d| d.normalisation.mean = vec![0.301]);
        may_differ(|d| d.normalisation.kind = Normalisation::Published);
        may_differ(|d| {
            d.spiking.as_mut().unwrap().config.surrogate = Surrogate::Linear { damping: 1.0 };
        });
    }

    #[test]
    fn overridden_values_may_differ() {
        let overrides = Overrides { normalisation: Some(Normalisation::Unit), time_steps: Some(4) };
        let change = |d: &mut Definition| {
            d.normalisation.kind = Normalisation::Unit;
            d.normalisation.mean = vec![0.0];
            d.spiking.as_mut().unwrap().time_steps = 4;
        };
        assert!(said(change, overrides).is_empty());
    }

    #[test]
    fn numbers_without_sense_are_refused() {
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
