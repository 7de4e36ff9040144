//! Estimates the memory of a command's stages and compares it with the available memory, before
//! anything is computed.
//!
//! The [`estimator`] goes through the stages and records every large allocation in a [`ledger`],
//! without computing anything. [`ann`] and [`spiking`] know what the networks allocate; they follow
//! the code of the kernels by hand. docs/recipes.md explains the estimate to users, and
//! `results/2026-11-30-memory` compares it with measurements.

mod ann;
mod available;
mod estimate;
mod estimator;
mod ledger;
mod neurons;
mod pass;
mod probes;
mod purpose;
mod size;
mod spiking;

use serde::Serialize;

use crate::args::Global;
use crate::failure::invalid_input;
use crate::recipe::{Graph, Node, Plans, Recipe, StageNetwork, Work};
use crate::splits::Splits;
use crate::stage::StageName;
use crate::tables::table;
use available::Available;
use estimate::{Inputs, StageEstimate};
use estimator::Estimator;
use purpose::Purpose;

/// The command whose memory is estimated.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// The stages of a recipe.
    Stages {
        /// The stages in the order in which they run.
        stages: &'a [&'a Node<'a>],
        /// The stages in whose place a checkpoint is supplied.
        supplied: &'a [StageName],
    },
    /// The measurement of a network.
    Measure {
        /// The network.
        network: &'a StageNetwork<'a>,
        /// The number of time steps of a spiking network.
        time_steps: usize,
    },
}

/// The memory of a command's stages, and the available memory.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    stages: Vec<StageEstimate>,
    available: Available,
    #[serde(skip)]
    on_gpu: bool,
}

impl Memory {
    /// Estimates the memory of a command on a backend.
    pub fn of(
        command: Command<'_>,
        (recipe, plans): (&Recipe, &Plans),
        splits: &Splits,
        global: &Global,
    ) -> Self {
        let available = available::available(global.backend);
        let on_gpu = !global.backend.is_cpu();
        let (data, threads) = (splits.into(), global.threads());
        let stages = estimate(command, Inputs { recipe, plans, data, threads, on_gpu });
        Self { stages, available, on_gpu }
    }

    /// Estimates the memory of a whole run, and of the measurement of its student.
    ///
    /// # Errors
    ///
    /// Fails if the recipe has no student.
    pub fn of_recipe(
        recipe: &Recipe,
        graph: &Graph<'_>,
        plans: &Plans,
        splits: &Splits,
        global: &Global,
    ) -> anyhow::Result<Self> {
        let stages = graph.needed(&graph.students());
        let run = Command::Stages { stages: &stages, supplied: &[] };
        let network = recipe.network_of(&StageName::STUDENT)?;
        let measure = Command::Measure { network: &network, time_steps: network.steps() };
        let mut memory = Self::of(run, (recipe, plans), splits, global);
        memory.stages.extend(Self::of(measure, (recipe, plans), splits, global).stages);
        Ok(memory)
    }

    /// Checks that each stage fits into the available memory.
    ///
    /// # Errors
    ///
    /// Names the first stage that does not fit, its memory and the largest part of it, the
    /// available memory, and what a user can do.
    pub fn check(&self) -> anyhow::Result<()> {
        let Some(available) = self.available.bytes else { return Ok(()) };
        let exceeds = |stage: &&StageEstimate| stage.bytes(self.on_gpu) > available;
        let Some(stage) = self.stages.iter().find(exceeds) else { return Ok(()) };
        let largest = stage.memory.largest();
        Err(invalid_input(format_args!(
            "the stage `{}` needs about {} of memory, but {available} are available ({}); the \
             largest part, {}, is for {}; {}, or run with --ignore-memory",
            stage.name,
            stage.bytes(self.on_gpu),
            self.available.source,
            stage.memory.of(largest),
            largest.description(),
            stage.advice,
        )))
    }

    /// Logs the estimates at the beginning of a run.
    pub fn log(&self) {
        for stage in &self.stages {
            let part =
                |purpose: Purpose| format!("{} {}", purpose.title(), stage.memory.of(purpose));
            tracing::info!(
                stage = stage.name.as_str(),
                bytes = stage.bytes(self.on_gpu).as_u64(),
                parts = Purpose::ALL.map(part).join(", "),
                "memory is estimated"
            );
        }
    }

    /// A table with a row for each stage, and the available memory.
    pub fn text(&self) -> String {
        let mut header = vec!["stage", "memory"];
        header.extend(Purpose::ALL.map(Purpose::title));
        let mut table = table(&header);
        for stage in &self.stages {
            let mut row = vec![stage.name.clone(), stage.bytes(self.on_gpu).to_string()];
            row.extend(Purpose::ALL.map(|purpose| stage.memory.of(purpose).to_string()));
            table.add_row(row);
        }
        let available = match self.available.bytes {
            Some(bytes) => format!("{bytes} are available ({})", self.available.source),
            None => format!("the available memory is unknown, since {}", self.available.source),
        };
        let peak = self.stages.iter().map(|stage| stage.bytes(self.on_gpu)).max();
        let peak = peak.unwrap_or_default();
        format!("memory, estimated: {peak} at the peak; {available}\n{table}")
    }
}

fn estimate(command: Command<'_>, inputs: Inputs<'_>) -> Vec<StageEstimate> {
    let mut estimator = Estimator::new(inputs);
    match command {
        Command::Measure { network, time_steps } => estimator.measuring(network, time_steps),
        Command::Stages { stages, supplied } => {
            for &node in stages {
                estimator.run(node, supplied.contains(node.name()));
            }
        }
    }
    estimator.into_stages()
}

/// What a user can do about a stage that needs too much memory.
fn advice(node: &Node<'_>) -> String {
    let network = &node.network.table;
    match &node.work {
        Work::Ann(_) => format!(
            "use a smaller `{network}.network`, or a smaller `batch` or `micro_batch` in \
             [{network}.train]"
        ),
        Work::Conversion { .. } => format!(
            "use a smaller `{network}.network`, or a smaller `conversion.batch` or \
             `evaluation.batch`"
        ),
        Work::Student(work) => format!(
            "use a smaller `batch` or `micro_batch` in [{table}.train], fewer \
             `{table}.time_steps`, or a smaller `{network}.network`",
            table = work.table
        ),
    }
}

#[cfg(test)]
mod tests;
