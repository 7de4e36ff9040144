//! A folder for `lasnn` to work in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::binary::lasnn;

/// A folder with recipes and runs of its own, removed in the end.
#[derive(Debug)]
pub struct Workplace {
    folder: TempDir,
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to the standard output.
    pub stdout: String,
    /// What it wrote to the standard error.
    pub stderr: String,
}

impl Workplace {
    /// An empty folder.
    ///
    /// # Panics
    ///
    /// Panics if the system gives none.
    #[expect(clippy::new_without_default, reason = "making a folder is no default")]
    pub fn new() -> Self {
        let folder =
            tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        Self { folder }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, for instance a recipe, and gives its path.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// `lasnn` with the given arguments, ready to start in the folder. One thread, because several
    /// of these run side by side.
    pub fn lasnn(&self, arguments: &[&str]) -> Command {
        self.lasnn_on("1", arguments)
    }

    fn lasnn_on(&self, threads: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(lasnn());
        command.args(arguments).args(["--threads", threads]).current_dir(self.path());
        command
    }

    /// Runs `lasnn` to its end.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        end(self.lasnn(arguments))
    }

    /// Runs `lasnn`, which is expected to do what it is asked.
    ///
    /// # Panics
    ///
    /// Panics with what it said if its exit code is not 0.
    #[track_caller]
    pub fn succeed(&self, arguments: &[&str]) -> Outcome {
        self.succeed_on("1", arguments)
    }

    /// The same on another number of threads than one.
    ///
    /// # Panics
    ///
    /// Panics as the above does.
    #[track_caller]
    pub fn succeed_on(&self, threads: &str, arguments: &[&str]) -> Outcome {
        let outcome = end(self.lasnn_on(threads, arguments));
        assert_eq!(outcome.code, Some(0), "lasnn {}: {outcome:#?}", arguments.join(" "));
        outcome
    }

    /// Runs `lasnn` with `--json` and gives what it printed, which must be JSON and nothing else.
    ///
    /// # Panics
    ///
    /// Panics with what it said if its exit code is not 0 or if it printed something else.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let outcome = self.succeed(&[arguments, &["--json"]].concat());
        serde_json::from_str(&outcome.stdout)
            .unwrap_or_else(|error| panic!("lasnn {}: {error}: {outcome:#?}", arguments.join(" ")))
    }

    /// The folders of all runs of a recipe.
    pub fn runs(&self, recipe: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path().join("runs").join(recipe));
        let paths = entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        paths.filter(|path| path.is_dir()).collect()
    }

    /// The folder of the only run of a recipe.
    ///
    /// # Panics
    ///
    /// Panics if there is none, or more than one.
    #[track_caller]
    pub fn only_run(&self, recipe: &str) -> PathBuf {
        let mut runs = self.runs(recipe);
        assert_eq!(runs.len(), 1, "one run of {recipe}, one folder: {runs:?}");
        runs.remove(0)
    }

    /// The summary of the only run of a recipe.
    ///
    /// # Panics
    ///
    /// Panics if it has none.
    #[track_caller]
    pub fn summary(&self, recipe: &str) -> Value {
        read_json(&self.only_run(recipe).join("summary.json"))
    }
}

fn end(mut command: Command) -> Outcome {
    let output = command.output();
    Outcome::of(output.unwrap_or_else(|error| panic!("cannot start lasnn: {error}")))
}

impl Outcome {
    /// What a finished process leaves.
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Sends a signal with the shell's own `kill`, which every system has.
///
/// # Panics
///
/// Panics if the process is not there any more.
#[track_caller]
pub fn send(signal: &str, process: &Child) {
    let command = format!("kill -{signal} {}", process.id());
    let sent = Command::new("sh").args(["-c", &command]).status();
    assert!(sent.is_ok_and(|status| status.success()), "{command}");
}

/// Reads a JSON file.
///
/// # Panics
///
/// Panics if there is none, or if it holds something else.
#[track_caller]
pub fn read_json(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A summary without what may differ between two runs of one recipe: wall time, and whether a stage
/// was reused.
pub fn numbers(mut summary: Value) -> Value {
    for stage in
        summary["stages"].as_object_mut().into_iter().flat_map(|stages| stages.values_mut())
    {
        if let Some(stage) = stage.as_object_mut() {
            stage.remove("seconds");
            stage.remove("reused");
        }
    }
    summary
}

/// The tensors of a safetensors file: what stands behind its header, which also says how long a
/// stage took.
///
/// # Panics
///
/// Panics if it cannot be read.
#[track_caller]
pub fn tensors(path: &Path) -> Vec<u8> {
    let file = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let length = file.first_chunk().map_or(0, |&length| u64::from_le_bytes(length));
    let tensors = file.get(8 + length as usize..);
    tensors.unwrap_or_else(|| panic!("{} has no header", path.display())).to_vec()
}
