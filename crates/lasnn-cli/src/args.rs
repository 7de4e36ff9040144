//! The command line as typed.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::builder::{Resettable, Str};
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use lasnn_core::Shape;
use lasnn_datasets::Normalisation;

use crate::backend::BackendName;
use crate::complete;
use crate::recipe;
use crate::stage::{AnnStage, StageName};

/// Layer-wise attention distillation: from an ordinary network to a spiking one.
///
/// Exit codes: 0 done, 1 the run failed, 2 the command or the recipe is wrong.
#[derive(Debug, Parser)]
#[command(
    name = "lasnn",
    version,
    disable_help_flag = true,
    after_help = "Example: lasnn run configs/quickstart.toml"
)]
pub struct Args {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Puts an option among those of the command itself.
const NO_HEADING: Resettable<Str> = Resettable::Reset;

/// What every command takes. Only `--help` shows it: the help of `-h` is about the command itself.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Seed of everything random, instead of the recipe's.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = seed
    )]
    pub seed: Option<u32>,
    /// What computes; it must be compiled in (cargo feature of the same name).
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_enum,
        default_value_t = BackendName::Flex
    )]
    pub backend: BackendName,
    /// Threads of the CPU backends and of the data loader [default: all cores].
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = positive
    )]
    pub threads: Option<NonZeroUsize>,
    /// Where data sets lie [default: the variable LASNN_DATA_DIR, else `data`].
    #[arg(long, global = true, hide_short_help = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where decoded images are kept for the next time [default: the variable LASNN_CACHE_DIR, else
    /// the folder `packed` where data sets lie].
    #[arg(long, global = true, hide_short_help = true, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Where runs and reusable checkpoints are written.
    #[arg(long, global = true, hide_short_help = true, value_name = "DIR", default_value = "runs")]
    pub runs_dir: PathBuf,
    /// Log more on the terminal; twice and thrice for still more.
    #[arg(short, long, global = true, hide_short_help = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// No progress, no table.
    #[arg(short, long, global = true, hide_short_help = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// The result as JSON on the standard output, and nothing else there.
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
    /// Where data sets lie.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir
            .clone()
            .or_else(|| variable("LASNN_DATA_DIR"))
            .unwrap_or_else(|| "data".into())
    }

    /// Where decoded images are kept, if not among the data sets.
    pub fn cache_dir(&self) -> Option<PathBuf> {
        self.cache_dir.clone().or_else(|| variable("LASNN_CACHE_DIR"))
    }

    /// How many threads compute.
    pub fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism();
        self.threads.or(cores.ok()).map_or(1, NonZeroUsize::get)
    }
}

