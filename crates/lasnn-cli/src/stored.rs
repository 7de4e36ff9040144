//! A finished network in its file, with everything that a later run or a reader wants to know.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use burn::tensor::TensorData;
use lasnn_conversion::ConversionReport;
use lasnn_nn::StateDict;
use lasnn_training::{Checkpoint, EpochRecord};
use serde::{Deserialize, Serialize};

use crate::definition::{Definition, SpikingDefinition};
use crate::failure::{quoted, wrong};
use crate::printable::printable;
use crate::stage::StageName;
use crate::summary::StageSummary;

/// Raised when the meaning of the metadata or of what it was made from changes; older files are
/// then made again. Since version 2 a file holds the network's [`Definition`].
pub const FORMAT: u32 = 2;

/// A finished network.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its tensors.
    pub state: StateDict,
    /// What is to be known about it.
    pub about: About,
}

/// What is to be known about a network; docs/checkpoints.md explains each key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// The stage that it came out of.
    pub stage: StageName,
    /// What its result depends on beside its tensors.
    pub definition: Definition,
    /// The axes of each tensor, row-major, by its name.
    pub layout: BTreeMap<String, String>,
    /// Its accuracy and what else was measured; absent where `lasnn annotate` wrote the file.
    pub summary: Option<StageSummary>,
    /// How it was trained.
    pub history: Vec<EpochRecord>,
    /// How it was converted.
    pub conversion: Option<Conversion>,
}

/// What a conversion did to each layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversion {
    /// The layers of neurons from the image on.
    pub layers: Vec<ConvertedLayer>,
    /// What went wrong, with the name of the layer.
    pub warnings: Vec<String>,
}

/// What a conversion did to one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvertedLayer {
    /// Its name.
    pub layer: String,
    /// Its threshold, scaled.
    pub threshold: f32,
    /// Spikes per neuron and step.
    pub firing_rate: f64,
    /// Share of neurons that never fired.
    pub dead: f64,
    /// Share of neurons that were never active in the ordinary network.
    pub ann_dead: f64,
    /// Share of neurons that fired at every step.
    pub saturated: f64,
    /// Correlation of activation and firing rate, where both vary.
    pub correlation: Option<f64>,
}

impl From<ConversionReport> for Conversion {
    fn from(report: ConversionReport) -> Self {
        let layer = |layer: lasnn_conversion::LayerReport| ConvertedLayer {
            layer: layer.name,
            threshold: layer.threshold,
            firing_rate: layer.firing_rate,
            dead: layer.dead,
            ann_dead: layer.ann_dead,
            saturated: layer.saturated,
            correlation: layer.correlation,
        };
        Self { layers: report.layers.into_iter().map(layer).collect(), warnings: report.warnings }
    }
}

impl About {
    /// What the metadata of a checkpoint say about it.
    ///
    /// # Errors
    ///
    /// Fails if another version of this program or another program wrote the file. `recipe` and
    /// `stage` are for the command that helps.
    pub fn of(
        checkpoint: &Checkpoint,
        path: &Path,
        recipe: &Path,
        stage: StageName,
    ) -> anyhow::Result<Self> {
        let metadata = &checkpoint.metadata;
        let version = metadata.get("format").and_then(serde_json::Value::as_u64);
        let refused = |reason: &str| wrong(format_args!("{}: {reason}", path.display()));
        let reason = match version {
            Some(version) if version == u64::from(FORMAT) => {
                let about = serde_json::from_value(metadata.clone());
                return about.map_err(|error| refused(&format!("its metadata: {error}")));
            }
            Some(version) if version > u64::from(FORMAT) => {
                return Err(refused(&format!(
                    "its format version is {version}, expected {FORMAT}: a newer version of this \
                     program wrote it"
                )));
            }
            None if metadata.get("run").is_some() => {
                return Err(refused(
                    "it is a file from which a training goes on; the trained network is in \
                     `checkpoints/<stage>.safetensors`",
                ));
            }
            Some(_) => "an older version of this program wrote it",
            None => "another program wrote it",
        };
        let said = metadata.get("stage").cloned().map(serde_json::from_value);
        let stage = said.and_then(Result::ok).unwrap_or(stage);
        Err(wrong(format_args!(
            "{} does not say which images, classes and neurons its tensors are for, since \
             {reason}; `{}` adds this information from the recipe",
            path.display(),
            annotate(path, recipe, stage)
        )))
    }
}

/// The command that makes a checkpoint with a definition out of one without.
fn annotate(path: &Path, recipe: &Path, stage: StageName) -> String {
    let word = |path: &Path| quoted(&path.to_string_lossy());
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let out = path.with_file_name(format!("{stem}-annotated.safetensors"));
    format!(
        "lasnn annotate {} {} --stage {} --out {}",
        word(path),
        word(recipe),
        stage.name(),
        word(&out)
    )
}

/// A definition for a person.
pub fn describe(definition: &Definition) -> String {
    let Definition { network, image, normalisation, classes, spiking } = definition;
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
    if let Some(SpikingDefinition { config, time_steps }) = spiking {
        let keys = toml::Table::try_from(config).unwrap_or_default();
        let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key} {value}")).collect();
        text.push_str(&format!("\n{time_steps} time steps; {}", keys.join(", ")));
    }
    text
}

/// The axes of each tensor of a network, in the order in which its numbers stand in the file.
pub fn layout(state: &StateDict) -> BTreeMap<String, String> {
    let axes = |name: &str, rank: usize| match (name.rsplit('.').next(), rank) {
        (_, 4) => "output channel, input channel, kernel row, kernel column",
        // Unlike PyTorch's `Linear.weight`, which is the transpose.
        (_, 2) => "input feature (channel, then row, then column), output feature",
        (Some("threshold" | "leak"), 1) => "one number for the whole layer",
        (_, 1) => "output channel or feature",
        _ => "no layout is known",
    };
    let row = |(name, data): (&String, &TensorData)| {
        (name.clone(), axes(name, data.shape.num_dims()).to_owned())
    };
    state.iter().map(row).collect()
}

impl Stored {
    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    ///
    /// Fails if it is missing, damaged, or not such a file.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let checkpoint = Checkpoint::load(path)?;
        let about = checkpoint.metadata(path)?;
        Ok(Self { state: checkpoint.state, about })
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let metadata = serde_json::to_value(&self.about)?;
        Checkpoint { state: self.state.clone(), metadata }.save(path)?;
        Ok(())
    }
}
