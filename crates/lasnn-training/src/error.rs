//! What can go wrong while training, each error naming the thing, the value and the expectation.

use std::io;
use std::path::PathBuf;

use lasnn_nn::StateError;

/// A key of the training configuration whose value makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is {value}, expected {expected}")]
pub struct ConfigError {
    /// The key, with its table.
    pub key: String,
    /// The value found.
    pub value: String,
    /// What would be right.
    pub expected: String,
}

/// Why a run of training ended without a trained network.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A split has nothing to train or to measure on.
    #[error("the {split} split has no image, expected at least 1")]
    NoImages {
        /// `training` or `validation`.
        split: &'static str,
    },
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint to resume from is damaged.
    #[error("{source}; remove the folder of the file, and the training of this stage begins anew")]
    Damaged {
        /// What is wrong with it, with its path.
        source: CheckpointError,
    },
    /// The tensors of a checkpoint do not fit the network.
    #[error("{}: {source}", path.display())]
    State {
        /// The checkpoint.
        path: PathBuf,
        /// Which tensor, and why.
        source: StateError,
    },
    /// The checkpoint to resume from belongs to another run.
    #[error(
        "{}: the checkpoint's {what} is {found}, this run's is {expected}; \
         start anew without resuming",
        path.display()
    )]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        what: String,
        /// What the checkpoint says.
        found: String,
        /// What this run says.
        expected: String,
    },
    /// The network of the best epoch is not where the history says it is.
    #[error(
        "{}: expected the network of epoch {}, found {found}; start anew without resuming",
        path.display(),
        expected + 1
    )]
    BestLost {
        /// The file of the best network.
        path: PathBuf,
        /// The best epoch by the history, counted from 0.
        expected: u32,
        /// What the file holds instead.
        found: String,
    },
    /// A number that steers the training is infinite or not a number.
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
        /// How many epochs the training has.
        epochs: u32,
        /// The step (the batch) within the epoch, counted from 0; the last one for the validation
        /// loss.
        step: usize,
        /// How many steps an epoch has.
        steps: usize,
        /// The first thing that is not finite, named as checkpoints name it.
        layer: String,
        /// What to try.
        suggestion: String,
    },
    /// Somebody asked the run to stop; it saved its state and did.
    #[error(
        "interrupted in epoch {} after {step} steps; resume goes on from {}",
        epoch + 1,
        path.display()
    )]
    Interrupted {
        /// The checkpoint that was written.
        path: PathBuf,
        /// The epoch, counted from 0.
        epoch: u32,
        /// How many steps of that epoch are done.
        step: usize,
    },
}

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// There is no such file.
    #[error("{}: no such checkpoint", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The file ends too early or too late.
    #[error("{}: {found} bytes long, expected {expected}; the file is damaged", path.display())]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
        /// What its header promises.
        expected: String,
    },
    /// The length of the header, the file's first eight bytes, is beyond all sense.
    #[error(
        "{}: the header claims {found} bytes, expected at most {limit}; not a safetensors file",
        path.display()
    )]
    HeaderTooLarge {
        /// The file.
        path: PathBuf,
        /// The length that the file claims.
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
    /// A tensor is not of 32-bit floats.
    #[error("{}: tensor `{name}` is of type {found}, expected F32", path.display())]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// The content is not what was written.
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
    /// The metadata is not what this version writes.
    #[error("{}: metadata: {reason}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}
