//! `eval`: measures a trained network on the test images.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use lasnn_core::Plan;
use lasnn_nn::state;
use lasnn_snn::{Simulation, Simulator, SpikingNetwork, images_at_once};
use serde::Serialize;

use crate::args::{Eval, Global};
use crate::definition::{Definition, NormalisationNumbers};
use crate::definition_check::Overrides;
use crate::device::{Job, TrainingBackend};
use crate::failure::invalid_input;
use crate::memory::{self, Memory};
use crate::pipeline::{ann, measure};
use crate::progress::Progress;
use crate::recipe::{self, Recipe};
use crate::splits::Splits;
use crate::stage::StageName;
use crate::summary::{ClassAccuracy, SpikingSummary};
use crate::supplied::SuppliedCheckpoint;
use crate::tables::{self, count, percent, picojoules, table};
use crate::{output, run_dir};

/// The network to measure.
pub struct Evaluate<'a> {
    /// The arguments of the command.
    pub args: Eval,
    /// The global options.
    pub global: &'a Global,
}

/// The result.
#[derive(Serialize)]
struct Evaluation {
    recipe: String,
    checkpoint: PathBuf,
    stage: StageName,
    network: String,
    images: usize,
    /// The values of the checkpoint that the command line has replaced, one sentence each.
    overridden: Vec<String>,
    normalisation: NormalisationNumbers,
    test_accuracy: f64,
    accuracy_by_class: Vec<ClassAccuracy>,
    #[serde(flatten)]
    spiking: Option<SpikingSummary>,
}

impl Job for Evaluate<'_> {
    /// Measures the network and prints the result.
    ///
    /// # Errors
    ///
    /// Fails if the checkpoint does not exist, or if it and the recipe contradict each other.
    fn run<A: TrainingBackend>(&self, device: &A::Device) -> anyhow::Result<()> {
        let Self { args, global } = self;
        let file = recipe::find(&args.recipe)?;
        let (recipe, origins) = recipe::read(&file, args.set_options.changes(global))?;
        let mut splits = Splits::load_or_fetch(&recipe, &origins, &args.fetch_options, global)?;
        let stage = args.stage.clone().unwrap_or(StageName::STUDENT);
        let path = match &args.checkpoint {
            Some(path) => path.clone(),
            None => {
                recipe.network_of(&stage).map_err(invalid_input)?;
                newest(&global.runs_dir, &recipe, &stage)?
            }
        };
        let checkpoint = SuppliedCheckpoint::read(&path, &file, &stage)?;
        let stage = args.stage.as_ref().unwrap_or(&checkpoint.metadata.stage);
        let stage_network = recipe.network_of(stage).map_err(|error| {
            invalid_input(format_args!("{}: {error}; --stage names another one", path.display()))
        })?;
        checkpoint.check_kind(&stage_network)?;
        if !stage_network.is_spiking() && args.time_steps.is_some() {
            return Err(invalid_input(format_args!("the {stage} has no time steps")));
        }
        let images = &splits.dataset;
        let count = splits.train_images();
        let plans = recipe::validate(&recipe, &file, images.shape, images.classes, count);
        let plans = origins.locate(plans)?;
        let expected = Definition::of(&recipe, &splits, &stage_network);
        let definition = &checkpoint.metadata.definition;
        let overrides = Overrides {
            normalisation: args.normalisation,
            time_steps: args.time_steps.map(NonZeroUsize::get),
        };
        definition.check(&expected, &stage_network, overrides, &path)?;
        let normalisation = match args.normalisation {
            Some(kind) => NormalisationNumbers::of(kind, splits.fit(kind)?.moments()),
            None => definition.normalisation.clone(),
        };
        splits.normalise_with(normalisation.normaliser(splits.dataset.shape.channels, &path)?);
        let time_steps = definition
            .spiking
            .as_ref()
            .map(|spiking| overrides.time_steps.unwrap_or(spiking.time_steps));
        if let Some(time_steps) = time_steps {
            recipe::check_encoding(&recipe.spiking, normalisation.kind).map_err(invalid_input)?;
            recipe::check_delay(&recipe, time_steps).map_err(invalid_input)?;
        }

        if !args.ignore_memory {
            let time_steps = time_steps.unwrap_or(1);
            let command = memory::Command::Measure { network: &stage_network, time_steps };
            Memory::of(command, (&recipe, &plans), &splits, global).check()?;
        }

        let progress = Progress::new(global.quiet);
        let plan = plans.of(stage);
        let network =
            Measured { recipe: &recipe, splits: &splits, plan, stage, checkpoint: &checkpoint };
        let (test_accuracy, by_class, spiking) = match time_steps {
            None => {
                let found = network.ann::<A>(&progress, device)?;
                (found.accuracy, found.by_class, None)
            }
            Some(steps) => {
                let found = network.spiking::<A>(steps, &progress, device)?;
                let summary = SpikingSummary::new(&found, steps, plan);
                (found.accuracy, found.by_class, Some(summary))
            }
        };
        let evaluation = Evaluation {
            recipe: recipe.name.clone(),
            network: plan.name.clone(),
            images: splits.dataset.test.len(),
            checkpoint: path.clone(),
            stage: stage.clone(),
            overridden: overridden(definition, &normalisation, time_steps),
            normalisation,
            test_accuracy,
            accuracy_by_class: ClassAccuracy::all(&splits.dataset.class_names, &by_class),
            spiking,
        };
        output::print(global, &evaluation, || text(&evaluation))
    }
}

