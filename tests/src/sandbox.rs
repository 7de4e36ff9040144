//! A temporary folder in which `lasnn` runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::binary::lasnn;
use crate::outputs::read_json;

/// A folder with its own recipes and runs. Dropping it removes the folder.
#[derive(Debug)]
pub struct Sandbox {
    folder: TempDir,
}

/// How a command ended and what it printed.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; `None` if a signal ended the process.
    pub code: Option<i32>,
    /// The text on the standard output.
    pub stdout: String,
    /// The text on the standard error.
    pub stderr: String,
}

impl Sandbox {
    /// An empty folder.
    ///
    /// # Panics
    ///
    /// Panics if the system cannot make one.
    #[expect(clippy::new_without_default, reason = "a default should not touch the disk")]
    pub fn new() -> Self {
        let folder =
            tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        Self { folder }
    }

    /// A folder with one recipe.
    ///
    /// # Panics
    ///
    /// Panics if the file cannot be written.
    pub fn with(name: &str, recipe: &str) -> Self {
        let sandbox = Self::new();
        sandbox.write(name, recipe);
        sandbox
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, for instance a recipe, and returns its path.
    ///
    /// # Panics
    ///
    /// Panics if the file cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// `lasnn` with these arguments, ready to start in the folder. It computes on one thread,
    /// because the test harness runs several tests at the same time.
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

    /// Runs `lasnn`, which must end with the exit code 0.
    ///
    /// # Panics
    ///
    /// Panics with the printed text if the exit code is another one.
    #[track_caller]
    pub fn succeed(&self, arguments: &[&str]) -> Outcome {
        self.succeed_on("1", arguments)
    }

    /// Like [`Self::succeed`], on a given number of threads.
    ///
    /// # Panics
    ///
    /// Panics with the printed text if the exit code is not 0.
    #[track_caller]
    pub fn succeed_on(&self, threads: &str, arguments: &[&str]) -> Outcome {
        let outcome = end(self.lasnn_on(threads, arguments));
        assert_eq!(outcome.code, Some(0), "lasnn {}: {outcome:#?}", arguments.join(" "));
        outcome
    }

    /// Runs `lasnn`, which must end with the exit code `code` and name all `words` in its error.
    ///
    /// # Panics
    ///
    /// Panics with the printed text if it ends in another way.
    #[track_caller]
    pub fn fail(&self, arguments: &[&str], code: i32, words: &[&str]) -> Outcome {
        let outcome = self.run(arguments);
        outcome.assert_failed(code, words);
        outcome
    }

    /// Runs `lasnn` with `--json` and returns what it printed, which must be JSON and nothing else.
    ///
    /// # Panics
    ///
    /// Panics with the printed text if the exit code is not 0 or the text is not JSON.
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
    /// Panics if there is no run, or more than one.
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
    /// Panics if the run has none.
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
    /// The outcome of a finished process.
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Checks the exit code and that the standard error contains all `words`.
    ///
    /// # Panics
    ///
    /// Panics with the outcome if not.
    #[track_caller]
    pub fn assert_failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in {self:#?}");
        }
    }
}

/// Sends a signal with the shell's own `kill`, which every Unix system has.
///
/// # Panics
///
/// Panics if the process no longer exists.
#[track_caller]
pub fn send(signal: &str, process: &Child) {
    let command = format!("kill -{signal} {}", process.id());
    let sent = Command::new("sh").args(["-c", &command]).status();
    assert!(sent.is_ok_and(|status| status.success()), "{command}");
}
