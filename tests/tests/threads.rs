//! A run on two threads ends with the same numbers as one on one.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use lasnn_tests::Workplace;
use lasnn_tests::recipe::TINY;
use lasnn_tests::workplace::{numbers, tensors};
use serde_json::Value;

/// [`TINY`] with layers so wide that threads share them, in one epoch of larger batches.
fn wide() -> String {
    let mut recipe = TINY.to_owned();
    for (from, to) in [
        ("height = 8, width = 8", "height = 16, width = 16"),
        ("channels = 8,", "channels = 40,"),
        ("channels = 6,", "channels = 64,"),
        ("channels = 16,", "channels = 70,"),
        ("features = 12", "features = 1100"),
        ("batch = 16", "batch = 48"),
        ("micro_batch = 8", "micro_batch = 24"),
        ("epochs = 3", "epochs = 1"),
    ] {
        assert!(recipe.contains(from), "{from}");
        recipe = recipe.replace(from, to);
    }
    recipe
}

/// The summary and the weights of all stages.
fn run(recipe: &str, threads: &str) -> (Value, Vec<Vec<u8>>) {
    let place = Workplace::new();
    place.write("tiny.toml", recipe);
    place.succeed_on(threads, &["run", "tiny.toml", "--quiet"]);
    let mut summary = numbers(place.summary("tiny"));
    let found = summary.as_object_mut().unwrap().remove("threads").unwrap();
    assert_eq!(found.to_string(), threads);
    let file = |stage| place.only_run("tiny").join(format!("checkpoints/{stage}.safetensors"));
    let stages = ["teacher", "intermediate", "converted", "student"];
    (summary, stages.map(|stage| tensors(&file(stage))).into())
}

#[track_caller]
fn same(recipe: &str) {
    let (summary, weights) = run(recipe, "1");
    let (found, others) = run(recipe, "2");
    assert_eq!(found, summary);
    assert!(others == weights, "weights differ");
}

#[test]
fn narrow_networks() {
    same(TINY);
}

#[test]
fn wide_networks() {
    same(&wide());
}

#[test]
fn networks_on_images_themselves_in_bfloat16() {
    let recipe = wide().replace("\"poisson\"", "\"direct\"");
    let recipe = recipe.replace("batch = 48\n", "batch = 48\nprecision = \"bf16\"\n");
    assert_eq!(recipe.matches("bf16").count(), 3);
    same(&recipe);
}