/// The values of the checkpoint that the command line has replaced, one sentence each.
fn overridden(
    definition: &Definition,
    normalisation: &NormalisationNumbers,
    time_steps: Option<usize>,
) -> Vec<String> {
    let mut all = Vec::new();
    let made_with = &definition.normalisation;
    if made_with.kind != normalisation.kind || !made_with.is_close(normalisation) {
        let numbers = |numbers: &NormalisationNumbers| {
            let NormalisationNumbers { kind, mean, deviation } = numbers;
            format!("\"{}\" (mean {mean:.4?}, deviation {deviation:.4?})", kind.name())
        };
        all.push(format!(
            "the images are normalised by {}, the network was made for {}",
            numbers(normalisation),
            numbers(made_with)
        ));
    }
    if let (Some(spiking), Some(time_steps)) = (&definition.spiking, time_steps)
        && spiking.time_steps != time_steps
    {
        let made_for = spiking.time_steps;
        all.push(format!("{time_steps} time steps, the network was made for {made_for}"));
    }
    all
}

/// A network of a recipe with the tensors of a checkpoint.
struct Measured<'a> {
    recipe: &'a Recipe,
    splits: &'a Splits,
    plan: &'a Plan,
    stage: &'a StageName,
    checkpoint: &'a SuppliedCheckpoint,
}

impl Measured<'_> {
    fn ann<A: TrainingBackend>(
        &self,
        progress: &Progress,
        device: &A::Device,
    ) -> anyhow::Result<lasnn_training::Evaluation> {
        let seed = self.recipe.seed;
        let Self { recipe, plan, stage, .. } = *self;
        let tensors = self.checkpoint.state.clone();
        let network = ann::loaded::<A::InnerBackend>(recipe, plan, stage, tensors, device)
            .map_err(|error| self.does_not_fit(error))?;
        let images = images_at_once(self.plan, 1, self.recipe.evaluation.batch);
        measure::evaluation(&network, &self.splits.test(images), seed, "test", progress, device)
    }

    fn spiking<A: TrainingBackend>(
        &self,
        steps: usize,
        progress: &Progress,
        device: &A::Device,
    ) -> anyhow::Result<Simulation> {
        let Self { recipe, plan, .. } = self;
        let network = SpikingNetwork::<A::InnerBackend>::new(plan, &recipe.spiking, steps, device)?;
        let network = state::load(network, self.checkpoint.state.clone())
            .map_err(|error| self.does_not_fit(error))?;
        let images = self.splits.test(images_at_once(plan, steps, recipe.evaluation.batch));
        let simulator = Simulator::with_format(network, recipe.evaluation.weights);
        measure::simulation(&simulator, &images, steps, recipe.seed, "test", progress, device)
    }

    fn does_not_fit(&self, error: lasnn_nn::StateError) -> anyhow::Error {
        invalid_input(format_args!(
            "{} does not hold the recipe's {}: {error}",
            self.checkpoint.path.display(),
            self.checkpoint.metadata.stage
        ))
    }
}

/// The checkpoint of a stage in the newest run of exactly this recipe.
fn newest(runs: &Path, recipe: &Recipe, stage: &StageName) -> anyhow::Result<PathBuf> {
    let resolved = toml::to_string_pretty(recipe)?;
    let file = format!("checkpoints/{stage}.safetensors");
    let mut newest_first = run_dir::list(&runs.join(&recipe.name))?.into_iter().rev();
    let found = newest_first.find(|run| {
        let same = std::fs::read_to_string(run.join("recipe.toml")).is_ok_and(|r| r == resolved);
        same && run.join(&file).is_file()
    });
    found.map(|run| run.join(&file)).ok_or_else(|| {
        invalid_input(format_args!(
            "no run in {} has made the {stage} of this recipe with seed {}; run it first, or name \
             a file with --checkpoint",
            runs.join(&recipe.name).display(),
            recipe.seed.0
        ))
    })
}

fn text(evaluation: &Evaluation) -> String {
    let Evaluation { network, stage, images, test_accuracy, checkpoint, .. } = evaluation;
    let mut text = format!(
        "{stage} {network}: {} of {images} test images\n{}",
        percent(*test_accuracy),
        checkpoint.display()
    );
    for sentence in &evaluation.overridden {
        text.push_str(&format!("\nnote: {sentence}"));
    }
    text.push_str(&format!("\n{}", tables::by_class(&evaluation.accuracy_by_class)));
    if let Some(spiking) = &evaluation.spiking {
        let mut steps = table(&["time step", "test accuracy"]);
        for (step, accuracy) in spiking.accuracy_by_step.iter().enumerate() {
            steps.add_row([(step + 1).to_string(), percent(*accuracy)]);
        }
        let mut rates = table(&["layer", "firing rate"]);
        for layer in &spiking.firing_rate_by_layer {
            rates.add_row([layer.layer.clone(), percent(layer.rate)]);
        }
        text.push_str(&format!(
            "\n{steps}\n{rates}\n{} spikes, {} synaptic operations, {} per image; the ANN needs {}",
            count(spiking.spikes_per_image),
            count(spiking.synops_per_image),
            picojoules(spiking.energy_pj_per_image),
            picojoules(spiking.ann_energy_pj_per_image)
        ));
    }
    text
}
