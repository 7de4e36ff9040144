//! Compares the definition of a checkpoint with that of a recipe.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lasnn_core::{Architecture, Layer};
use lasnn_datasets::Normalisation;
use lasnn_snn::SpikingConfig;

use crate::definition::{Definition, NormalisationNumbers, as_toml, spiking_keys};
use crate::failure::invalid_input;
use crate::recipe::StageNetwork;

/// Options of the command line that replace values of a checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// The normalisation of the images.
    pub normalisation: Option<Normalisation>,
    /// The number of time steps.
    pub time_steps: Option<usize>,
}

impl Definition {
    /// Checks that the recipe has the same definition as this one, which is that of the checkpoint
    /// `path`. `recipe` is the definition of `network`, the network of a stage of the recipe.
    ///
    /// # Errors
    ///
    /// Names every difference that is not overridden.
    pub fn check(
        &self,
        recipe: &Self,
        network: &StageNetwork<'_>,
        overrides: Overrides,
        path: &Path,
    ) -> anyhow::Result<()> {
        let differences = self.differences(recipe, network, overrides);
        if differences.is_empty() {
            return Ok(());
        }
        Err(invalid_input(format_args!(
            "{} does not fit the {} of the recipe:\n  {}",
            path.display(),
            network.stage,
            differences.join("\n  "),
        )))
    }

    /// The differences between this definition, which is a checkpoint's, and that of a recipe: one
    /// sentence each.
    ///
    /// Two things may differ. The first is the numbers of a normalisation, as long as its name
    /// agrees: `standard` computes them from the training images, and those of the checkpoint are
    /// the right ones. The second is the surrogate gradient, because it is used in training only.
    fn differences(
        &self,
        recipe: &Self,
        network: &StageNetwork<'_>,
        overrides: Overrides,
    ) -> Vec<String> {
        let mut all = Vec::new();
        let mut differ = |what: &str, found: String, expected: String| {
            all.push(format!("{what} is {found} in the checkpoint and {expected} in the recipe"));
        };
        if let Some((layer, found, expected)) = first_layer(&self.network, &recipe.network) {
            let what = format!("`layers.{layer}` of `{}.network`", network.table);
            differ(&what, found, expected);
        }
        if self.activation != recipe.activation {
            let what = format!("`{}.activation`", network.table);
            differ(&what, as_toml(&self.activation), as_toml(&recipe.activation));
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
                let key = network.time_steps.as_ref().map_or("time_steps", |steps| &*steps.key);
                differ(&format!("`{key}`"), found.to_string(), expected.to_string());
            }
        }
        all
    }
}

/// The first layer that differs: its index, and both layers as a recipe writes them.
///
/// Taps are ignored: they select the layers that distillation compares, and change no result.
fn first_layer(found: &Architecture, expected: &Architecture) -> Option<(usize, String, String)> {
    let untapped = |network: &Architecture, index: usize| {
        network.layers.get(index).map(|layer| layer.clone().untapped())
    };
    let longest = found.layers.len().max(expected.layers.len());
    let differs = |&index: &usize| untapped(found, index) != untapped(expected, index);
    let index = (0..longest).find(differs)?;
    let text = |layer: Option<Layer>| layer.as_ref().map_or("absent".into(), as_toml);
    Some((index, text(untapped(found, index)), text(untapped(expected, index))))
}

/// The first class whose name differs: its index, and both names.
fn first_class(found: &[String], expected: &[String]) -> Option<(usize, String, String)> {
    let longest = found.len().max(expected.len());
    let index = (0..longest).find(|&index| found.get(index) != expected.get(index))?;
    // `Debug` escapes control characters, which a terminal would take as commands.
    let text = |names: &[String]| names.get(index).map_or("absent".into(), |n| format!("{n:?}"));
    Some((index, text(found), text(expected)))
}

/// The key that decides which keys the neurons have.
const NEURON_KIND: &str = "neuron.kind";

