//! A run whose spiking networks have neurons without a kernel.

use lasnn_tests::Sandbox;
use lasnn_tests::outputs::first_numbers;
use lasnn_tests::recipe::tiny_with;

#[test]
fn a_student_trains_the_leaks_of_parametric_neurons() {
    let recipe = tiny_with("[spiking]\n", "[spiking]\nneuron = { kind = \"plif\" }\n");
    let sandbox = Sandbox::with("tiny.toml", &recipe);
    let outcome = sandbox.succeed(&["run", "tiny.toml"]);
    let shown = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(shown.contains("`spiking.neuron.kind` is \"plif\""), "{shown}");

    let checkpoints = sandbox.only_run("tiny").join("checkpoints");
    let leaks = |stage: &str| {
        first_numbers(&checkpoints.join(format!("{stage}.safetensors")), ".neurons.leak_logit")
    };
    // The leak begins at 0.5, whose logit is 0.
    assert_eq!(leaks("converted"), [0.0; 4]);
    let trained = leaks("student");
    assert!(trained.len() == 4 && trained.iter().any(|&leak| leak != 0.0), "{trained:?}");

    let file = checkpoints.join("student.safetensors");
    let measured = sandbox.json(&["eval", "tiny.toml", "--checkpoint", &file.to_string_lossy()]);
    let summary = &sandbox.summary("tiny")["stages"]["student"];
    for key in ["test_accuracy", "accuracy_by_class", "spikes_per_image"] {
        assert_eq!(measured[key], summary[key], "{key}");
    }
}
