//! `annotate`: adds the definition of a network to its checkpoint.

use std::path::Path;

use burn::tensor::backend::BackendTypes;
use lasnn_core::{Architecture, Shape};
use lasnn_nn::{StateDict, state};
use lasnn_snn::{SpikingConfig, SpikingNetwork};
use lasnn_training::Checkpoint;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{Annotate, Global};
use crate::definition::{Definition, SpikingDefinition};
use crate::definition_check::Overrides;
use crate::device::{Job, TrainingBackend};
use crate::failure::invalid_input;
use crate::older_definition;
use crate::output;
use crate::pipeline::ann;
use crate::recipe::{self, Plans, Recipe, StageNetwork, TimeSteps};
use crate::splits::Splits;
use crate::stage::StageName;
use crate::stage_artifact::{ArtifactMetadata, FORMAT, StageArtifact, layout};

/// The checkpoint to annotate.
pub struct AddDefinition<'a> {
    /// The arguments of the command.
    pub args: Annotate,
    /// The global options.
    pub global: &'a Global,
}

impl Job for AddDefinition<'_> {
    /// Writes a copy of the checkpoint that contains the definition from the recipe.
    ///
    /// # Errors
    ///
    /// Fails if the tensors do not fit the network of the recipe, if the checkpoint already has a
    /// definition, if metadata of an older version contradict the recipe, or if the output file
    /// exists.
    fn run<A: TrainingBackend>(&self, device: &A::Device) -> anyhow::Result<()> {
        let Self { args: Annotate { checkpoint: path, stage, out, fetch_options, .. }, global } =
            self;
        let file = recipe::find(&self.args.recipe)?;
        let (recipe, origins) = recipe::read(&file, self.args.set_options.changes(global))?;
        let network = recipe.network_of(stage).map_err(invalid_input)?;
        let Checkpoint { state, metadata } = Checkpoint::load(path).map_err(invalid_input)?;
        match metadata["format"].as_u64() {
            Some(version) if older_definition::READABLE.contains(&version) => {
                let path = path.display();
                let message = format_args!("{path} already contains the definition of its network");
                return Err(invalid_input(message));
            }
            Some(version) if version > u64::from(FORMAT) => {
                return Err(invalid_input(format_args!(
                    "{} has the format version {version}, expected at most {FORMAT}: a newer \
                     version of this program wrote it",
                    path.display()
                )));
            }
            _ => {}
        }
        if out.exists() {
            return Err(invalid_input(format_args!("{} exists already", out.display())));
        }
        let splits = Splits::load_or_fetch(&recipe, &origins, fetch_options, global)?;
        let images = &splits.dataset;
        let count = splits.train_images();
        let plans = recipe::validate(&recipe, &file, images.shape, images.classes, count);
        let plans = origins.locate(plans)?;
        check_tensors::<A>(state.clone(), &network, &recipe, &plans, device)
            .map_err(|error| invalid_input(format_args!("{}: {error}", path.display())))?;
        let definition = Definition::of(&recipe, &splits, &network);
        check_older(metadata, &network, &definition, path)?;

        let json = json!({"checkpoint": out, "stage": stage, "definition": definition});
        let text = format!("{}\n{}", out.display(), definition.text());
        let metadata = ArtifactMetadata {
            format: FORMAT,
            program: None,
            stage: stage.clone(),
            definition,
            layout: layout(&state),
            summary: None,
            history: Vec::new(),
            conversion: None,
        };
        StageArtifact { state, metadata }.save(out)?;
        output::print(global, &json, || text)
    }
}

/// Checks that the tensors are those of `network`.
fn check_tensors<A: TrainingBackend>(
    tensors: StateDict,
    network: &StageNetwork<'_>,
    recipe: &Recipe,
    plans: &Plans,
    device: &<A as BackendTypes>::Device,
) -> anyhow::Result<()> {
    let plan = plans.of(&network.stage);
    if let Some(TimeSteps { number: steps, .. }) = network.time_steps {
        let network = SpikingNetwork::<A::InnerBackend>::new(plan, &recipe.spiking, steps, device)?;
        state::load(network, tensors)?;
    } else {
        ann::loaded::<A::InnerBackend>(recipe, plan, &network.stage, tensors, device)?;
    }
    Ok(())
}

/// The metadata of version 1 that describe the network.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Version1 {
    stage: Option<StageName>,
    network: Option<Architecture>,
    image: Option<Shape>,
    classes: Option<usize>,
    spiking: Option<SpikingConfig>,
    summary: Option<Summary1>,
}

/// The summary in the metadata of version 1.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Summary1 {
    time_steps: Option<usize>,
}

/// Checks that metadata of an older version agree with the definition from the recipe.
///
/// # Errors
///
/// Names every difference.
fn check_older(
    mut metadata: Value,
    network: &StageNetwork<'_>,
    definition: &Definition,
    path: &Path,
) -> anyhow::Result<()> {
    // Versions 1 and 2 had the key, which does not change which class has the largest logit.
    for config in ["/spiking", "/definition/spiking/config"] {
        if let Some(config) = metadata.pointer_mut(config).and_then(Value::as_object_mut) {
            config.remove("readout");
        }
        if let Some(config) = metadata.pointer_mut(config) {
            older_definition::nest_neuron(config);
        }
    }
    let version_2 = metadata.get("definition").cloned().map(serde_json::from_value::<Definition>);
    // A file without metadata, or with those of another program, contradicts nothing.
    let old: Version1 = serde_json::from_value(metadata).unwrap_or_default();
    let is_of_other_kind = |found: &StageName| {
        found.is_spiking_by_name().is_some_and(|is_spiking| is_spiking != network.is_spiking())
    };
    if let Some(found) = old.stage.filter(is_of_other_kind) {
        return Err(invalid_input(format_args!(
            "{} holds a network of the stage `{found}`, not of `{}`",
            path.display(),
            network.stage
        )));
    }
    if let Some(found) = old.classes.filter(|&found| found != definition.classes.len()) {
        return Err(invalid_input(format_args!(
            "{} holds a network for {found} classes, but the data of the recipe have {}",
            path.display(),
            definition.classes.len()
        )));
    }
    if let Some(Ok(found)) = version_2 {
        return found.check(definition, network, Overrides::default(), path);
    }
    // Values that the file lacks are taken from the recipe.
    let spiking = definition.spiking.clone().map(|recipe| SpikingDefinition {
        config: old.spiking.unwrap_or(recipe.config),
        time_steps: old.summary.and_then(|old| old.time_steps).unwrap_or(recipe.time_steps),
    });
    let found = Definition {
        network: old.network.unwrap_or_else(|| definition.network.clone()),
        image: old.image.unwrap_or(definition.image),
        spiking,
        ..definition.clone()
    };
    found.check(definition, network, Overrides::default(), path)
}
