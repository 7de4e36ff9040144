//! `inspect`: shows the layers of a network, or the content of a checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use lasnn_core::{Plan, Shape};
use lasnn_models::zoo;
use lasnn_nn::StateDict;
use lasnn_training::Checkpoint;
use serde::Serialize;

use crate::args::{FetchOptions, Global, Inspect};
use crate::definition::Definition;
use crate::failure::invalid_input;
use crate::memory::Memory;
use crate::older_definition::upgraded;
use crate::output;
use crate::recipe::{self, Changes, Graph};
use crate::splits::Splits;
use crate::stage::StageName;
use crate::stage_artifact::{ArtifactMetadata, layout};
use crate::tables::{percent, table};

/// A network.
#[derive(Serialize)]
struct NetworkView {
    network: String,
    image: Shape,
    classes: usize,
    parameters: usize,
    macs: usize,
    layers: Vec<LayerView>,
}

/// One layer of a network.
#[derive(Serialize)]
struct LayerView {
    index: usize,
    kind: &'static str,
    tap: Option<String>,
    input: Shape,
    output: Shape,
    parameters: usize,
    macs: usize,
    /// The thresholds of the layer's neurons in a checkpoint of a spiking network. A residual block
    /// has two.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    thresholds: Vec<f32>,
}

/// The networks of a recipe, and the memory of its stages.
#[derive(Serialize)]
struct RecipeView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    teacher: Option<NetworkView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intermediate: Option<NetworkView>,
    /// The network of the spiking networks, if it has other layers than the intermediate network.
    #[serde(skip_serializing_if = "Option::is_none")]
    spiking: Option<NetworkView>,
    /// The ANNs of the stages that the recipe adds, and the students with layers of their own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    stages: BTreeMap<&'a StageName, NetworkView>,
    memory: Memory,
}

/// A checkpoint.
#[derive(Serialize)]
struct CheckpointView {
    #[serde(rename = "about")]
    metadata: Option<ArtifactMetadata>,
    network: Option<NetworkView>,
    tensors: Vec<TensorView>,
}

/// One tensor of a checkpoint.
#[derive(Serialize)]
struct TensorView {
    name: String,
    shape: Vec<usize>,
    axes: String,
}

/// Shows the checkpoint, the recipe or the network that the arguments name.
///
/// # Errors
///
/// Fails if there is none with that name, or if it cannot be read.
pub fn inspect(args: &Inspect, global: &Global) -> anyhow::Result<()> {
    let Inspect { target, set_options, image, classes } = args;
    let path = Path::new(target);
    let no_changes = || match set_options.set.is_empty() {
        true => Ok(()),
        false => Err(invalid_input(format_args!(
            "--set changes a recipe; `{target}` is a checkpoint or a network"
        ))),
    };
    let no_sizes = || match image.is_some() || classes.is_some() {
        false => Ok(()),
        true => Err(invalid_input(format_args!(
            "--image and --classes are for the name of a network; `{target}` contains both values"
        ))),
    };
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => {
            no_sizes()?;
            no_changes()?;
            inspect_checkpoint(path, global)
        }
        Some("toml") => {
            no_sizes()?;
            inspect_recipe(&recipe::find(path)?, set_options.changes(global), global)
        }
        _ => {
            let Some(network) = zoo::named(target) else {
                let path = recipe::find(path).map_err(|_| unknown(target))?;
                no_sizes()?;
                return inspect_recipe(&path, set_options.changes(global), global);
            };
            no_changes()?;
            let image = image.unwrap_or(Shape { channels: 3, height: 32, width: 32 });
            let plan = network.plan(image, classes.unwrap_or(10)).map_err(invalid_input)?;
            let network = NetworkView::new(&plan, None);
            output::print(global, &network, || network.text())
        }
    }
}

fn unknown(target: &str) -> anyhow::Error {
    invalid_input(format_args!(
        "`{target}` is no checkpoint (.safetensors), no recipe (.toml) and no network; the \
         networks are {}",
        zoo::NAMES.join(", ")
    ))
}

fn inspect_recipe(path: &Path, changes: Changes<'_>, global: &Global) -> anyhow::Result<()> {
    let (recipe, origins) = recipe::read(path, changes)?;
    let splits = Splits::load_or_fetch(&recipe, &origins, &FetchOptions::default(), global)?;
    let images = &splits.dataset;
    let count = splits.train_images();
    let plans = recipe::validate(&recipe, path, images.shape, images.classes, count);
    let plans = origins.locate(plans)?;
    let graph = Graph::new(&recipe).map_err(invalid_input)?;
    let mut anns: BTreeMap<&StageName, NetworkView> =
        plans.anns.iter().map(|(name, plan)| (name, NetworkView::new(plan, None))).collect();
    let teacher = anns.remove(&StageName::TEACHER);
    let intermediate = anns.remove(&StageName::INTERMEDIATE);
    anns.extend(plans.students.iter().map(|(name, plan)| (name, NetworkView::new(plan, None))));
    let is_folded = plans.of(&StageName::INTERMEDIATE) != &plans.spiking;
    let spiking = is_folded.then(|| NetworkView::new(&plans.spiking, None));
    let memory = Memory::of_recipe(&recipe, &graph, &plans, &splits, global)?;
    let view = RecipeView { teacher, intermediate, spiking, stages: anns, memory };
    output::print(global, &view, || view.text())
}

