//! A recipe that runs all stages in about a second.

/// Eight-by-eight images of four classes and networks of a few hundred weights. What is learnt does
/// not matter here, only that it is the same each time.
///
/// It uses what has a state to lose: momentum, Adam's moments, dropout, augmentation, batch norm,
/// Poisson spikes, a schedule, micro-batches, and checkpoints within an epoch.
pub const TINY: &str = r#"
name = "tiny"
seed = 3

[data]
source = "synthetic"
synthetic = { channels = 1, height = 8, width = 8, classes = 4, train = 112, test = 40 }
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
epochs = 3
batch = 16
checkpoint_steps = 2
optimizer = { kind = "sgd", learning_rate = 0.05, momentum = 0.9, weight_decay = 5e-4 }

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
epochs = 3
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
epochs = 3
batch = 16
micro_batch = 8
checkpoint_steps = 2
optimizer = { kind = "adam", learning_rate = 1e-3, amsgrad = true }

[evaluation]
batch = 20
time_steps = [3, 9]
"#;

/// [`TINY`] with one text in place of another.
///
/// # Panics
///
/// Panics unless `from` stands in it exactly once: a test that changes nothing would pass for the
/// wrong reason.
pub fn tiny_with(from: &str, to: &str) -> String {
    assert_eq!(TINY.matches(from).count(), 1, "`{from}` should stand in the recipe once");
    TINY.replacen(from, to, 1)
}
