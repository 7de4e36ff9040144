//! The argument of `list`.

use clap::ValueEnum;

/// What to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Listed {
    /// Networks: teachers and students.
    Networks,
    /// Activations of ordinary networks.
    Activations,
    /// The resets and the step orders of neurons.
    Neurons,
    /// Surrogate gradients.
    Surrogates,
    /// Encodings of images as input over time.
    Encodings,
    /// Losses of the student.
    Losses,
    /// Data sets.
    Datasets,
    /// Conversion methods: how a threshold is chosen.
    Methods,
    /// Optimisers.
    Optimizers,
    /// Schedules of the learning rate.
    Schedules,
}
