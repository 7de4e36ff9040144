//! Teacher and intermediate network: an ANN is trained, or a supplied checkpoint is imported.

use std::time::Instant;

use lasnn_models::{Init, Network};
use lasnn_nn::{StateDict, StateError, state};
use lasnn_training::CrossEntropy;
use serde_json::json;

use super::measure::evaluation;
use super::session::{Session, StageOutput};
use super::training::{TestResult, Training, train};
use crate::device::TrainingBackend;
use crate::failure::invalid_input;
use crate::recipe::has_batch_norm;
use crate::stage::StageName;
use crate::stage_artifact::StageArtifact;
use crate::summary::StageSummary;
use crate::supplied::SuppliedCheckpoint;

/// Trains, imports or reuses the teacher or the intermediate network.
///
/// # Errors
///
/// Fails if the training fails, or if a supplied checkpoint does not fit the network.
pub fn run_or_reuse<A: TrainingBackend>(
    session: &mut Session<'_>,
    stage: StageName,
    device: &A::Device,
) -> anyhow::Result<StageOutput> {
    let recipe = session.recipe;
    let (config, supplied) = match stage {
        StageName::Teacher => (&recipe.teacher, session.teacher.take()),
        _ => (&recipe.intermediate, session.intermediate.take()),
    };
    if let Some(supplied) = supplied {
        let key = session.key(stage, json!({"file": supplied.sha256}))?;
        return session
            .run_or_reuse(stage, key, |session, _| import::<A>(session, stage, supplied, device));
    }
    let key = session.key(stage, config)?;
    session.run_or_reuse(stage, key, |session, key| {
        let plan = session.plan(stage);
        let training = Training {
            network: Network::<A>::new(plan, config.init, recipe.seed, device),
            objective: &CrossEntropy,
            images: session.splits.train(config.train.batch, has_batch_norm(plan)),
            config: &config.train,
        };
        let test = |session: &Session<'_>, state| test::<A>(session, stage, state, device);
        train::<A, _>(session, stage, training, key, test, device)
    })
}

/// The network of a stage with trained tensors, without gradients.
///
/// # Errors
///
/// Names a tensor that does not fit the network.
pub fn network<A: TrainingBackend>(
    session: &Session<'_>,
    stage: StageName,
    tensors: StateDict,
    device: &A::Device,
) -> Result<Network<A::InnerBackend>, StateError> {
    let plan = session.plan(stage);
    // The initial weights are replaced at once, so any initialisation serves.
    let network = Network::new(plan, Init::default(), session.recipe.seed, device);
    state::load(network, tensors)
}

/// Uses a supplied checkpoint instead of training the network.
fn import<A: TrainingBackend>(
    session: &mut Session<'_>,
    stage: StageName,
    supplied: SuppliedCheckpoint,
    device: &A::Device,
) -> anyhow::Result<StageArtifact> {
    let begun = Instant::now();
    let SuppliedCheckpoint { path, state, metadata, .. } = supplied;
    let network = network::<A>(session, stage, state.clone(), device)
        .map_err(|error| invalid_input(format_args!("{}: {error}", path.display())))?;
    let seed = session.recipe.seed;
    let images = session.splits.validation(session.images_at_once(stage));
    let label = format!("{} validation", stage.name());
    let validation = evaluation(&network, &images, seed, &label, session.progress, device)?;
    let result = test::<A>(session, stage, state.clone(), device)?;
    let plan = session.plan(stage);
    let summary = StageSummary {
        network: plan.name.clone(),
        parameters: plan.parameters(),
        test_accuracy: result.accuracy,
        accuracy_by_class: result.by_class,
        validation_accuracy: validation.accuracy,
        epochs: metadata.summary.map_or(0, |summary| summary.epochs),
        best_epoch: None,
        last_test_accuracy: None,
        seconds: begun.elapsed().as_secs_f64(),
        reused: true,
        spiking: None,
    };
    let metadata = session.metadata(stage, &state, summary);
    Ok(StageArtifact { state, metadata })
}

/// Measures the network of a stage with these tensors on the test images.
fn test<A: TrainingBackend>(
    session: &Session<'_>,
    stage: StageName,
    tensors: StateDict,
    device: &A::Device,
) -> anyhow::Result<TestResult> {
    let network = network::<A>(session, stage, tensors, device)?;
    let images = session.splits.test(session.images_at_once(stage));
    let label = format!("{} test", stage.name());
    let seed = session.recipe.seed;
    let found = evaluation(&network, &images, seed, &label, session.progress, device)?;
    let by_class = session.by_class(&found.by_class);
    Ok(TestResult { accuracy: found.accuracy, by_class, spiking: None })
}
