//! The binary from end to end: what a user types, and what comes of it.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use lasnn_tests::Workplace;
use lasnn_tests::recipe::{TINY, tiny_with};
use lasnn_tests::workplace::{Outcome, numbers, tensors};
use serde_json::Value;

/// Where [`TINY`] says which images it takes.
const SYNTHETIC: &str = "source = \"synthetic\"\nsynthetic = { channels = 1, height = 8, width = 8, \
                         classes = 4, train = 112, test = 40 }";

#[test]
fn a_recipe_runs_all_stages_and_leaves_its_files() {
    let place = Workplace::new();
    place.write("tiny.toml", TINY);
    let outcome = place.succeed(&["run", "tiny.toml"]);
    let table = outcome.stdout;
    for row in ["teacher", "intermediate", "converted", "distilled"] {
        assert!(table.to_lowercase().contains(row), "no row `{row}` in the table:\n{table}");
    }

    let run = place.only_run("tiny");
    for file in ["recipe.toml", "metrics.jsonl", "log.txt", "summary.json"] {
        assert!(run.join(file).is_file(), "no {file}");
    }
    for stage in ["teacher", "intermediate", "converted", "student"] {
        let file = run.join("checkpoints").join(format!("{stage}.safetensors"));
        assert!(file.is_file(), "no {}", file.display());
    }
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> =
        metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Three epochs of each of the three trainings.
    assert!(lines.len() >= 9, "{metrics}");
    assert!(metrics.contains("attention_low") && metrics.contains("cross_entropy"), "{metrics}");
}

/// Without a terminal a long training prints a few of its epochs. The files have all of them.
#[test]
fn a_stage_prints_at_most_ten_lines() {
    let place = Workplace::new();
    let recipe = tiny_with("time_steps = [3, 9]", "time_steps = [3, 4, 5, 7, 8, 9, 10, 11, 12]");
    place.write("tiny.toml", &recipe.replace("epochs = 3", "epochs = 25"));
    let outcome = place.succeed(&["run", "tiny.toml"]);
    let lines = |stage: &str| -> Vec<&str> {
        let prefix = format!("{stage}: ");
        outcome.stderr.lines().filter(|line| line.starts_with(&prefix)).collect()
    };
    for stage in ["teacher", "intermediate", "student"] {
        let lines = lines(stage);
        assert!((4..=10).contains(&lines.len()), "{lines:#?}");
        assert!(lines[0].contains("epoch 1/25"), "{lines:#?}");
        assert!(lines[lines.len() - 2].contains("epoch 25/25"), "{lines:#?}");
        assert!(lines[lines.len() - 1].contains("of the test images"), "{lines:#?}");
    }
    let converted = lines("converted");
    assert!((4..=10).contains(&converted.len()), "{converted:#?}");

    let run = place.only_run("tiny");
    let read = |file: &str| std::fs::read_to_string(run.join(file)).unwrap();
    assert_eq!(read("metrics.jsonl").lines().count(), 3 * 25);
    assert_eq!(read("log.txt").matches("epoch 7/25").count(), 3);
}

/// A layer that no memory holds must not end the program after the teacher has been trained.
#[test]
fn what_no_memory_holds_is_refused_before_anything_is_trained() {
    let place = Workplace::new();
    place.write("large.toml", &tiny_with("features = 12", "features = 2_000_000_000"));
    for command in [&["run"][..], &["distill"], &["convert"], &["train", "intermediate"]] {
        let outcome = place.run(&[command, &["large.toml"]].concat());
        assert_eq!(outcome.code, Some(2), "{command:?}: {outcome:#?}");
        for part in ["the stage `intermediate` needs about", "TiB", "or run with --ignore-memory"] {
            assert!(outcome.stderr.contains(part), "no `{part}` in {}", outcome.stderr);
        }
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    }
    assert!(place.runs("tiny").is_empty(), "nothing was begun");
    // The teacher alone is a small network.
    place.succeed(&["train", "teacher", "large.toml", "--quiet"]);

    let inspected = place.json(&["inspect", "large.toml"]);
    let stages = inspected["memory"]["stages"].as_array().unwrap();
    let bytes: Vec<u64> = stages.iter().map(|stage| stage["bytes"].as_u64().unwrap()).collect();
    assert_eq!(stages[1]["stage"], "intermediate");
    assert!(bytes[0] < 1 << 30 && bytes[1] > 1 << 40, "{bytes:?}");
    assert!(inspected["memory"]["available"]["bytes"].as_u64().is_some_and(|bytes| bytes > 0));
}

