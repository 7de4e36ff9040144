//! The first command of README.md gives the numbers that the head of its recipe promises.

use std::fs;

use lasnn_tests::Sandbox;
use serde_json::Value;

/// The stages by their names in the head of the recipe and in `summary.json`.
const STAGES: [(&str, &str); 4] = [
    ("teacher", "teacher"),
    ("intermediate", "intermediate"),
    ("converted", "conversion"),
    ("distilled", "student"),
];

/// How far an accuracy may be from the promise with other vector instructions, in points. They add
/// up in another order, so that some of the 360 test images change their class.
const TOLERANCE: f64 = 2.0;

#[test]
fn the_quickstart_gives_the_numbers_of_its_head() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/quickstart.toml");
    let text = fs::read_to_string(path).unwrap();
    let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();

    let sandbox = Sandbox::new();
    sandbox.succeed(&["run", path, "--quiet"]);
    let summary = sandbox.summary("quickstart");
    let simd = summary["versions"]["simd"].as_str().unwrap();
    let is_exact = head.iter().any(|line| line.contains(&format!("`{simd}`")));
    for (promised, stage) in STAGES {
        let promised = promise(&head, promised);
        let found = 100.0 * accuracy(&summary, stage);
        let error = (found - promised).abs();
        let limit = if is_exact { 0.005 } else { TOLERANCE };
        assert!(error <= limit, "{stage} with `{simd}`: {found:.2} %, promised {promised} %");
    }
}

fn accuracy(summary: &Value, stage: &str) -> f64 {
    summary["stages"][stage]["test_accuracy"].as_f64().unwrap()
}

/// The last figure in per cent of the line that starts with a name.
fn promise(head: &[&str], name: &str) -> f64 {
    let line = head.iter().find(|line| line.trim_start_matches(['#', ' ']).starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no line `{name}` in the head"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let sign = words.iter().rposition(|&word| word == "%").unwrap();
    words[sign - 1].parse().unwrap()
}
