//! The networks of the finished stages of a command.

use std::collections::BTreeMap;

use anyhow::Context;
use lasnn_nn::StateDict;

use crate::stage::StageName;

/// The network of a finished stage.
#[derive(Clone, Debug)]
pub struct StageOutput {
    /// The tensors.
    pub state: StateDict,
    /// The hash of everything that determines the network.
    pub key: String,
}

/// The networks of the finished stages.
#[derive(Clone, Debug, Default)]
pub struct Outputs(BTreeMap<StageName, StageOutput>);

impl Outputs {
    /// Adds the network of a stage.
    pub fn add(&mut self, stage: &StageName, output: StageOutput) {
        self.0.insert(stage.clone(), output);
    }

    /// The network of a stage.
    ///
    /// # Errors
    ///
    /// Fails if the stage has not run.
    pub fn get(&self, stage: &StageName) -> anyhow::Result<&StageOutput> {
        self.0.get(stage).with_context(|| format!("the stage `{stage}` has not run"))
    }
}
