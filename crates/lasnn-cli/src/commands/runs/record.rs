//! The record of a run: everything that its folder contains, whatever its state is and whichever
//! version of the program has written it.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lasnn_core::{Architecture, Plan, Shape};
use lasnn_training::Checkpoint;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::parts::{Dataset, Git, Numbers, Stage, State};
use crate::run_dir::{SUMMARY, is_held};
use crate::runs::RunLocation;
use crate::stage::StageName;
use crate::tables::overall_rate;

/// The record of a run.
#[derive(Debug, Serialize)]
pub struct RunRecord {
    /// The name of the recipe. It is empty if it is unknown.
    pub recipe: String,
    /// The id.
    pub id: String,
    /// The name of the run in messages.
    #[serde(skip)]
    pub name: String,
    /// The folder.
    pub path: PathBuf,
    /// The time when the run began, in UTC.
    pub began: Option<String>,
    /// The state.
    pub state: State,
    /// Why the summary cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The seed of every random stream.
    pub seed: Option<u64>,
    /// The name of the backend.
    pub backend: Option<String>,
    /// The number of threads.
    pub threads: Option<u64>,
    /// The commit of the source tree.
    pub git: Option<Git>,
    /// The data set.
    pub dataset: Option<Dataset>,
    /// The finished stages in the order of a report.
    pub stages: Vec<Stage>,
}

/// The fields of `summary.json` that a record needs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SummaryFields {
    recipe: Option<String>,
    seed: Option<u64>,
    backend: Option<String>,
    threads: Option<u64>,
    git: Option<Git>,
    dataset: Option<Dataset>,
    stages: Stages,
}

/// The results of stages by their keys in the summary, in the order of the file, which is that in
/// which the stages ran.
#[derive(Debug, Default)]
struct Stages(Vec<(String, Numbers)>);

impl<'de> Deserialize<'de> for Stages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StagesVisitor)
    }
}

struct StagesVisitor;

impl<'de> Visitor<'de> for StagesVisitor {
    type Value = Stages;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the results of stages")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stages, A::Error> {
        let mut stages = Vec::new();
        while let Some(entry) = map.next_entry()? {
            stages.push(entry);
        }
        Ok(Stages(stages))
    }
}

impl RunRecord {
    /// Reads the folder of a run.
    pub fn new(location: RunLocation) -> Self {
        // The lock is tested first. Otherwise a run that ends in between would seem interrupted.
        let held = is_held(&location.path);
        let (state, problem, fields) = match summary(&location.path) {
            Ok(Some(fields)) => (State::Ended, None, fields),
            Ok(None) if held => (State::Running, None, SummaryFields::default()),
            Ok(None) => (State::CutOff, None, SummaryFields::default()),
            Err(problem) => (State::Damaged, Some(problem), SummaryFields::default()),
        };
        let found: Vec<(StageName, Numbers)> = match state {
            State::Ended => {
                let named = fields.stages.0.into_iter();
                named
                    .filter_map(|(key, found)| Some((StageName::from_summary(&key)?, found)))
                    .collect()
            }
            _ => in_checkpoints(&location.path),
        };
        let mut stages: Vec<Stage> = found
            .into_iter()
            .map(|(stage, numbers)| Stage { stage, numbers, firing_rate: None })
            .collect();
        stages.sort_by_key(|stage| stage.stage.rank(stage.is_spiking()));
        // A run without a summary still has its recipe.
        let resolved = recipe(&location.path).unwrap_or_default();
        let in_recipe = |key: &str| resolved.get(key);
        let name = fields.recipe.or_else(|| in_recipe("name")?.as_str().map(str::to_owned));
        let seed = fields.seed.or_else(|| in_recipe("seed")?.as_integer()?.try_into().ok());
        Self {
            name: location.name(),
            began: location.began(),
            recipe: match location.recipe.as_str() {
                "" => name.unwrap_or_default(),
                folder => folder.to_owned(),
            },
            id: location.id,
            path: location.path,
            state,
            problem,
            seed,
            backend: fields.backend,
            threads: fields.threads,
            git: fields.git,
            dataset: fields.dataset,
            stages,
        }
    }

    /// Computes the mean firing rates of the spiking networks. They follow from the number of
    /// spikes and from the number of neurons, which is computed from the architecture in the
    /// checkpoint.
    pub fn add_rates(&mut self) {
        for stage in &mut self.stages {
            let Numbers { spikes_per_image, time_steps, .. } = stage.numbers;
            if let (Some(spikes), Some(steps)) = (spikes_per_image, time_steps) {
                let plan = plan(&self.path, &stage.stage);
                stage.firing_rate = plan.map(|plan| overall_rate(spikes, steps, &plan));
            }
        }
    }

    /// The last spiking network: the student if that stage is finished, or one that was trained
    /// after it.
    pub fn spiking(&self) -> Option<&Stage> {
        self.stages.iter().rev().find(|stage| stage.numbers.time_steps.is_some())
    }
}

/// The resolved recipe of a run. `None` if it is missing or no TOML.
fn recipe(run: &Path) -> Option<toml::Table> {
    toml::from_str(&fs::read_to_string(run.join("recipe.toml")).ok()?).ok()
}

/// The summary of a run, if there is one. The error says why it cannot be read.
fn summary(run: &Path) -> Result<Option<SummaryFields>, String> {
    let damaged = |error: &dyn fmt::Display| format!("{SUMMARY} cannot be read: {error}");
    match fs::read_to_string(run.join(SUMMARY)) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| damaged(&error)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(damaged(&error)),
    }
}

