//! Recipes that extend others, the option `--set`, and the lists of names.

use std::fs;

use lasnn_tests::Sandbox;
use lasnn_tests::outputs::tensors;
use lasnn_tests::recipe::TINY;
use toml::Table;

/// The resolved recipe in the folder of the only run.
fn resolved(sandbox: &Sandbox, name: &str) -> (String, Table) {
    let text = fs::read_to_string(sandbox.only_run(name).join("recipe.toml")).unwrap();
    let table = toml::from_str(&text).unwrap();
    (text, table)
}

#[test]
fn a_recipe_extends_another_and_options_change_it() {
    let sandbox = Sandbox::with("tiny.toml", TINY);
    fs::create_dir(sandbox.path().join("more")).unwrap();
    let child = "extends = \"../tiny.toml\"\nname = \"child\"\n[teacher.train]\nepochs = 2";
    sandbox.write("more/child.toml", child);
    let command = ["train", "teacher", "more/child.toml", "--quiet", "--set"];
    sandbox.succeed(&[&command[..], &["teacher.train.batch=20", "--set", "seed=5"]].concat());

    let (text, table) = resolved(&sandbox, "child");
    let train = &table["teacher"]["train"];
    assert_eq!(train["epochs"].as_integer(), Some(2), "{text}");
    assert_eq!(train["batch"].as_integer(), Some(20), "{text}");
    assert_eq!(train["optimizer"]["momentum"].as_float(), Some(0.9), "{text}");
    assert_eq!(table["seed"].as_integer(), Some(5), "{text}");
    assert!(!table.contains_key("extends"), "{text}");

    // The resolved recipe is complete, so it makes the same network without the other files.
    let other = Sandbox::with("whole.toml", &text);
    other.succeed(&["train", "teacher", "whole.toml", "--quiet"]);
    assert_eq!(resolved(&other, "child").0, text);
    let weights = |sandbox: &Sandbox| {
        tensors(&sandbox.only_run("child").join("checkpoints/teacher.safetensors"))
    };
    assert!(weights(&other) == weights(&sandbox), "the weights differ");

    // A measurement finds the run of the recipe with the same changes only.
    let eval = ["eval", "more/child.toml", "--stage", "teacher", "--set", "seed=5"];
    let batch = ["--set", "teacher.train.batch=20"];
    assert_eq!(sandbox.json(&[&eval[..], &batch].concat())["recipe"], "child");
    sandbox.fail(&eval, 2, &["no run in", "seed 5"]);
}

#[test]
fn a_wrong_base_or_option_ends_with_2_and_leaves_no_run() {
    let sandbox = Sandbox::with("tiny.toml", &TINY.replacen("seed = 3", "sed = 3", 1));
    sandbox.write("child.toml", "extends = \"tiny.toml\"");
    sandbox.write("cycle.toml", "extends = \"cycle.toml\"");
    sandbox.write("lost.toml", "extends = \"absent.toml\"");
    sandbox.write("good.toml", TINY);
    let option = "student.train.epoch=8";
    for (arguments, words) in [
        (&["run", "child.toml"][..], &["tiny.toml:3:1", "`sed`"][..]),
        (&["run", "cycle.toml"], &["cycle.toml extends cycle.toml"]),
        (&["run", "lost.toml"], &["lost.toml:1", "absent.toml", "cannot be read"]),
        (&["run", "good.toml", "--set", option], &["--set student.train.epoch=8", "`epochs`"]),
        (&["run", "good.toml", "--set", "epochs"], &["expected KEY=VALUE"]),
        (&["run", "good.toml", "--set", "extends=a.toml"], &["only possible in a file"]),
        (&["inspect", "good.toml", "--set", "student.time_steps=0"], &["`student.time_steps`"]),
        (&["inspect", "vgg5", "--set", "seed=1"], &["--set changes a recipe"]),
        (&["data", "info", "digits", "--set", "seed=1"], &["--set changes a recipe"]),
    ] {
        sandbox.fail(arguments, 2, words);
    }
    assert!(sandbox.runs("tiny").is_empty());
}

#[test]
fn options_belong_to_a_run_that_is_resumed() {
    let sandbox = Sandbox::with("tiny.toml", TINY);
    let command = ["train", "teacher", "tiny.toml", "--quiet"];
    let options = ["--set", "teacher.train.batch=20"];
    sandbox.succeed(&[&command[..], &options].concat());
    let folder = sandbox.only_run("tiny");
    fs::remove_file(folder.join("summary.json")).unwrap();
    let resume = format!("--resume={}", folder.display());
    let words = ["`teacher.train.batch` is 20 there and 16 here"];
    sandbox.fail(&[&command[..], &[&resume]].concat(), 2, &words);
    sandbox.succeed(&[&command[..], &options, &[&resume]].concat());
    assert_eq!(sandbox.only_run("tiny"), folder);
}

#[test]
fn everything_that_a_recipe_can_name_is_listed() {
    let sandbox = Sandbox::new();
    for (what, name) in [
        ("networks", "teacher-densenet121"),
        ("activations", "clip"),
        ("neurons", "fire-then-integrate"),
        ("surrogates", "fast-sigmoid"),
        ("encodings", "poisson"),
        ("losses", "attention"),
        ("datasets", "tiny-imagenet"),
        ("methods", "percentile"),
        ("optimizers", "adam"),
        ("schedules", "cosine"),
    ] {
        let shown = sandbox.succeed(&["list", what]).stdout;
        assert!(shown.contains(name), "no `{name}` in:\n{shown}");
        let rows = sandbox.json(&["list", what]);
        let names = rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap());
        assert!(names.clone().any(|found| found == name), "{rows:#}");
    }
    sandbox.fail(&["list", "neurones"], 2, &["neurones", "neurons"]);
}
