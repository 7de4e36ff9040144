//! The network that a stage of a recipe makes.

use std::borrow::Cow;

use lasnn_core::Architecture;

use super::resolved::{AddedStage, Recipe, Start};
use crate::stage::StageName;

/// The network that a stage makes, as far as the recipe describes it.
#[derive(Clone, Debug)]
pub struct StageNetwork<'a> {
    /// The name of the stage.
    pub stage: StageName,
    /// The table of the recipe that holds the layers as its key `network`.
    pub table: String,
    /// The layers. A spiking network has the layers of the intermediate network without batch norm.
    /// A convolution has a bias in place of the batch norm that the intermediate network has after
    /// it, or with which the student was trained.
    pub layers: Cow<'a, Architecture>,
    /// The time steps of a spiking network. `None` for an ANN.
    pub time_steps: Option<TimeSteps>,
}

/// The number of time steps per image of a spiking network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeSteps {
    /// The number.
    pub number: usize,
    /// The key of the recipe that has the number.
    pub key: String,
}

/// A recipe has no stage of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the recipe has no stage `{name}`{}; its stages are {}", reason(name), list(names))]
pub struct UnknownStage {
    /// The name.
    pub name: StageName,
    /// The names of the stages that the recipe has.
    pub names: Vec<StageName>,
}

impl StageNetwork<'_> {
    /// Whether it is a spiking network.
    pub fn is_spiking(&self) -> bool {
        self.time_steps.is_some()
    }

    /// The number of time steps per image; 1 for an ANN.
    pub fn steps(&self) -> usize {
        self.time_steps.as_ref().map_or(1, |steps| steps.number)
    }
}

impl Recipe {
    /// The network of a stage, even if no command can make it: the control has the network of the
    /// student whether or not the recipe requests it.
    ///
    /// # Errors
    ///
    /// Lists the stages of the recipe if none has the name.
    pub fn network_of(&self, stage: &StageName) -> Result<StageNetwork<'_>, UnknownStage> {
        let network = |table: &str, layers, time_steps| StageNetwork {
            stage: stage.clone(),
            table: table.to_owned(),
            layers,
            time_steps,
        };
        let spiking = |number, table: &str| {
            let time_steps = TimeSteps { number, key: format!("{table}.time_steps") };
            let layers = &self.intermediate.network;
            let layers = match self.begins_with_batch_norm(stage) {
                true => layers.with_batch_norm().folded(),
                false => layers.folded(),
            };
            network("intermediate", Cow::Owned(layers), Some(time_steps))
        };
        let table = format!("stages.{stage}");
        match (stage.as_str(), self.stages.get(stage), &self.teacher) {
            ("teacher", _, Some(teacher)) => {
                Ok(network("teacher", Cow::Borrowed(&teacher.network), None))
            }
            ("intermediate", ..) => {
                Ok(network("intermediate", Cow::Borrowed(&self.intermediate.network), None))
            }
            ("converted" | "student" | "control", ..) => {
                Ok(spiking(self.student.time_steps, "student"))
            }
            (_, Some(AddedStage::Ann(ann)), _) => {
                Ok(network(&table, Cow::Borrowed(&ann.network), None))
            }
            (_, Some(AddedStage::Student(student)), _) => Ok(spiking(student.time_steps, &table)),
            _ => {
                let standard = StageName::STANDARD.into_iter();
                let has = |name: &StageName| *name != StageName::TEACHER || self.teacher.is_some();
                let names = standard.filter(has).chain(self.stages.keys().cloned()).collect();
                Err(UnknownStage { name: stage.clone(), names })
            }
        }
    }
}

impl Recipe {
    /// Whether a spiking network, or the one from which its training begins, or the one before
    /// that, is trained with batch norms. Its convolutions then have the biases that follow from
    /// folding them.
    fn begins_with_batch_norm(&self, stage: &StageName) -> bool {
        let mut name = stage;
        // The stages may still have a cycle, which is found later.
        for _ in 0..=self.stages.len() {
            match (name.as_str(), self.stages.get(name)) {
                ("student" | "control", _) => return self.student.batch_norm.is_some(),
                (_, Some(AddedStage::Student(added))) => match &added.from {
                    _ if added.batch_norm.is_some() => return true,
                    Start::Stage(from) => name = from,
                    Start::Random => return false,
                },
                _ => return false,
            }
        }
        false
    }
}

/// Why a recipe may lack one of the standard stages, as a part of a sentence.
fn reason(name: &StageName) -> &'static str {
    match name.as_str() {
        "teacher" => ", since it has no table [teacher]",
        "intermediate" | "converted" => ", since it has no table [intermediate.train]",
        "control" => ", since `student.without_distillation` is false",
        _ => "",
    }
}

fn list(names: &[StageName]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
