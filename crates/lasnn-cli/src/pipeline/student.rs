//! Stage 3: the converted network is trained, with its teacher or, as a control, without.

use std::time::Instant;

use burn::module::AutodiffModule;
use lasnn_distillation::Distillation;
use lasnn_nn::{Objective, StateDict, state};
use lasnn_snn::{Simulator, SpikingNetwork};
use lasnn_training::{Checkpoint, CrossEntropy, FitContext, LAST, fit};
use serde_json::json;

use super::conversion;
use super::ordinary;
use super::session::{Obtained, Session};
use super::watch::Watch;
use crate::device::TrainingBackend;
use crate::signals::STOP;
use crate::stage::StageName;
use crate::stored::{About, Stored};
use crate::summary::{ClassAccuracy, SpikingSummary, StageSummary};

/// The student: distilled, or trained by cross-entropy alone if `stage` is the control. Both see
/// the same images in the same order under the same dropout masks.
///
/// # Errors
///
/// Fails if the training does.
pub fn obtain<A: TrainingBackend>(
    session: &mut Session<'_>,
    stage: StageName,
    converted: &Obtained,
    teacher: &Obtained,
    device: &A::Device,
) -> anyhow::Result<Obtained> {
    let objective: Box<dyn Objective<A, SpikingNetwork<A>>> = match stage {
        StageName::Control => Box::new(CrossEntropy),
        _ => {
            let network =
                ordinary::network::<A>(session, StageName::Teacher, teacher.state.clone(), device)?;
            Box::new(Distillation::new(network, &session.recipe.student.distillation))
        }
    };
    let made_from = json!({
        "converted": converted.key,
        "teacher": teacher.key,
        "student": session.recipe.student,
    });
    let key = session.key(stage, made_from)?;
    session.obtain(stage, key, |session, key| {
        train::<A>(session, stage, &converted.state, objective.as_ref(), key, device)
    })
}

fn train<A: TrainingBackend>(
    session: &mut Session<'_>,
    stage: StageName,
    converted: &StateDict,
    objective: &dyn Objective<A, SpikingNetwork<A>>,
    key: &str,
    device: &A::Device,
) -> anyhow::Result<Stored> {
    let Session { recipe, plans, data, progress, run, .. } = *session;
    let (seed, steps, config) = (recipe.seed, recipe.student.time_steps, &recipe.student.train);
    let network = SpikingNetwork::<A>::new(&plans.student, &recipe.spiking, steps, device)?;
    let network = state::load(network, converted.clone())?;
    let images = data.train_student(config.batch);
    let validation = data.validation(session.images_at_once(stage));
    let folder = run.training(stage);
    let provenance = session.provenance()?;
    let mut watch = Watch::new(stage, progress, &mut session.metrics, run);
    let context = FitContext {
        dir: &folder,
        stage: stage.name(),
        seed,
        resume: true,
        fingerprint: key,
        recipe: provenance,
        stop: &STOP,
        observer: &mut watch,
    };
    let fitted = fit(network, objective, &images, &validation, config, context, device)?;
    watch.end()?;

    let begun = Instant::now();
    let best = state::save(&fitted.model.valid());
    let (spiking, accuracy_by_class) = test::<A>(session, stage, best.clone(), device)?;
    let last_epoch = fitted.history.len() as u32 - 1;
    let last_test_accuracy = match fitted.best_epoch == last_epoch {
        true => spiking.test_accuracy(),
        false => {
            let last = Checkpoint::load(&folder.join(LAST))?.take_section("model");
            test::<A>(session, stage, last, device)?.0.test_accuracy()
        }
    };
    let training: f64 = fitted.history.iter().map(|record| record.seconds).sum();
    let summary = StageSummary {
        network: plans.student.name.clone(),
        parameters: plans.student.parameters(),
        test_accuracy: spiking.test_accuracy(),
        accuracy_by_class,
        validation_accuracy: fitted.best().validation_accuracy,
        epochs: fitted.history.len(),
        best_epoch: Some(fitted.best_epoch as usize),
        last_test_accuracy: Some(last_test_accuracy),
        seconds: training + begun.elapsed().as_secs_f64(),
        reused: false,
        spiking: Some(spiking),
    };
    let about = About { history: fitted.history, ..session.about(stage, &best, summary) };
    Ok(Stored { state: best, about })
}

/// What the student does on the test images with these tensors.
fn test<A: TrainingBackend>(
    session: &Session<'_>,
    stage: StageName,
    tensors: StateDict,
    device: &A::Device,
) -> anyhow::Result<(SpikingSummary, Vec<ClassAccuracy>)> {
    let Session { recipe, plans, .. } = *session;
    let steps = recipe.student.time_steps;
    let network =
        SpikingNetwork::<A::InnerBackend>::new(&plans.student, &recipe.spiking, steps, device)?;
    let network = state::load(network, tensors)?;
    let simulator = Simulator::with_format(network, session.recipe.evaluation.weights);
    conversion::test(session, stage, &simulator, device)
}
