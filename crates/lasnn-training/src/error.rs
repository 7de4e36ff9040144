//! The errors of this crate. Each names what is wrong, the value found and the value expected.

use std::io;
use std::path::PathBuf;

use lasnn_nn::StateError;

/// A key of the training configuration whose value is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is {value}, expected {expected}")]
pub struct ConfigError {
    /// The key, with its table.
    pub key: String,
    /// The value found.
    pub value: String,
    /// The expected range.
    pub expected: String,
}

/// Why a run ended without a trained network.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A key of the configuration is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A split has no image.
    #[error("the {split} split has no image, expected at least 1")]
    NoImages {
        /// `training` or `validation`.
        split: &'static str,
    },
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint to resume from is damaged.
    #[error(
        "{source}; remove the folder of the file, then the training of this stage starts again"
    )]
    Damaged {
        /// What is wrong, with the path of the file.
        source: CheckpointError,
    },
    /// The tensors of a checkpoint do not fit the network.
    #[error("{}: {source}", path.display())]
    State {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor and the reason.
        source: StateError,
    },
    /// The checkpoint to resume from belongs to another run.
    #[error(
        "{}: the checkpoint's {what} is {found}, this run's is {expected}; \
         start again without resuming",
        path.display()
    )]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// The value that differs.
        what: String,
        /// The value in the checkpoint.
        found: String,
        /// The value of this run.
        expected: String,
    },
    /// The file of the best network holds another epoch than the history says.
    #[error(
        "{}: expected the network of epoch {}, found {found}; start again without resuming",
        path.display(),
        expected + 1
    )]
    BestLost {
        /// The file of the best network.
        path: PathBuf,
        /// The best epoch according to the history, counted from 0.
        expected: u32,
        /// The content of the file.
        found: String,
    },
    /// A loss or the norm of the gradients is infinite or NaN.
    #[error(
        "{stage}: the {quantity} is {value} in epoch {}/{epochs}, step {}/{steps}: {layer}; \
         {suggestion}",
        epoch + 1,
        step + 1
    )]
    NotFinite {
        /// The stage's name.
        stage: String,
        /// `training loss`, `gradient norm` or `validation loss`.
        quantity: &'static str,
        /// Its value.
        value: f64,
        /// The epoch, counted from 0.
        epoch: u32,
        /// The number of epochs of the training.
        epochs: u32,
        /// The step within the epoch, counted from 0; the last step for the validation loss.
        step: usize,
        /// The number of steps of an epoch.
        steps: usize,
        /// Which of images, parameters, feature maps, logits and gradients is the first that is not
        /// finite.
        layer: String,
        /// What the user may try.
        suggestion: String,
    },
    /// The caller stopped the run, and the run saved its state.
    #[error(
        "interrupted in epoch {} after {step} steps; resuming continues from {}",
        epoch + 1,
        path.display()
    )]
    Interrupted {
        /// The checkpoint that was written.
        path: PathBuf,
        /// The epoch, counted from 0.
        epoch: u32,
        /// The number of steps of that epoch that are done.
        step: usize,
    },
}

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file does not exist.
    #[error("{}: no such checkpoint", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The operating system reported an error.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The action that failed.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The file is too short or too long.
    #[error("{}: {found} bytes long, expected {expected}; the file is damaged", path.display())]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
        /// The length according to its header.
        expected: String,
    },
    /// The first eight bytes, which hold the length of the header, hold an impossible length.
    #[error(
        "{}: the header claims {found} bytes, expected at most {limit}; not a safetensors file",
        path.display()
    )]
    HeaderTooLarge {
        /// The file.
        path: PathBuf,
        /// The length found.
        found: u64,
        /// The largest length allowed.
        limit: u64,
    },
    /// The header is not that of a safetensors file.
    #[error("{}: not a safetensors file: {reason}", path.display())]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A tensor has another type than 32-bit floats.
    #[error("{}: tensor `{name}` is of type {found}, expected F32", path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// The content has another SHA-256 than the header says.
    #[error(
        "{}: the content's SHA-256 is {found}, expected {expected}; the file is damaged",
        path.display()
    )]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// The hash of the content.
        found: String,
        /// The hash in the header.
        expected: String,
    },
    /// The metadata cannot be read or written.
    #[error("{}: metadata: {reason}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}