/// The path that a variable of the environment holds. One that is set to nothing is not set.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(Into::into)
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run all three stages of a recipe and report.
    #[command(after_help = "Example: lasnn run configs/quickstart.toml --seed 7")]
    Run(Run),
    /// Train an ordinary network of a recipe alone.
    #[command(after_help = "Example: lasnn train teacher configs/quickstart.toml")]
    Train {
        /// Which network.
        #[arg(value_enum)]
        network: AnnStage,
        /// Recipe and how to run it.
        #[command(flatten)]
        run: Run,
    },
    /// Turn the intermediate network into a spiking one; train it first where no checkpoint exists.
    #[command(after_help = "Example: lasnn convert configs/quickstart.toml")]
    Convert {
        /// Recipe and how to run it.
        #[command(flatten)]
        run: Run,
        /// A checkpoint to take as the intermediate network, instead of training it.
        #[arg(long, value_name = "FILE")]
        intermediate: Option<PathBuf>,
    },
    /// Distil the teacher into the converted network; make both first where no checkpoint exists.
    #[command(
        after_help = "Example: lasnn distill configs/quickstart.toml --teacher vgg16.safetensors"
    )]
    Distill {
        /// Recipe and how to run it.
        #[command(flatten)]
        run: Run,
        /// A checkpoint to take as the teacher, instead of training it.
        #[arg(long, value_name = "FILE")]
        teacher: Option<PathBuf>,
        /// A checkpoint to take as the intermediate network, instead of training it.
        #[arg(long, value_name = "FILE")]
        intermediate: Option<PathBuf>,
    },
    /// Measure a trained network on the test images.
    #[command(
        after_help = "Example: lasnn eval configs/quickstart.toml --stage student --time-steps 4"
    )]
    Eval {
        /// The recipe that made the network, a file or its name below configs.
        #[arg(add = ArgValueCompleter::new(complete::recipes))]
        recipe: PathBuf,
        /// The checkpoint [default: that of the newest run of the recipe].
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// Which network [default: what the checkpoint says it is, else the student].
        #[arg(long, value_enum)]
        stage: Option<StageName>,
        /// Simulate a spiking network over another number of time steps than the recipe's.
        #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = positive)]
        time_steps: Option<NonZeroUsize>,
        /// Normalise the images in another way than the recipe and the checkpoint say.
        #[arg(long, value_name = "KIND", value_parser = normalisation)]
        normalisation: Option<Normalisation>,
        /// Begin even if more memory is estimated to be needed than there is.
        #[arg(long)]
        ignore_memory: bool,
        /// What becomes of a data set that is missing.
        #[command(flatten)]
        missing: Missing,
    },
    /// Write into a checkpoint which images, classes and neurons its tensors are for.
    ///
    /// Checkpoints of an older version or of another program do not say it. The recipe must be the
    /// one that the network was trained with: nothing in the tensors shows whether it is.
    #[command(after_help = "Example: lasnn annotate a.safetensors quickstart --stage teacher \
                      --out b.safetensors")]
    Annotate {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// The recipe that the network was trained with: its path or its name.
        #[arg(add = ArgValueCompleter::new(complete::recipes))]
        recipe: PathBuf,
        /// Which network of the recipe it is.
        #[arg(long, value_enum)]
        stage: StageName,
        /// The checkpoint to write; it must not exist.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// What becomes of a data set that is missing.
        #[command(flatten)]
        missing: Missing,
    },
    /// Show a checkpoint, a network of the zoo or the networks of a recipe.
    #[command(after_help = "Example: lasnn inspect vgg9 --image 3x64x64 --classes 200")]
    Inspect {
        /// A checkpoint file (.safetensors), a recipe (.toml) or the name of a network.
        #[arg(add = ArgValueCompleter::new(complete::inspected))]
        target: String,
        /// For the name of a network: the shape of the images, channels x height x width
        /// [default: 3x32x32].
        #[arg(long, value_parser = shape, value_name = "CxHxW")]
        image: Option<Shape>,
        /// For the name of a network: how many classes [default: 10].
        #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = classes)]
        classes: Option<usize>,
    },
    /// Get a data set, or look at one or at the data of a recipe.
    #[command(after_help = "Example: lasnn data verify cifar10 --data-dir data")]
    Data {
        /// What to do.
        #[command(subcommand)]
        action: DataAction,
    },
    /// List runs; compare their results, or their recipes.
    ///
    /// Lists the runs in the folder of runs, newest first, those included that were cut off.
    #[command(after_help = "Example: lasnn runs quickstart")]
    Runs(Runs),
    /// Compare the backend's spiking kernels with the reference of stock tensor operations.
    #[command(after_help = "Example: lasnn check-backend --backend vulkan")]
    CheckBackend,
    /// Print a script with which a shell completes commands, options, recipes, data sets and runs.
    ///
    /// It asks this program at each press of the tabulator, so print it anew when lasnn is moved.
    #[command(
        after_help = "Example: lasnn completions bash > ~/.local/share/bash-completion/completions/lasnn"
    )]
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// A recipe and how to run it.
#[derive(Clone, Debug, clap::Args)]
pub struct Run {
    /// The recipe: a TOML file, or its name below configs; docs/recipes.md lists its keys.
    #[arg(add = ArgValueCompleter::new(complete::recipes))]
    pub recipe: PathBuf,
    /// Go on with the newest unfinished run of this command (or with the run in DIR); a new run
    /// begins if there is none.
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    pub resume: Option<Option<PathBuf>>,
    /// Train every stage, even if an earlier run has trained the same.
    #[arg(long)]
    pub no_cache: bool,
    /// Begin even if more memory is estimated to be needed than there is.
    #[arg(long)]
    pub ignore_memory: bool,
    /// What becomes of a data set that is missing.
    #[command(flatten)]
    pub missing: Missing,
}

/// What becomes of a data set that is missing.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Missing {
    /// Get the data set first if it is missing.
    #[arg(long)]
    pub fetch: bool,
    /// The address below which its files lie, instead of the official one.
    #[arg(long, value_name = "URL", requires = "fetch")]
    pub mirror: Option<String>,
}

