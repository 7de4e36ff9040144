//! Every published accuracy is in the folder of results that stands beside it.
//!
//! The published texts are the table rows of README.md and the comments at the heads of the
//! recipes. A row or a head with figures in per cent names one or more folders under `results/`.
//! Each figure must be in one of them: in README.md, printed in the same way, or in a JSON file, as
//! a test accuracy between 0 and 1 that rounds to the figure.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lasnn_tests::Sandbox;
use serde_json::Value;

use crate::inspect::recipes;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn published_accuracies_are_in_the_results() {
    let root = Path::new(ROOT);
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let rows: Vec<&str> = readme.lines().filter(|line| is_row_with_figures(line)).collect();
    assert!(!rows.is_empty(), "README.md has no table of results");
    let mut errors: Vec<String> =
        rows.iter().flat_map(|row| errors(root, "README.md", row)).collect();
    for recipe in recipes(&root.join("configs")) {
        let text = fs::read_to_string(&recipe).unwrap();
        errors.extend(self::errors(root, &recipe.to_string_lossy(), &head(&text)));
    }
    assert!(errors.is_empty(), "{errors:#?}");
}

/// The rule itself: a text is accepted or refused.
#[test]
fn wrong_figures_and_folders_are_refused() {
    let sandbox = Sandbox::new();
    for folder in ["results/a", "results/b"] {
        fs::create_dir_all(sandbox.path().join(folder)).unwrap();
    }
    sandbox.write("results/a/README.md", "| student | 79.9, 81.0 ± 0.4 % | 12 s |");
    sandbox.write("results/a/run.json", r#"{"test_accuracy": 0.8613, "loss": 0.5}"#);
    sandbox.write("results/b/m.jsonl", "{\"accuracy_by_step\": [0.1, 0.6138]}\n{}");
    for (text, expected) in [
        ("86.13 % (results/a)", 0),
        ("86.1 % and 61 %: results/a, results/b.", 0),
        ("at T = 8, 32   79.9, 86.1% (results/a)", 0),
        ("81.0 ± 0.4 % (results/a)", 0),
        ("89.7 s, no accuracy", 0),
        ("86.12 % (results/a)", 1),
        ("61.38 % (results/a)", 1),
        ("79.9, 86.2 % (results/a)", 1),
        ("81.0 ± 0.5 % (results/a)", 1),
        // It is a number of the file, but no accuracy.
        ("50 % (results/a)", 1),
        // It would be found, but not as it is printed.
        ("79.90 % (results/a)", 1),
        ("86.13 %", 1),
        ("86.13 % (results/a, results/c)", 1),
        ("86.13 in per cent (results/a)", 1),
    ] {
        let errors = errors(sandbox.path(), "text", text);
        assert_eq!(errors.len(), expected, "{text}: {errors:#?}");
    }
}

fn is_row_with_figures(line: &str) -> bool {
    line.starts_with('|') && !figures(line).is_empty()
}

/// The comment lines at the start of a recipe, without their marks.
fn head(recipe: &str) -> String {
    recipe.lines().map_while(|line| line.strip_prefix('#')).collect::<Vec<_>>().join("\n")
}

/// What is wrong with the figures of a text.
fn errors(root: &Path, name: &str, text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.contains("per cent") {
        errors.push(format!("{name}: write `%` after each figure, not `per cent` above them"));
    }
    let mut results = Results::default();
    let folders = folders(text);
    for folder in &folders {
        let path = root.join("results").join(folder);
        match path.is_dir() {
            true => results.read(&path),
            false => errors.push(format!("{name}: there is no folder results/{folder}")),
        }
    }
    for figure in figures(text) {
        if !results.contain(&figure) {
            errors.push(format!("{name}: {figure} % is in none of the results {folders:?}"));
        }
    }
    errors
}

/// The names of the folders under `results/` in a text.
fn folders(text: &str) -> BTreeSet<&str> {
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let names = text.split("results/").skip(1);
    let names = names.map(|rest| rest.split(|c| !of_a_name(c)).next().unwrap_or_default());
    names.filter(|name| !name.is_empty()).collect()
}

/// The figures in per cent, as they are printed. One `%` may follow several figures, which commas
/// or `±` separate: `79.9, 81.0 ± 0.4 %` are three.
fn figures(text: &str) -> Vec<String> {
    let text = text.replace('%', " % ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut figures = Vec::new();
    for (end, _) in words.iter().enumerate().filter(|(_, word)| **word == "%") {
        let mut before = words[..end].iter().rev().copied();
        let mut next = before.next();
        while let Some(figure) = next.filter(|word| word.parse::<f64>().is_ok()) {
            figures.push(figure.to_owned());
            next = match before.next() {
                Some("±") => before.next(),
                Some(word) => word.strip_suffix(','),
                None => None,
            };
        }
    }
    figures
}

/// The accuracies in folders of results.
#[derive(Default)]
struct Results {
    /// As the README of a folder prints them.
    printed: BTreeSet<String>,
    /// The test accuracies in JSON files, from 0 to 1.
    fractions: Vec<f64>,
}

impl Results {
    fn read(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.read(&path);
                continue;
            }
            let text = || fs::read_to_string(&path).unwrap();
            let extension = path.extension().unwrap_or_default();
            if path.ends_with("README.md") {
                self.printed.extend(figures(&text()));
            } else if extension == "json" {
                self.read_json(&serde_json::from_str(&text()).unwrap());
            } else if extension == "jsonl" {
                text()
                    .lines()
                    .for_each(|line| self.read_json(&serde_json::from_str(line).unwrap()));
            }
        }
    }

    fn read_json(&mut self, value: &Value) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| self.read_json(value)),
            Value::Object(fields) => {
                for (key, value) in fields {
                    match (key.as_str(), value) {
                        ("test_accuracy", value) => self.fractions.extend(value.as_f64()),
                        ("accuracy_by_step", Value::Array(steps)) => {
                            self.fractions.extend(steps.iter().filter_map(Value::as_f64));
                        }
                        _ => self.read_json(value),
                    }
                }
            }
            _ => {}
        }
    }

    fn contain(&self, figure: &str) -> bool {
        let decimals = figure.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let value: f64 = figure.parse().unwrap_or(f64::NAN);
        // Half a unit of the last decimal. A fraction on that limit may be rounded up or down.
        let tolerance = 0.5 * 10f64.powi(-(decimals as i32)) + 1e-9;
        self.printed.contains(figure)
            || self.fractions.iter().any(|fraction| (100.0 * fraction - value).abs() <= tolerance)
    }
}
