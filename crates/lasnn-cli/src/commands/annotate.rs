//! `annotate`: write into a checkpoint which images, classes and neurons its tensors are for.

use std::path::{Path, PathBuf};

use burn::tensor::backend::BackendTypes;
use lasnn_core::{Architecture, Shape};
use lasnn_models::{Init, Network};
use lasnn_nn::{StateDict, state};
use lasnn_snn::{SpikingConfig, SpikingNetwork};
use lasnn_training::Checkpoint;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{Global, Missing};
use crate::data::Data;
use crate::definition::{Definition, Overrides, SpikingDefinition};
use crate::device::{Job, TrainingBackend};
use crate::failure::wrong;
use crate::output;
use crate::recipe::{self, Plans, Recipe};
use crate::stage::StageName;
use crate::stored;
use crate::stored::{About, FORMAT, Stored, layout};

/// What to annotate.
pub struct Request {
    /// The checkpoint.
    pub checkpoint: PathBuf,
    /// The recipe that the network was trained with.
    pub recipe: PathBuf,
    /// Which network of the recipe it is.
    pub stage: StageName,
    /// The file to write.
    pub out: PathBuf,
    /// What becomes of a data set that is missing.
    pub missing: Missing,
    /// What every command takes.
    pub global: Global,
}

impl Job for Request {
    fn run<A: TrainingBackend>(&self, device: &A::Device) -> anyhow::Result<()> {
        annotate::<A>(self, device)
    }
}

/// Writes the checkpoint with the definition that the recipe gives.
///
/// # Errors
///
/// Fails if the tensors do not fit the recipe's network, if the checkpoint already says what it is,
/// if what an older version wrote into it contradicts the recipe, or if the file to write exists.
fn annotate<A: TrainingBackend>(request: &Request, device: &A::Device) -> anyhow::Result<()> {
    let Request { checkpoint: path, recipe: file, stage, out, global, .. } = request;
    let stage = *stage;
    let recipe = recipe::read(file, global.seed)?;
    let Checkpoint { state, metadata } = Checkpoint::load(path).map_err(wrong)?;
    match metadata["format"].as_u64() {
        Some(version) if version == u64::from(FORMAT) => {
            let path = path.display();
            return Err(wrong(format_args!("{path} says already which network it holds")));
        }
        Some(version) if version > u64::from(FORMAT) => {
            return Err(wrong(format_args!(
                "{} has the format version {version}, expected at most {FORMAT}: a newer \
                 version of this program wrote it",
                path.display()
            )));
        }
        _ => {}
    }
    if out.exists() {
        return Err(wrong(format_args!("{} is there already", out.display())));
    }
    let data = Data::load_or_fetch(&recipe, file, &request.missing, global)?;
    let images = &data.dataset;
    let plans = recipe::validate(&recipe, file, images.shape, images.classes, data.counts())?;
    fits::<A>(state.clone(), stage, &recipe, &plans, device)
        .map_err(|error| wrong(format_args!("{}: {error}", path.display())))?;
    let definition = Definition::of(&recipe, &data, stage);
    contradictions(&metadata, stage, &definition, path)?;

    let about = About {
        format: FORMAT,
        stage,
        definition,
        layout: layout(&state),
        summary: None,
        history: Vec::new(),
        conversion: None,
    };
    let written = Stored { state, about };
    written.save(out)?;
    let json = json!({"checkpoint": out, "stage": stage, "definition": written.about.definition});
    output::print(global, &json, || {
        format!("{}\n{}", out.display(), stored::describe(&written.about.definition))
    })
}

/// Checks that the tensors are those of the network of a stage.
fn fits<A: TrainingBackend>(
    tensors: StateDict,
    stage: StageName,
    recipe: &Recipe,
    plans: &Plans,
    device: &<A as BackendTypes>::Device,
) -> anyhow::Result<()> {
    let plan = plans.of(stage);
    if stage.is_spiking() {
        let steps = recipe.student.time_steps;
        let empty = SpikingNetwork::<A::InnerBackend>::new(plan, &recipe.spiking, steps, device)?;
        state::load(empty, tensors)?;
    } else {
        let empty = Network::<A::InnerBackend>::new(plan, Init::default(), recipe.seed, device);
        state::load(empty, tensors)?;
    }
    Ok(())
}

/// The metadata of version 1 that say which network a checkpoint holds.
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

/// Checks that the metadata that version 1 wrote into its checkpoints agree with the recipe.
///
/// # Errors
///
/// Names everything that differs.
fn contradictions(
    metadata: &Value,
    stage: StageName,
    definition: &Definition,
    path: &Path,
) -> anyhow::Result<()> {
    // A file without metadata, or with those of another program, says nothing.
    let old: Version1 = serde_json::from_value(metadata.clone()).unwrap_or_default();
    if let Some(found) = old.stage.filter(|found| found.is_spiking() != stage.is_spiking()) {
        return Err(wrong(format_args!(
            "{} holds a network of the stage `{}`, not of `{}`",
            path.display(),
            found.name(),
            stage.name()
        )));
    }
    if let Some(found) = old.classes.filter(|&found| found != definition.classes.len()) {
        return Err(wrong(format_args!(
            "{} holds a network for {found} classes, the data of the recipe have {}",
            path.display(),
            definition.classes.len()
        )));
    }
    // What the file does not say is taken from the recipe.
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
    found.check(definition, stage, Overrides::default(), path)
}