#[test]
fn the_same_recipe_gives_the_same_numbers_and_another_seed_does_not() {
    let run = |arguments: &[&str]| {
        let place = Workplace::new();
        place.write("tiny.toml", TINY);
        place.succeed(&[&["run", "tiny.toml", "--quiet"], arguments].concat());
        let checkpoint = place.only_run("tiny").join("checkpoints/student.safetensors");
        (numbers(place.summary("tiny")), tensors(&checkpoint))
    };
    let (first, second, other) = (run(&[]), run(&[]), run(&["--seed", "4"]));
    assert_eq!(first.0, second.0);
    assert!(first.1 == second.1, "the checkpoints differ");
    assert_eq!(other.0["seed"], 4);
    assert!(first.1 != other.1, "another seed gives the same weights");
}

/// The resolved recipe in a run's folder is a recipe too, and stands for the same experiment.
#[test]
fn the_resolved_recipe_runs_again() {
    let place = Workplace::new();
    place.write("tiny.toml", TINY);
    place.succeed(&["run", "tiny.toml", "--quiet"]);
    let first = numbers(place.summary("tiny"));
    let resolved = place.only_run("tiny").join("recipe.toml");
    let second = place.json(&["run", &resolved.to_string_lossy(), "--no-cache"]);
    assert_eq!(place.runs("tiny").len(), 2);
    assert_eq!(second["stages"]["teacher"]["reused"], false);
    assert_eq!(numbers(second), first);
}

#[test]
fn a_change_of_stage_3_trains_stage_3_only() {
    let place = Workplace::new();
    place.write("tiny.toml", TINY);
    let first = place.json(&["run", "tiny.toml"]);
    for stage in ["teacher", "intermediate", "student"] {
        assert_eq!(first["stages"][stage]["reused"], false, "{stage}");
    }

    place.write(
        "tiny.toml",
        &tiny_with(
            "kind = \"adam\", learning_rate = 1e-3",
            "kind = \"adam\", learning_rate = 5e-2",
        ),
    );
    let second = place.json(&["run", "tiny.toml"]);
    for (stage, reused) in [("teacher", true), ("intermediate", true), ("student", false)] {
        assert_eq!(second["stages"][stage]["reused"], reused, "{stage}");
    }
    for stage in ["teacher", "intermediate", "conversion"] {
        let stage_of = |summary: &Value| numbers(summary.clone())["stages"][stage].clone();
        assert_eq!(stage_of(&first), stage_of(&second), "{stage}");
    }
    let spikes = |summary: &Value| summary["stages"]["student"]["spikes_per_image"].clone();
    assert_ne!(spikes(&first), spikes(&second));

    place.write("tiny.toml", &tiny_with("[student]\n", "[student]\ntrain_limit = 40\n"));
    let third = place.json(&["run", "tiny.toml"]);
    for (stage, reused) in [("teacher", true), ("intermediate", true), ("student", false)] {
        assert_eq!(third["stages"][stage]["reused"], reused, "{stage}");
    }
    assert_ne!(spikes(&first), spikes(&third));
}

#[test]
fn a_change_of_the_data_trains_everything() {
    let place = Workplace::new();
    place.write("tiny.toml", TINY);
    place.succeed(&["train", "teacher", "tiny.toml", "--quiet"]);
    place.write("tiny.toml", &tiny_with("test = 40", "test = 40, seed = 1"));
    let second = place.json(&["train", "teacher", "tiny.toml"]);
    assert_eq!(second["stages"]["teacher"]["reused"], false);
}

