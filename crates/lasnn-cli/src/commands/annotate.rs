//! `annotate`: write into a checkpoint which images, classes and neurons its tensors are for.

use std::path::{Path, PathBuf};

use burn::tensor::backend::BackendTypes;
use lasnn_conversion::SpikingNetwork;
use lasnn_core::{StateDict, state};
use lasnn_models::{Init, Network};
use lasnn_training::Checkpoint;
use serde_json::{Value, json};

use super::show;
use crate::args::{Global, Missing, StageName};
use crate::definition::Definition;
use crate::device::TrainingBackend;
use crate::failure::wrong;
use crate::recipe::{self, Plans, Recipe};
use crate::stored::{About, FORMAT, Stored, layout};
use crate::{fetch, stored};

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

/// Writes the checkpoint with the definition that the recipe gives.
///
/// # Errors
///
/// Fails if the tensors do not fit the recipe's network, if the checkpoint already says what it is,
/// if what an older version wrote into it contradicts the recipe, or if the file to write exists.
pub fn annotate<A: TrainingBackend>(request: &Request, device: &A::Device) -> anyhow::Result<()> {
    let Request { checkpoint: path, recipe: file, stage, out, global, .. } = request;
    let stage = *stage;
    let recipe = recipe::read(file, global.seed)?;
    let Checkpoint { state, metadata } = Checkpoint::load(path).map_err(wrong)?;
    if metadata["format"] == json!(FORMAT) {
        let path = path.display();
        return Err(wrong(format_args!("{path} says what its tensors are for already")));
    }
    if out.exists() {
        return Err(wrong(format_args!("{} is there already", out.display())));
    }
    let data = fetch::load(&recipe, file, &request.missing, global)?;
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
    show(global, &json, || {
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

/// Checks that what version 1 wrote into its checkpoints agrees with the recipe: stage, layers, shape
/// of the images, number of classes, neurons.
fn contradictions(
    metadata: &Value,
    stage: StageName,
    definition: &Definition,
    path: &Path,
) -> anyhow::Result<()> {
    let spiking = definition.spiking.as_ref().map(|spiking| &spiking.config);
    let expected = json!({
        "stage": stage,
        "network": definition.network,
        "image": definition.image,
        "classes": definition.classes.len(),
        "spiking": spiking,
    });
    let known = expected.as_object().into_iter().flatten();
    let said = |key: &str| metadata.get(key).filter(|found| !found.is_null());
    let differs = |(key, value): &(&String, &Value)| said(key).is_some_and(|found| found != *value);
    match known.into_iter().find(differs) {
        None => Ok(()),
        Some((key, value)) => Err(wrong(format_args!(
            "{}: the checkpoint says that its `{key}` is {}, the recipe says {value}",
            path.display(),
            metadata[key]
        ))),
    }
}
