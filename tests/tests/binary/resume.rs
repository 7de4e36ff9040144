//! A run that was cut off and resumed ends with the same bits as an uninterrupted run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use lasnn_tests::outputs::{numbers, read_json, tensors};
use lasnn_tests::recipe::{TINY, replaced, tiny_with};
use lasnn_tests::sandbox::send;
use lasnn_tests::{Outcome, Sandbox};
use serde_json::Value;

/// Three trainings of six epochs: long enough for a kill in each of them, short enough for a test.
fn long() -> String {
    tiny_with("train = 80", "train = 272").replace("epochs = 1", "epochs = 6")
}

/// When to kill the run: as soon as the metrics have this number of the 18 epochs, and this number
/// of milliseconds later. The teacher ends with epoch 6 and the intermediate network with epoch 12,
/// so some kills hit the measuring, the conversion, and the change from one stage to the next.
const KILLS: [(usize, u64); 12] = [
    (0, 3),
    (0, 50),
    (1, 0),
    (3, 9),
    (6, 0),
    (6, 4),
    (7, 15),
    (11, 1),
    (12, 0),
    (12, 6),
    (13, 12),
    (15, 2),
];

#[test]
fn a_run_that_is_killed_many_times_ends_with_the_same_bits() {
    let sandbox = Sandbox::with("tiny.toml", &long());
    for (epochs, milliseconds) in KILLS {
        let mut run = start(&sandbox, &["run", "tiny.toml", "--resume", "--quiet"]);
        wait_for(&mut run, || epochs_done(&sandbox) >= epochs);
        thread::sleep(Duration::from_millis(milliseconds));
        // `Child::kill` sends SIGKILL.
        run.kill().unwrap();
        let status = run.wait().unwrap();
        assert!(!status.success(), "the run had ended before it was killed at epoch {epochs}");
    }
    sandbox.succeed(&["run", "tiny.toml", "--resume", "--quiet"]);
    Results::of(&sandbox).assert_uninterrupted();
}

#[test]
fn a_run_that_is_interrupted_saves_its_state_and_names_the_option() {
    let sandbox = Sandbox::with("tiny.toml", &long());
    let mut run = start(&sandbox, &["run", "tiny.toml"]);
    wait_for(&mut run, || epochs_done(&sandbox) >= 1);
    send("INT", &run);
    Outcome::of(run.wait_with_output().unwrap()).assert_failed(1, &["--resume"]);

    let folder = sandbox.only_run("tiny");
    assert!(!folder.join("summary.json").exists(), "the run has not ended");
    assert!(holds_files(&folder.join("checkpoints")), "no checkpoint was saved");

    let resumed = sandbox.succeed(&["run", "tiny.toml", "--resume"]);
    assert!(resumed.stderr.contains("teacher: epoch 6/6"), "{resumed:#?}");
    assert!(!resumed.stderr.contains("teacher: epoch 1/6"), "it started again: {resumed:#?}");
    Results::of(&sandbox).assert_uninterrupted();
}

#[test]
fn without_an_unfinished_run_the_option_starts_a_new_one() {
    let sandbox = Sandbox::with("tiny.toml", TINY);
    sandbox.succeed(&["run", "tiny.toml", "--resume", "--quiet"]);
    sandbox.succeed(&["run", "tiny.toml", "--resume", "--quiet"]);
    assert_eq!(sandbox.runs("tiny").len(), 2);
}

#[test]
fn a_run_of_another_recipe_is_not_resumed() {
    let (sandbox, first) = killed();
    sandbox.write("tiny.toml", &replaced(&long(), "seed = 3", "seed = 4"));
    // The recipe of the new run is there before anything is trained.
    let mut run = start(&sandbox, &["run", "tiny.toml", "--resume", "--quiet"]);
    let recipe = || {
        let others = sandbox.runs("tiny").into_iter().filter(|run| *run != first);
        let recipes = others.map(|run| run.join("recipe.toml"));
        recipes.filter_map(|recipe| fs::read_to_string(recipe).ok()).next().unwrap_or_default()
    };
    wait_for(&mut run, || recipe().contains("seed = 4"));
    run.kill().unwrap();
    run.wait().unwrap();
}

