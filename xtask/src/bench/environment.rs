//! The Python environment of the peers, and our binaries.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::workspace::{Workspace, executables, finish, run_for_output};

/// The Python environment in which the peers' scripts run.
pub struct Environment {
    /// The interpreter of the environment.
    python: PathBuf,
    /// The folder of the peers' scripts.
    scripts: PathBuf,
    /// A folder for case files, logs and compiled code.
    pub scratch: PathBuf,
}

impl Environment {
    /// Makes the environment if it does not exist, and installs the required packages.
    ///
    /// # Errors
    ///
    /// If an installation fails.
    pub fn prepare(workspace: &Workspace) -> anyhow::Result<Self> {
        let environment = workspace.root.join("runs/peers");
        let python = environment.join("bin/python");
        if !python.is_file() {
            let mut make = Command::new("python3");
            make.args(["-m", "venv"]).arg(&environment);
            finish(make)?;
        }
        // Does nothing, without network, if the required versions are already installed.
        let scripts = workspace.root.join("benches/peers");
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "--requirement"]);
        install.arg(scripts.join("requirements.txt"));
        finish(install)?;

        let scratch = workspace.root.join("target/bench-peers");
        fs::create_dir_all(&scratch)
            .with_context(|| format!("cannot make {}", scratch.display()))?;
        Ok(Self { python, scripts, scratch })
    }

    /// A command that runs a script under `benches/peers/`.
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(self.scripts.join(name));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        // So that a network is not compiled again with every start.
        command.env("TORCHINDUCTOR_CACHE_DIR", self.scratch.join("inductor"));
        command
    }
}

/// Builds a binary in release mode and returns its path.
///
/// # Errors
///
/// If the build fails.
pub fn build(workspace: &Workspace, name: &str) -> anyhow::Result<PathBuf> {
    let mut build = workspace.cargo("build");
    // With `--workspace`, features are the same as in other builds, and Burn is not built again.
    build.args(["--release", "--locked", "--workspace", "--bin", name]);
    build.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let messages = run_for_output(build)?;
    executables(&messages, |target| target == name)
        .pop()
        .with_context(|| format!("cargo built no binary `{name}`"))
}
