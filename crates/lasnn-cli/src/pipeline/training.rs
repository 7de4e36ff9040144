//! The training of a network, and the measurement of its best and its last epoch.

use std::time::Instant;

use burn::module::AutodiffModule;
use lasnn_datasets::Loader;
use lasnn_nn::{Constrained, Objective, Observable, StateDict, StateError, state};
use lasnn_training::{Checkpoint, FitContext, LAST, TrainConfig, fit};

use super::session::Session;
use super::stage::Stage;
use super::training_observer::TrainingObserver;
use crate::device::TrainingBackend;
use crate::signals::STOP;
use crate::stage_artifact::{ArtifactMetadata, StageArtifact};
use crate::summary::StageSummary;

/// A network and how it is trained.
pub struct Training<'a, A: TrainingBackend, M> {
    /// The network before training.
    pub network: M,
    /// The loss.
    pub objective: &'a dyn Objective<A, M>,
    /// The training images.
    pub images: Loader,
    /// Epochs, batches, optimiser and schedule.
    pub config: &'a TrainConfig,
    /// Turns the tensors of the trained network into those that the stage stores: it folds the
    /// batch norms of a student.
    pub finish: &'a dyn Fn(StateDict) -> Result<StateDict, StateError>,
}

/// Trains the network of a stage and measures it. `key` is the hash of everything that determines
/// the result.
///
/// # Errors
///
/// Fails if a loss is not finite, if a file cannot be written, or if a signal comes.
pub fn train<A, M>(
    session: &mut Session<'_>,
    stage: &dyn Stage<A>,
    training: Training<'_, A, M>,
    key: &str,
    device: &A::Device,
) -> anyhow::Result<StageArtifact>
where
    A: TrainingBackend,
    M: AutodiffModule<A> + Constrained,
    M::InnerModule: Observable<A::InnerBackend>,
{
    let Training { network, objective, images, config, finish } = training;
    let name = stage.name();
    let validation = session.splits.validation(session.images_at_once(stage.node()));
    let folder = session.run.training(name);
    let recipe = session.recipe_as_json()?;
    let seed = session.recipe.seed;
    let mut observer =
        TrainingObserver::new(name, session.progress, &mut session.metrics, session.run);
    let context = FitContext {
        dir: &folder,
        stage: name.as_str(),
        seed,
        resume: true,
        fingerprint: key,
        recipe,
        stop: &STOP,
        observer: &mut observer,
    };
    let fitted = fit::<A, M, _>(network, objective, &images, &validation, config, context, device)?;
    observer.end()?;

    let begun = Instant::now();
    let best = finish(state::save(&fitted.model.valid()))?;
    let result = stage.test(session, best.clone(), device)?;
    let last_epoch = fitted.history.len() as u32 - 1;
    let last_test_accuracy = match fitted.best_epoch == last_epoch {
        true => result.accuracy,
        false => {
            let last = Checkpoint::load(&folder.join(LAST))?.take_section("model");
            stage.test(session, finish(last)?, device)?.accuracy
        }
    };
    let seconds: f64 = fitted.history.iter().map(|record| record.seconds).sum();
    let plan = session.plan(stage.node());
    let summary = StageSummary {
        network: plan.name.clone(),
        parameters: plan.parameters(),
        test_accuracy: result.accuracy,
        accuracy_by_class: result.by_class,
        validation_accuracy: fitted.best().validation_accuracy,
        epochs: fitted.history.len(),
        best_epoch: Some(fitted.best_epoch as usize),
        last_test_accuracy: Some(last_test_accuracy),
        seconds: seconds + begun.elapsed().as_secs_f64(),
        reused: false,
        spiking: result.spiking,
    };
    let metadata = session.metadata(stage.node(), &best, summary);
    let metadata = ArtifactMetadata { history: fitted.history, ..metadata };
    Ok(StageArtifact { state: best, metadata })
}
