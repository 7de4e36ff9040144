//! The arguments of the commands about one checkpoint: `eval`, `annotate` and `inspect`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap_complete::engine::ArgValueCompleter;
use lasnn_core::Shape;
use lasnn_datasets::Normalisation;

use super::changes::SetOptions;
use super::data::FetchOptions;
use super::values::{classes, normalisation, positive, shape};
use crate::complete;
use crate::stage::StageName;

/// The arguments of `eval`.
#[derive(Debug, clap::Args)]
pub struct Eval {
    /// The recipe of the network: a file, or its name in configs.
    #[arg(add = ArgValueCompleter::new(complete::recipes))]
    pub recipe: PathBuf,
    /// Values in place of the recipe's.
    #[command(flatten)]
    pub set_options: SetOptions,
    /// The checkpoint [default: that of the newest run of the recipe].
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// The stage of the network: teacher, intermediate, converted, student, control, or one that
    /// the recipe adds [default: that of the checkpoint, else the student].
    #[arg(long, value_name = "STAGE", add = ArgValueCompleter::new(complete::stages))]
    pub stage: Option<StageName>,
    /// Simulate a spiking network over this number of time steps instead of the recipe's.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = positive)]
    pub time_steps: Option<NonZeroUsize>,
    /// Normalise the images in this way instead of the one of the recipe and the checkpoint.
    #[arg(long, value_name = "KIND", value_parser = normalisation)]
    pub normalisation: Option<Normalisation>,
    /// Begin even if the estimated memory exceeds the available memory.
    #[arg(long)]
    pub ignore_memory: bool,
    /// What to do if the data set is missing.
    #[command(flatten)]
    pub fetch_options: FetchOptions,
}

/// The arguments of `annotate`.
#[derive(Debug, clap::Args)]
pub struct Annotate {
    /// The checkpoint.
    pub checkpoint: PathBuf,
    /// The recipe with which the network was trained: a file, or its name in configs.
    #[arg(add = ArgValueCompleter::new(complete::recipes))]
    pub recipe: PathBuf,
    /// Values in place of the recipe's.
    #[command(flatten)]
    pub set_options: SetOptions,
    /// The stage of the network: teacher, intermediate, converted, student, control, or one that
    /// the recipe adds.
    #[arg(long, value_name = "STAGE", add = ArgValueCompleter::new(complete::stages))]
    pub stage: StageName,
    /// The checkpoint to write; the file must not exist.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// What to do if the data set is missing.
    #[command(flatten)]
    pub fetch_options: FetchOptions,
}

/// The arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub struct Inspect {
    /// A checkpoint file (.safetensors), a recipe (.toml), or the name of a network.
    #[arg(add = ArgValueCompleter::new(complete::inspect_targets))]
    pub target: String,
    /// Values in place of the recipe's.
    #[command(flatten)]
    pub set_options: SetOptions,
    /// For a network: the shape of the images, channels x height x width [default: 3x32x32].
    #[arg(long, value_parser = shape, value_name = "CxHxW")]
    pub image: Option<Shape>,
    /// For a network: the number of classes [default: 10].
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = classes)]
    pub classes: Option<usize>,
}
