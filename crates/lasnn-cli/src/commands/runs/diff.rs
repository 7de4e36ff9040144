//! `runs diff`: shows the differences between two runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context;
use comfy_table::CellAlignment;
use serde::Serialize;
use toml::{Table, Value};

use super::record::RunRecord;
use crate::args::Global;
use crate::escape::printable;
use crate::failure::invalid_input;
use crate::output;
use crate::recipe::Recipe;
use crate::runs;
use crate::tables::table;

/// The keys of hashes. A table shows their first digits, JSON shows all digits.
const HASHES: [&str; 2] = ["git.commit", "dataset.sha256"];

/// The differences between two runs.
#[derive(Debug, Serialize)]
struct Diff {
    runs: [String; 2],
    differences: Vec<Difference>,
    /// Values that could not be compared, and the reason.
    notes: Vec<String>,
}

/// A key and its value in each run. `None` if a run lacks the key.
#[derive(Debug, PartialEq, Serialize)]
struct Difference {
    key: String,
    values: [Option<Value>; 2],
}

/// Prints the differences between the resolved recipes of two runs, and between the backends,
/// threads, commits and data that they were run with.
///
/// # Errors
///
/// Fails if a run is unknown or if its recipe cannot be read.
pub fn diff(first: &str, second: &str, global: &Global) -> anyhow::Result<()> {
    let find = |typed: &str| Ok(RunRecord::new(runs::find(&global.runs_dir, typed)?));
    let found: anyhow::Result<_> = find(first).and_then(|first| Ok([first, find(second)?]));
    let found = found?;
    let recipes = [recipe(&found[0])?, recipe(&found[1])?];
    let mut differences = Vec::new();
    tables("", [&recipes[0], &recipes[1]], &mut differences);
    let notes = environments(&found, &mut differences);
    let diff = Diff { runs: found.map(|run| run.name), differences, notes };
    output::print(global, &diff, || text(&diff))
}

/// The differences between the recipe in the folder of a run and another recipe: one sentence for
/// each key. `None` if the folder has no recipe.
pub fn recipe_differences(run: &Path, other: &Recipe) -> Option<Vec<String>> {
    let there: Table = toml::from_str(&fs::read_to_string(run.join("recipe.toml")).ok()?).ok()?;
    let here = Table::try_from(other).ok()?;
    let mut differences = Vec::new();
    tables("", [&there, &here], &mut differences);
    let shown = |value: &Option<Value>| {
        value.as_ref().map_or("absent".into(), |value| printable(&value.to_string()))
    };
    let sentence = |Difference { key, values }: &Difference| {
        format!(
            "`{}` is {} there and {} here",
            printable(key),
            shown(&values[0]),
            shown(&values[1])
        )
    };
    Some(differences.iter().map(sentence).collect())
}

/// The resolved recipe of a run.
fn recipe(run: &RunRecord) -> anyhow::Result<Table> {
    let file = run.path.join("recipe.toml");
    let text = fs::read_to_string(&file).map_err(|error| {
        let name = &run.name;
        invalid_input(format_args!("{name} has no recipe to compare: {}: {error}", file.display()))
    })?;
    toml::from_str(&text).with_context(|| format!("{} is no recipe", file.display()))
}

/// Adds the differences of two tables with the key `at`.
fn tables(at: &str, both: [&Table; 2], differences: &mut Vec<Difference>) {
    let keys: BTreeSet<&String> = both.iter().flat_map(|table| table.keys()).collect();
    for key in keys {
        let bare = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        let shown = match !key.is_empty() && key.chars().all(bare) {
            true => key.clone(),
            false => Value::from(key.as_str()).to_string(),
        };
        let dot = if at.is_empty() { "" } else { "." };
        values(format!("{at}{dot}{shown}"), both.map(|table| table.get(key)), differences);
    }
}

/// Adds the differences of two values of the same key.
fn values(key: String, both: [Option<&Value>; 2], differences: &mut Vec<Difference>) {
    let nothing = Table::new();
    match both {
        _ if both[0] == both[1] => {}
        [Some(Value::Table(first)), Some(Value::Table(second))] => {
            tables(&key, [first, second], differences);
        }
        // A table that one run lacks is shown key by key, too.
        [Some(Value::Table(first)), None] => tables(&key, [first, &nothing], differences),
        [None, Some(Value::Table(second))] => tables(&key, [&nothing, second], differences),
        [Some(Value::Array(first)), Some(Value::Array(second))]
            if first.len() == second.len() && of_tables(first) && of_tables(second) =>
        {
            for (index, pair) in first.iter().zip(second).enumerate() {
                values(format!("{key}[{index}]"), [Some(pair.0), Some(pair.1)], differences);
            }
        }
        _ => differences.push(Difference { key, values: both.map(Option::<&Value>::cloned) }),
    }
}

