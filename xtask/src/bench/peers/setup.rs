//! The programs of both sides: our binary, and the peers' scripts in a Python environment.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use clap::ValueEnum;

use super::matrix::{Format, Mode};
use super::worker::Worker;
use crate::bench::environment::{Environment, build};
use crate::workspace::{Workspace, run_for_output};

/// A library for training spiking networks.
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

/// The programs of both sides.
pub struct Programs {
    /// The path of our binary.
    ours: PathBuf,
    /// The environment of the peers.
    pub peers: Environment,
}

impl Programs {
    /// Builds our binary and installs the peers.
    ///
    /// # Errors
    ///
    /// If a build or an installation fails.
    pub fn prepare(workspace: &Workspace) -> anyhow::Result<Self> {
        Ok(Self { ours: build(workspace, "snn-step")?, peers: Environment::prepare(workspace)? })
    }

    /// A command that starts our binary.
    pub fn ours(&self) -> Command {
        Command::new(&self.ours)
    }

    /// Starts our side on a case file.
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

    /// Starts a peer's side on a case file.
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
        // PyTorch's compiler writes many warnings.
        let log = self.peers.scratch.join("peer.log");
        let log = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stderr(log);
        Worker::start(&format!("{} ({setting})", peer.name()), command)
    }

    /// The settings in which a peer can run.
    ///
    /// # Errors
    ///
    /// If its script fails.
    pub fn settings(&self, peer: Peer) -> anyhow::Result<Vec<String>> {
        let mut command = self.peer(peer);
        command.arg("--list").stderr(Stdio::inherit());
        Ok(run_for_output(command)?.lines().map(str::to_owned).collect())
    }

    fn peer(&self, peer: Peer) -> Command {
        self.peers.script(&format!("{}_step.py", peer.name()))
    }
}