#[test]
fn each_stage_runs_alone_and_feeds_the_next() {
    let place = Workplace::new();
    place.write("tiny.toml", TINY);
    place.succeed(&["train", "teacher", "tiny.toml", "--quiet"]);
    place.succeed(&["train", "intermediate", "tiny.toml", "--quiet"]);
    let table = place.succeed(&["convert", "tiny.toml"]).stdout.to_lowercase();
    for column in ["threshold", "rate", "dead", "saturated", "correlation"] {
        assert!(table.contains(column), "no column `{column}` in the table:\n{table}");
    }
    let alone = place.json(&["distill", "tiny.toml"]);
    for (stage, reused) in
        [("teacher", true), ("intermediate", true), ("conversion", true), ("student", false)]
    {
        assert_eq!(alone["stages"][stage]["reused"], reused, "{stage}");
    }

    let together = place.json(&["run", "tiny.toml", "--no-cache"]);
    let student = |summary: Value| numbers(summary)["stages"]["student"].clone();
    assert_eq!(student(alone), student(together));
}

#[test]
fn a_network_is_measured_again_as_it_was() {
    let place = Workplace::new();
    place.write("tiny.toml", TINY);
    place.succeed(&["run", "tiny.toml", "--quiet"]);
    let summary = place.summary("tiny");
    let eval = |stage: &str| place.json(&["eval", "tiny.toml", "--stage", stage]);
    for (stage, key) in
        [("teacher", "teacher"), ("converted", "conversion"), ("student", "student")]
    {
        let measured = &eval(stage)["test_accuracy"];
        assert_eq!(*measured, summary["stages"][key]["test_accuracy"], "{stage}");
    }
}

#[test]
fn json_is_all_that_is_on_the_standard_output() {
    let place = Workplace::new();
    place.write("tiny.toml", TINY);
    let printed = place.json(&["run", "tiny.toml"]);
    assert_eq!(printed, place.summary("tiny"));
    place.json(&["inspect", "tiny.toml"]);
    place.json(&["inspect", "vgg9"]);
    place.json(&["data", "info", "tiny.toml", "--sheet", "sheet.png"]);
    let sheet = std::fs::read(place.path().join("sheet.png")).unwrap();
    assert!(sheet.starts_with(b"\x89PNG"), "{} bytes of something else", sheet.len());
    place.json(&["check-backend"]);
}

#[test]
fn networks_and_checkpoints_are_shown() {
    let place = Workplace::new();
    place.write("tiny.toml", TINY);
    place.succeed(&["train", "teacher", "tiny.toml", "--quiet"]);
    let file = place.only_run("tiny").join("checkpoints/teacher.safetensors");
    let shown = place.succeed(&["inspect", &file.to_string_lossy()]).stdout;
    assert!(shown.contains("tiny-teacher"), "{shown}");
    let shown = place.succeed(&["inspect", "vgg5"]).stdout;
    // Weights of VGG5 on 3x32x32 images in 10 classes, worked out by hand:
    // 9·3·64 + 9·64·128 + 9·128·128 + 8·8·128·4096 + 4096·4096 + 4096·10.
    let parameters: u64 =
        9 * 3 * 64 + 9 * 64 * 128 + 9 * 128 * 128 + 8192 * 4096 + 4096 * 4096 + 4096 * 10;
    let digits: String = shown.chars().filter(char::is_ascii_digit).collect();
    assert!(digits.contains(&parameters.to_string()), "{parameters} not in:\n{shown}");
}

#[test]
fn an_unknown_key_is_named_with_its_file() {
    let place = Workplace::new();
    place.write("wrong.toml", &tiny_with("time_steps = 6", "time_stepz = 6"));
    let outcome = place.run(&["run", "wrong.toml"]);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(says(&outcome, &["wrong.toml", "time_stepz"]), "{outcome:#?}");
    assert!(place.runs("tiny").is_empty(), "a wrong recipe leaves no run");
}

#[test]
fn an_impossible_value_is_named_with_its_key() {
    let place = Workplace::new();
    for (from, to, words) in [
        ("validation = 16", "validation = 112", &["wrong.toml", "data.validation", "112"][..]),
        ("[spiking]\n", "[spiking]\nleak = 1.5\n", &["wrong.toml", "leak", "1.5"]),
        (
            "[student]\n",
            "[student]\ntrain_limit = 1000000\n",
            &["wrong.toml", "student.train_limit", "1000000"],
        ),
        (
            "tap = \"middle\" },\n    { kind = \"dropout\"",
            "},\n    { kind = \"dropout\"",
            &["wrong.toml", "middle", "tiny-student"],
        ),
        (
            "{ kind = \"linear\", features = 12 }",
            "{ kind = \"max-pool\" }",
            &["wrong.toml", "tiny-student", "max-pool"],
        ),
    ] {
        place.write("wrong.toml", &tiny_with(from, to));
        let outcome = place.run(&["run", "wrong.toml"]);
        assert_eq!(outcome.code, Some(2), "{to}: {outcome:#?}");
        assert!(says(&outcome, words), "{words:?}: {outcome:#?}");
    }
}

