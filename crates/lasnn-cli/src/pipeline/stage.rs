//! The trait of a stage.

use lasnn_nn::StateDict;
use serde_json::Value;

use super::outputs::Outputs;
use super::session::Session;
use crate::device::TrainingBackend;
use crate::recipe::Node;
use crate::stage::StageName;
use crate::stage_artifact::StageArtifact;
use crate::summary::{ClassAccuracy, SpikingSummary};

/// A stage: it makes a network from the networks of other stages.
pub trait Stage<A: TrainingBackend> {
    /// What the recipe says about the stage.
    fn node(&self) -> &Node<'_>;

    /// The name.
    fn name(&self) -> &StageName {
        self.node().name()
    }

    /// The stages whose networks this one needs.
    fn inputs(&self) -> Vec<&StageName> {
        self.node().inputs()
    }

    /// Whether later runs may reuse the network.
    fn is_cached(&self) -> bool;

    /// Everything that determines the network, apart from what all stages depend on: the part of
    /// the recipe, and the keys of the networks of [`inputs`](Self::inputs).
    ///
    /// # Errors
    ///
    /// Fails if a value cannot be written as JSON.
    fn key_parts(&self, session: &Session<'_>, inputs: &Outputs) -> anyhow::Result<Value>;

    /// Makes the network and measures it. `key` is the hash of everything that determines it.
    ///
    /// # Errors
    ///
    /// Fails if the training or the conversion does, if a file cannot be written, or if a signal
    /// comes.
    fn run(
        &self,
        session: &mut Session<'_>,
        inputs: &Outputs,
        key: &str,
        device: &A::Device,
    ) -> anyhow::Result<StageArtifact>;

    /// Measures the network with these tensors on the test images.
    ///
    /// # Errors
    ///
    /// Fails if the tensors do not fit the network, or if a signal comes.
    fn test(
        &self,
        session: &Session<'_>,
        tensors: StateDict,
        device: &A::Device,
    ) -> anyhow::Result<TestResult>;
}

/// The result of a network on the test images.
pub struct TestResult {
    /// The share of the images that are classified correctly.
    pub accuracy: f64,
    /// The accuracy of each class.
    pub by_class: Vec<ClassAccuracy>,
    /// The numbers that only a spiking network has.
    pub spiking: Option<SpikingSummary>,
}