/// The results in the checkpoints of a run. A checkpoint is written as soon as its stage is
/// finished.
fn in_checkpoints(run: &Path) -> Vec<(StageName, Numbers)> {
    let entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
    let mut names: Vec<StageName> = entries
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".safetensors")?.parse().ok())
        .collect();
    names.sort();
    let found = |name: StageName| {
        let numbers = Numbers::deserialize(metadata(run, &name)?.get("summary")?).ok()?;
        Some((name, numbers))
    };
    names.into_iter().filter_map(found).collect()
}

/// The metadata of a stage's checkpoint. `None` if it is missing or of another program.
fn metadata(run: &Path, stage: &StageName) -> Option<Value> {
    let file = run.join("checkpoints").join(format!("{stage}.safetensors"));
    Checkpoint::peek(&file).ok()
}

/// The network in a stage's checkpoint.
fn plan(run: &Path, stage: &StageName) -> Option<Plan> {
    let metadata = metadata(run, stage)?;
    // Version 1 has these keys at the top level, version 2 in the table `definition`.
    let found = metadata.get("definition").unwrap_or(&metadata);
    let network = Architecture::deserialize(found.get("network")?).ok()?;
    let image = Shape::deserialize(found.get("image")?).ok()?;
    let classes = match found.get("classes")? {
        Value::Array(names) => names.len(),
        number => number.as_u64()?.try_into().ok()?,
    };
    network.plan(image, classes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::RunDir;

    fn record(path: &Path) -> RunRecord {
        let id = path.file_name().unwrap().to_str().unwrap().to_owned();
        RunRecord::new(RunLocation { recipe: "r".into(), id, path: path.into() })
    }

    #[test]
    fn a_run_is_running_until_its_process_ends() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), "r", "0123456789abcdef").unwrap();
        let path = run.path().to_owned();
        assert_eq!(record(&path).state, State::Running);
        run.finish("{}").unwrap();
        assert_eq!(record(&path).state, State::Ended);
    }

    #[test]
    fn an_interrupted_run_has_its_recipe_and_its_finished_stages() {
        let run = tempfile::tempdir().unwrap();
        fs::write(run.path().join("recipe.toml"), "name = \"tiny\"\nseed = 7\n").unwrap();
        let layers = serde_json::json!([
            {"kind": "linear", "features": 4},
            {"kind": "classifier"},
        ]);
        let definition = serde_json::json!({
            "network": {"name": "n", "layers": layers},
            "image": {"channels": 1, "height": 2, "width": 2},
            "classes": ["a", "b", "c"],
        });
        let summary = serde_json::json!(
            {"test_accuracy": 0.5, "time_steps": 5, "spikes_per_image": 2.0}
        );
        let mut older = definition.clone();
        older["classes"] = 3.into();
        older["summary"] = summary.clone();
        let newer = serde_json::json!({"definition": definition, "summary": summary});
        fs::create_dir(run.path().join("checkpoints")).unwrap();
        let longer = newer.clone();
        for (stage, metadata) in [("converted", older), ("control", newer), ("a", longer)] {
            let file = run.path().join(format!("checkpoints/{stage}.safetensors"));
            Checkpoint { metadata, ..Checkpoint::default() }.save(&file).unwrap();
        }
        fs::write(run.path().join("checkpoints/student.safetensors"), "half").unwrap();

        let mut found = record(run.path());
        assert_eq!((found.state, found.seed), (State::CutOff, Some(7)));
        found.add_rates();
        let names: Vec<&str> = found.stages.iter().map(|stage| stage.stage.as_str()).collect();
        assert_eq!(names, ["converted", "control", "a"]);
        for Stage { numbers, firing_rate, .. } in found.stages {
            assert_eq!(numbers.test_accuracy, Some(0.5));
            // Two spikes of four neurons in five time steps.
            assert_eq!(firing_rate, Some(0.1));
        }
    }

    #[test]
    fn a_damaged_summary_is_reported_and_one_of_another_version_is_read() {
        let run = tempfile::tempdir().unwrap();
        let with = |summary: &str| {
            fs::write(run.path().join(SUMMARY), summary).unwrap();
            record(run.path())
        };
        for damaged in ["", "[1", "7", r#"{"seed": "x"}"#, r#"{"stages": {"student": 1}}"#] {
            let found = with(damaged);
            assert_eq!(found.state, State::Damaged, "{damaged}");
            assert!(found.problem.unwrap().starts_with("summary.json cannot be read: "));
        }
        let older =
            with(r#"{"seed": 3, "new": [1], "git": {"commit": null}, "stages": {"student": {}}}"#);
        assert_eq!((older.state, older.seed, older.stages.len()), (State::Ended, Some(3), 1));
        assert_eq!(older.git.unwrap().short(), None);
        // Stages that a recipe adds stay in the order in which they ran.
        let steps = r#"{"time_steps": 2}"#;
        let added = with(&format!(
            r#"{{"stages": {{"student": {steps}, "b": {steps}, "big": {{}}, "a": {steps}}}}}"#
        ));
        let names: Vec<&str> = added.stages.iter().map(|stage| stage.stage.as_str()).collect();
        assert_eq!(names, ["big", "student", "b", "a"]);
        assert_eq!(added.spiking().unwrap().stage.as_str(), "a");
    }
}