fn inspect_checkpoint(path: &Path, global: &Global) -> anyhow::Result<()> {
    let Checkpoint { state, metadata } = Checkpoint::load(path).map_err(invalid_input)?;
    let metadata: Option<ArtifactMetadata> = serde_json::from_value(upgraded(metadata)).ok();
    let network = match &metadata {
        Some(ArtifactMetadata { definition, .. }) => {
            let Definition { network, image, classes, .. } = definition;
            let plan = network.plan(*image, classes.len()).map_err(invalid_input)?;
            Some(NetworkView::new(&plan, Some(&state)))
        }
        None => None,
    };
    let mut axes = layout(&state);
    let tensors = state.into_iter().map(|(name, data)| TensorView {
        axes: axes.remove(&name).unwrap_or_default(),
        name,
        shape: data.shape.to_vec(),
    });
    let view = CheckpointView { metadata, network, tensors: tensors.collect() };
    output::print(global, &view, || view.text())
}

impl NetworkView {
    fn new(plan: &Plan, state: Option<&StateDict>) -> Self {
        let layer = |(index, planned): (usize, &lasnn_core::PlannedLayer)| LayerView {
            index,
            kind: planned.layer.kind(),
            tap: planned.layer.tap().map(|tap| tap.to_string()),
            input: planned.input,
            output: planned.output,
            parameters: planned.parameters,
            macs: planned.macs,
            thresholds: state.map(|state| thresholds(state, index)).unwrap_or_default(),
        };
        Self {
            network: plan.name.clone(),
            image: plan.input,
            classes: plan.classes,
            parameters: plan.parameters(),
            macs: plan.macs(),
            layers: plan.layers.iter().enumerate().map(layer).collect(),
        }
    }

    fn text(&self) -> String {
        let mut table =
            table(&["layer", "kind", "tap", "input", "output", "parameters", "MACs", "threshold"]);
        for layer in &self.layers {
            table.add_row([
                format!("layers.{}", layer.index),
                layer.kind.to_owned(),
                layer.tap.clone().unwrap_or_default(),
                layer.input.to_string(),
                layer.output.to_string(),
                layer.parameters.to_string(),
                layer.macs.to_string(),
                shown(&layer.thresholds),
            ]);
        }
        let Self { network, image, classes, parameters, macs, .. } = self;
        format!(
            "{network} on images of {image} in {classes} classes: {parameters} parameters, {macs} \
             multiply-accumulates per image\n{table}"
        )
    }
}

impl RecipeView<'_> {
    fn text(&self) -> String {
        let mut parts = Vec::new();
        if let Some(teacher) = &self.teacher {
            parts.push(format!("teacher\n{}", teacher.text()));
        }
        let has_own = self.stages.contains_key(&StageName::STUDENT);
        let title = match self.spiking {
            None if !has_own => "intermediate and student",
            _ => "intermediate",
        };
        let spiking = if has_own { "converted" } else { "student" };
        let networks = [(title, &self.intermediate), (spiking, &self.spiking)];
        for (title, network) in networks {
            parts.extend(network.iter().map(|network| format!("{title}\n{}", network.text())));
        }
        for (name, network) in &self.stages {
            parts.push(format!("{name}\n{}", network.text()));
        }
        parts.push(self.memory.text());
        parts.join("\n\n")
    }
}

impl CheckpointView {
    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(metadata) = &self.metadata {
            let ArtifactMetadata { stage, summary, definition, .. } = metadata;
            if let Some(summary) = summary {
                text.push_str(&format!(
                    "{stage}: {} of the test images after {} epochs\n",
                    percent(summary.test_accuracy),
                    summary.epochs
                ));
            }
            text.push_str(&definition.text());
            text.push('\n');
        }
        if let Some(network) = &self.network {
            text.push_str(&network.text());
            text.push('\n');
        }
        let mut tensors = table(&["tensor", "shape", "axes, row-major"]);
        for tensor in &self.tensors {
            let shape = format!("{:?}", tensor.shape);
            tensors.add_row([tensor.name.clone(), shape, tensor.axes.clone()]);
        }
        text.push_str(&tensors.to_string());
        text
    }
}

/// The thresholds of the neurons in a layer, in the order of the forward pass. The names of the
/// tensors have the same order.
fn thresholds(state: &StateDict, layer: usize) -> Vec<f32> {
    let prefix = format!("layers.{layer}.");
    let of_layer =
        state.iter().filter(|(name, _)| name.starts_with(&prefix) && name.ends_with(".threshold"));
    of_layer.flat_map(|(_, data)| data.iter::<f32>().collect::<Vec<_>>()).collect()
}

/// The thresholds of a layer as text: one or two numbers, or the range of those of many channels.
fn shown(thresholds: &[f32]) -> String {
    let number = |v: &f32| format!("{v:.4}");
    match thresholds {
        [] => String::new(),
        few @ ([_] | [_, _]) => few.iter().map(number).collect::<Vec<_>>().join(", "),
        many => {
            let least = many.iter().copied().fold(f32::INFINITY, f32::min);
            let largest = many.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            format!("{} to {}", number(&least), number(&largest))
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;

    #[test]
    fn the_thresholds_of_a_layer_are_in_the_order_of_the_forward_pass() {
        let value = |v: f32| TensorData::from([v]);
        let state: StateDict = [
            ("layers.1.neurons.threshold", 1.0),
            ("layers.12.neurons.threshold", 2.0),
            ("layers.3.second.neurons.threshold", 4.0),
            ("layers.3.first.neurons.threshold", 3.0),
            ("layers.1.neurons.leak", 9.0),
        ]
        .map(|(name, v)| (name.to_owned(), value(v)))
        .into();
        assert_eq!(thresholds(&state, 1), [1.0]);
        assert_eq!(thresholds(&state, 3), [3.0, 4.0]);
        assert!(thresholds(&state, 0).is_empty());
        assert_eq!(shown(&[3.0, 4.0]), "3.0000, 4.0000");
        assert_eq!(shown(&[3.0, 0.5, 4.0]), "0.5000 to 4.0000");
    }
}
