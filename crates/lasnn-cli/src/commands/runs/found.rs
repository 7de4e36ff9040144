//! What the folder of a run tells of it: whatever is there, of any version and in any state.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lasnn_core::{Architecture, Plan, Shape};
use lasnn_training::Checkpoint;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::parts::{Dataset, Git, Numbers, Stage, State};
use crate::report::overall_rate;
use crate::run_dir::{SUMMARY, is_held};
use crate::runs::Place;
use crate::stage::StageName;

/// A run.
#[derive(Debug, Serialize)]
pub struct Found {
    /// The recipe's name; empty if nothing tells it.
    pub recipe: String,
    /// Its id.
    pub id: String,
    /// How it is called in messages.
    #[serde(skip)]
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// When it began, in UTC.
    pub began: Option<String>,
    /// What has become of it.
    pub state: State,
    /// What is wrong with its summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The seed of every random stream.
    pub seed: Option<u64>,
    /// What computed.
    pub backend: Option<String>,
    /// How many threads computed.
    pub threads: Option<u64>,
    /// What source.
    pub git: Option<Git>,
    /// What images.
    pub dataset: Option<Dataset>,
    /// The stages that are done, in the order of the report.
    pub stages: Vec<Stage>,
}

/// A summary as far as it is of use here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    recipe: Option<String>,
    seed: Option<u64>,
    backend: Option<String>,
    threads: Option<u64>,
    git: Option<Git>,
    dataset: Option<Dataset>,
    stages: BTreeMap<String, Numbers>,
}

impl Found {
    /// What is known of the run in a folder.
    pub fn new(place: Place) -> Self {
        // In this order, as the run may end meanwhile.
        let held = is_held(&place.path);
        let (state, problem, told) = match summary(&place.path) {
            Ok(Some(told)) => (State::Ended, None, told),
            Ok(None) if held => (State::Running, None, Told::default()),
            Ok(None) => (State::CutOff, None, Told::default()),
            Err(problem) => (State::Damaged, Some(problem), Told::default()),
        };
        let stage = |stage: StageName| {
            let told = told.stages.get(stage.in_summary()).cloned();
            let numbers = match state {
                State::Ended => told,
                _ => in_checkpoint(&place.path, stage),
            };
            Some(Stage { stage, numbers: numbers?, firing_rate: None })
        };
        let stages = StageName::REPORTED.into_iter().filter_map(stage).collect();
        // A run that has not ended still has its recipe.
        let resolved = recipe(&place.path).unwrap_or_default();
        let in_recipe = |key: &str| resolved.get(key);
        let name = told.recipe.or_else(|| in_recipe("name")?.as_str().map(str::to_owned));
        let seed = told.seed.or_else(|| in_recipe("seed")?.as_integer()?.try_into().ok());
        Self {
            name: place.name(),
            began: place.began(),
            recipe: match place.recipe.as_str() {
                "" => name.unwrap_or_default(),
                folder => folder.to_owned(),
            },
            id: place.id,
            path: place.path,
            state,
            problem,
            seed,
            backend: told.backend,
            threads: told.threads,
            git: told.git,
            dataset: told.dataset,
            stages,
        }
    }

    /// Finds out the firing rates of its spiking networks. A summary has them by layer; over all
    /// neurons they follow from the network, which its checkpoint knows.
    pub fn add_rates(&mut self) {
        for stage in &mut self.stages {
            let Numbers { spikes_per_image, time_steps, .. } = stage.numbers;
            if let (Some(spikes), Some(steps)) = (spikes_per_image, time_steps) {
                let plan = plan(&self.path, stage.stage);
                stage.firing_rate = plan.map(|plan| overall_rate(spikes, steps, &plan));
            }
        }
    }

    /// The last spiking network: the student, if the run came so far.
    pub fn spiking(&self) -> Option<&Stage> {
        self.stages.iter().rev().find(|stage| stage.numbers.time_steps.is_some())
    }
}

/// The resolved recipe of a run; none if it is not there or not a recipe.
fn recipe(run: &Path) -> Option<toml::Table> {
    toml::from_str(&fs::read_to_string(run.join("recipe.toml")).ok()?).ok()
}

/// The summary of a run, if there is one; the error is what is wrong with it.
fn summary(run: &Path) -> Result<Option<Told>, String> {
    let damaged = |error: &dyn std::fmt::Display| format!("{SUMMARY} cannot be read: {error}");
    match fs::read_to_string(run.join(SUMMARY)) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| damaged(&error)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(damaged(&error)),
    }
}

/// What the checkpoint of a stage says; none if there is no checkpoint of ours.
fn metadata(run: &Path, stage: StageName) -> Option<Value> {
    let file = run.join("checkpoints").join(format!("{}.safetensors", stage.name()));
    Checkpoint::peek(&file).ok()
}

/// The numbers of a stage as its checkpoint has them: a run writes it as soon as the stage is done.
fn in_checkpoint(run: &Path, stage: StageName) -> Option<Numbers> {
    Numbers::deserialize(metadata(run, stage)?.get("summary")?).ok()
}

/// The network of a stage as its checkpoint has it.
fn plan(run: &Path, stage: StageName) -> Option<Plan> {
    let metadata = metadata(run, stage)?;
    // Versions of the file: one has these keys at its top, and one in a table of their own.
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

    fn found(path: &Path) -> Found {
        let id = path.file_name().unwrap().to_str().unwrap().to_owned();
        Found::new(Place { recipe: "r".into(), id, path: path.into() })
    }

    #[test]
    fn a_run_is_running_until_its_process_ends() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), "r", "0123456789abcdef").unwrap();
        let path = run.path().to_owned();
        assert_eq!(found(&path).state, State::Running);
        run.finish("{}").unwrap();
        assert_eq!(found(&path).state, State::Ended);
    }

    #[test]
    fn a_run_that_was_cut_off_has_its_recipe_and_its_finished_stages() {
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
        for (stage, metadata) in [("converted", older), ("control", newer)] {
            let file = run.path().join(format!("checkpoints/{stage}.safetensors"));
            Checkpoint { metadata, ..Checkpoint::default() }.save(&file).unwrap();
        }
        fs::write(run.path().join("checkpoints/student.safetensors"), "half").unwrap();

        let mut found = found(run.path());
        assert_eq!((found.state, found.seed), (State::CutOff, Some(7)));
        found.add_rates();
        let names: Vec<StageName> = found.stages.iter().map(|stage| stage.stage).collect();
        assert_eq!(names, [StageName::Converted, StageName::Control]);
        for Stage { numbers, firing_rate, .. } in found.stages {
            assert_eq!(numbers.test_accuracy, Some(0.5));
            // Two spikes of four neurons in five steps.
            assert_eq!(firing_rate, Some(0.1));
        }
    }

    #[test]
    fn a_damaged_summary_is_a_problem_and_one_of_another_version_is_none() {
        let run = tempfile::tempdir().unwrap();
        let with = |summary: &str| {
            fs::write(run.path().join(SUMMARY), summary).unwrap();
            found(run.path())
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
    }
}
