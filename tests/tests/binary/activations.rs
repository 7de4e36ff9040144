//! Ordinary networks with another activation than ReLU, from their training to a spiking network.

use lasnn_tests::Sandbox;
use lasnn_tests::outputs::first_numbers;

/// Digits, a network with batch norm and clipped activations, and one epoch on a few images.
const CLIPPED: &str = r#"
name = "clipped"
seed = 1

[data]
source = "digits"
validation = 40
train_limit = 160
test_limit = 200

[intermediate]
activation = { kind = "clip", bound = 2.0, train = true }

[intermediate.network]
name = "digits-tiny"
layers = [
    { kind = "conv", channels = 4, batch_norm = true, tap = "low" },
    { kind = "residual", channels = 6, stride = 2, batch_norm = true },
    { kind = "linear", features = 12 },
    { kind = "classifier" },
]

[intermediate.train]
epochs = 1
batch = 32
optimizer = { kind = "sgd", learning_rate = 0.05 }

[intermediate.train.groups.activation]
learning_rate = 0.1

[conversion]
time_steps = 8
batch = 64

[student]
time_steps = 4
losses = [{ kind = "cross-entropy" }]

[student.train]
epochs = 1
batch = 32
optimizer = { kind = "adam", learning_rate = 1e-2 }
"#;

#[test]
fn a_clipped_network_is_trained_and_converted() {
    let sandbox = Sandbox::with("clipped.toml", CLIPPED);
    let outcome = sandbox.succeed(&["run", "clipped.toml"]);
    assert!(!outcome.stderr.contains("note:"), "{}", outcome.stderr);
    let folder = sandbox.only_run("clipped");
    let bounds = |stage: &str| {
        let file = folder.join(format!("checkpoints/{stage}.safetensors"));
        first_numbers(&file, ".activation.bound")
    };
    let trained = bounds("intermediate");
    assert_eq!(trained.len(), 4, "one for each layer that is a layer of neurons later");
    assert!(trained.iter().all(|&bound| bound > 0.0 && bound != 2.0), "{trained:?}");
    assert!(bounds("converted").is_empty() && bounds("student").is_empty());

    // Without the bounds the network would be another one.
    let summary = sandbox.summary("clipped");
    let measured = sandbox.json(&["eval", "clipped.toml", "--stage", "intermediate"]);
    let expected = &summary["stages"]["intermediate"]["test_accuracy"];
    assert_eq!(&measured["test_accuracy"], expected);

    // The trained network is reused, and one with another bound is trained.
    for (bound, reused) in [("2.0", true), ("1.5", false)] {
        let set = format!("intermediate.activation.bound={bound}");
        let run = sandbox.json(&["convert", "clipped.toml", "--set", &set]);
        assert_eq!(run["stages"]["intermediate"]["reused"], reused, "{run:#}");
    }
    // A checkpoint does not fit a recipe with another activation.
    let file = folder.join("checkpoints/intermediate.safetensors");
    let eval = ["eval", "clipped.toml", "--checkpoint", &file.to_string_lossy()];
    let relu = ["--set", "intermediate.activation.kind=relu"];
    let words = ["`intermediate.activation`", "clip", "relu"];
    sandbox.fail(&[&eval[..], &relu].concat(), 2, &words);
    let wrong = ["run", "clipped.toml", "--set", "intermediate.activation.bound=0"];
    sandbox.fail(&wrong, 2, &["activation", "`bound` is 0", "above 0"]);
}

const QUANTISED: [&str; 6] = [
    "--set",
    "intermediate.activation={kind=\"qcfs\",levels=4,bound=2.0}",
    "--set",
    "conversion.method={kind=\"activation-bounds\"}",
    "--set",
    "spiking.neuron.initial_membrane.value=0.5",
];

#[test]
fn the_bounds_of_a_quantised_network_are_thresholds() {
    let sandbox = Sandbox::with("clipped.toml", CLIPPED);
    let outcome = sandbox.succeed(&[&["run", "clipped.toml"][..], &QUANTISED].concat());
    assert!(!outcome.stderr.contains("note:"), "{}", outcome.stderr);
    let folder = sandbox.only_run("clipped");
    let file = |stage: &str| folder.join(format!("checkpoints/{stage}.safetensors"));
    let bound = first_numbers(&file("intermediate"), "layers.0.activation.bound");
    let threshold = first_numbers(&file("converted"), "layers.0.neurons.threshold");
    assert_eq!(threshold, bound);
    let membrane = first_numbers(&file("converted"), "layers.0.neurons.initial_membrane");
    assert_eq!(membrane, [0.5 * threshold[0]]);

    // The two other keys are the advice for this activation.
    let outcome = sandbox.succeed(&[&["convert", "clipped.toml"][..], &QUANTISED[..2]].concat());
    assert!(outcome.stderr.contains("activation-bounds"), "{}", outcome.stderr);
    // A shift needs biases.
    let shift = ["run", "clipped.toml", "--set", "conversion.shift_steps=4"];
    sandbox.fail(&shift, 2, &["conversion.shift_steps", "layer 2 (linear)", "bias"]);
    let bias = ["run", "clipped.toml", "--set", "conversion.calibration=[{ kind = \"bias\" }]"];
    sandbox.fail(&bias, 2, &["conversion.calibration", "layer 2 (linear)", "bias"]);
    // Without bounds there are no thresholds.
    let relu = ["run", "clipped.toml", "--set", "intermediate.activation={kind=\"relu\"}"];
    let words = ["`intermediate.activation`", "`clip` or `qcfs`"];
    sandbox.fail(&[&relu[..], &QUANTISED[2..4]].concat(), 2, &words);
}

#[test]
fn summed_logits_of_the_ordinary_networks_scale_are_noted() {
    let sandbox = Sandbox::with("clipped.toml", CLIPPED);
    let losses = "student.losses=[{kind=\"cross-entropy\",on=\"sum\"}]";
    let run = ["run", "clipped.toml", "--set", losses];
    let found = sandbox.succeed(&run);
    assert!(found.stderr.contains("`conversion.class_scores` gives"), "{}", found.stderr);
    let raw = ["--set", "conversion.class_scores=\"raw\""];
    let found = sandbox.succeed(&[&run[..], &raw].concat());
    assert!(!found.stderr.contains("`conversion.class_scores` gives"), "{}", found.stderr);
}
