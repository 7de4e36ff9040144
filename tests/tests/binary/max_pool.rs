//! Average pooling in place of the maximum pooling of a network.

use std::fs;

use lasnn_tests::Sandbox;
use lasnn_tests::outputs::numbers;
use lasnn_tests::recipe::TINY;

/// Makes the pooling of the intermediate network a maximum pooling.
const MAXIMUM: [&str; 2] = ["--set", "intermediate.network.layers.1.kind=max-pool"];
const AVERAGE: [&str; 2] = ["--set", "intermediate.max_pool=average"];

#[test]
fn a_network_with_maximum_pooling_becomes_the_one_with_average_pooling() {
    let run = |options: &[&str]| {
        let sandbox = Sandbox::with("tiny.toml", TINY);
        sandbox.succeed(&[&["run", "tiny.toml"], options].concat());
        sandbox
    };
    let expected = numbers(run(&[]).summary("tiny"));
    let sandbox = run(&[MAXIMUM, AVERAGE].concat());
    assert_eq!(numbers(sandbox.summary("tiny")), expected);

    let resolved = sandbox.only_run("tiny").join("recipe.toml");
    let text = fs::read_to_string(&resolved).unwrap();
    assert!(text.contains("max_pool = \"average\"") && !text.contains("max-pool"), "{text}");
    let again = Sandbox::with("again.toml", &text);
    again.succeed(&["run", "again.toml"]);
    assert_eq!(numbers(again.summary("tiny")), expected);
}

#[test]
fn the_quickstart_runs_with_maximum_pooling_in_its_description() {
    let quickstart = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/quickstart.toml");
    let sandbox = Sandbox::new();
    let described = ["--set", "intermediate.network.layers.3.kind=max-pool"];
    let epochs = ["teacher", "intermediate", "student"].map(|s| format!("{s}.train.epochs=1"));
    let epochs = epochs.iter().flat_map(|epochs| ["--set", epochs]).collect::<Vec<_>>();
    let command = [&["run", quickstart], &described[..], &epochs].concat();
    sandbox.fail(&command, 2, &["`max-pool`", "`intermediate.max_pool = \"average\"`"]);
    assert!(sandbox.runs("quickstart").is_empty(), "refused too late");
    sandbox.succeed(&[&command[..], &AVERAGE].concat());
    let accuracy = &sandbox.summary("quickstart")["stages"]["student"]["test_accuracy"];
    assert!(accuracy.as_f64() > Some(0.3), "{accuracy}");
}

/// The teacher has the layers of the intermediate network, but with maximum pooling.
#[test]
fn a_checkpoint_with_maximum_pooling_is_refused() {
    let start = TINY.find("[intermediate.network]").unwrap();
    let end = TINY.find("[intermediate.train]").unwrap();
    let network = TINY[start..end].replace("average-pool", "max-pool");
    let mut recipe = TINY.replacen(&TINY[start..end], &network, 1);
    let start = recipe.find("[teacher.network]").unwrap();
    let end = recipe.find("[teacher.train]").unwrap();
    recipe.replace_range(start..end, &network.replace("intermediate", "teacher"));
    let sandbox = Sandbox::with("tiny.toml", &recipe);
    sandbox.succeed(&[&["train", "teacher", "tiny.toml"], &AVERAGE[..]].concat());
    let teacher = sandbox.only_run("tiny").join("checkpoints/teacher.safetensors");
    let convert = ["convert", "tiny.toml", "--intermediate", &teacher.to_string_lossy()];
    let words = ["`layers.1` of `intermediate.network`", "max-pool", "average-pool"];
    sandbox.fail(&[&convert[..], &AVERAGE].concat(), 2, &words);
}
