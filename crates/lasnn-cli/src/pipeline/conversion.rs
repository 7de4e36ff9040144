//! The second half of stage 2: the intermediate network is made spiking.

use std::time::Instant;

use lasnn_conversion::{Simulator, SpikingNetwork, convert};
use lasnn_core::{Batch, Pass, StateDict, state};
use lasnn_neurons::SpikingBackend;
use serde_json::json;

use super::measure::{accuracy, simulation};
use super::ordinary;
use super::session::{Obtained, Session};
use crate::args::StageName;
use crate::device::TrainingBackend;
use crate::report::percent;
use crate::stored::{About, Conversion, Stored};
use crate::summary::{AtTimeSteps, SpikingSummary, StageSummary};

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
    progress.say(format!(
        "{}: balances thresholds on {} x {} images over {} steps",
        STAGE.name(),
        config.batches,
        config.batch,
        config.time_steps,
    ));
    let ann =
        ordinary::network::<A>(session, StageName::Intermediate, intermediate.clone(), device)?;
    let activations = |batch: &Batch| {
        let pass = Pass::evaluate(seed, &batch.samples);
        ann.activations(batch.images(device), &pass)
    };
    let batches = data.balancing(config.batches, config.batch);
    let empty = SpikingNetwork::<A::InnerBackend>::new(plan, &recipe.spiking, steps, device)?;
    let (network, report) =
        convert(empty, intermediate, &activations, config, &batches, seed, device)?;

    let batch = recipe.evaluation.batch;
    let validation = data.validation(batch);
    let label = format!("{} validation", STAGE.name());
    let validation_accuracy = accuracy(&network, &validation, seed, &label, progress, device)?;
    let simulator = Simulator::with_format(network.clone(), recipe.evaluation.weights);
    let mut spiking = test(session, STAGE, &simulator, device)?;
    let mut simulated: Vec<usize> = recipe.evaluation.time_steps.clone();
    simulated.sort_unstable();
    simulated.dedup();
    for time_steps in simulated {
        let images = data.test(batch);
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
        validation_accuracy,
        epochs: 0,
        best_epoch: None,
        last_test_accuracy: None,
        seconds: begun.elapsed().as_secs_f64(),
        reused: false,
        spiking: Some(spiking),
    };
    let about = About {
        spiking: Some(recipe.spiking.clone()),
        conversion: Some(Conversion::from(report)),
        ..session.about(STAGE, summary)
    };
    Ok(Stored { state: state::save(&network), about })
}

/// What a spiking network does on the test images over its own number of steps.
pub fn test<B: SpikingBackend>(
    session: &Session<'_>,
    stage: StageName,
    simulator: &Simulator<B>,
    device: &B::Device,
) -> anyhow::Result<SpikingSummary> {
    let Session { recipe, plans, data, progress, .. } = *session;
    let images = data.test(recipe.evaluation.batch);
    let (label, steps) = (format!("{} test", stage.name()), simulator.network().time_steps());
    let found = simulation(simulator, &images, steps, recipe.seed, &label, progress, device)?;
    Ok(SpikingSummary::new(&found, steps, &plans.student))
}