/// Which runs, and what to do with them.
#[derive(Debug, clap::Args)]
pub struct Runs {
    /// List only the runs of this recipe: the `name` that it has in its file, or the file.
    #[arg(add = ArgValueCompleter::new(complete::runs_of))]
    pub recipe: Option<String>,
    /// What to do in place of listing them.
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
    /// Show what is different between the recipes of two runs, and in what they were run with.
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

/// What to do with data.
#[derive(Debug, Subcommand)]
pub enum DataAction {
    /// Read all data, check their structure, and compare the images with the official ones.
    ///
    /// Fails if they are others. So far that is known of CIFAR-10 alone; of other data sets it says
    /// that only the structure was checked.
    #[command(after_help = "Example: lasnn data verify cifar10 --data-dir data")]
    Verify(DataOf),
    /// Say what the data hold.
    #[command(after_help = "Example: lasnn data info configs/quickstart.toml")]
    Info {
        /// Which data.
        #[command(flatten)]
        of: DataOf,
        /// Also put some training images of each class on a sheet, a PNG file.
        #[arg(long, value_name = "FILE")]
        sheet: Option<PathBuf>,
    },
    /// Download a data set from its official address, check it and unpack it.
    ///
    /// Does nothing if it is there. A download that broke off goes on where it ended.
    #[command(after_help = "Example: lasnn data fetch cifar10 --data-dir data")]
    Fetch {
        /// Which one.
        #[arg(value_enum)]
        name: DatasetName,
        /// The address below which the files lie, instead of the official one.
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
    },
}

/// The data of a recipe, or a whole data set.
#[derive(Debug, clap::Args)]
pub struct DataOf {
    /// A recipe (.toml), or the name of a data set: digits, cifar10, cifar100, mnist, fashion-mnist,
    /// tiny-imagenet.
    #[arg(value_name = "RECIPE|NAME", add = ArgValueCompleter::new(complete::data))]
    pub target: PathBuf,
    /// What becomes of a data set that is missing.
    #[command(flatten)]
    pub missing: Missing,
}

/// A data set that can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DatasetName {
    /// 60,000 images of 3x32x32 in 10 classes; 170 MB.
    Cifar10,
    /// 60,000 images of 3x32x32 in 100 classes; 169 MB.
    Cifar100,
    /// 110,000 images of 3x64x64 in 200 classes; 248 MB.
    TinyImagenet,
    /// 70,000 digits of 1x28x28 in 10 classes; 12 MB.
    Mnist,
    /// 70,000 pieces of clothing of 1x28x28 in 10 classes; 31 MB.
    FashionMnist,
}

impl DatasetName {
    /// The name as the catalogue of the library writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::TinyImagenet => "tiny-imagenet",
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
        }
    }
}

/// Words of a command line in which `--resume DIR` is written as `--resume=DIR`.
///
/// The value of `--resume` may be absent, so that the word after it may also be the recipe: it is
/// taken as the folder of a run if there is such a folder, or if it is a path and names no recipe.
pub fn with_resume(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    for word in words {
        let path = Path::new(&word);
        let is_recipe = recipe::find(path).is_ok() || path.extension().is_some_and(|e| e == "toml");
        let is_folder = path.is_dir() || (path.components().count() > 1 && !is_recipe);
        match all.last_mut() {
            Some(last) if *last == "--resume" && is_folder && !word.is_empty() => {
                last.push("=");
                last.push(word);
            }
            _ => all.push(word),
        }
    }
    all
}

/// Reads the name of a normalisation.
fn normalisation(text: &str) -> Result<Normalisation, String> {
    let named = |normalisation: &Normalisation| normalisation.name() == text;
    Normalisation::ALL.into_iter().find(named).ok_or_else(|| {
        let names = Normalisation::ALL.map(Normalisation::name);
        format!("expected one of {}", names.join(", "))
    })
}

/// Reads a whole number of `least` to `most`.
fn whole(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| match most {
        u64::MAX => format!("expected a whole number, at least {least}"),
        _ => format!("expected a whole number of {least} to {most}"),
    })
}

fn seed(text: &str) -> Result<u32, String> {
    whole(text, 0, u64::from(u32::MAX)).map(|number| number as u32)
}

fn positive(text: &str) -> Result<NonZeroUsize, String> {
    let number = whole(text, 1, u64::MAX)?;
    usize::try_from(number).ok().and_then(NonZeroUsize::new).ok_or_else(|| "too large".into())
}

fn classes(text: &str) -> Result<usize, String> {
    whole(text, 2, u64::from(u32::MAX)).map(|number| number as usize)
}

/// Reads `3x32x32`.
fn shape(text: &str) -> Result<Shape, String> {
    let side = |part: &str| whole(part, 1, 1 << 20).ok().map(|side| side as usize);
    let numbers: Option<Vec<usize>> = text.split('x').map(side).collect();
    match numbers.as_deref() {
        Some(&[channels, height, width]) => Ok(Shape { channels, height, width }),
        _ => Err(format!(
            "expected channels x height x width, each of 1 to {}, for instance 3x32x32",
            1 << 20
        )),
    }
}

#[cfg(test)]
mod tests;
