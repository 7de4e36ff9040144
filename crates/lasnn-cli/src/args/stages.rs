//! The arguments of `run`, `train`, `convert` and `distill`.

use std::path::PathBuf;

use clap_complete::engine::ArgValueCompleter;

use super::changes::SetOptions;
use super::data::FetchOptions;
use crate::complete;
use crate::stage::StageName;

/// A recipe and how it is run.
#[derive(Clone, Debug, clap::Args)]
pub struct Run {
    /// The recipe: a TOML file, or its name in configs; docs/recipes.md lists its keys.
    #[arg(add = ArgValueCompleter::new(complete::recipes))]
    pub recipe: PathBuf,
    /// Values in place of the recipe's.
    #[command(flatten)]
    pub set_options: SetOptions,
    /// Continue the newest unfinished run of this command, or the run in DIR; without an unfinished
    /// run, begin a new one.
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    pub resume: Option<Option<PathBuf>>,
    /// Train every stage, even if an earlier run has trained the same network.
    #[arg(long)]
    pub no_cache: bool,
    /// Begin even if the estimated memory exceeds the available memory.
    #[arg(long)]
    pub ignore_memory: bool,
    /// What to do if the data set is missing.
    #[command(flatten)]
    pub fetch_options: FetchOptions,
}

/// The arguments of `train`.
#[derive(Debug, clap::Args)]
pub struct Train {
    /// The stage that makes the network: teacher, intermediate, student, control, or the name of a
    /// stage that the recipe adds.
    #[arg(value_name = "STAGE", add = ArgValueCompleter::new(complete::trained_stages))]
    pub network: StageName,
    /// The recipe and how it is run.
    #[command(flatten)]
    pub run: Run,
}

/// The arguments of `convert`.
#[derive(Debug, clap::Args)]
pub struct Convert {
    /// The recipe and how it is run.
    #[command(flatten)]
    pub run: Run,
    /// Use this checkpoint as the intermediate network instead of training it.
    #[arg(long, value_name = "FILE")]
    pub intermediate: Option<PathBuf>,
}

/// The arguments of `distill`.
#[derive(Debug, clap::Args)]
pub struct Distill {
    /// The recipe and how it is run.
    #[command(flatten)]
    pub run: Run,
    /// Use this checkpoint as the teacher instead of training it.
    #[arg(long, value_name = "FILE")]
    pub teacher: Option<PathBuf>,
    /// Use this checkpoint as the intermediate network instead of training it.
    #[arg(long, value_name = "FILE")]
    pub intermediate: Option<PathBuf>,
}
