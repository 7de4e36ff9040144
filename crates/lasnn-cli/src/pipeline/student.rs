//! The student: the converted network is trained by the losses of the recipe or, as a control, by
//! those that need no teacher.

use lasnn_distillation::{LossConfig, StudentObjective};
use lasnn_nn::{StateDict, state};
use lasnn_snn::{Simulator, SpikingNetwork};
use serde_json::json;

use super::session::{Session, StageOutput};
use super::training::{TestResult, Training, train};
use super::{ann, conversion};
use crate::device::TrainingBackend;
use crate::stage::StageName;

/// Trains or reuses the student: by all losses, or without those that need a teacher if `stage` is
/// the control. Both see the same images in the same order with the same dropout masks.
///
/// # Errors
///
/// Fails if the training fails.
pub fn run_or_reuse<A: TrainingBackend>(
    session: &mut Session<'_>,
    stage: StageName,
    converted: &StageOutput,
    teacher: &StageOutput,
    device: &A::Device,
) -> anyhow::Result<StageOutput> {
    let recipe = session.recipe;
    let losses = match stage {
        StageName::Control => LossConfig::without_teacher(&recipe.student.losses),
        _ => recipe.student.losses.clone(),
    };
    let network = match losses.iter().any(|loss| loss.as_kind().needs_teacher()) {
        true => {
            let tensors = teacher.state.clone();
            Some(ann::network::<A>(session, StageName::Teacher, tensors, device)?)
        }
        false => None,
    };
    let objective = StudentObjective::new(&losses, network, recipe.student.time_steps)?;
    let key = session.key(
        stage,
        json!({
            "converted": converted.key,
            "teacher": teacher.key,
            "student": recipe.student,
        }),
    )?;
    session.run_or_reuse(stage, key, |session, key| {
        let (plan, steps) = (session.plan(stage), recipe.student.time_steps);
        let network = SpikingNetwork::<A>::new(plan, &recipe.spiking, steps, device)?;
        let training = Training {
            network: state::load(network, converted.state.clone())?,
            objective: &objective,
            images: session.splits.train_student(recipe.student.train.batch),
            config: &recipe.student.train,
        };
        let test = |session: &Session<'_>, state| test::<A>(session, stage, state, device);
        train::<A, _>(session, stage, training, key, test, device)
    })
}

/// Measures the student with these tensors on the test images.
fn test<A: TrainingBackend>(
    session: &Session<'_>,
    stage: StageName,
    tensors: StateDict,
    device: &A::Device,
) -> anyhow::Result<TestResult> {
    let Session { recipe, plans, .. } = *session;
    let steps = recipe.student.time_steps;
    let network =
        SpikingNetwork::<A::InnerBackend>::new(&plans.student, &recipe.spiking, steps, device)?;
    let network = state::load(network, tensors)?;
    let simulator = Simulator::with_format(network, recipe.evaluation.weights);
    let (spiking, by_class) = conversion::test(session, stage, &simulator, device)?;
    Ok(TestResult { accuracy: spiking.test_accuracy(), by_class, spiking: Some(spiking) })
}
