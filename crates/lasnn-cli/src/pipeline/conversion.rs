//! The conversion: an ANN becomes a spiking network.

use std::cell::RefCell;
use std::time::Instant;

use lasnn_conversion::{Ann, Balancing, ConversionError, batch_norms, convert, fold_batch_norm};
use lasnn_core::{Batch, Pass};
use lasnn_nn::{BatchTensors, StateDict, state};
use lasnn_snn::{Progress as At, Simulator, SpikingNetwork, Task, images_at_once};
use serde_json::{Value, json};

use super::ann;
use super::measure::{simulation, test_simulation};
use super::outputs::Outputs;
use super::session::Session;
use super::stage::{Stage, TestResult};
use crate::device::TrainingBackend;
use crate::progress::{Bar, Progress};
use crate::recipe::Node;
use crate::signals::{self, Interrupted};
use crate::stage::StageName;
use crate::stage_artifact::{self, ArtifactMetadata, StageArtifact};
use crate::summary::{AtTimeSteps, SpikingSummary, StageSummary};
use crate::tables::percent;

/// The stage that converts an ANN.
pub struct Conversion<'a> {
    /// The stage.
    pub node: &'a Node<'a>,
    /// The stage that trains the ANN.
    pub from: &'a StageName,
}

impl<A: TrainingBackend> Stage<A> for Conversion<'_> {
    fn node(&self) -> &Node<'_> {
        self.node
    }

    fn is_cached(&self) -> bool {
        true
    }

    fn key_parts(&self, session: &Session<'_>, inputs: &Outputs) -> anyhow::Result<Value> {
        let recipe = session.recipe;
        Ok(json!({
            "intermediate": inputs.get(self.from)?.key,
            "spiking": recipe.spiking,
            "conversion": recipe.conversion,
            "time_steps": self.node.network.steps(),
            // The stage's summary contains these measurements.
            "evaluation": [json!(recipe.evaluation.time_steps), json!(recipe.evaluation.weights)],
        }))
    }

    fn run(
        &self,
        session: &mut Session<'_>,
        inputs: &Outputs,
        _: &str,
        device: &A::Device,
    ) -> anyhow::Result<StageArtifact> {
        run::<A>(session, self, &inputs.get(self.from)?.state, device)
    }

    fn test(
        &self,
        session: &Session<'_>,
        tensors: StateDict,
        device: &A::Device,
    ) -> anyhow::Result<TestResult> {
        let (recipe, plan) = (session.recipe, session.plan(self.node));
        let steps = self.node.network.steps();
        let network = SpikingNetwork::<A::InnerBackend>::new(plan, &recipe.spiking, steps, device)?;
        let network = state::load(network, tensors)?;
        let simulator = Simulator::with_format(network, recipe.evaluation.weights);
        test_simulation(session, self.node, &simulator, device)
    }
}

/// Converts the ANN with the tensors `intermediate`.
fn run<A: TrainingBackend>(
    session: &Session<'_>,
    stage: &Conversion<'_>,
    intermediate: &StateDict,
    device: &A::Device,
) -> anyhow::Result<StageArtifact> {
    let begun = Instant::now();
    let Session { recipe, splits, progress, .. } = *session;
    let (node, name) = (stage.node, stage.node.name());
    let (seed, plan, steps) = (recipe.seed, session.plan(node), node.network.steps());
    let config = &recipe.conversion;
    let batches = splits.balancing(config.batches, config.batch);
    let images: usize = batches.iter().map(Batch::len).sum();
    progress.say(format!(
        "{name}: balances thresholds on {images} images over {} steps",
        config.time_steps,
    ));
    let ann = ann::network::<A>(session, stage.from, intermediate.clone(), device)?;
    let activations = |batch: &Batch| {
        let pass = Pass::evaluate(seed, &batch.samples);
        ann.activations(batch.images(device), &pass)
    };
    let untrained = SpikingNetwork::<A::InnerBackend>::new(plan, &recipe.spiking, steps, device)?;
    let shown = RefCell::new(None);
    let on_progress = |at: At| {
        show(progress, &mut shown.borrow_mut(), at);
        signals::go_on()
    };
    let balancing = Balancing { config, batches: &batches, seed, on_progress: &on_progress };
    let folded = fold_batch_norm(&recipe.intermediate.network, intermediate.clone())?;
    let norms = batch_norms(intermediate);
    let known = Ann { tensors: &folded, norms: &norms, activations: &activations };
    let converted = convert(untrained, known, balancing, device);
    drop(shown);
    let (network, report) = converted.map_err(|error| match error {
        ConversionError::Interrupted => Interrupted.into(),
        error => anyhow::Error::from(error),
    })?;

    let at_once = |steps| images_at_once(plan, steps, recipe.evaluation.batch);
    let validation = splits.validation(at_once(steps));
    let label = format!("{name} validation");
    // The simulator needs the same memory for any number of time steps. A forward pass would need
    // more memory for each step.
    progress.say(format!("{name}: measures"));
    let exact = Simulator::new(network.clone());
    let validation = simulation(&exact, &validation, steps, seed, &label, progress, device)?;
    drop(exact);
    let simulator = Simulator::with_format(network.clone(), recipe.evaluation.weights);
    let result = test_simulation(session, node, &simulator, device)?;
    let mut at_time_steps = Vec::new();
    let mut all_steps: Vec<usize> = recipe.evaluation.time_steps.clone();
    all_steps.sort_unstable();
    for (index, &time_steps) in all_steps.iter().enumerate() {
        let images = splits.test(at_once(time_steps));
        let label = format!("{name} test");
        let found = simulation(&simulator, &images, time_steps, seed, &label, progress, device)?;
        let text = format!("{} over {time_steps} steps", percent(found.accuracy));
        progress.say_some(index, all_steps.len(), format!("{name}: {text}"));
        tracing::info!(stage = name.as_str(), "{text}");
        at_time_steps.push(AtTimeSteps::new(&found, time_steps));
    }
    let summary = StageSummary {
        network: plan.name.clone(),
        parameters: plan.parameters(),
        test_accuracy: result.accuracy,
        accuracy_by_class: result.by_class,
        validation_accuracy: validation.accuracy,
        epochs: 0,
        best_epoch: None,
        last_test_accuracy: None,
        seconds: begun.elapsed().as_secs_f64(),
        reused: false,
        spiking: result.spiking.map(|spiking| SpikingSummary { at_time_steps, ..spiking }),
    };
    let state = state::save(&network);
    let metadata = ArtifactMetadata {
        conversion: Some(stage_artifact::Conversion::from(report)),
        ..session.metadata(node, &state, summary)
    };
    Ok(StageArtifact { state, metadata })
}

/// Shows the progress of a conversion: one bar for each task.
fn show(progress: &Progress, shown: &mut Option<(Task, Bar)>, at: At) {
    let bar = match shown {
        Some((task, bar)) if *task == at.task => bar,
        _ => {
            let label = match at.task {
                Task::Balancing => "balances thresholds",
                Task::Calibrating => "calibrates",
                Task::Comparing => "compares with the ANN",
                Task::Simulating => "measures",
            };
            // The old bar must disappear before the new one is drawn.
            *shown = None;
            &mut shown.insert((at.task, progress.bar(label, at.total))).1
        }
    };
    bar.at(at.done);
}
