//! Where the repository is, and how its programs are started.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::Context;

/// The repository.
pub struct Workspace {
    /// Its root folder.
    pub root: PathBuf,
}

/// A program that was started and said that it failed.
#[derive(Debug)]
pub struct StepFailed {
    program: String,
    status: ExitStatus,
}

impl StepFailed {
    /// The program's own exit code, or 1 where a signal ended it.
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
    /// The workspace that this task runner was started in.
    pub fn locate() -> Self {
        // Cargo sets the variable at run time too, which stays right in a checkout that was moved.
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.parent().map_or_else(|| package.clone(), Path::to_path_buf);
        Self { root }
    }

    /// A `cargo` command for this workspace. The caller's working directory stays, so that paths
    /// on the command line mean what they say.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.arg(subcommand).arg("--manifest-path").arg(self.root.join("Cargo.toml"));
        command
    }
}

/// Runs a command to its end.
///
/// # Errors
///
/// [`StepFailed`] where the command ends with another exit code than 0.
pub fn finish(mut command: Command) -> anyhow::Result<()> {
    let program = shown(&command);
    eprintln!("$ {program}");
    let status = command.status().with_context(|| format!("cannot start `{program}`"))?;
    if status.success() { Ok(()) } else { Err(StepFailed { program, status }.into()) }
}

/// Runs a command to its end and gives what it wrote to its standard output.
///
/// # Errors
///
/// As [`finish`], and where the output is not text.
pub fn run_for_output(mut command: Command) -> anyhow::Result<String> {
    let program = shown(&command);
    eprintln!("$ {program}");
    let output = command.output().with_context(|| format!("cannot start `{program}`"))?;
    if !output.status.success() {
        return Err(StepFailed { program, status: output.status }.into());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{program}` wrote no UTF-8"))
}

/// Writes a file as a whole or not at all, and the folder that it is in.
///
/// # Errors
///
/// Where the file system refuses.
pub fn replace_file(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    fs::write(&part, text).and_then(|()| fs::rename(&part, path)).with_context(failed)
}

/// The programs in cargo's JSON messages whose target has a wanted name.
pub fn executables(messages: &str, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"].as_str().is_some_and(&wanted))
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect()
}

/// Lets a command take this program's place, so that signals and the exit code are its own: an
/// interrupted run must be able to save its checkpoint after its caller would have been gone.
///
/// # Errors
///
/// Where the command cannot be started; elsewhere than on Unix, also where it fails.
pub fn become_command(command: Command) -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        let mut command = command;
        let program = shown(&command);
        eprintln!("$ {program}");
        Err(command.exec()).with_context(|| format!("cannot start `{program}`"))
    }
    #[cfg(not(unix))]
    finish(command)
}

/// The command as one would type it, with the manifest's path left out.
fn shown(command: &Command) -> String {
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
    fn a_failed_program_hands_its_exit_code_on() {
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
        assert_eq!(shown(&command), "cargo test --locked");
    }
}
