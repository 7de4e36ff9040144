//! The checkpoint file of a finished stage: the network's tensors and its metadata.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use burn::tensor::TensorData;
use lasnn_conversion::{ConversionReport, LayerErrors};
use lasnn_nn::StateDict;
use lasnn_training::{Checkpoint, EpochRecord};
use serde::{Deserialize, Serialize};

use crate::definition::Definition;
use crate::escape::shell_quoted;
use crate::failure::invalid_input;
use crate::older_definition;
use crate::program::Program;
use crate::stage::StageName;
use crate::summary::StageSummary;

/// The version of the metadata and of the hashes in the artifact cache. It is raised when the
/// meaning of either changes; networks with an older version are trained again. Since version 2 the
/// metadata contain the network's [`Definition`]. Since version 3 the definition has no readout:
/// the logits of a spiking network are the mean over time. Since version 4 its neurons are a table
/// with a kind; files of version 3 are read ([`older_definition`]).
pub const FORMAT: u32 = 4;

/// A finished network.
#[derive(Clone, Debug)]
pub struct StageArtifact {
    /// The tensors.
    pub state: StateDict,
    /// The description of the network.
    pub metadata: ArtifactMetadata,
}

/// The description of a network. docs/checkpoints.md explains each key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactMetadata {
    /// [`FORMAT`] of the program that has written the file.
    pub format: u32,
    /// The program that has made the network. `None` in files that `lasnn annotate` has written,
    /// and in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
    /// The stage that has produced the network.
    pub stage: StageName,
    /// Everything on which the network's result depends, except the tensors.
    pub definition: Definition,
    /// The axes of each tensor in row-major order, by the name of the tensor.
    pub layout: BTreeMap<String, String>,
    /// The measured accuracies. `None` in files that `lasnn annotate` has written.
    pub summary: Option<StageSummary>,
    /// The epochs of the training.
    pub history: Vec<EpochRecord>,
    /// The report of the conversion.
    pub conversion: Option<Conversion>,
}

/// The report of a conversion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversion {
    /// The spiking layers from the image on.
    pub layers: Vec<ConvertedLayer>,
    /// The problems that were found, each with the name of the layer.
    pub warnings: Vec<String>,
}

/// The report of one converted layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConvertedLayer {
    /// The name of the layer.
    pub layer: String,
    /// The threshold after scaling.
    pub threshold: f32,
    /// The mean firing rate, in spikes per neuron and time step.
    pub firing_rate: f64,
    /// The share of neurons that never fired.
    pub dead: f64,
    /// The share of neurons whose activation in the ANN was always 0.
    pub ann_dead: f64,
    /// The share of neurons that fired at every time step.
    pub saturated: f64,
    /// The correlation of activation and firing rate. `None` if one of them does not vary.
    pub correlation: Option<f64>,
    /// The errors by their cause. `None` if the ANN is silent here, or if an older version made the
    /// report.
    #[serde(default)]
    pub errors: Option<LayerErrors>,
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
            errors: layer.errors,
        };
        Self { layers: report.layers.into_iter().map(layer).collect(), warnings: report.warnings }
    }
}

impl ArtifactMetadata {
    /// The metadata of a checkpoint. An error names `recipe` and `stage` in the command that helps.
    ///
    /// # Errors
    ///
    /// Fails if another version of this program or another program has written the file.
    pub fn of(
        checkpoint: &Checkpoint,
        path: &Path,
        recipe: &Path,
        stage: &StageName,
    ) -> anyhow::Result<Self> {
        let metadata = &checkpoint.metadata;
        let version = metadata.get("format").and_then(serde_json::Value::as_u64);
        let refused = |reason: &str| invalid_input(format_args!("{}: {reason}", path.display()));
        let reason = match version {
            Some(version) if older_definition::READABLE.contains(&version) => {
                let parsed = serde_json::from_value(older_definition::upgraded(metadata.clone()));
                return parsed.map_err(|error| refused(&format!("its metadata: {error}")));
            }
            Some(version) if version > u64::from(FORMAT) => {
                return Err(refused(&format!(
                    "its format version is {version}, expected {FORMAT}: a newer version of this \
                     program wrote it"
                )));
            }
            None if metadata.get("run").is_some() => {
                return Err(refused(
                    "it is the saved state of an unfinished training; the trained network is in \
                     `checkpoints/<stage>.safetensors`",
                ));
            }
            Some(_) => "an older version of this program wrote it",
            None => "another program wrote it",
        };
        let stored = metadata.get("stage").cloned().map(serde_json::from_value);
        let stage = stored.and_then(Result::ok).unwrap_or_else(|| stage.clone());
        Err(invalid_input(format_args!(
            "{} does not describe the images, classes and neurons of its network as this version \
             of the program does, since {reason}; `{}` adds the description from the recipe",
            path.display(),
            annotate_command(path, recipe, &stage)
        )))
    }
}

impl StageArtifact {
    /// Reads a file that [`save`](Self::save) has written.
    ///
    /// # Errors
    ///
    /// Fails if the file is missing or damaged, or if it is no such file.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let mut checkpoint = Checkpoint::load(path)?;
        checkpoint.metadata = older_definition::upgraded(checkpoint.metadata);
        let metadata = checkpoint.metadata(path)?;
        Ok(Self { state: checkpoint.state, metadata })
    }

    /// Writes the file and creates its folder.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let metadata = serde_json::to_value(&self.metadata)?;
        Checkpoint { state: self.state.clone(), metadata }.save(path)?;
        Ok(())
    }
}

/// The axes of each tensor of a network, in the order in which its numbers are stored.
pub fn layout(state: &StateDict) -> BTreeMap<String, String> {
    // A parameter of neurons has one number if all neurons of its layer share it.
    let axes = |name: &str, shape: &[usize]| match (name.rsplit('.').next(), shape.len()) {
        (_, 4) => "output channel, input channel, kernel row, kernel column",
        // PyTorch's `Linear.weight` is the transpose of this matrix.
        (_, 2) => "input feature (channel, then row, then column), output feature",
        (Some("threshold" | "leak" | "leak_logit" | "initial_membrane"), 1) if shape == [1] => {
            "one number for the whole layer"
        }
        (Some("initial_membrane"), 1) => "neuron (channel, then row, then column)",
        (_, 1) => "output channel or feature",
        _ => "no layout is known",
    };
    let row = |(name, data): (&String, &TensorData)| {
        (name.clone(), axes(name, &data.shape[..]).to_owned())
    };
    state.iter().map(row).collect()
}

/// The command that adds a definition to a checkpoint without one.
fn annotate_command(path: &Path, recipe: &Path, stage: &StageName) -> String {
    let word = |path: &Path| shell_quoted(&path.to_string_lossy());
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let out = path.with_file_name(format!("{stem}-annotated.safetensors"));
    format!("lasnn annotate {} {} --stage {stage} --out {}", word(path), word(recipe), word(&out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axes_of_a_parameter_of_neurons_depend_on_who_shares_it() {
        let tensor = |length: usize| TensorData::new(vec![0.5f32; length], [length]);
        let shared = "one number for the whole layer";
        for (name, length, axes) in [
            ("threshold", 1, shared),
            ("threshold", 3, "output channel or feature"),
            ("leak", 1, shared),
            ("initial_membrane", 1, shared),
            ("initial_membrane", 12, "neuron (channel, then row, then column)"),
        ] {
            let name = format!("layers.0.neurons.{name}");
            let state = StateDict::from([(name.clone(), tensor(length))]);
            assert_eq!(layout(&state)[&name], axes, "{name} of {length}");
        }
    }
}