#[test]
fn wrong_commands_end_with_2() {
    let place = Workplace::new();
    for arguments in [
        &["run"][..],
        &["run", "absent.toml"],
        &["walk"],
        &["inspect", "vgg1000"],
        &["data", "fetch", "imagenet"],
        &["data", "fetch", "mnist", "--mirror", "elsewhere"],
        &["data", "info", "mnist", "--fetch", "--mirror", "elsewhere"],
        &["data", "info", "mnist", "--mirror", "http://127.0.0.1:9"],
    ] {
        let outcome = place.run(arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {outcome:#?}");
    }
}

#[test]
fn a_backend_that_is_not_compiled_in_names_its_feature() {
    let place = Workplace::new();
    place.write("tiny.toml", TINY);
    let outcome = place.run(&["run", "tiny.toml", "--backend", "cuda"]);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(says(&outcome, &["`cuda`", "--features cuda"]), "{outcome:#?}");
}

#[test]
fn missing_data_fail_the_run_and_name_the_folder() {
    let place = Workplace::new();
    place.write("cifar.toml", &tiny_with(SYNTHETIC, "source = \"cifar10\""));
    let outcome = place.run(&["run", "cifar.toml", "--data-dir", "nothing-here"]);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    let command = "`lasnn data fetch cifar10 --data-dir nothing-here`";
    assert!(says(&outcome, &["nothing-here", command]), "{outcome:#?}");
}

#[test]
fn a_data_set_that_is_there_is_not_fetched() {
    let place = Workplace::new();
    let folder = place.path().join("data/mnist");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in [
        ("train-images-idx3-ubyte.gz", 9_912_422),
        ("train-labels-idx1-ubyte.gz", 28_881),
        ("t10k-images-idx3-ubyte.gz", 1_648_877),
        ("t10k-labels-idx1-ubyte.gz", 4_542),
    ] {
        std::fs::File::create(folder.join(name)).unwrap().set_len(bytes).unwrap();
    }
    let found = place.json(&["data", "fetch", "mnist", "--data-dir", "data"]);
    assert_eq!((&found["fetched"], &found["files"]), (&false.into(), &4.into()), "{found}");
    let text = place.succeed(&["data", "fetch", "mnist", "--data-dir", "data"]).stdout;
    assert!(text.contains("nothing to do"), "{text}");
}

/// A server that has nothing; it ends after one request, which it gives back.
fn empty_mirror() -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}/sets", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let read = stream.read(&mut request).unwrap();
        let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    (mirror, server)
}

