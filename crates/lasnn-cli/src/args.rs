//! The command line as typed.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use lasnn_core::Shape;

use crate::device::BackendName;

/// Layer-wise attention distillation: from an ordinary network to a spiking one.
///
/// Exit codes: 0 done, 1 the run failed, 2 the command or the recipe is wrong.
#[derive(Debug, Parser)]
#[command(name = "lasnn", version, after_help = "Example: lasnn run configs/quickstart.toml")]
pub struct Args {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Seed of everything random, instead of the recipe's.
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u32>,
    /// What computes; it must be compiled in (cargo feature of the same name).
    #[arg(long, global = true, value_enum, default_value_t = BackendName::Flex)]
    pub backend: BackendName,
    /// Threads of the CPU backends and of the data loader [default: all cores].
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Where data sets lie [default: the variable LASNN_DATA_DIR, else `data`].
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where decoded images are kept for the next time [default: the variable LASNN_CACHE_DIR, else
    /// the folder `packed` where data sets lie].
    #[arg(long, global = true, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Where runs and reusable checkpoints are written.
    #[arg(long, global = true, value_name = "DIR", default_value = "runs")]
    pub runs_dir: PathBuf,
    /// Log more on the terminal; twice and thrice for still more.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// No progress, no table.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// The result as JSON on the standard output, and nothing else there.
    #[arg(long, global = true)]
    pub json: bool,
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
        network: Ordinary,
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
        /// The recipe that made the network.
        recipe: PathBuf,
        /// The checkpoint [default: that of the newest run of the recipe].
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// Which network [default: what the checkpoint says it is, else the student].
        #[arg(long, value_enum)]
        stage: Option<StageName>,
        /// Steps to simulate a spiking network [default: the recipe's].
        #[arg(long, value_name = "N")]
        time_steps: Option<NonZeroUsize>,
        /// Begin even if more memory is estimated to be needed than there is.
        #[arg(long)]
        ignore_memory: bool,
        /// What becomes of a data set that is missing.
        #[command(flatten)]
        missing: Missing,
    },
    /// Show a checkpoint, a network of the zoo or the networks of a recipe.
    #[command(after_help = "Example: lasnn inspect vgg9 --image 3x64x64 --classes 200")]
    Inspect {
        /// A checkpoint file (.safetensors), a recipe (.toml) or the name of a network.
        target: String,
        /// For the name of a network: the shape of the images, channels x height x width.
        #[arg(long, value_parser = shape, default_value = "3x32x32", value_name = "CxHxW")]
        image: Shape,
        /// For the name of a network: how many classes.
        #[arg(long, default_value_t = 10, value_name = "N")]
        classes: usize,
    },
    /// Get a data set, or look at one or at the data of a recipe.
    #[command(after_help = "Example: lasnn data verify cifar10 --data-dir data")]
    Data {
        /// What to do.
        #[command(subcommand)]
        action: DataAction,
    },
    /// Compare the backend's spiking kernels with the reference of stock tensor operations.
    #[command(after_help = "Example: lasnn check-backend --backend vulkan")]
    CheckBackend,
    /// Print a script that completes lasnn's commands in a shell.
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
    /// The recipe, a TOML file; docs/recipes.md lists its keys.
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

/// An ordinary network of a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ordinary {
    /// The network that the student learns from.
    Teacher,
    /// The network that the student is converted from.
    Intermediate,
}

/// A network that a run leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageName {
    /// The network that the student learns from.
    Teacher,
    /// The network that the student is converted from.
    Intermediate,
    /// The spiking network before training.
    Converted,
    /// The distilled spiking network.
    Student,
    /// The spiking network trained without distillation.
    Control,
}

impl StageName {
    /// The name of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Teacher => "teacher",
            Self::Intermediate => "intermediate",
            Self::Converted => "converted",
            Self::Student => "student",
            Self::Control => "control",
        }
    }

    /// The name by which the summary and the metrics call it.
    pub fn in_summary(self) -> &'static str {
        match self {
            Self::Converted => "conversion",
            Self::Control => "student_without_distillation",
            other => other.name(),
        }
    }
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
    #[arg(value_name = "RECIPE|NAME")]
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

