//! What has to be there before anything can be compared: our binary, and the peers in an
//! environment of their own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use clap::ValueEnum;

use super::matrix::{Format, Mode};
use super::worker::Worker;
use crate::workspace::{Workspace, executables, finish, run_for_output};

/// A library that spiking networks are trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Peer {
    /// SpikingJelly, in its multi-step mode
    Spikingjelly,
    /// snnTorch
    Snntorch,
}

impl Peer {
    pub const ALL: [Self; 2] = [Self::Spikingjelly, Self::Snntorch];

    pub fn name(self) -> &'static str {
        match self {
            Self::Spikingjelly => "spikingjelly",
            Self::Snntorch => "snntorch",
        }
    }
}

/// The programs that are started.
pub struct Programs {
    /// Our binary.
    ours: PathBuf,
    /// The interpreter that has the peers.
    python: PathBuf,
    /// The peers' scripts.
    scripts: PathBuf,
    /// Cases, logs, compiled code.
    pub scratch: PathBuf,
}

impl Programs {
    /// Builds ours, and makes the environment of the peers as their requirements say, unless it is there.
    ///
    /// # Errors
    ///
    /// If a build or an installation fails.
    pub fn prepare(workspace: &Workspace) -> anyhow::Result<Self> {
        let ours = build(workspace, "snn-step")?;

        let environment = workspace.root.join("runs/peers");
        let python = environment.join("bin/python");
        if !python.is_file() {
            let mut make = Command::new("python3");
            make.args(["-m", "venv"]).arg(&environment);
            finish(make)?;
        }
        // Says nothing and asks nobody where the versions are already right.
        let scripts = workspace.root.join("benches/peers");
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "--requirement"]);
        install.arg(scripts.join("requirements.txt"));
        finish(install)?;

        let scratch = workspace.root.join("target/bench-peers");
        fs::create_dir_all(&scratch)
            .with_context(|| format!("cannot make {}", scratch.display()))?;
        Ok(Self { ours, python, scripts, scratch })
    }

    /// Our binary.
    pub fn ours(&self) -> Command {
        Command::new(&self.ours)
    }

    /// Our side of a case.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn our_worker(
        &self,
        case: &Path,
        mode: Mode,
        format: Format,
        threads: usize,
    ) -> anyhow::Result<Worker> {
        let mut command = self.ours();
        command.arg("serve").arg("--case").arg(case).args(["--format", format.name()]);
        command.args(["--mode", mode.name(), "--threads", &threads.to_string()]);
        Worker::start("snn-step", command)
    }

    /// A peer's side of a case.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn peer_worker(
        &self,
        peer: Peer,
        setting: &str,
        case: &Path,
        mode: Mode,
        threads: usize,
    ) -> anyhow::Result<Worker> {
        let mut command = self.peer(peer);
        command.arg("--case").arg(case);
        command.args(["--mode", mode.name(), "--threads", &threads.to_string()]);
        command.args(["--setting", setting]);
        // PyTorch's compiler warns at length.
        let log = self.scratch.join("peer.log");
        let log = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stderr(log);
        Worker::start(&format!("{} ({setting})", peer.name()), command)
    }

    /// The settings that a peer can run in.
    ///
    /// # Errors
    ///
    /// If its script fails.
    pub fn settings(&self, peer: Peer) -> anyhow::Result<Vec<String>> {
        let mut command = self.peer(peer);
        command.arg("--list").stderr(Stdio::inherit());
        Ok(run_for_output(command)?.lines().map(str::to_owned).collect())
    }

    /// A script under `benches/peers/`.
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(self.scripts.join(name));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        // Compiled once, not in every start.
        command.env("TORCHINDUCTOR_CACHE_DIR", self.scratch.join("inductor"));
        command
    }

    fn peer(&self, peer: Peer) -> Command {
        self.script(&format!("{}_step.py", peer.name()))
    }
}

/// Builds a binary in release mode and gives its path.
///
/// # Errors
///
/// If the build fails.
pub fn build(workspace: &Workspace, name: &str) -> anyhow::Result<PathBuf> {
    let mut build = workspace.cargo("build");
    // The whole workspace's features, or Burn would be built twice.
    build.args(["--release", "--locked", "--workspace", "--bin", name]);
    build.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let messages = run_for_output(build)?;
    executables(&messages, |target| target == name)
        .pop()
        .with_context(|| format!("cargo built no binary `{name}`"))
}
