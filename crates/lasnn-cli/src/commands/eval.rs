//! `eval`: measure a trained network on the test images.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use lasnn_conversion::{Simulator, SpikingNetwork};
use lasnn_core::{StateDict, state};
use lasnn_models::{Init, Network};
use lasnn_training::Checkpoint;
use serde::Serialize;

use super::show;
use crate::args::{Global, Missing, StageName};
use crate::data::Data;
use crate::device::TrainingBackend;
use crate::failure::wrong;
use crate::fetch;
use crate::memory::{self, Memory};
use crate::pipeline::measure;
use crate::progress::Progress;
use crate::recipe::{self, Plans, Recipe};
use crate::report::{count, percent, picojoules, table};
use crate::run_dir;
use crate::stored::About;
use crate::summary::SpikingSummary;

/// What to measure.
pub struct Request {
    /// The recipe.
    pub recipe: PathBuf,
    /// The checkpoint, if it is not that of the newest run.
    pub checkpoint: Option<PathBuf>,
    /// Which network.
    pub stage: Option<StageName>,
    /// Steps to simulate.
    pub time_steps: Option<NonZeroUsize>,
    /// Whether it begins although there may be too little memory.
    pub ignore_memory: bool,
    /// What becomes of a data set that is missing.
    pub missing: Missing,
    /// What every command takes.
    pub global: Global,
}

/// The result.
#[derive(Serialize)]
struct Evaluation {
    recipe: String,
    checkpoint: PathBuf,
    stage: StageName,
    network: String,
    images: usize,
    test_accuracy: f64,
    #[serde(flatten)]
    spiking: Option<SpikingSummary>,
}

/// Measures the network and shows the result.
///
/// # Errors
///
/// Fails if there is no such checkpoint or if it does not fit the recipe.
pub fn evaluate<A: TrainingBackend>(request: &Request, device: &A::Device) -> anyhow::Result<()> {
    let Request { recipe: file, global, .. } = request;
    let recipe = recipe::read(file, global.seed)?;
    let data = fetch::load(&recipe, file, &request.missing, global)?;
    let images = &data.dataset;
    let plans = recipe::validate(&recipe, file, images.shape, images.classes)?;
    let path = match &request.checkpoint {
        Some(path) => path.clone(),
        None => newest(&global.runs_dir, &recipe, request.stage.unwrap_or(StageName::Student))?,
    };
    let checkpoint = Checkpoint::load(&path).map_err(wrong)?;
    let says = serde_json::from_value::<About>(checkpoint.metadata).ok().map(|about| about.stage);
    let stage = request.stage.or(says).unwrap_or(StageName::Student);
    let ordinary = matches!(stage, StageName::Teacher | StageName::Intermediate);
    if ordinary && request.time_steps.is_some() {
        return Err(wrong(format_args!("the {} has no time steps", stage.name())));
    }

    let steps = request.time_steps.map_or(recipe.student.time_steps, NonZeroUsize::get);
    if !request.ignore_memory {
        let command = memory::Command::Measure { stage, time_steps: steps };
        Memory::of(command, (&recipe, &plans), &data, global).check()?;
    }

    let progress = Progress::new(global.quiet);
    let measured = Measured { recipe: &recipe, data: &data, plans: &plans, stage, path: &path };
    let (test_accuracy, spiking) = if ordinary {
        (measured.ordinary::<A>(checkpoint.state, &progress, device)?, None)
    } else {
        let found = measured.spiking::<A>(checkpoint.state, steps, &progress, device)?;
        (found.test_accuracy(), Some(found))
    };
    let evaluation = Evaluation {
        recipe: recipe.name.clone(),
        network: measured.plan().name.clone(),
        images: data.dataset.test.len(),
        checkpoint: path.clone(),
        stage,
        test_accuracy,
        spiking,
    };
    show(global, &evaluation, || text(&evaluation))
}

/// A network of a recipe that is to be measured.
struct Measured<'a> {
    recipe: &'a Recipe,
    data: &'a Data,
    plans: &'a Plans,
    stage: StageName,
    path: &'a Path,
}

impl Measured<'_> {
    fn plan(&self) -> &lasnn_core::Plan {
        match self.stage {
            StageName::Teacher => &self.plans.teacher,
            _ => &self.plans.student,
        }
    }

    fn ordinary<A: TrainingBackend>(
        &self,
        tensors: StateDict,
        progress: &Progress,
        device: &A::Device,
    ) -> anyhow::Result<f64> {
        let seed = self.recipe.seed;
        let network = Network::<A::InnerBackend>::new(self.plan(), Init::default(), seed, device);
        let network = state::load(network, tensors).map_err(|error| self.does_not_fit(error))?;
        let images = self.data.test(self.recipe.evaluation.batch);
        measure::accuracy(&network, &images, seed, "test", progress, device)
    }

    fn spiking<A: TrainingBackend>(
        &self,
        tensors: StateDict,
        steps: usize,
        progress: &Progress,
        device: &A::Device,
    ) -> anyhow::Result<SpikingSummary> {
        let Self { recipe, .. } = self;
        let plan = self.plan();
        let network = SpikingNetwork::<A::InnerBackend>::new(plan, &recipe.spiking, steps, device)?;
        let network = state::load(network, tensors).map_err(|error| self.does_not_fit(error))?;
        let images = self.data.test(recipe.evaluation.batch);
        let simulator = Simulator::with_format(network, recipe.evaluation.weights);
        let found =
            measure::simulation(&simulator, &images, steps, recipe.seed, "test", progress, device)?;
        Ok(SpikingSummary::new(&found, steps, plan))
    }

    fn does_not_fit(&self, error: lasnn_core::StateError) -> anyhow::Error {
        wrong(format_args!(
            "{} does not hold the recipe's {}: {error}",
            self.path.display(),
            self.stage.name()
        ))
    }
}

/// The checkpoint of a stage in the newest run of exactly this recipe.
fn newest(runs: &Path, recipe: &Recipe, stage: StageName) -> anyhow::Result<PathBuf> {
    let resolved = toml::to_string_pretty(recipe)?;
    let file = format!("checkpoints/{}.safetensors", stage.name());
    let mut newest_first = run_dir::list(&runs.join(&recipe.name))?.into_iter().rev();
    let found = newest_first.find(|run| {
        let same = std::fs::read_to_string(run.join("recipe.toml")).is_ok_and(|r| r == resolved);
        same && run.join(&file).is_file()
    });
    found.map(|run| run.join(&file)).ok_or_else(|| {
        wrong(format_args!(
            "no run in {} has made the {} of this recipe with seed {}; run it first, or name a \
             file with --checkpoint",
            runs.join(&recipe.name).display(),
            stage.name(),
            recipe.seed.0
        ))
    })
}

fn text(evaluation: &Evaluation) -> String {
    let Evaluation { network, stage, images, test_accuracy, checkpoint, .. } = evaluation;
    let mut text = format!(
        "{} {network}: {} of {images} test images\n{}",
        stage.name(),
        percent(*test_accuracy),
        checkpoint.display()
    );
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
            "\n{steps}\n{rates}\n{} spikes, {} synaptic operations, {} per image; the ordinary \
             network takes {}",
            count(spiking.spikes_per_image),
            count(spiking.synops_per_image),
            picojoules(spiking.energy_pj_per_image),
            picojoules(spiking.ann_energy_pj_per_image)
        ));
    }
    text
}