#[test]
fn a_run_that_does_not_fit_the_recipe_is_refused_with_the_difference() {
    let (sandbox, folder) = killed();
    let other = replaced(&long(), "learning_rate = 0.2", "learning_rate = 0.3");
    sandbox.write("tiny.toml", &other);
    let folder = folder.to_string_lossy().into_owned();
    // The folder may follow the option after a space or after `=`.
    let with_equals = format!("--resume={folder}");
    for resume in [&["--resume", &folder][..], &[&with_equals]] {
        let differs = "`teacher.train.optimizer.learning_rate` is 0.2 there and 0.3 here";
        let arguments = [&["run", "tiny.toml"], resume].concat();
        sandbox.fail(&arguments, 2, &[differs, "leave --resume out"]);
    }
    sandbox.write("tiny.toml", &long());
    sandbox.succeed(&["run", "tiny.toml", "--quiet", "--resume", &folder]);
    assert_eq!(read_json(&Path::new(&folder).join("summary.json"))["recipe"], "tiny");
}

/// A run that was killed as soon as its recipe was written, and its folder.
fn killed() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::with("tiny.toml", &long());
    let mut run = start(&sandbox, &["run", "tiny.toml", "--quiet"]);
    let has_recipe = || sandbox.runs("tiny").iter().any(|run| run.join("recipe.toml").is_file());
    wait_for(&mut run, has_recipe);
    run.kill().unwrap();
    run.wait().unwrap();
    let folder = sandbox.only_run("tiny");
    (sandbox, folder)
}

/// Everything that a run writes, except wall times.
struct Results {
    summary: Value,
    /// The lines of the metrics.
    metrics: Vec<Value>,
    /// The stages, each with the tensors of its checkpoint.
    weights: [(&'static str, Vec<u8>); 4],
}

impl Results {
    fn of(sandbox: &Sandbox) -> Self {
        let run = sandbox.only_run("tiny");
        let checkpoint = |stage: &str| run.join(format!("checkpoints/{stage}.safetensors"));
        Self {
            summary: numbers(sandbox.summary("tiny")),
            metrics: metrics(&run),
            weights: ["teacher", "intermediate", "converted", "student"]
                .map(|stage| (stage, tensors(&checkpoint(stage)))),
        }
    }

    /// Checks that the uninterrupted run of the same recipe has the same results.
    #[track_caller]
    fn assert_uninterrupted(&self) {
        static WHOLE: OnceLock<Results> = OnceLock::new();
        let whole = WHOLE.get_or_init(|| {
            let sandbox = Sandbox::with("tiny.toml", &long());
            sandbox.succeed(&["run", "tiny.toml", "--quiet"]);
            Self::of(&sandbox)
        });
        assert_eq!(self.summary, whole.summary);
        assert_eq!(self.metrics, whole.metrics);
        for ((stage, weights), (_, expected)) in self.weights.iter().zip(&whole.weights) {
            assert!(weights == expected, "the weights of {stage} differ");
        }
    }
}

/// Every line of the metrics without its wall time.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().retain(|key, _| !key.contains("second"));
        line
    };
    text.lines().map(line).collect()
}

fn start(sandbox: &Sandbox, arguments: &[&str]) -> Child {
    let mut command = sandbox.lasnn(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until `condition` holds, while `run` is still running.
#[track_caller]
fn wait_for(run: &mut Child, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "waited a minute in vain");
        assert!(run.try_wait().unwrap().is_none(), "the run ended too early");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The number of epochs in the metrics of the only run.
fn epochs_done(sandbox: &Sandbox) -> usize {
    let metrics = |run: &PathBuf| fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    sandbox.runs("tiny").iter().map(|run| metrics(run).lines().count()).max().unwrap_or(0)
}

fn holds_files(folder: &Path) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        path.is_file() || holds_files(&path)
    })
}
