//! The folder of the repository, and how programs are started.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::Context;

/// The repository.
pub struct Workspace {
    /// The root folder.
    pub root: PathBuf,
}

/// A started program has failed.
#[derive(Debug)]
pub struct StepFailed {
    program: String,
    status: ExitStatus,
}

impl StepFailed {
    /// The exit code of the program, or 1 if a signal ended it.
    pub fn exit_code(&self) -> ExitCode {
        let code = self.status.code().and_then(|code| u8::try_from(code).ok());
        code.map_or(ExitCode::FAILURE, ExitCode::from)
    }
}

impl std::fmt::Display for StepFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` failed: {}", self.program, self.status)
    }
}

impl std::error::Error for StepFailed {}

impl Workspace {
    /// The workspace of this task runner.
    pub fn locate() -> Self {
        // Cargo sets the variable at run time too, so a repository that was moved is still found.
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.parent().map_or_else(|| package.clone(), Path::to_path_buf);
        Self { root }
    }

    /// A `cargo` command for this workspace. The working directory does not change, so that
    /// relative paths on the command line stay valid.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.arg(subcommand).arg("--manifest-path").arg(self.root.join("Cargo.toml"));
        // Cargo sets these variables to describe the package of this program. The build script of
        // `ring` runs again when one of them changes, and then everything above it is built again.
        for (name, _) in env::vars_os() {
            if is_about_a_package(&name.to_string_lossy()) {
                command.env_remove(name);
            }
        }
        command
    }

    /// The arguments of `cargo build` and `cargo test` that build no dependency of `lasnn` twice.
    ///
    /// Cargo gives a dependency all features that the selected packages ask for. Benchmarks and
    /// end-to-end tests are left out, because `criterion` and `jsonschema` would add features.
    pub const SHARED_BUILD: [&str; 6] = [
        "--profile",
        PROFILE,
        "--locked",
        "--workspace",
        "--exclude=lasnn-benches",
        "--exclude=lasnn-tests",
    ];

    /// The folder that cargo builds into.
    pub fn target(&self) -> PathBuf {
        let target = env::var_os("CARGO_TARGET_DIR");
        target.map_or_else(|| self.root.join("target"), PathBuf::from)
    }
}

/// The profile of the binary and of the tests, which is also the name of its folder in `target`.
pub const PROFILE: &str = "release";

/// Whether cargo sets this variable to tell a program about its package.
fn is_about_a_package(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
}

/// Runs a command to its end.
///
/// # Errors
///
/// [`StepFailed`] if the command ends with an exit code other than 0.
pub fn finish(mut command: Command) -> anyhow::Result<()> {
    let program = command_line(&command);
    eprintln!("$ {program}");
    let status = command.status().with_context(|| format!("cannot start `{program}`"))?;
    if status.success() { Ok(()) } else { Err(StepFailed { program, status }.into()) }
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
///
/// As [`finish`], and if the output is not UTF-8.
pub fn run_for_output(mut command: Command) -> anyhow::Result<String> {
    let program = command_line(&command);
    eprintln!("$ {program}");
    let output = command.output().with_context(|| format!("cannot start `{program}`"))?;
    if !output.status.success() {
        return Err(StepFailed { program, status: output.status }.into());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{program}` wrote no UTF-8"))
}

/// Writes a file completely or not at all, and makes its folder if it does not exist.
///
/// # Errors
///
/// If the file system refuses.
pub fn replace_file(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    fs::write(&part, text).and_then(|()| fs::rename(&part, path)).with_context(failed)
}

/// The programs in cargo's JSON messages whose target has a name that is wanted.
pub fn executables(messages: &str, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"].as_str().is_some_and(&wanted))
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect()
}

/// Replaces this program by a command, which then gets all signals and determines the exit code. So
/// an interrupted run has time to save its checkpoint; a parent process would end before it.
///
/// # Errors
///
/// If the command cannot be started. On systems other than Unix, also if it fails.
pub fn become_command(command: Command) -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        let mut command = command;
        let program = command_line(&command);
        eprintln!("$ {program}");
        Err(command.exec()).with_context(|| format!("cannot start `{program}`"))
    }
    #[cfg(not(unix))]
    finish(command)
}

/// The command as a person would type it, without the path of the manifest.
fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![program.file_stem().unwrap_or(program.as_os_str()).to_string_lossy()];
    let mut arguments = command.get_args();
    while let Some(argument) = arguments.next() {
        if argument == "--manifest-path" {
            arguments.next();
        } else {
            words.push(argument.to_string_lossy());
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_found() {
        assert!(Workspace::locate().root.join("xtask/Cargo.toml").is_file());
    }

    #[cfg(unix)]
    #[test]
    fn the_exit_code_of_a_failed_program_is_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 2"]);
        let error = finish(command).unwrap_err();
        let failed = error.downcast_ref::<StepFailed>().unwrap();
        assert_eq!(failed.status.code(), Some(2));
        assert_eq!(format!("{:?}", failed.exit_code()), format!("{:?}", ExitCode::from(2)));
    }

    #[test]
    fn a_command_is_shown_without_the_manifest() {
        let mut command = Workspace { root: "/somewhere".into() }.cargo("test");
        command.arg("--locked");
        assert_eq!(command_line(&command), "cargo test --locked");
    }
}
