//! How much memory the stages of a recipe take, how much there is, and what follows from that
//! before anything is computed.
//!
//! The estimate is found by a walk through the stages ([`stages`]) that takes and gives back what
//! the program does, without doing it. What is kept for whom is read off the code: an ordinary
//! network's activations ([`ordinary`]), a spiking network's tape and gradients ([`spiking`]), and
//! the memory that kernels hand on to each other ([`ledger`]). docs/recipes.md says what a user has
//! to know, and `results/2026-11-30-memory` compares estimates with measurements.

mod available;
mod ledger;
mod ordinary;
mod size;
mod spiking;
mod stages;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

pub use available::Available;
pub use stages::Facts;

use crate::args::Global;
use crate::data::Data;
use crate::failure::wrong;
use crate::pipeline::Goal;
use crate::recipe::{Plans, Recipe};
use crate::report::table;
use crate::stage::{AnnStage, StageName};
use ledger::{Part, Parts};
use size::Size;
use stages::{Asked, Walk};

/// What a stage takes at its peak.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its name.
    name: &'static str,
    parts: Parts,
}

/// What the stages of a command take, and what there is.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    stages: Vec<Stage>,
    available: Available,
    #[serde(skip)]
    on_gpu: bool,
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut stage = serializer.serialize_map(None)?;
        stage.serialize_entry("stage", self.name)?;
        stage.serialize_entry("bytes", &self.parts.total())?;
        for part in Part::ALL {
            stage.serialize_entry(&part, &self.parts.of(part))?;
        }
        stage.end()
    }
}

/// Counts the images of each split and the bytes of all pixels.
impl From<&Data> for Facts {
    fn from(data: &Data) -> Self {
        let summary = data.summary();
        let dataset = &data.dataset;
        let images = dataset.train.len() + dataset.test.len();
        Self {
            train: summary.train,
            student: data.counts().student,
            validation: summary.validation,
            test: summary.test,
            pixels: ordinary::numbers(dataset.shape) * images,
        }
    }
}

/// What a command takes.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// Stages of a recipe, and whether a checkpoint takes the place of the teacher and of the
    /// intermediate network.
    Stages {
        /// How far.
        goal: Goal,
        /// Whether the teacher is given.
        teacher: bool,
        /// Whether the intermediate network is given.
        intermediate: bool,
    },
    /// A network is measured.
    Measure {
        /// Which.
        stage: StageName,
        /// Over how many time steps, if it is a spiking one.
        time_steps: usize,
    },
}

impl Memory {
    /// Estimates what a command takes on a backend.
    pub fn of(
        command: Command,
        (recipe, plans): (&Recipe, &Plans),
        data: &Data,
        global: &Global,
    ) -> Self {
        let available = available::available(global.backend);
        let on_gpu = !global.backend.is_cpu();
        let (facts, threads) = (data.into(), global.threads());
        let stages = walk(command, Asked { recipe, plans, facts, threads, on_gpu });
        Self { stages, available, on_gpu }
    }

    /// Estimates what the stages of a whole run take, and the measurement of its student.
    pub fn of_recipe(recipe: &Recipe, plans: &Plans, data: &Data, global: &Global) -> Self {
        let run = Command::Stages { goal: Goal::Run, teacher: false, intermediate: false };
        let time_steps = recipe.student.time_steps;
        let measure = Command::Measure { stage: StageName::Student, time_steps };
        let mut memory = Self::of(run, (recipe, plans), data, global);
        memory.stages.extend(Self::of(measure, (recipe, plans), data, global).stages);
        memory
    }

    /// The stage that takes the most.
    fn largest(&self) -> Option<&Stage> {
        self.stages.iter().max_by_key(|stage| stage.bytes(self.on_gpu))
    }

