//! `lasnn runs`: what a user sees of the runs that there are.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use std::fs;

use lasnn_tests::Workplace;
use lasnn_tests::recipe::{TINY, tiny_with};
use serde_json::{Value, json};

/// The words of a table's line that begins with `name`.
#[track_caller]
fn cells(table: &str, name: &str) -> Vec<String> {
    let line = table.lines().find(|line| line.contains(name));
    let line = line.unwrap_or_else(|| panic!("no line `{name}` in:\n{table}"));
    line.split(['│', '┆'])
        .map(|cell| cell.trim().to_owned())
        .filter(|cell| !cell.is_empty())
        .collect()
}

#[test]
fn two_runs_are_listed_compared_and_told_apart() {
    let place = Workplace::new();
    let none = place.succeed(&["runs"]).stdout;
    assert!(none.contains("there are no runs in runs"), "{none}");

    place.write("tiny.toml", TINY);
    let first = place.json(&["run", "tiny.toml"]);
    let id_of = |run: &Value| run["id"].as_str().unwrap().to_owned();
    let one = id_of(&place.json(&["runs"])[0]);
    place.write(
        "tiny.toml",
        &tiny_with("kind = \"conv\", channels = 6", "kind = \"conv\", channels = 5"),
    );
    let second = place.json(&["run", "tiny.toml", "--seed", "4"]);
    let listed = place.json(&["runs", "tiny"]);
    let ids: Vec<String> = listed.as_array().unwrap().iter().map(id_of).collect();
    assert_eq!(ids.len(), 2, "{listed}");
    let other = ids.iter().find(|id| **id != one).unwrap();
    for (id, summary) in [(&one, &first), (other, &second)] {
        let run = listed.as_array().unwrap().iter().find(|run| id_of(run) == *id).unwrap();
        assert_eq!(run["state"], "ended");
        assert_eq!(run["seed"], summary["seed"]);
        let student = run["stages"].as_array().unwrap().last().unwrap();
        for key in ["test_accuracy", "time_steps", "synops_per_image", "energy_pj_per_image"] {
            assert_eq!(student[key], summary["stages"]["student"][key], "{key}");
        }
    }

    // One that was cut off, one with a damaged summary, and what is no run.
    let runs = place.path().join("runs");
    let (cut, damaged) = ("20200101-000000-0000000a", "20200102-000000-0000000b");
    fs::create_dir_all(runs.join("tiny").join(cut)).unwrap();
    fs::create_dir_all(runs.join("tiny").join(damaged)).unwrap();
    fs::write(runs.join("tiny").join(damaged).join("summary.json"), "{").unwrap();
    fs::create_dir_all(runs.join("peers/venv")).unwrap();
    let table = place.succeed(&["runs"]).stdout;
    assert!(!table.contains("peers") && !table.contains("cache"), "{table}");
    assert!(cells(&table, cut).contains(&"cut off".to_owned()), "{table}");
    assert!(cells(&table, damaged).contains(&"damaged".to_owned()), "{table}");
    let line = cells(&table, &one);
    assert_eq!((&*line[3], &*line[4], &*line[6]), ("ended", "all", "6"), "{table}");
    let order: Vec<usize> = [&one, damaged, cut].map(|id| table.find(id).unwrap()).into();
    assert!(order.is_sorted(), "the newest comes first:\n{table}");

    let table = place.succeed(&["runs", "compare", &one, &format!("tiny/{other}")]).stdout;
    let percent = |run: &Value, stage: &str| {
        format!("{:.2} %", run["stages"][stage]["test_accuracy"].as_f64().unwrap() * 100.0)
    };
    let teachers = [percent(&first, "teacher"), percent(&second, "teacher")];
    assert_eq!(cells(&table, "accuracy: teacher")[1..], teachers);
    let students = [percent(&first, "student"), percent(&second, "student")];
    assert_eq!(cells(&table, "accuracy: distilled SNN")[1..], students);
    assert_eq!(cells(&table, "seed")[1..], ["3", "4"]);
    // Of a run's table, too: firing rate, synaptic operations, energy.
    place.write("tiny.toml", TINY);
    let of_run = place.succeed(&["run", "tiny.toml"]).stdout;
    let student = cells(&of_run, "distilled SNN");
    for (row, column) in [("firing rate", 3), ("synops / image", 4), ("energy / image", 5)] {
        assert_eq!(cells(&table, row)[1], student[column], "{row}:\n{table}\n{of_run}");
    }

    let path = format!("runs/tiny/{other}");
    let diff = place.json(&["runs", "diff", &one, &path]);
    let expected = json!([
        {"key": "intermediate.network.layers[0].channels", "values": [6, 5]},
        {"key": "seed", "values": [3, 4]},
    ]);
    assert_eq!(diff["differences"], expected);
    let table = place.succeed(&["runs", "diff", &one, other]).stdout;
    assert_eq!(cells(&table, "intermediate.")[1..], ["6", "5"]);
    let same = place.succeed(&["runs", "diff", &one, &one]).stdout;
    assert!(same.starts_with("nothing differs"), "{same}");
}

#[test]
fn a_run_that_is_not_there_is_a_wrong_command() {
    let place = Workplace::new();
    place.write("tiny.toml", TINY);
    place.succeed(&["train", "teacher", "tiny.toml", "--quiet"]);
    let id = place.only_run("tiny").file_name().unwrap().to_string_lossy().into_owned();
    for (arguments, words) in [
        (&["runs", "diff", "1999", &id][..], ["`1999`", &*id]),
        (&["runs", "compare", &id, "small/2"], ["`small/2`", &*id]),
        (&["runs", "small"], ["`small`", "tiny"]),
    ] {
        let outcome = place.run(arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {outcome:#?}");
        for word in words {
            assert!(outcome.stderr.contains(word), "{word}: {outcome:#?}");
        }
    }
}
