//! The conversion: the intermediate network becomes a spiking network.

use std::cell::RefCell;
use std::time::Instant;

use lasnn_conversion::{Balancing, ConversionError, convert};
use lasnn_core::{Batch, Pass};
use lasnn_neurons::SpikingBackend;
use lasnn_nn::{BatchTensors, StateDict, state};
use lasnn_snn::{Progress as At, Simulator, SpikingNetwork, Task, images_at_once};
use serde_json::json;

use super::ann;
use super::measure::simulation;
use super::session::{Session, StageOutput};
use crate::device::TrainingBackend;
use crate::progress::{Bar, Progress};
use crate::signals::{self, Interrupted};
use crate::stage::StageName;
use crate::stage_artifact::{ArtifactMetadata, Conversion, StageArtifact};
use crate::summary::{AtTimeSteps, ClassAccuracy, SpikingSummary, StageSummary};
use crate::tables::percent;

const STAGE: StageName = StageName::Converted;

/// Converts the intermediate network, or reuses the converted network.
///
/// # Errors
///
/// Fails if the input of a layer is not finite, or if a signal comes.
pub fn run_or_reuse<A: TrainingBackend>(
    session: &mut Session<'_>,
    intermediate: &StageOutput,
    device: &A::Device,
) -> anyhow::Result<StageOutput> {
    let recipe = session.recipe;
    let key = session.key(
        STAGE,
        json!({
            "intermediate": intermediate.key,
            "spiking": recipe.spiking,
            "conversion": recipe.conversion,
            "time_steps": recipe.student.time_steps,
            // The stage's summary contains these measurements.
            "evaluation": [json!(recipe.evaluation.time_steps), json!(recipe.evaluation.weights)],
        }),
    )?;
    session.run_or_reuse(STAGE, key, |session, _| run::<A>(session, &intermediate.state, device))
}

fn run<A: TrainingBackend>(
    session: &mut Session<'_>,
    intermediate: &StateDict,
    device: &A::Device,
) -> anyhow::Result<StageArtifact> {
    let begun = Instant::now();
    let Session { recipe, plans, splits, progress, .. } = *session;
    let (seed, plan, steps) = (recipe.seed, &plans.student, recipe.student.time_steps);
    let config = &recipe.conversion;
    let batches = splits.balancing(config.batches, config.batch);
    let images: usize = batches.iter().map(Batch::len).sum();
    progress.say(format!(
        "{}: balances thresholds on {images} images over {} steps",
        STAGE.name(),
        config.time_steps,
    ));
    let ann = ann::network::<A>(session, StageName::Intermediate, intermediate.clone(), device)?;
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
    let converted = convert(untrained, intermediate, &activations, balancing, device);
    drop(shown);
    let (network, report) = converted.map_err(|error| match error {
        ConversionError::Interrupted => Interrupted.into(),
        error => anyhow::Error::from(error),
    })?;

    let at_once = |steps| images_at_once(plan, steps, recipe.evaluation.batch);
    let validation = splits.validation(at_once(steps));
    let label = format!("{} validation", STAGE.name());
    // The simulator needs the same memory for any number of time steps. A forward pass would need
    // more memory for each step.
    progress.say(format!("{}: measures", STAGE.name()));
    let exact = Simulator::new(network.clone());
    let validation = simulation(&exact, &validation, steps, seed, &label, progress, device)?;
    drop(exact);
    let simulator = Simulator::with_format(network.clone(), recipe.evaluation.weights);
    let (mut spiking, accuracy_by_class) = test(session, STAGE, &simulator, device)?;
    let mut all_steps: Vec<usize> = recipe.evaluation.time_steps.clone();
    all_steps.sort_unstable();
    for (index, &time_steps) in all_steps.iter().enumerate() {
        let images = splits.test(at_once(time_steps));
        let label = format!("{} test", STAGE.name());
        let found = simulation(&simulator, &images, time_steps, seed, &label, progress, device)?;
        let text = format!("{} over {time_steps} steps", percent(found.accuracy));
        progress.say_some(index, all_steps.len(), format!("{}: {text}", STAGE.name()));
        tracing::info!(stage = STAGE.name(), "{text}");
        spiking.at_time_steps.push(AtTimeSteps::new(&found, time_steps));
    }
    let summary = StageSummary {
        network: plan.name.clone(),
        parameters: plan.parameters(),
        test_accuracy: spiking.test_accuracy(),
        accuracy_by_class,
        validation_accuracy: validation.accuracy,
        epochs: 0,
        best_epoch: None,
        last_test_accuracy: None,
        seconds: begun.elapsed().as_secs_f64(),
        reused: false,
        spiking: Some(spiking),
    };
    let state = state::save(&network);
    let metadata = ArtifactMetadata {
        conversion: Some(Conversion::from(report)),
        ..session.metadata(STAGE, &state, summary)
    };
    Ok(StageArtifact { state, metadata })
}

/// Simulates a spiking network on the test images over its own number of time steps. Returns its
/// numbers and the accuracy of each class.
pub fn test<B: SpikingBackend>(
    session: &Session<'_>,
    stage: StageName,
    simulator: &Simulator<B>,
    device: &B::Device,
) -> anyhow::Result<(SpikingSummary, Vec<ClassAccuracy>)> {
    let Session { recipe, plans, splits, progress, .. } = *session;
    let (label, steps) = (format!("{} test", stage.name()), simulator.network().time_steps());
    let images = splits.test(images_at_once(&plans.student, steps, recipe.evaluation.batch));
    let found = simulation(simulator, &images, steps, recipe.seed, &label, progress, device)?;
    let by_class = session.by_class(&found.by_class);
    Ok((SpikingSummary::new(&found, steps, &plans.student), by_class))
}

/// Shows the progress of a conversion: one bar for each task.
fn show(progress: &Progress, shown: &mut Option<(Task, Bar)>, at: At) {
    let bar = match shown {
        Some((task, bar)) if *task == at.task => bar,
        _ => {
            let label = match at.task {
                Task::Balancing => "balances thresholds",
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
