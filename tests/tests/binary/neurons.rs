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
fn the_conversion_folds_batch_norms() {
    let conv = "{ kind = \"conv\", channels = 8, tap = \"middle\"";
    let recipe = replaced(TINY, conv, &format!("{conv}, batch_norm = true"));
    let residual = "{ kind = \"residual\", channels = 8, batch_norm = true, tap = \"high\" }";
    let recipe = replaced(&recipe, "{ kind = \"conv\", channels = 8, tap = \"high\" }", residual);
    let sandbox = Sandbox::with("tiny.toml", &recipe);
    let outcome = sandbox.succeed(&["run", "tiny.toml"]);
    assert!(!outcome.stderr.contains("note:"), "{}", outcome.stderr);

    let checkpoints = sandbox.only_run("tiny").join("checkpoints");
    let inspect = |stage: &str| {
        let file = checkpoints.join(format!("{stage}.safetensors"));
        sandbox.json(&["inspect", &file.to_string_lossy()])
    };
    let parameters = |stage: &str| inspect(stage)["network"]["parameters"].as_u64().unwrap();
    // Scales and shifts of 8 channels become 8 biases, three times.
    assert_eq!(parameters("intermediate") - parameters("converted"), 3 * 8);
    assert_eq!(parameters("student"), parameters("converted"));
    let layers = &inspect("student")["about"]["conversion"];
    assert!(layers.is_null(), "{layers}");
    let report = &inspect("converted")["about"]["conversion"]["layers"];
    for layer in report.as_array().unwrap() {
        assert!(layer["correlation"].as_f64().unwrap() > 0.5, "{report:#}");
    }
    let both = sandbox.succeed(&["inspect", "tiny.toml"]).stdout;
    for title in ["\nintermediate\n", "\nstudent\n"] {
        assert!(both.contains(title), "{both}");
    }
}

#[test]
fn a_run_says_once_why_its_student_is_trained_layer_by_layer() {
    // The kernels compute the logits of each step.
    let losses = "--set=student.losses=[{ kind = \"cross-entropy\", on = \"step\" }, \
                  { kind = \"attention\" }]";
    let fused = Sandbox::with("tiny.toml", TINY);
    let outcome = fused.succeed(&["run", "tiny.toml", losses]);
    assert!(!outcome.stderr.contains("layer by layer"), "{}", outcome.stderr);

    let sandbox = Sandbox::with("tiny.toml", TINY);
    let outcome =
        sandbox.succeed(&["run", "tiny.toml", "--set=spiking.neuron={ kind = \"plif\" }"]);
    let log = fs::read_to_string(sandbox.only_run("tiny").join("log.txt")).unwrap();
    for text in [outcome.stderr, log] {
        let notes = text.lines().filter(|line| line.contains("note: "));
        let notes: Vec<&str> = notes.filter(|line| line.contains("layer by layer")).collect();
        assert_eq!(notes.len(), 1, "{text}");
        assert!(notes[0].contains("`spiking.neuron.kind` is \"plif\""), "{notes:?}");
    }
}
