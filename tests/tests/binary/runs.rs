//! `lasnn runs`: the list of runs, and how two runs differ.

use std::fs;

use lasnn_tests::Sandbox;
use lasnn_tests::outputs::cells;
use lasnn_tests::recipe::{TINY, tiny_with};
use serde_json::{Value, json};

/// Two finished runs in one folder: the first of [`TINY`], the second with fewer channels and with
/// another seed.
struct TwoRuns {
    sandbox: Sandbox,
    ids: [String; 2],
    summaries: [Value; 2],
}

impl TwoRuns {
    fn new() -> Self {
        let sandbox = Sandbox::with("tiny.toml", TINY);
        let first = sandbox.json(&["run", "tiny.toml"]);
        let one = id_of(&sandbox.json(&["runs"])[0]);
        let channels = "kind = \"conv\", channels = 6";
        sandbox.write("tiny.toml", &tiny_with(channels, "kind = \"conv\", channels = 5"));
        let second = sandbox.json(&["run", "tiny.toml", "--seed", "4"]);
        let listed = sandbox.json(&["runs", "tiny"]);
        let mut ids: Vec<String> = listed.as_array().unwrap().iter().map(id_of).collect();
        assert_eq!(ids.len(), 2, "{listed}");
        ids.retain(|id| *id != one);
        let ids = [one, ids.remove(0)];
        Self { sandbox, ids, summaries: [first, second] }
    }
}

fn id_of(run: &Value) -> String {
    run["id"].as_str().unwrap().to_owned()
}

#[test]
fn runs_are_listed_with_their_results() {
    let empty = Sandbox::new().succeed(&["runs"]).stdout;
    assert!(empty.contains("there are no runs in runs"), "{empty}");

    let TwoRuns { sandbox, ids, summaries } = TwoRuns::new();
    let listed = sandbox.json(&["runs", "tiny"]);
    for (id, summary) in ids.iter().zip(&summaries) {
        let run = listed.as_array().unwrap().iter().find(|run| id_of(run) == *id).unwrap();
        assert_eq!(run["state"], "ended");
        assert_eq!(run["seed"], summary["seed"]);
        let student = run["stages"].as_array().unwrap().last().unwrap();
        for key in ["test_accuracy", "time_steps", "synops_per_image", "energy_pj_per_image"] {
            assert_eq!(student[key], summary["stages"]["student"][key], "{key}");
        }
    }

    // A run that was cut off, one with a damaged summary, and a folder that is no run.
    let runs = sandbox.path().join("runs");
    let (cut, damaged) = ("20200101-000000-0000000a", "20200102-000000-0000000b");
    fs::create_dir_all(runs.join("tiny").join(cut)).unwrap();
    fs::create_dir_all(runs.join("tiny").join(damaged)).unwrap();
    fs::write(runs.join("tiny").join(damaged).join("summary.json"), "{").unwrap();
    fs::create_dir_all(runs.join("peers/venv")).unwrap();
    let table = sandbox.succeed(&["runs"]).stdout;
    assert!(!table.contains("peers") && !table.contains("cache"), "{table}");
    assert!(cells(&table, cut).contains(&"cut off".to_owned()), "{table}");
    assert!(cells(&table, damaged).contains(&"damaged".to_owned()), "{table}");
    let line = cells(&table, &ids[0]);
    assert_eq!((&*line[3], &*line[4], &*line[6]), ("ended", "all", "6"), "{table}");
    let order: Vec<usize> = [&ids[0], damaged, cut].map(|id| table.find(id).unwrap()).into();
    assert!(order.is_sorted(), "the newest run comes first:\n{table}");
}

#[test]
fn two_runs_are_compared_and_their_differences_are_named() {
    let TwoRuns { sandbox, ids: [one, other], summaries } = TwoRuns::new();
    let table = sandbox.succeed(&["runs", "compare", &one, &format!("tiny/{other}")]).stdout;
    let percent = |stage: &str| {
        summaries.each_ref().map(|summary| {
            let accuracy = summary["stages"][stage]["test_accuracy"].as_f64().unwrap();
            format!("{:.2} %", accuracy * 100.0)
        })
    };
    assert_eq!(cells(&table, "accuracy: teacher")[1..], percent("teacher"));
    assert_eq!(cells(&table, "accuracy: distilled SNN")[1..], percent("student"));
    assert_eq!(cells(&table, "seed")[1..], ["3", "4"]);
    // The table of the run itself has the same firing rate, synaptic operations and energy.
    sandbox.write("tiny.toml", TINY);
    let table_of_run = sandbox.succeed(&["run", "tiny.toml"]).stdout;
    let student = cells(&table_of_run, "distilled SNN");
    for (row, column) in [("firing rate", 3), ("synops / image", 4), ("energy / image", 5)] {
        assert_eq!(cells(&table, row)[1], student[column], "{row}:\n{table}\n{table_of_run}");
    }

    let path = format!("runs/tiny/{other}");
    let diff = sandbox.json(&["runs", "diff", &one, &path]);
    let expected = json!([
        {"key": "intermediate.network.layers[0].channels", "values": [6, 5]},
        {"key": "seed", "values": [3, 4]},
    ]);
    assert_eq!(diff["differences"], expected);
    let table = sandbox.succeed(&["runs", "diff", &one, &other]).stdout;
    assert_eq!(cells(&table, "intermediate.")[1..], ["6", "5"]);
    let same = sandbox.succeed(&["runs", "diff", &one, &one]).stdout;
    assert!(same.starts_with("nothing differs"), "{same}");
}

#[test]
fn a_run_that_does_not_exist_is_a_wrong_command() {
    let sandbox = Sandbox::with("tiny.toml", TINY);
    sandbox.succeed(&["train", "teacher", "tiny.toml", "--quiet"]);
    let id = sandbox.only_run("tiny").file_name().unwrap().to_string_lossy().into_owned();
    for (arguments, words) in [
        (&["runs", "diff", "1999", &id][..], ["`1999`", &*id]),
        (&["runs", "compare", &id, "small/2"], ["`small/2`", &*id]),
        (&["runs", "small"], ["`small`", "tiny"]),
    ] {
        sandbox.fail(arguments, 2, &words);
    }
}
