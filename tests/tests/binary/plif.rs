//! A run whose spiking networks have neurons without a kernel.

use std::fs;
use std::path::Path;

use lasnn_tests::Sandbox;
use lasnn_tests::recipe::tiny_with;
use serde_json::Value;

#[test]
fn a_student_trains_the_leaks_of_parametric_neurons() {
    let recipe = tiny_with("[spiking]\n", "[spiking]\nneuron = { kind = \"plif\" }\n");
    let sandbox = Sandbox::with("tiny.toml", &recipe);
    let outcome = sandbox.succeed(&["run", "tiny.toml"]);
    let shown = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(shown.contains("`spiking.neuron.kind` is \"plif\""), "{shown}");

    let checkpoints = sandbox.only_run("tiny").join("checkpoints");
    let leaks = |stage: &str| leaks(&checkpoints.join(format!("{stage}.safetensors")));
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

/// The leaks of all layers in a checkpoint, as their logits.
fn leaks(path: &Path) -> Vec<f32> {
    let file = fs::read(path).unwrap();
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let (header, tensors) = file[8..].split_at(length);
    let header: Value = serde_json::from_slice(header).unwrap();
    let names = header.as_object().unwrap().iter();
    let leaks = names.filter(|(name, _)| name.ends_with(".neurons.leak_logit"));
    let number = |(_, tensor): (&String, &Value)| {
        let start = tensor["data_offsets"][0].as_u64().unwrap() as usize;
        f32::from_le_bytes(*tensors[start..].first_chunk().unwrap())
    };
    leaks.map(number).collect()
}
