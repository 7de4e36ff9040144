//! Students whose neurons are trained, and students that run layer by layer.

use std::fs;

use lasnn_tests::Sandbox;
use lasnn_tests::recipe::{TINY, replaced, tiny_with};

/// The thresholds of each layer in the checkpoint of a stage.
fn thresholds(sandbox: &Sandbox, stage: &str) -> Vec<Vec<f64>> {
    let file = sandbox.only_run("tiny").join("checkpoints").join(format!("{stage}.safetensors"));
    let shown = sandbox.json(&["inspect", &file.to_string_lossy()]);
    let layers = shown["network"]["layers"].as_array().unwrap().iter();
    let numbers = layers.map(|layer| layer["thresholds"].as_array().cloned().unwrap_or_default());
    numbers.map(|all| all.iter().map(|number| number.as_f64().unwrap()).collect()).collect()
}

/// Large rates move some parameters to the ends of their ranges.
#[test]
fn biases_and_neurons_are_trained_with_rates_of_their_own() {
    let neurons = "[spiking]\n\
        neuron.leak = { time_constant = 8.0, train = true }\n\
        neuron.threshold = { per = \"channel\", train = true }\n\
        neuron.initial_membrane = { value = 0.5, per = \"neuron\", train = true }\n";
    let recipe = tiny_with("[spiking]\n", neurons);
    let linear = "{ kind = \"linear\", features = 12, bias = true }";
    let recipe = replaced(&recipe, "{ kind = \"linear\", features = 12 }", linear);
    let groups = "[student.train.groups]\n\
        threshold = { learning_rate = 0.5 }\n\
        leak = { learning_rate = 0.5, weight_decay = 0.1 }\n\
        bias = { weight_decay = 0.01 }\n\n[evaluation]";
    let recipe = replaced(&recipe, "[evaluation]", groups);
    let sandbox = Sandbox::with("tiny.toml", &recipe);
    let outcome = sandbox.succeed(&["run", "tiny.toml"]);
    assert!(!outcome.stderr.contains("note:"), "{}", outcome.stderr);

    let (converted, trained) = (thresholds(&sandbox, "converted"), thresholds(&sandbox, "student"));
    let counts: Vec<usize> = trained.iter().map(Vec::len).collect();
    assert_eq!(counts, [6, 0, 8, 0, 8, 12, 0], "one threshold for each channel or feature");
    assert_ne!(trained, converted);
    assert!(trained.iter().flatten().all(|&threshold| threshold >= 0.001), "{trained:?}");

    // The resolved recipe stands for the same run.
    let resolved = fs::read_to_string(sandbox.only_run("tiny").join("recipe.toml")).unwrap();
    let again = Sandbox::with("tiny.toml", &resolved);
    again.succeed(&["run", "tiny.toml", "--quiet"]);
    assert_eq!(thresholds(&again, "student"), trained);
}

#[test]
fn a_run_says_once_that_its_student_is_trained_layer_by_layer() {
    let losses = "--set=student.losses=[{ kind = \"cross-entropy\", on = \"step\" }, \
                  { kind = \"attention\" }]";
    let sandbox = Sandbox::with("tiny.toml", TINY);
    let outcome = sandbox.succeed(&["run", "tiny.toml", losses]);
    let log = fs::read_to_string(sandbox.only_run("tiny").join("log.txt")).unwrap();
    for text in [outcome.stderr, log] {
        let notes = text.lines().filter(|line| line.contains("note: "));
        let notes: Vec<&str> = notes.filter(|line| line.contains("layer by layer")).collect();
        assert_eq!(notes.len(), 1, "{text}");
        assert!(notes[0].contains("`student.losses[0]` (cross-entropy)"), "{notes:?}");
    }
}
