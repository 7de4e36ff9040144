//! A spiking network is trained by the losses of the recipe.
//!
//! The control is such a stage, too: it begins like the student and has the losses that need no
//! teacher. Both see the same images in the same order with the same dropout masks.

use lasnn_conversion::fold_batch_norm;
use lasnn_distillation::StudentObjective;
use lasnn_models::Network;
use lasnn_nn::{StateDict, state};
use lasnn_snn::{Simulator, SnnError, SpikingNetwork};
use serde_json::{Value, json};

use super::measure::test_simulation;
use super::outputs::Outputs;
use super::session::Session;
use super::stage::{Stage, TestResult};
use super::teacher::Teacher;
use super::training::{Training, train};
use crate::device::TrainingBackend;
use crate::recipe::{Node, Start, StudentWork, has_batch_norm};
use crate::stage_artifact::StageArtifact;

/// The stage that trains a spiking network.
pub struct Student<'a> {
    /// The stage.
    pub node: &'a Node<'a>,
    /// The training.
    pub work: &'a StudentWork<'a>,
}

impl<A: TrainingBackend> Stage<A> for Student<'_> {
    fn node(&self) -> &Node<'_> {
        self.node
    }

    /// A student is what a run is made for, so it is trained in each run.
    fn is_cached(&self) -> bool {
        false
    }

    fn key_parts(&self, session: &Session<'_>, inputs: &Outputs) -> anyhow::Result<Value> {
        let work = self.work;
        let start = match &work.start {
            Start::Stage(name) => json!({"stage": inputs.get(name)?.key}),
            Start::Random => json!({
                "network": self.node.network.layers,
                "init": session.recipe.intermediate.init,
                "threshold": work.threshold,
                "batch_norm": work.batch_norm,
            }),
        };
        let teacher = work.teacher.as_ref().map(|name| inputs.get(name)).transpose()?;
        Ok(json!({
            "start": start,
            "teacher": teacher.map(|teacher| &teacher.key),
            "spiking": session.recipe.spiking,
            "time_steps": work.time_steps,
            "train_limit": work.train_limit,
            "train": work.train,
            "losses": work.losses,
            // The stage's summary contains this measurement.
            "evaluation": session.recipe.evaluation.weights,
        }))
    }

    fn run(
        &self,
        session: &mut Session<'_>,
        inputs: &Outputs,
        key: &str,
        device: &A::Device,
    ) -> anyhow::Result<StageArtifact> {
        let (work, recipe, plan) = (self.work, session.recipe, session.plans.trained(self.node));
        let teacher = match &work.teacher {
            Some(name) => {
                let tensors = inputs.get(name)?.state.clone();
                Some(Teacher::<A>::new(session, name, tensors, device)?)
            }
            None => None,
        };
        let objective = StudentObjective::new(&work.losses, teacher, work.time_steps)?;
        let tensors = match &work.start {
            Start::Stage(name) => inputs.get(name)?.state.clone(),
            Start::Random => random::<A>(session, self, device)?,
        };
        let network = SpikingNetwork::<A>::new(plan, &recipe.spiking, work.time_steps, device)?;
        let training = Training {
            network: state::load(network, tensors)?,
            objective: &objective,
            images: session.splits.train_student(
                work.train.batch,
                work.train_limit,
                has_batch_norm(plan),
            ),
            config: work.train,
            finish: &|tensors| match work.batch_norm {
                Some(_) => fold_batch_norm(&recipe.intermediate.network.with_batch_norm(), tensors),
                None => Ok(tensors),
            },
        };
        train::<A, _>(session, self, training, key, device)
    }

    fn test(
        &self,
        session: &Session<'_>,
        tensors: StateDict,
        device: &A::Device,
    ) -> anyhow::Result<TestResult> {
        let (recipe, plan) = (session.recipe, session.plan(self.node));
        let steps = self.work.time_steps;
        let network = SpikingNetwork::<A::InnerBackend>::new(plan, &recipe.spiking, steps, device)?;
        let network = state::load(network, tensors)?;
        let simulator = Simulator::with_format(network, recipe.evaluation.weights);
        test_simulation(session, self.node, &simulator, device)
    }
}

/// The tensors of a student before training, if it starts at random: weights as an ANN with these
/// layers has them, and neurons and batch norms as the recipe has them.
fn random<A: TrainingBackend>(
    session: &Session<'_>,
    stage: &Student<'_>,
    device: &A::Device,
) -> Result<StateDict, SnnError> {
    let (recipe, plan) = (session.recipe, session.plans.trained(stage.node));
    let steps = stage.work.time_steps;
    let init = recipe.intermediate.init;
    let ann = Network::<A::InnerBackend>::new(plan, init, recipe.seed, device);
    let network = SpikingNetwork::<A::InnerBackend>::new(plan, &recipe.spiking, steps, device)?;
    let thresholds = vec![[stage.work.threshold as f32]; network.neurons().len()];
    let mut network = network.with_neurons(&recipe.spiking.neuron, &thresholds, device);
    if let Some(config) = &stage.work.batch_norm {
        network = network.with_initial_batch_norm(config);
    }
    // Both networks give the same weight the same name.
    let of_spiking = state::save::<A::InnerBackend, _>(&network)
        .into_iter()
        .filter(|(name, _)| name.contains(".neurons.") || name.contains(".norm."));
    Ok(state::save::<A::InnerBackend, _>(&ann).into_iter().chain(of_spiking).collect())
}