    /// Refuses what exceeds the memory that there is.
    ///
    /// # Errors
    ///
    /// Names the stage, what it takes, what most of it is for, what there is, and what can be done.
    pub fn check(&self) -> anyhow::Result<()> {
        let Some(there) = self.available.bytes else { return Ok(()) };
        // The first one that does not fit is told, as nothing behind it would be reached.
        let exceeds = |stage: &&Stage| stage.bytes(self.on_gpu) > there;
        let Some(stage) = self.stages.iter().find(exceeds) else { return Ok(()) };
        let part = stage.parts.largest();
        Err(wrong(format_args!(
            "the stage `{}` takes about {} of memory, and there are {there} ({}); the largest \
             part, {}, is for {}; {}, or run with --ignore-memory",
            stage.name,
            stage.bytes(self.on_gpu),
            self.available.source,
            stage.parts.of(part),
            part.described(),
            advice(stage.name),
        )))
    }

    /// What is told at the beginning of a run.
    pub fn log(&self) {
        for stage in &self.stages {
            let parts = Part::ALL.map(|part| format!("{} {}", part.title(), stage.parts.of(part)));
            tracing::info!(
                stage = stage.name,
                bytes = stage.bytes(self.on_gpu).as_u64(),
                parts = parts.join(", "),
                "memory is estimated"
            );
        }
    }

    /// A table with a row for each stage, and what there is.
    pub fn text(&self) -> String {
        let mut header = vec!["stage", "memory"];
        header.extend(Part::ALL.map(Part::title));
        let mut table = table(&header);
        for stage in &self.stages {
            let mut row = vec![stage.name.to_owned(), stage.bytes(self.on_gpu).to_string()];
            row.extend(Part::ALL.map(|part| stage.parts.of(part).to_string()));
            table.add_row(row);
        }
        let there = match self.available.bytes {
            Some(bytes) => format!("there are {bytes} ({})", self.available.source),
            None => {
                format!("how much there is is not known, since {}", self.available.source)
            }
        };
        let peak = self.largest().map(|stage| stage.bytes(self.on_gpu)).unwrap_or_default();
        format!("memory, estimated: {peak} at the peak; {there}\n{table}")
    }
}

impl Stage {
    /// What it takes where it computes; on a GPU the program and its data are elsewhere.
    fn bytes(&self, on_gpu: bool) -> Size {
        let elsewhere = if on_gpu { self.parts.of(Part::Process) } else { Size::ZERO };
        self.parts.total() - elsewhere
    }
}

fn walk(command: Command, asked: Asked<'_>) -> Vec<Stage> {
    let mut walk = Walk::new(asked);
    match command {
        Command::Measure { stage, time_steps } => walk.measuring(stage, time_steps),
        Command::Stages { goal: Goal::Train(AnnStage::Teacher), teacher, .. } => {
            walk.ordinary(StageName::Teacher, teacher);
        }
        Command::Stages { goal: Goal::Train(AnnStage::Intermediate), intermediate, .. } => {
            walk.ordinary(StageName::Intermediate, intermediate);
        }
        Command::Stages { goal: Goal::Convert, intermediate, .. } => {
            walk.ordinary(StageName::Intermediate, intermediate);
            walk.conversion();
        }
        Command::Stages { goal: Goal::Distill | Goal::Run, teacher, intermediate } => {
            walk.ordinary(StageName::Teacher, teacher);
            walk.ordinary(StageName::Intermediate, intermediate);
            walk.conversion();
            walk.student();
        }
    }
    walk.into_stages()
}

/// What can be done about a stage that takes too much.
fn advice(stage: &str) -> &'static str {
    match stage {
        "teacher" => {
            "take a smaller `teacher.network`, or a smaller `batch` or `micro_batch` in \
             [teacher.train]"
        }
        "intermediate" => {
            "take a smaller `intermediate.network`, or a smaller `batch` or `micro_batch` in \
             [intermediate.train]"
        }
        "conversion" => {
            "take a smaller `intermediate.network`, or a smaller `conversion.batch` or \
             `evaluation.batch`"
        }
        "student" => {
            "take a smaller `batch` or `micro_batch` in [student.train], fewer \
             `student.time_steps`, or a smaller `intermediate.network`"
        }
        _ => "take a smaller `evaluation.batch`, or a smaller network",
    }
}

#[cfg(test)]
mod tests;
