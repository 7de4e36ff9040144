//! The second half of stage 2: the intermediate network is made spiking.

use std::cell::RefCell;
use std::time::Instant;

use lasnn_conversion::{Balancing, ConversionError, convert};
use lasnn_core::{Batch, Pass};
use lasnn_neurons::SpikingBackend;
use lasnn_nn::BatchTensors;
use lasnn_nn::{StateDict, state};
use lasnn_snn::{Progress as At, Simulator, SpikingNetwork, Task, images_at_once};
use serde_json::json;

use super::measure::simulation;
use super::ordinary;
use super::session::{Obtained, Session};
use crate::device::TrainingBackend;
use crate::progress::{Bar, Progress};
use crate::report::percent;
use crate::signals::{self, Interrupted};
use crate::stage::StageName;
use crate::stored::{About, Conversion, Stored};
use crate::summary::{AtTimeSteps, ClassAccuracy, SpikingSummary, StageSummary};

const STAGE: StageName = StageName::Converted;

/// The converted network.
///
/// # Errors
///
/// Fails if a layer's input is not finite.
pub fn obtain<A: TrainingBackend>(
    session: &mut Session<'_>,
    intermediate: &Obtained,
    device: &A::Device,
) -> anyhow::Result<Obtained> {
    let recipe = session.recipe;
    let key = session.key(
        STAGE,
        json!({
            "intermediate": intermediate.key,
            "spiking": recipe.spiking,
            "conversion": recipe.conversion,
            "time_steps": recipe.student.time_steps,
            // How it is tested is in its summary.
            "evaluation": [json!(recipe.evaluation.time_steps), json!(recipe.evaluation.weights)],
        }),
    )?;
    session.obtain(STAGE, key, |session, _| make::<A>(session, &intermediate.state, device))
}

fn make<A: TrainingBackend>(
    session: &mut Session<'_>,
    intermediate: &StateDict,
    device: &A::Device,
) -> anyhow::Result<Stored> {
    let begun = Instant::now();
    let Session { recipe, plans, data, progress, .. } = *session;
    let (seed, plan, steps) = (recipe.seed, &plans.student, recipe.student.time_steps);
    let config = &recipe.conversion;
    let batches = data.balancing(config.batches, config.batch);
    let images: usize = batches.iter().map(Batch::len).sum();
    progress.say(format!(
        "{}: balances thresholds on {images} images over {} steps",
        STAGE.name(),
        config.time_steps,
    ));
    let ann =
        ordinary::network::<A>(session, StageName::Intermediate, intermediate.clone(), device)?;
    let activations = |batch: &Batch| {
        let pass = Pass::evaluate(seed, &batch.samples);
        ann.activations(batch.images(device), &pass)
    };
    let empty = SpikingNetwork::<A::InnerBackend>::new(plan, &recipe.spiking, steps, device)?;
    let shown = RefCell::new(None);
    let on_progress = |at: At| {
        show(progress, &mut shown.borrow_mut(), at);
        signals::go_on()
    };
    let balancing = Balancing { config, batches: &batches, seed, on_progress: &on_progress };
    let converted = convert(empty, intermediate, &activations, balancing, device);
    drop(shown);
    let (network, report) = converted.map_err(|error| match error {
        ConversionError::Interrupted => Interrupted.into(),
        error => anyhow::Error::from(error),
    })?;

    let at_once = |steps| images_at_once(plan, steps, recipe.evaluation.batch);
    let validation = data.validation(at_once(steps));
    let label = format!("{} validation", STAGE.name());
    // Simulated and not run from rest: memory does not grow with the number of steps.
    progress.say(format!("{}: measures", STAGE.name()));
    let exact = Simulator::new(network.clone());
    let validation = simulation(&exact, &validation, steps, seed, &label, progress, device)?;
    drop(exact);
    let simulator = Simulator::with_format(network.clone(), recipe.evaluation.weights);
    let (mut spiking, accuracy_by_class) = test(session, STAGE, &simulator, device)?;
    let mut simulated: Vec<usize> = recipe.evaluation.time_steps.clone();
    simulated.sort_unstable();
    for time_steps in simulated {
        let images = data.test(at_once(time_steps));
        let label = format!("{} test", STAGE.name());
        let found = simulation(&simulator, &images, time_steps, seed, &label, progress, device)?;
        let accuracy = percent(found.accuracy);
        progress.say(format!("{}: {accuracy} over {time_steps} steps", STAGE.name()));
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
    let about = About {
        conversion: Some(Conversion::from(report)),
        ..session.about(STAGE, &state, summary)
    };
    Ok(Stored { state, about })
}

/// What a spiking network does on the test images over its own number of steps, and the accuracy of
/// each class.
pub fn test<B: SpikingBackend>(
    session: &Session<'_>,
    stage: StageName,
    simulator: &Simulator<B>,
    device: &B::Device,
) -> anyhow::Result<(SpikingSummary, Vec<ClassAccuracy>)> {
    let Session { recipe, plans, data, progress, .. } = *session;
    let (label, steps) = (format!("{} test", stage.name()), simulator.network().time_steps());
    let images = data.test(images_at_once(&plans.student, steps, recipe.evaluation.batch));
    let found = simulation(simulator, &images, steps, recipe.seed, &label, progress, device)?;
    let by_class = session.by_class(&found.by_class);
    Ok((SpikingSummary::new(&found, steps, &plans.student), by_class))
}

/// Shows how far a conversion is: one bar for each task.
fn show(progress: &Progress, shown: &mut Option<(Task, Bar)>, at: At) {
    let bar = match shown {
        Some((task, bar)) if *task == at.task => bar,
        _ => {
            let label = match at.task {
                Task::Balancing => "balances thresholds",
                Task::Comparing => "compares with the ANN",
                Task::Simulating => "measures",
            };
            // The old bar goes before the new one comes.
            *shown = None;
            &mut shown.insert((at.task, progress.bar(label, at.total))).1
        }
    };
    bar.at(at.done);
}