fn of_tables(list: &[Value]) -> bool {
    list.iter().all(Value::is_table)
}

/// The values of a run that are not part of its recipe, by their key in the summary.
fn environment(run: &RunRecord) -> [(&'static str, Option<Value>); 4] {
    let text = |value: Option<&str>| value.map(Value::from);
    let commit = run.git.as_ref().and_then(|git| {
        let star = if git.dirty == Some(true) { "*" } else { "" };
        Some(format!("{}{star}", git.commit.as_ref()?))
    });
    let threads = run.threads.and_then(|threads| i64::try_from(threads).ok());
    let sha256 = run.dataset.as_ref().and_then(|dataset| dataset.sha256.as_deref());
    [
        ("backend", text(run.backend.as_deref())),
        ("threads", threads.map(Value::from)),
        (HASHES[0], text(commit.as_deref())),
        (HASHES[1], text(sha256)),
    ]
}

/// Adds the differences in values that are not part of a recipe. Returns notes on values that could
/// not be compared.
fn environments(found: &[RunRecord; 2], differences: &mut Vec<Difference>) -> Vec<String> {
    let mut unknown = [const { Vec::new() }; 2];
    let [first, second] = [environment(&found[0]), environment(&found[1])];
    for ((key, first), (_, second)) in first.into_iter().zip(second) {
        let both = [first, second];
        for (unknown, _) in unknown.iter_mut().zip(&both).filter(|(_, value)| value.is_none()) {
            unknown.push(key);
        }
        if both[0].is_some() && both[1].is_some() && both[0] != both[1] {
            differences.push(Difference { key: key.into(), values: both });
        }
    }
    let mut notes = Vec::new();
    for (run, keys) in found.iter().zip(unknown).filter(|(_, keys)| !keys.is_empty()) {
        notes.push(format!("unknown for {}: {}", run.name, keys.join(", ")));
    }
    // A run may be compared with itself.
    notes.dedup();
    let dirty = |run: &RunRecord| run.git.as_ref().is_some_and(|git| git.dirty == Some(true));
    if found.iter().all(dirty) && found[0].git == found[1].git {
        notes.push(
            "both runs were made from uncommitted changes (*), so their sources may differ".into(),
        );
    }
    notes
}

fn text(diff: &Diff) -> String {
    let Diff { runs: [first, second], differences, notes } = diff;
    let mut text = match differences.as_slice() {
        [] => format!("nothing differs between {first} and {second}"),
        differences => {
            let mut table = table(&["key", first, second]);
            for column in table.column_iter_mut() {
                column.set_cell_alignment(CellAlignment::Left);
            }
            for Difference { key, values: [first, second] } in differences {
                let shown = |value: &Option<Value>| match value {
                    Some(Value::String(digits)) if HASHES.contains(&&**key) => short(digits),
                    value => shown(value.as_ref()),
                };
                table.add_row([printable(key), shown(first), shown(second)]);
            }
            table.to_string()
        }
    };
    for note in notes {
        text.push_str(&format!("\n{note}"));
    }
    text
}

/// The first digits of a hash. A star at its end is kept.
fn short(digits: &str) -> String {
    let star = if digits.ends_with('*') { "*" } else { "" };
    let first: String = digits.trim_end_matches('*').chars().take(12).collect();
    format!("{}{star}", printable(&first))
}

/// A value as a recipe writes it. Each table of a list is on a line of its own.
fn shown(value: Option<&Value>) -> String {
    match value {
        None => "-".into(),
        Some(Value::Array(list)) if !list.is_empty() && of_tables(list) => {
            list.iter().map(|one| printable(&one.to_string())).collect::<Vec<_>>().join("\n")
        }
        Some(value) => printable(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::RunLocation;

    fn differences(first: &str, second: &str) -> Vec<(String, [String; 2])> {
        let mut found = Vec::new();
        let (first, second) = (toml::from_str(first).unwrap(), toml::from_str(second).unwrap());
        tables("", [&first, &second], &mut found);
        let row = |one: Difference| (one.key, one.values.map(|value| shown(value.as_ref())));
        found.into_iter().map(row).collect()
    }

    #[track_caller]
    fn check(first: &str, second: &str, expected: &[(&str, &str, &str)]) {
        let found = differences(first, second);
        let found: Vec<_> = found.iter().map(|(k, [a, b])| (&**k, &**a, &**b)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn keys_are_dotted_and_absent_ones_have_a_dash() {
        check(
            "a = 1\n[b.c]\nd = 2\ne = 3",
            "[b.c]\nd = 2.5\ne = 3",
            &[("a", "1", "-"), ("b.c.d", "2", "2.5")],
        );
        check("", "[b.c]\nd = \"x\"", &[("b.c.d", "-", "\"x\"")]);
        check("a = 1", "a = { b = 2 }", &[("a", "1", "{ b = 2 }")]);
        check("\"a b\".c = 1", "\"a b\".c = 2", &[("\"a b\".c", "1", "2")]);
    }

    #[test]
    fn lists_are_compared_as_a_whole_and_layers_key_by_key() {
        check("a = [1, 2]", "a = [1, 3]", &[("a", "[1, 2]", "[1, 3]")]);
        let layers = |layers: &str| format!("network.layers = [{layers}]");
        let conv = "{ kind = \"conv\", channels = 6 }";
        let (two, other, three) = (
            layers(&format!("{conv}, {{ kind = \"classifier\" }}")),
            layers("{ kind = \"conv\", channels = 8, tap = \"low\" }, { kind = \"classifier\" }"),
            layers(conv),
        );
        check(
            &two,
            &other,
            &[("network.layers[0].channels", "6", "8"), ("network.layers[0].tap", "-", "\"low\"")],
        );
        let found = differences(&two, &three);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "network.layers");
        assert_eq!(found[0].1[0].lines().count(), 2);
    }

    #[test]
    fn values_outside_the_recipe_are_compared_if_both_are_known() {
        let run = |summary: &str| {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("summary.json"), summary).unwrap();
            let path = folder.path().to_owned();
            RunRecord::new(RunLocation { recipe: "r".into(), id: "i".into(), path })
        };
        let whole = |commit: &str, dirty: bool, threads: u8| {
            run(&format!(
                r#"{{"backend": "flex", "threads": {threads}, "dataset": {{"sha256": "aa"}},
                    "git": {{"commit": "{commit}", "dirty": {dirty}}}}}"#
            ))
        };
        let compare = |first: RunRecord, second: RunRecord| {
            let mut found = Vec::new();
            let notes = environments(&[first, second], &mut found);
            (found.into_iter().map(|one| one.key).collect::<Vec<_>>(), notes)
        };
        let (keys, notes) = compare(whole("c", false, 1), whole("c", false, 1));
        assert!(keys.is_empty() && notes.is_empty(), "{keys:?} {notes:?}");
        let (keys, notes) = compare(whole("c", false, 1), whole("c", true, 2));
        assert_eq!(keys, ["threads", "git.commit"]);
        assert!(notes.is_empty(), "{notes:?}");
        let (keys, notes) = compare(whole("c", true, 1), whole("c", true, 1));
        assert!(keys.is_empty() && notes[0].contains("may differ"), "{keys:?} {notes:?}");
        let (keys, notes) = compare(whole("c", false, 1), run("{}"));
        assert!(keys.is_empty(), "{keys:?}");
        let [note] = notes.as_slice() else { panic!("{notes:?}") };
        assert!(note.ends_with(": backend, threads, git.commit, dataset.sha256"), "{note}");
    }

    #[test]
    fn hashes_are_short_in_a_table() {
        let commit = |digit: &str| Some(Value::from(digit.repeat(40) + "*"));
        let values = [commit("a"), commit("b")];
        let differences = vec![Difference { key: "git.commit".into(), values }];
        let runs = ["a/1".to_owned(), "a/2".to_owned()];
        let text = text(&Diff { runs, differences, notes: Vec::new() });
        assert!(text.contains(" aaaaaaaaaaaa* ┆ bbbbbbbbbbbb* "), "{text}");
    }

    #[test]
    fn equal_runs_are_reported() {
        let runs = ["a/1".to_owned(), "a/2".to_owned()];
        let same = Diff { runs, differences: Vec::new(), notes: vec!["but".into()] };
        assert_eq!(text(&same), "nothing differs between a/1 and a/2\nbut");
    }
}
