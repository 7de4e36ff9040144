//! Stage 1, and the first half of stage 2: an ordinary network is trained.

use std::time::Instant;

use lasnn_models::{Init, Network};
use lasnn_nn::{StateDict, state};
use lasnn_training::{Checkpoint, CrossEntropy, Evaluation, FitContext, LAST, fit};
use serde_json::json;

use super::measure::evaluation;
use super::session::{Obtained, Session};
use super::watch::Watch;
use crate::device::TrainingBackend;
use crate::failure::wrong;
use crate::given::Given;
use crate::recipe::{Ordinary, has_batch_norm};
use crate::signals::STOP;
use crate::stage::StageName;
use crate::stored::{About, Stored};
use crate::summary::StageSummary;

/// The teacher or the intermediate network.
///
/// # Errors
///
/// Fails if the training does, or if a given checkpoint is not such a network.
pub fn obtain<A: TrainingBackend>(
    session: &mut Session<'_>,
    stage: StageName,
    device: &A::Device,
) -> anyhow::Result<Obtained> {
    let (ordinary, given) = match stage {
        StageName::Teacher => (&session.recipe.teacher, session.teacher.take()),
        _ => (&session.recipe.intermediate, session.intermediate.take()),
    };
    match given {
        Some(given) => {
            let key = session.key(stage, json!({"file": given.sha256}))?;
            session.obtain(stage, key, |session, _| import::<A>(session, stage, given, device))
        }
        None => {
            let key = session.key(stage, ordinary)?;
            session.obtain(stage, key, |session, key| {
                train::<A>(session, stage, ordinary, key, device)
            })
        }
    }
}

/// Trains the network and measures its best epoch.
fn train<A: TrainingBackend>(
    session: &mut Session<'_>,
    stage: StageName,
    ordinary: &Ordinary,
    key: &str,
    device: &A::Device,
) -> anyhow::Result<Stored> {
    let seed = session.recipe.seed;
    let plan = session.plan(stage).clone();
    let network = Network::<A>::new(&plan, ordinary.init, seed, device);
    let images = session.data.train(ordinary.train.batch, has_batch_norm(&plan));
    let validation = session.data.validation(session.images_at_once(stage));
    let folder = session.run.training(stage);
    let recipe = session.provenance()?;
    let mut watch = Watch::new(stage, session.progress, &mut session.metrics, session.run);
    let context = FitContext {
        dir: &folder,
        stage: stage.name(),
        seed,
        resume: true,
        fingerprint: key,
        recipe,
        stop: &STOP,
        observer: &mut watch,
    };
    let fitted =
        fit(network, &CrossEntropy, &images, &validation, &ordinary.train, context, device)?;
    watch.end()?;

    let begun = Instant::now();
    let best = state::save(&burn::module::AutodiffModule::valid(&fitted.model));
    let test = measure::<A>(session, stage, best.clone(), device)?;
    let last = fitted.history.len() as u32 - 1;
    let last_test_accuracy = match fitted.best_epoch == last {
        true => test.accuracy,
        false => {
            let state = Checkpoint::load(&folder.join(LAST))?.take_section("model");
            measure::<A>(session, stage, state, device)?.accuracy
        }
    };
    let training: f64 = fitted.history.iter().map(|record| record.seconds).sum();
    let summary = StageSummary {
        network: plan.name.clone(),
        parameters: plan.parameters(),
        test_accuracy: test.accuracy,
        accuracy_by_class: session.by_class(&test.by_class),
        validation_accuracy: fitted.best().validation_accuracy,
        epochs: fitted.history.len(),
        best_epoch: Some(fitted.best_epoch as usize),
        last_test_accuracy: Some(last_test_accuracy),
        seconds: training + begun.elapsed().as_secs_f64(),
        reused: false,
        spiking: None,
    };
    let about = About { history: fitted.history, ..session.about(stage, &best, summary) };
    Ok(Stored { state: best, about })
}

/// Takes a checkpoint that the command line names in place of a training.
fn import<A: TrainingBackend>(
    session: &mut Session<'_>,
    stage: StageName,
    given: Given,
    device: &A::Device,
) -> anyhow::Result<Stored> {
    let begun = Instant::now();
    let Given { path, state, about, .. } = given;
    let network = network::<A>(session, stage, state.clone(), device)
        .map_err(|error| wrong(format_args!("{}: {error}", path.display())))?;
    let seed = session.recipe.seed;
    let images = session.data.validation(session.images_at_once(stage));
    let label = format!("{} validation", stage.name());
    let validation = evaluation(&network, &images, seed, &label, session.progress, device)?;
    let test = measure::<A>(session, stage, state.clone(), device)?;
    let plan = session.plan(stage);
    let summary = StageSummary {
        network: plan.name.clone(),
        parameters: plan.parameters(),
        test_accuracy: test.accuracy,
        accuracy_by_class: session.by_class(&test.by_class),
        validation_accuracy: validation.accuracy,
        epochs: about.summary.map_or(0, |summary| summary.epochs),
        best_epoch: None,
        last_test_accuracy: None,
        seconds: begun.elapsed().as_secs_f64(),
        reused: true,
        spiking: None,
    };
    let about = session.about(stage, &state, summary);
    Ok(Stored { state, about })
}

/// The network of a stage with trained tensors, without gradients.
pub fn network<A: TrainingBackend>(
    session: &Session<'_>,
    stage: StageName,
    tensors: StateDict,
    device: &A::Device,
) -> Result<Network<A::InnerBackend>, lasnn_nn::StateError> {
    let plan = session.plan(stage);
    // The weights it starts with are replaced at once.
    let network = Network::new(plan, Init::default(), session.recipe.seed, device);
    state::load(network, tensors)
}

/// Measures the network of a stage with these tensors on the test images.
fn measure<A: TrainingBackend>(
    session: &Session<'_>,
    stage: StageName,
    tensors: StateDict,
    device: &A::Device,
) -> anyhow::Result<Evaluation> {
    let network = network::<A>(session, stage, tensors, device)?;
    let images = session.data.test(session.images_at_once(stage));
    let label = format!("{} test", stage.name());
    let seed = session.recipe.seed;
    evaluation(&network, &images, seed, &label, session.progress, device)
}
