//! A run on two threads ends with the same numbers as a run on one.

use lasnn_tests::Sandbox;
use lasnn_tests::outputs::{numbers, tensors};
use lasnn_tests::recipe::TINY;
use serde_json::Value;

#[test]
fn narrow_networks() {
    assert_same(TINY);
}

#[test]
fn wide_networks() {
    assert_same(&wide());
}

#[test]
fn networks_with_direct_encoding_in_bfloat16() {
    let recipe = wide().replace("\"poisson\"", "\"direct\"");
    let recipe = recipe.replace("batch = 48\n", "batch = 48\nprecision = \"bf16\"\n");
    assert_eq!(recipe.matches("bf16").count(), 3);
    assert_same(&recipe);
}

/// [`TINY`] with layers so wide that threads share them, two steps of larger batches, and few time
/// steps.
fn wide() -> String {
    let mut recipe = TINY.to_owned();
    for (from, to) in [
        ("height = 8, width = 8", "height = 16, width = 16"),
        ("channels = 8,", "channels = 40,"),
        ("channels = 6,", "channels = 64,"),
        ("channels = 16,", "channels = 70,"),
        ("features = 12", "features = 520"),
        ("batch = 16\n", "batch = 48\n"),
        ("micro_batch = 8\n", "micro_batch = 24\n"),
        ("time_steps = 12", "time_steps = 4"),
        ("time_steps = 6", "time_steps = 4"),
        ("time_steps = [3, 9]", "time_steps = [2]"),
    ] {
        assert!(recipe.contains(from), "{from}");
        recipe = recipe.replace(from, to);
    }
    recipe
}

#[track_caller]
fn assert_same(recipe: &str) {
    let (summary, weights) = run(recipe, "1");
    let (other_summary, other_weights) = run(recipe, "2");
    assert_eq!(other_summary, summary);
    assert!(other_weights == weights, "the weights differ");
    let spikes = &summary["stages"]["student"]["spikes_per_image"];
    assert!(spikes.as_f64().is_some_and(|spikes| spikes > 0.0), "a silent network tests nothing");
}

/// The summary without the number of threads, and the weights of all stages.
fn run(recipe: &str, threads: &str) -> (Value, Vec<Vec<u8>>) {
    let sandbox = Sandbox::with("tiny.toml", recipe);
    sandbox.succeed_on(threads, &["run", "tiny.toml", "--quiet"]);
    let mut summary = numbers(sandbox.summary("tiny"));
    let found = summary.as_object_mut().unwrap().remove("threads").unwrap();
    assert_eq!(found.to_string(), threads);
    let checkpoints = sandbox.only_run("tiny").join("checkpoints");
    let stages = ["teacher", "intermediate", "converted", "student"];
    let weights = stages.map(|stage| tensors(&checkpoints.join(format!("{stage}.safetensors"))));
    (summary, weights.into())
}
