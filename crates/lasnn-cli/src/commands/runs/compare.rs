//! `runs compare`: shows the results of some runs side by side.

use super::parts::{Git, Stage, State};
use super::record::RunRecord;
use crate::args::Global;
use crate::escape::printable;
use crate::output;
use crate::runs;
use crate::stage::StageName;
use crate::tables::{count, percent, picojoules, table};

/// Prints a table with one column for each run.
///
/// # Errors
///
/// Fails if a run is unknown.
pub fn compare(typed: &[String], global: &Global) -> anyhow::Result<()> {
    let find = |typed: &String| {
        let mut found = RunRecord::new(runs::find(&global.runs_dir, typed)?);
        found.add_rates();
        Ok(found)
    };
    let found = typed.iter().map(find).collect::<anyhow::Result<Vec<RunRecord>>>()?;
    output::print(global, &found, || text(&found))
}

fn text(runs: &[RunRecord]) -> String {
    // Recipe and id are on two lines, because one line would be too wide for a terminal.
    let head = |run: &RunRecord| match run.began {
        Some(_) => format!("{}\n{}", printable(&run.recipe), printable(&run.id)),
        None => run.name.clone(),
    };
    let header: Vec<String> = std::iter::once(String::new()).chain(runs.iter().map(head)).collect();
    let mut table = table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    let mut row = |name: &str, value: &dyn Fn(&RunRecord) -> Option<String>| {
        let values = runs.iter().map(|run| value(run).unwrap_or_else(|| "-".into()));
        table.add_row(std::iter::once(name.to_owned()).chain(values));
    };
    if runs.iter().any(|run| run.state != State::Ended) {
        row("state", &|run| Some(run.state.text().to_owned()));
    }
    for (stage, title) in titles(runs) {
        let accuracy = |run: &RunRecord| {
            let found = run.stages.iter().find(|found| found.stage == *stage)?;
            found.numbers.test_accuracy.map(percent)
        };
        row(&format!("accuracy: {title}"), &accuracy);
    }
    // The rows below are about one network of each run. This row names it.
    row("spiking network", &|run| Some(run.spiking()?.title(has_teacher(run))));
    row("T", &|run| Some(run.spiking()?.numbers.time_steps?.to_string()));
    row("firing rate", &|run| run.spiking()?.firing_rate.map(percent));
    row("synops / image", &|run| run.spiking()?.numbers.synops_per_image.map(count));
    row("energy / image", &|run| run.spiking()?.numbers.energy_pj_per_image.map(picojoules));
    row("seconds", &|run| seconds(&run.stages));
    row("seed", &|run| Some(run.seed?.to_string()));
    row("backend", &|run| run.backend.as_deref().map(printable));
    row("commit", &|run| run.git.as_ref().and_then(Git::short));
    table.to_string()
}

/// The stages of all runs in the order of a report, and their names in the table.
fn titles(runs: &[RunRecord]) -> Vec<(&StageName, String)> {
    let is_distilled = runs.iter().any(has_teacher);
    let mut all: Vec<&Stage> = Vec::new();
    for stage in runs.iter().flat_map(|run| &run.stages) {
        if !all.iter().any(|known| known.stage == stage.stage) {
            all.push(stage);
        }
    }
    all.sort_by_key(|stage| stage.stage.rank(stage.is_spiking()));
    all.into_iter().map(|stage| (&stage.stage, stage.title(is_distilled))).collect()
}

/// Whether a run has a teacher. Runs train none that their students do not need.
fn has_teacher(run: &RunRecord) -> bool {
    run.stages.iter().any(|stage| stage.stage == StageName::TEACHER)
}

/// The wall time of all stages. For a reused stage it is the time of the run that has trained it,
/// so the times of two runs are comparable.
fn seconds(stages: &[Stage]) -> Option<String> {
    let sum: f64 = stages.iter().map(|stage| stage.numbers.seconds).sum::<Option<f64>>()?;
    (!stages.is_empty()).then(|| format!("{sum:.1}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::SUMMARY;

    #[test]
    fn each_run_has_a_column_with_its_results() {
        let folder = tempfile::tempdir().unwrap();
        let summaries = [
            (
                "20260101-000000-aaaaaaaa",
                r#"{"seed": 1, "backend": "flex", "stages": {
                "teacher": {"test_accuracy": 0.9, "seconds": 10, "reused": true},
                "student": {"test_accuracy": 0.8, "seconds": 5.5, "time_steps": 8,
                            "synops_per_image": 2e6, "energy_pj_per_image": 1.8e6}}}"#,
            ),
            (
                "20260102-000000-aaaaaaaa",
                r#"{"seed": 2, "stages": {
                "conversion": {"test_accuracy": 0.7, "time_steps": 16}}}"#,
            ),
        ];
        for (id, summary) in summaries {
            let run = folder.path().join("a\u{7}").join(id);
            std::fs::create_dir_all(&run).unwrap();
            std::fs::write(run.join(SUMMARY), summary).unwrap();
        }
        let found: Vec<RunRecord> =
            runs::all(folder.path()).unwrap().into_iter().map(RunRecord::new).collect();
        let text = text(&found);
        assert!(text.contains("a\\u{7}") && !text.contains('\u{7}'), "{text}");
        let cells = |name: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.contains(name)).unwrap();
            let cells = line.split(['│', '┆']).map(str::trim).filter(|cell| !cell.is_empty());
            cells.skip(1).map(str::to_owned).collect()
        };
        assert_eq!(cells("accuracy: teacher"), ["-", "90.00 %"]);
        assert_eq!(cells("accuracy: distilled SNN"), ["-", "80.00 %"]);
        assert_eq!(cells("spiking network"), ["converted SNN, not trained", "distilled SNN"]);
        assert_eq!(cells("T "), ["16", "8"]);
        assert_eq!(cells("synops"), ["-", "2.00 M"]);
        assert_eq!(cells("energy"), ["-", "1.80 uJ"]);
        assert_eq!(cells("seconds"), ["-", "15.5"]);
        assert_eq!(cells("seed"), ["2", "1"]);
    }
}
