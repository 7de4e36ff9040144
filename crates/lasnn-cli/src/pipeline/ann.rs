//! An ANN is trained, or a supplied checkpoint is imported.

use std::time::Instant;

use lasnn_backend::DenseBackend;
use lasnn_core::Plan;
use lasnn_models::{Init, Network};
use lasnn_nn::{StateDict, StateError, state};
use lasnn_training::CrossEntropy;
use serde_json::{Value, json};

use super::measure::evaluation;
use super::outputs::Outputs;
use super::session::Session;
use super::stage::{Stage, TestResult};
use super::training::{Training, train};
use crate::device::TrainingBackend;
use crate::failure::invalid_input;
use crate::recipe::{AnnWork, Node, Recipe, has_batch_norm};
use crate::stage::StageName;
use crate::stage_artifact::StageArtifact;
use crate::summary::StageSummary;
use crate::supplied::SuppliedCheckpoint;

/// The stage that trains an ANN.
pub struct Ann<'a> {
    /// The stage.
    pub node: &'a Node<'a>,
    /// The training.
    pub work: &'a AnnWork<'a>,
}

impl<A: TrainingBackend> Stage<A> for Ann<'_> {
    fn node(&self) -> &Node<'_> {
        self.node
    }

    fn is_cached(&self) -> bool {
        true
    }

    fn key_parts(&self, session: &Session<'_>, _: &Outputs) -> anyhow::Result<Value> {
        if let Some(supplied) = session.supplied.get(self.node.name()) {
            return Ok(json!({"file": supplied.sha256}));
        }
        let AnnWork { init, activation, train } = self.work;
        let network = &self.node.network.layers;
        Ok(json!({"network": network, "init": init, "activation": activation, "train": train}))
    }

    fn run(
        &self,
        session: &mut Session<'_>,
        _: &Outputs,
        key: &str,
        device: &A::Device,
    ) -> anyhow::Result<StageArtifact> {
        if let Some(supplied) = session.supplied.remove(self.node.name()) {
            return import::<A>(session, self, supplied, device);
        }
        let plan = session.plan(self.node);
        let AnnWork { init, activation, train: config } = *self.work;
        let seed = session.recipe.seed;
        let training = Training {
            network: Network::<A>::with_activation(plan, activation, init, seed, device),
            objective: &CrossEntropy,
            images: session.splits.train(config.batch, has_batch_norm(plan)),
            config,
            finish: &Ok,
        };
        train::<A, _>(session, self, training, key, device)
    }

    fn test(
        &self,
        session: &Session<'_>,
        tensors: StateDict,
        device: &A::Device,
    ) -> anyhow::Result<TestResult> {
        let network = network::<A>(session, self.node.name(), tensors, device)?;
        let images = session.splits.test(session.images_at_once(self.node));
        let label = format!("{} test", self.node.name());
        let seed = session.recipe.seed;
        let found = evaluation(&network, &images, seed, &label, session.progress, device)?;
        let by_class = session.by_class(&found.by_class);
        Ok(TestResult { accuracy: found.accuracy, by_class, spiking: None })
    }
}

/// The ANN of a stage with trained tensors, without gradients.
///
/// # Errors
///
/// Names a tensor that does not fit the network.
pub fn network<A: TrainingBackend>(
    session: &Session<'_>,
    stage: &StageName,
    tensors: StateDict,
    device: &A::Device,
) -> Result<Network<A::InnerBackend>, StateError> {
    loaded(session.recipe, session.plans.of(stage), stage, tensors, device)
}

/// The ANN of a stage of `recipe` with these tensors.
///
/// # Errors
///
/// Names a tensor that does not fit the network.
pub fn loaded<B: DenseBackend>(
    recipe: &Recipe,
    plan: &Plan,
    stage: &StageName,
    tensors: StateDict,
    device: &B::Device,
) -> Result<Network<B>, StateError> {
    // The initial weights are replaced at once, so any initialisation serves.
    let (activation, init) = (recipe.activation_of(stage), Init::default());
    let network = Network::with_activation(plan, activation, init, recipe.seed, device);
    state::load(network, tensors)
}

/// Uses a supplied checkpoint instead of training the network.
fn import<A: TrainingBackend>(
    session: &Session<'_>,
    stage: &Ann<'_>,
    supplied: SuppliedCheckpoint,
    device: &A::Device,
) -> anyhow::Result<StageArtifact> {
    let begun = Instant::now();
    let node = stage.node;
    let SuppliedCheckpoint { path, state, metadata, .. } = supplied;
    let network = network::<A>(session, node.name(), state.clone(), device)
        .map_err(|error| invalid_input(format_args!("{}: {error}", path.display())))?;
    let seed = session.recipe.seed;
    let images = session.splits.validation(session.images_at_once(node));
    let label = format!("{} validation", node.name());
    let validation = evaluation(&network, &images, seed, &label, session.progress, device)?;
    let result = Stage::<A>::test(stage, session, state.clone(), device)?;
    let plan = session.plan(node);
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
    let metadata = session.metadata(node, &state, summary);
    Ok(StageArtifact { state, metadata })
}