/// The keys of `[spiking]` whose values differ and change results, with both values.
fn keys(found: &SpikingConfig, expected: &SpikingConfig) -> Vec<(String, String, String)> {
    let (found, expected) = (spiking_keys(found), spiking_keys(expected));
    // Neurons of different kinds have different keys.
    let same_kind = found.get(NEURON_KIND) == expected.get(NEURON_KIND);
    let all: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differing = all.into_iter().filter(|key| found.get(*key) != expected.get(*key));
    let shown = |keys: &BTreeMap<String, toml::Value>, key: &String| {
        keys.get(key).map_or("absent".into(), toml::Value::to_string)
    };
    differing
        .filter(|key| *key != "neuron.surrogate")
        .filter(|key| same_kind || *key == NEURON_KIND || !key.starts_with("neuron."))
        .map(|key| (key.clone(), shown(&found, key), shown(&expected, key)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use lasnn_core::{Shape, Tap};
    use lasnn_models::{ActivationConfig, ClipConfig};
    use lasnn_neurons::{LifConfig, NeuronConfig, PlifConfig, Reset, Surrogate};

    use super::*;
    use crate::definition::SpikingDefinition;
    use crate::recipe::TimeSteps;
    use crate::stage::StageName;

    fn definition() -> Definition {
        let layers = vec![Layer::conv(4).tapped(Tap::Low), Layer::Classifier { bias: false }];
        Definition {
            network: Architecture { name: "net".into(), layers },
            activation: ActivationConfig::default(),
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

    /// The differences to a recipe that `change` has changed.
    fn differences(change: impl FnOnce(&mut Definition), overrides: Overrides) -> Vec<String> {
        let mut recipe = definition();
        change(&mut recipe);
        let found = definition();
        let time_steps = TimeSteps { number: 8, key: "student.time_steps".into() };
        let network = StageNetwork {
            stage: StageName::STUDENT,
            table: "intermediate".into(),
            layers: Cow::Borrowed(&found.network),
            time_steps: Some(time_steps),
        };
        found.differences(&recipe, &network, overrides)
    }

    #[track_caller]
    fn refuses(change: impl FnOnce(&mut Definition), words: &[&str]) {
        let found = differences(change, Overrides::default());
        assert_eq!(found.len(), 1, "{found:?}");
        for word in words {
            assert!(found[0].contains(word), "no `{word}` in {found:?}");
        }
    }

    #[test]
    fn each_difference_is_named_with_both_values() {
        assert!(differences(|_| {}, Overrides::default()).is_empty());
        refuses(
            |d| d.network.layers[0] = Layer::conv(5),
            &["`layers.0` of `intermediate.network`", "channels = 4", "channels = 5"],
        );
        refuses(|d| d.network.layers.push(Layer::conv(5)), &["`layers.2`", "absent"]);
        let clip = ClipConfig { bound: 2.0, train: true };
        refuses(
            |d| d.activation = clip.into(),
            &["`intermediate.activation`", "relu", "bound = 2.0"],
        );
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
        let leaky = LifConfig { leak: 0.7.into(), ..Default::default() };
        let hard = LifConfig { reset: Reset::Zero, ..Default::default() };
        let neuron = |neuron: NeuronConfig| {
            move |d: &mut Definition| d.spiking.as_mut().unwrap().config.neuron = neuron
        };
        refuses(neuron(leaky.into()), &["`spiking.neuron.leak`", "1.0", "0.7"]);
        refuses(neuron(hard.into()), &["`spiking.neuron.reset`", "\"zero\""]);
        let plif = PlifConfig::default();
        refuses(neuron(plif.into()), &["`spiking.neuron.kind`", "\"lif\"", "\"plif\""]);
        refuses(spiking(|s| s.time_steps = 4), &["`student.time_steps`", "8", "4"]);
    }

    #[test]
    fn values_that_change_no_result_may_differ() {
        let may_differ = |change: fn(&mut Definition)| {
            assert!(differences(change, Overrides::default()).is_empty());
        };
        may_differ(|d| d.network.name = "other".into());
        may_differ(|d| d.network.layers[0] = Layer::conv(4));
        // Another seed holds out other images, so the mean of the training images differs.
        may_differ(|d| d.normalisation.mean = vec![0.301]);
        may_differ(|d| d.normalisation.kind = Normalisation::Published);
        may_differ(|d| {
            let surrogate = Surrogate::Linear { damping: 1.0 };
            let neuron = LifConfig { surrogate, ..Default::default() };
            d.spiking.as_mut().unwrap().config.neuron = neuron.into();
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
        assert!(differences(change, overrides).is_empty());
    }
}
