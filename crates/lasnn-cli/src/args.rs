//! The command line as typed.

mod changes;
mod checkpoints;
mod data;
mod list;
mod resume;
mod runs;
mod stages;
mod values;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{Resettable, Str};
use clap::{ArgAction, Parser, Subcommand};

use crate::backend::BackendName;
use values::{positive, seed};

pub use checkpoints::{Annotate, Eval, Inspect};
pub use data::{DataAction, DataTarget, DatasetName, FetchOptions};
pub use list::Listed;
pub use resume::with_resume;
pub use runs::{Runs, RunsAction};
pub use stages::{Convert, Distill, Run, Train};

/// Layer-wise attention distillation: trains a spiking network with the help of an ANN.
///
/// An ANN is a network that does not spike. Exit codes: 0 done, 1 the run failed, 2 the command or
/// the recipe is wrong.
#[derive(Debug, Parser)]
#[command(
    name = "lasnn",
    version,
    disable_help_flag = true,
    after_help = "Example: lasnn run configs/quickstart.toml"
)]
pub struct Args {
    /// The options that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Lists an option among those of the command itself.
const NO_HEADING: Resettable<Str> = Resettable::Reset;

/// The options that every command takes. Only `--help` shows them: `-h` is about the command
/// itself.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The seed of all random numbers, in place of the recipe's.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = seed
    )]
    pub seed: Option<u32>,
    /// The backend. It must be compiled in (the cargo feature has the same name).
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_enum,
        default_value_t = BackendName::Flex
    )]
    pub backend: BackendName,
    /// The threads of the CPU backends and of the data loader [default: all cores].
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = positive
    )]
    pub threads: Option<NonZeroUsize>,
    /// The folder of data sets [default: the variable LASNN_DATA_DIR, else `data`].
    #[arg(long, global = true, hide_short_help = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The folder in which decoded images are cached [default: the variable LASNN_CACHE_DIR, else
    /// `packed` in the folder of data sets].
    #[arg(long, global = true, hide_short_help = true, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// The folder of runs and of reusable checkpoints.
    #[arg(long, global = true, hide_short_help = true, value_name = "DIR", default_value = "runs")]
    pub runs_dir: PathBuf,
    /// Log more to the terminal; -vv and -vvv log still more.
    #[arg(short, long, global = true, hide_short_help = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Print neither progress nor tables.
    #[arg(short, long, global = true, hide_short_help = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print the result as JSON, and nothing else, to the standard output.
    #[arg(long, global = true, hide_short_help = true)]
    pub json: bool,
    /// Print help; `--help` also shows the options that every command takes.
    #[arg(
        short,
        long,
        global = true,
        action = ArgAction::Help,
        help_heading = NO_HEADING,
        long_help = "Print help; `-h` leaves out the options that every command takes."
    )]
    help: Option<bool>,
}

impl Global {
    /// The folder of data sets.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir
            .clone()
            .or_else(|| variable("LASNN_DATA_DIR"))
            .unwrap_or_else(|| "data".into())
    }

    /// The folder of decoded images. `None` is a folder in the folder of data sets.
    pub fn cache_dir(&self) -> Option<PathBuf> {
        self.cache_dir.clone().or_else(|| variable("LASNN_CACHE_DIR"))
    }

    /// The number of threads that compute.
    pub fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism();
        self.threads.or(cores.ok()).map_or(1, NonZeroUsize::get)
    }
}

/// The path in an environment variable. An empty variable counts as absent.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(Into::into)
}

/// The command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run all stages of a recipe and print a report.
    #[command(after_help = "Example: lasnn run configs/quickstart.toml --set student.time_steps=4")]
    Run(Run),
    /// Train one network of a recipe; make those that it needs first if necessary.
    #[command(after_help = "Example: lasnn train teacher configs/quickstart.toml")]
    Train(Train),
    /// Convert the intermediate network into a spiking network; train it first if necessary.
    #[command(after_help = "Example: lasnn convert configs/quickstart.toml")]
    Convert(Convert),
    /// Train the student; make the networks that it needs first if necessary.
    #[command(
        after_help = "Example: lasnn distill configs/quickstart.toml --teacher vgg16.safetensors"
    )]
    Distill(Distill),
    /// Measure a trained network on the test images.
    #[command(
        after_help = "Example: lasnn eval configs/quickstart.toml --stage student --time-steps 4"
    )]
    Eval(Eval),
    /// Add the images, classes and neurons of a network to its checkpoint.
    ///
    /// Checkpoints of an older version or of another program do not contain them. The recipe must
    /// be the one with which the network was trained: the tensors do not show whether it is.
    #[command(after_help = "Example: lasnn annotate a.safetensors quickstart --stage teacher \
                      --out b.safetensors")]
    Annotate(Annotate),
    /// Show a checkpoint, a network of the zoo, or the networks of a recipe.
    #[command(after_help = "Example: lasnn inspect vgg9 --image 3x64x64 --classes 200")]
    Inspect(Inspect),
    /// Fetch a data set, or show a data set or the data of a recipe.
    #[command(after_help = "Example: lasnn data verify cifar10 --data-dir data")]
    Data {
        /// The action.
        #[command(subcommand)]
        action: DataAction,
    },
    /// List the networks, losses, data sets and other things that a recipe can name.
    #[command(after_help = "Example: lasnn list surrogates")]
    List {
        /// What to list.
        #[arg(value_enum)]
        what: Listed,
    },
    /// List runs, compare their results, or compare their recipes.
    ///
    /// Without an action, lists all runs in the folder of runs from the newest to the oldest.
    /// Interrupted runs are included.
    #[command(after_help = "Example: lasnn runs quickstart")]
    Runs(Runs),
    /// Compare the kernels of a backend with the reference in plain tensor operations.
    #[command(after_help = "Example: lasnn check-backend --backend vulkan")]
    CheckBackend,
    /// Print a script with which a shell completes commands, options, recipes, data sets and runs.
    ///
    /// The script calls this program each time the tab key is pressed, so print it again if lasnn
    /// is moved.
    #[command(after_help = "Example: lasnn completions bash > \
                      ~/.local/share/bash-completion/completions/lasnn")]
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

#[cfg(test)]
mod tests;