/// A command that needs CIFAR-100 asks the mirror for it, and fails since that has nothing.
#[track_caller]
fn asks_the_mirror(arguments: &[&str]) {
    let (mirror, server) = empty_mirror();
    let place = Workplace::new();
    place.write("cifar.toml", &tiny_with(SYNTHETIC, "source = \"cifar100\""));
    let arguments = [arguments, &["--mirror", &mirror, "--data-dir", "data"]].concat();
    let output = place.lasnn(&arguments).env("NO_PROXY", "127.0.0.1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(said.contains("/sets/cifar-100-binary.tar.gz") && said.contains("404"), "{said}");
    assert!(server.join().unwrap().starts_with("GET /sets/cifar-100-binary.tar.gz "));
    assert!(!place.path().join("data/cifar-100-binary").exists());
    assert!(place.runs("tiny").is_empty(), "nothing begins without data");
}

#[test]
fn a_mirror_without_the_file_fails_the_fetch() {
    asks_the_mirror(&["data", "fetch", "cifar100"]);
}

#[test]
fn what_needs_a_missing_data_set_gets_it_if_asked_to() {
    for arguments in [
        &["run", "cifar.toml", "--fetch"][..],
        &["train", "teacher", "cifar.toml", "--fetch"],
        &["eval", "cifar.toml", "--fetch"],
        &["data", "verify", "cifar.toml", "--fetch"],
        &["data", "info", "cifar100", "--fetch"],
    ] {
        asks_the_mirror(arguments);
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run() {
    let place = Workplace::new();
    place.write("tiny.toml", &tiny_with("learning_rate = 0.05", "learning_rate = 1e30"));
    let outcome = place.run(&["run", "tiny.toml"]);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(says(&outcome, &["step", "not finite", "learning_rate"]), "{outcome:#?}");
}

#[test]
fn the_cpu_backends_agree_with_the_reference() {
    let place = Workplace::new();
    for backend in ["flex", "ndarray"] {
        place.succeed(&["check-backend", "--backend", backend]);
    }
}

#[test]
fn a_recipe_is_found_by_its_name() {
    let place = Workplace::new();
    std::fs::create_dir_all(place.path().join("configs/small")).unwrap();
    place.write("configs/small/tiny.toml", TINY);
    place.succeed(&["train", "teacher", "small/tiny", "--quiet"]);
    let eval = place.json(&["eval", "small/tiny", "--stage", "teacher"]);
    assert_eq!(eval["recipe"], "tiny");
    assert_eq!(place.json(&["data", "verify", "small/tiny"])["verified"], "built-in");
    place.json(&["inspect", "small/tiny"]);
    assert_eq!(place.json(&["runs", "small/tiny"])[0]["recipe"], "tiny");

    let unknown = place.run(&["run", "small/huge"]);
    assert_eq!(unknown.code, Some(2), "{unknown:#?}");
    assert!(says(&unknown, &["`small/huge`", "No such file", "names small/tiny"]), "{unknown:#?}");
    // A file wins.
    place.write("small", "name = 1");
    let file = place.run(&["run", "small"]);
    assert!(says(&file, &["small:1:8: `name`"]), "{file:#?}");
}

#[test]
fn every_command_shows_an_example() {
    let place = Workplace::new();
    let commands =
        ["run", "train", "convert", "distill", "eval", "inspect", "data", "runs", "completions"];
    for command in commands {
        let help = place.succeed(&[command, "--help"]).stdout;
        assert!(help.contains(&format!("lasnn {command}")), "{help}");
    }
}

#[test]
fn the_recipes_of_the_repository_fit_their_images() {
    let place = Workplace::new();
    let configs = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs");
    let mut checked = 0;
    for recipe in recipes(configs.as_ref()) {
        let text = std::fs::read_to_string(&recipe).unwrap();
        if text.contains("\"cifar10\"") && std::env::var_os("LASNN_DATA_DIR").is_none() {
            eprintln!("skipped: {}: LASNN_DATA_DIR is not set", recipe.display());
            continue;
        }
        place.succeed(&["inspect", &recipe.to_string_lossy()]);
        checked += 1;
    }
    assert!(checked > 0, "no recipe in {configs}");
}

fn recipes(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let below = folders.iter().flat_map(|folder| recipes(folder));
    files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == "toml"))
        .chain(below)
        .collect()
}

#[test]
fn a_data_set_is_looked_at_by_its_name() {
    let place = Workplace::new();
    let info = place.json(&["data", "info", "digits", "--sheet", "sheet.png"]);
    assert_eq!((&info["name"], &info["train"]["images"]), (&"digits".into(), &1437.into()));
    assert_eq!(info["validation"]["images"], 0);
    assert!(place.path().join("sheet.png").is_file());
    let text = place.succeed(&["data", "verify", "digits"]).stdout;
    assert!(text.contains("1437 training, 0 validation and 360 test images"), "{text}");

    let missing = place.run(&["data", "verify", "cifar100", "--data-dir", "nothing-here"]);
    assert_eq!(missing.code, Some(1), "{missing:#?}");
    let command = "`lasnn data fetch cifar100 --data-dir nothing-here`";
    assert!(says(&missing, &["`cifar100`", command]), "{missing:#?}");
    for (wrong, words) in [
        ("imagenet", ["`imagenet`", "no data set", "tiny-imagenet"]),
        ("absent.toml", ["absent.toml", "recipe", "No such file"]),
        ("folder", ["`data.folder`", "`path`", "`size`"]),
    ] {
        let outcome = place.run(&["data", "info", wrong]);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        assert!(says(&outcome, &words), "{outcome:#?}");
    }
}

/// Nothing is trained, so no epoch must be chosen.
#[test]
fn data_can_be_looked_at_without_validation_images() {
    let place = Workplace::new();
    place.write("tiny.toml", &tiny_with("validation = 16\n", ""));
    for command in ["verify", "info"] {
        let shown = place.succeed(&["data", command, "tiny.toml"]).stdout;
        assert!(shown.contains("112"), "{shown}");
    }
    let outcome = place.run(&["run", "tiny.toml"]);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(says(&outcome, &["tiny.toml", "data.validation is 0"]), "{outcome:#?}");
}

/// CIFAR-10 is no part of the repository: the test runs where `LASNN_DATA_DIR` names a copy.
#[test]
fn real_cifar10_is_verified() {
    let Some(data) = std::env::var_os("LASNN_DATA_DIR") else {
        eprintln!("skipped: LASNN_DATA_DIR is not set");
        return;
    };
    let place = Workplace::new();
    let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/cifar10/vgg5-cpu.toml");
    let data = data.to_string_lossy();
    let info = place.json(&["data", "info", recipe, "--data-dir", &data]);
    assert_eq!(info["name"], "cifar10", "{info}");
    for target in [recipe, "cifar10"] {
        let verified = place.json(&["data", "verify", target, "--data-dir", &data]);
        assert_eq!(verified["verified"], "official", "{verified}");
    }

    // One bit of one pixel.
    let folder = place.path().join("data/cifar-10-batches-bin");
    std::fs::create_dir_all(&folder).unwrap();
    for entry in std::fs::read_dir(Path::new(&*data).join("cifar-10-batches-bin")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::write(folder.join(path.file_name().unwrap()), std::fs::read(path).unwrap())
            .unwrap();
    }
    let batch = folder.join("data_batch_1.bin");
    let mut bytes = std::fs::read(&batch).unwrap();
    bytes[3073 * 7 + 1000] ^= 1;
    std::fs::write(&batch, bytes).unwrap();
    let outcome = place.run(&["data", "verify", recipe, "--data-dir", "data"]);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(says(&outcome, &["`cifar10`", "SHA-256", "expected", "official"]), "{outcome:#?}");
    place.succeed(&["data", "info", recipe, "--data-dir", "data"]);
}

/// Files that are as they must be and hold something else can be trained on, but are not CIFAR-10.
#[test]
fn well_formed_files_of_other_images_are_not_verified() {
    let place = Workplace::new();
    let folder = place.path().join("data/cifar-10-batches-bin");
    std::fs::create_dir_all(&folder).unwrap();
    let batches = (1..=5).map(|batch| format!("data_batch_{batch}.bin"));
    for (number, name) in batches.chain(["test_batch.bin".into()]).enumerate() {
        let mut bytes = vec![number as u8; 10_000 * 3073];
        (0..10_000).for_each(|record| bytes[record * 3073] = (record % 10) as u8);
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let classes: String = (0..10).map(|class| format!("class {class}\n")).collect();
    std::fs::write(folder.join("batches.meta.txt"), classes).unwrap();
    place.write("cifar.toml", &tiny_with(SYNTHETIC, "source = \"cifar10\""));
    let found = place.json(&["data", "info", "cifar.toml", "--data-dir", "data"]);
    assert_eq!(found["test"]["images"], 10_000, "{found}");
    let outcome = place.run(&["data", "verify", "cifar.toml", "--data-dir", "data"]);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(says(&outcome, &["`cifar10`", "SHA-256", "expected", "official"]), "{outcome:#?}");

    place.write("tiny.toml", TINY);
    let made = place.json(&["data", "verify", "tiny.toml"]);
    assert_eq!(made["verified"], "built-in", "{made}");
}

fn says(outcome: &Outcome, words: &[&str]) -> bool {
    words.iter().all(|word| outcome.stderr.contains(word))
}
