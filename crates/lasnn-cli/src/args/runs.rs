//! The arguments of `runs`.

use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;

use crate::complete;

/// The arguments of `runs`.
#[derive(Debug, clap::Args)]
pub struct Runs {
    /// List only the runs of this recipe: its file, or the `name` in the file.
    #[arg(add = ArgValueCompleter::new(complete::recipes_with_runs))]
    pub recipe: Option<String>,
    /// What to do instead of listing runs.
    #[command(subcommand)]
    pub action: Option<RunsAction>,
}

/// What to do with some runs.
#[derive(Debug, Subcommand)]
pub enum RunsAction {
    /// Show the results of two or more runs side by side.
    #[command(after_help = "Example: lasnn runs compare 20260131-0915 20260131-1120")]
    Compare {
        /// A run: its folder, RECIPE/ID, or the beginning of an id that only one run has.
        #[arg(required = true, num_args = 2.., value_name = "RUN")]
        #[arg(add = ArgValueCompleter::new(complete::runs))]
        runs: Vec<String>,
    },
    /// Show the differences between two runs: their recipes, backends, threads, commits and data.
    #[command(after_help = "Example: lasnn runs diff 20260131-0915 20260131-1120")]
    Diff {
        /// A run: its folder, RECIPE/ID, or the beginning of an id that only one run has.
        #[arg(value_name = "RUN", add = ArgValueCompleter::new(complete::runs))]
        first: String,
        /// The run to compare it with.
        #[arg(value_name = "RUN", add = ArgValueCompleter::new(complete::runs))]
        second: String,
    },
}
