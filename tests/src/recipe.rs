//! A recipe that runs all stages in a fraction of a second.

/// Eight-by-eight images of four classes, networks of a few hundred weights, and one epoch of four
/// steps for each of the three trainings. The tests compare results of runs with each other, so it
/// is enough that the networks do not predict the same class for all images.
///
/// The recipe uses everything that has a state to lose: momentum, Adam's moments, dropout,
/// augmentation, batch norm, Poisson spikes, a learning-rate schedule, micro-batches, and
/// checkpoints within an epoch.
pub const TINY: &str = r#"
name = "tiny"
seed = 3

[data]
source = "synthetic"
synthetic = { channels = 1, height = 8, width = 8, classes = 4, train = 80, test = 24 }
validation = 16
augment = { crop_padding = 1, flip = true }

[teacher.network]
name = "tiny-teacher"
layers = [
    { kind = "conv", channels = 8, bias = true, batch_norm = true, tap = "low" },
    { kind = "average-pool" },
    { kind = "conv", channels = 8, bias = true, batch_norm = true, tap = "middle" },
    { kind = "conv", channels = 16, bias = true, batch_norm = true, tap = "high" },
    { kind = "global-average-pool" },
    { kind = "classifier", bias = true },
]

[teacher.train]
epochs = 1
batch = 16
checkpoint_steps = 2
optimizer = { kind = "sgd", learning_rate = 0.2, momentum = 0.9, weight_decay = 5e-4 }

[intermediate.network]
name = "tiny-student"
layers = [
    { kind = "conv", channels = 6, tap = "low" },
    { kind = "average-pool" },
    { kind = "conv", channels = 8, tap = "middle" },
    { kind = "dropout", probability = 0.2 },
    { kind = "conv", channels = 8, tap = "high" },
    { kind = "linear", features = 12 },
    { kind = "classifier" },
]

[intermediate.train]
epochs = 1
batch = 16
checkpoint_steps = 2
optimizer = { kind = "sgd", learning_rate = 0.02, momentum = 0.9 }

[spiking]
encoding = { kind = "poisson" }

[conversion]
time_steps = 12
batch = 32

[student]
time_steps = 6

[student.train]
epochs = 1
batch = 16
micro_batch = 8
checkpoint_steps = 2
optimizer = { kind = "adam", learning_rate = 1e-3, amsgrad = true }

[evaluation]
batch = 20
time_steps = [3, 9]
"#;

/// The line pair of [`TINY`] that selects its images.
pub const SYNTHETIC: &str = "source = \"synthetic\"\nsynthetic = { channels = 1, height = 8, \
                             width = 8, classes = 4, train = 80, test = 24 }";

/// [`TINY`] with `to` in place of `from`.
///
/// # Panics
///
/// Panics like [`replaced`].
pub fn tiny_with(from: &str, to: &str) -> String {
    replaced(TINY, from, to)
}

/// A recipe with `to` in place of `from`.
///
/// # Panics
///
/// Panics unless the recipe contains `from` exactly once. A test whose replacement changes nothing
/// would pass for the wrong reason.
pub fn replaced(recipe: &str, from: &str, to: &str) -> String {
    assert_eq!(recipe.matches(from).count(), 1, "the recipe should contain `{from}` once");
    recipe.replacen(from, to, 1)
}
