//! The example recipe of each method in `configs/methods`, with one epoch of each stage.

use std::fs;
use std::path::Path;

use lasnn_tests::Sandbox;

use crate::inspect::recipes;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn the_example_of_each_method_runs_and_is_in_the_readme() {
    let root = Path::new(ROOT);
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let sandbox = Sandbox::new();
    let recipes = recipes(&root.join("configs/methods"));
    assert!(recipes.len() > 10, "{recipes:?}");
    for recipe in recipes {
        let name = recipe.file_stem().unwrap().to_str().unwrap();
        let link = format!("[{name}](configs/methods/{name}.toml)");
        assert!(readme.contains(&link), "the table of methods in README.md lacks {link}");
        // All recipes share the folder of runs, so that stages that they have in common run once.
        let path = recipe.to_str().unwrap();
        let mut arguments = vec!["run", path, "--set", "data.train_limit=300"];
        for stage in ["teacher", "intermediate", "student"] {
            arguments.extend(["--set", one_epoch(stage)]);
        }
        sandbox.succeed(&arguments);
        let student = &sandbox.summary(name)["stages"]["student"];
        let accuracy = student["test_accuracy"].as_f64().unwrap();
        assert!(accuracy > 0.05, "{name}: the student has {accuracy}");
        let rates = student["firing_rate_by_layer"].as_array().unwrap();
        assert!(!rates.is_empty(), "{name}");
    }
}

fn one_epoch(stage: &str) -> &'static str {
    match stage {
        "teacher" => "teacher.train.epochs=1",
        "intermediate" => "intermediate.train.epochs=1",
        _ => "student.train.epochs=1",
    }
}
