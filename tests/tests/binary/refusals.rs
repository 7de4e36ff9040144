//! Commands and recipes that `lasnn` refuses, and how it names the reason.

use lasnn_tests::Sandbox;
use lasnn_tests::recipe::{TINY, tiny_with};

#[test]
fn an_unknown_key_is_named_with_its_file() {
    let recipe = tiny_with("time_steps = 6", "time_stepz = 6");
    let sandbox = Sandbox::with("wrong.toml", &recipe);
    sandbox.fail(&["run", "wrong.toml"], 2, &["wrong.toml", "time_stepz"]);
    assert!(sandbox.runs("tiny").is_empty(), "a wrong recipe leaves no run");
}

#[test]
fn an_impossible_value_is_named_with_its_key() {
    let sandbox = Sandbox::new();
    for (from, to, words) in [
        ("validation = 16", "validation = 80", &["data.validation", "80"][..]),
        ("[spiking]\n", "[spiking]\nneuron = { leak = 1.5 }\n", &["leak", "1.5"]),
        ("[student]\n", "[student]\ntrain_limit = 1000000\n", &["student.train_limit", "1000000"]),
        (
            "tap = \"middle\" },\n    { kind = \"dropout\"",
            "},\n    { kind = \"dropout\"",
            &["middle", "tiny-student"],
        ),
        (
            "{ kind = \"linear\", features = 12 }",
            "{ kind = \"max-pool\" }",
            &["layers[5]` is a `max-pool` of network `tiny-student`", "intermediate.max_pool"],
        ),
    ] {
        sandbox.write("wrong.toml", &tiny_with(from, to));
        sandbox.fail(&["run", "wrong.toml"], 2, &[&["wrong.toml"], words].concat());
    }
}

#[test]
fn wrong_commands_end_with_2() {
    let sandbox = Sandbox::new();
    for (arguments, word) in [
        (&["run"][..], "<RECIPE>"),
        (&["run", "absent.toml"], "absent.toml"),
        (&["walk"], "walk"),
        (&["inspect", "vgg1000"], "vgg1000"),
        (&["data", "fetch", "imagenet"], "imagenet"),
        (&["data", "fetch", "mnist", "--mirror", "elsewhere"], "elsewhere"),
        (&["data", "info", "mnist", "--fetch", "--mirror", "elsewhere"], "elsewhere"),
        // A mirror is of no use without a download.
        (&["data", "info", "mnist", "--mirror", "http://127.0.0.1:9"], "--fetch"),
    ] {
        sandbox.fail(arguments, 2, &[word]);
    }
}

#[test]
fn a_backend_that_is_not_compiled_in_is_named_with_its_feature() {
    let sandbox = Sandbox::with("tiny.toml", TINY);
    let words = ["`cuda`", "--features cuda"];
    sandbox.fail(&["run", "tiny.toml", "--backend", "cuda"], 2, &words);
}

/// A layer that fits into no memory must not end the program after the teacher has been trained.
#[test]
fn a_stage_that_needs_too_much_memory_is_refused_before_anything_is_trained() {
    let recipe = tiny_with("features = 12", "features = 2_000_000_000");
    let sandbox = Sandbox::with("large.toml", &recipe);
    let words = ["the stage `intermediate` needs about", "TiB", "or run with --ignore-memory"];
    for command in [&["run"][..], &["distill"], &["convert"], &["train", "intermediate"]] {
        let outcome = sandbox.fail(&[command, &["large.toml"]].concat(), 2, &words);
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    }
    assert!(sandbox.runs("tiny").is_empty(), "no run was started");
    // The teacher alone is a small network.
    sandbox.succeed(&["train", "teacher", "large.toml", "--quiet"]);

    let inspected = sandbox.json(&["inspect", "large.toml"]);
    let stages = inspected["memory"]["stages"].as_array().unwrap();
    let bytes: Vec<u64> = stages.iter().map(|stage| stage["bytes"].as_u64().unwrap()).collect();
    assert_eq!(
        (&stages[0]["stage"], &stages[1]["stage"]),
        (&"teacher".into(), &"intermediate".into())
    );
    assert!(bytes[0] < 1 << 30 && bytes[1] > 1 << 40, "{bytes:?}");
    assert!(inspected["memory"]["available"]["bytes"].as_u64().is_some_and(|bytes| bytes > 0));
}