/// Reads `3x32x32`.
fn shape(text: &str) -> Result<Shape, String> {
    let numbers: Option<Vec<usize>> = text.split('x').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[channels, height, width]) => Ok(Shape { channels, height, width }),
        _ => Err("expected channels x height x width, for instance 3x32x32".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_shows_an_example() {
        Args::command().debug_assert();
        for command in Args::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(help.contains(&format!("Example: lasnn {name}")), "{name}: {help}");
        }
    }

    #[test]
    fn resume_stands_alone_or_names_a_run() {
        let resume = |args: &[&str]| match Args::try_parse_from(args).unwrap().command {
            Command::Run(run) => run.resume,
            other => panic!("{other:?}"),
        };
        assert_eq!(resume(&["lasnn", "run", "a.toml"]), None);
        assert_eq!(resume(&["lasnn", "run", "--resume", "a.toml"]), Some(None));
        let named = resume(&["lasnn", "run", "a.toml", "--resume=runs/a/1"]);
        assert_eq!(named, Some(Some("runs/a/1".into())));
    }

    #[test]
    fn memory_is_ignored_only_when_asked_for() {
        let ignores = |args: &[&str]| match Args::try_parse_from(args).unwrap().command {
            Command::Run(run) | Command::Train { run, .. } => run.ignore_memory,
            Command::Convert { run, .. } | Command::Distill { run, .. } => run.ignore_memory,
            Command::Eval { ignore_memory, .. } => ignore_memory,
            other => panic!("{other:?}"),
        };
        for command in [&["run"][..], &["train", "teacher"], &["convert"], &["distill"], &["eval"]]
        {
            let words = [&["lasnn"], command, &["a.toml"]].concat();
            assert!(!ignores(&words), "{command:?}");
            assert!(ignores(&[&words[..], &["--ignore-memory"]].concat()), "{command:?}");
        }
    }

    #[test]
    fn data_commands_are_read() {
        let action = |args: &[&str]| match Args::try_parse_from(args).unwrap().command {
            Command::Data { action } => action,
            other => panic!("{other:?}"),
        };
        let verify = action(&["lasnn", "data", "verify", "a.toml", "--data-dir", "d"]);
        assert!(
            matches!(verify, DataAction::Verify(of) if of.target == *"a.toml" && !of.missing.fetch)
        );
        let info = action(&["lasnn", "data", "info", "--fetch", "a.toml", "--sheet", "a.png"]);
        let DataAction::Info { of, sheet } = info else { panic!("{info:?}") };
        assert!(of.missing.fetch && of.missing.mirror.is_none());
        assert_eq!(sheet, Some("a.png".into()));
        let fetch = action(&["lasnn", "data", "fetch", "mnist", "--mirror", "http://a/"]);
        let DataAction::Fetch { name, mirror } = fetch else { panic!("{fetch:?}") };
        assert_eq!((name, mirror.as_deref()), (DatasetName::Mnist, Some("http://a/")));
    }

    #[test]
    fn a_mirror_is_of_no_use_where_nothing_is_fetched() {
        for command in [&["run", "a.toml"][..], &["eval", "a.toml"], &["data", "info", "cifar10"]] {
            let parse =
                |more: &[&str]| Args::try_parse_from([&["lasnn"], command, more].concat()).is_ok();
            assert!(parse(&["--fetch", "--mirror", "http://a/"]), "{command:?}");
            assert!(!parse(&["--mirror", "http://a/"]), "{command:?}");
        }
    }

    #[test]
    fn every_data_set_of_the_catalogue_has_its_name_here() {
        use lasnn_datasets::fetch::Origin;
        use lasnn_datasets::fetch::catalogue::ORIGINS;

        assert_eq!(DatasetName::value_variants().len(), ORIGINS.len());
        for name in DatasetName::value_variants() {
            assert!(Origin::named(name.name()).is_some(), "{name:?}");
            let typed = name.to_possible_value().unwrap();
            assert_eq!(typed.get_name(), name.name());
        }
    }

    #[test]
    fn shapes_are_read() {
        assert_eq!(shape("1x8x9"), Ok(Shape { channels: 1, height: 8, width: 9 }));
        assert!(shape("8x8").is_err());
        assert!(shape("3x-1x8").is_err());
    }
}
