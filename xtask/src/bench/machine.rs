//! What was measured on, and of what.

use std::fs;
use std::process::Command;

use crate::workspace::{Workspace, run_for_output};

/// What a reader must know to compare with another table.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The processor as it calls itself.
    pub processor: String,
    /// How many cores the operating system shows.
    pub cores: usize,
    /// Memory.
    pub memory_gib: u64,
    /// Year, month and day.
    pub date: String,
    /// The commit of ours, with a mark where files differ from it.
    pub commit: String,
}

impl Machine {
    /// This machine, now.
    ///
    /// # Errors
    ///
    /// If the clock cannot be asked.
    pub fn here(workspace: &Workspace) -> anyhow::Result<Self> {
        let mut date = Command::new("date");
        date.args(["--utc", "+%Y-%m-%d"]);
        let mut commit = Command::new("git");
        commit.arg("-C").arg(&workspace.root);
        commit.args([
            "describe",
            "--always",
            "--exclude=*",
            "--abbrev=7",
            "--dirty=, with changes",
        ]);
        let memory = field("/proc/meminfo", "MemTotal").and_then(|text| {
            let kib: u64 = text.split_whitespace().next()?.parse().ok()?;
            Some((kib as f64 / f64::from(1 << 20)).round() as u64)
        });
        Ok(Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            cores: cores(),
            memory_gib: memory.unwrap_or_default(),
            date: run_for_output(date)?.trim().to_owned(),
            // Not every copy of the sources is a repository.
            commit: run_for_output(commit).map_or("unknown".into(), |text| text.trim().to_owned()),
        })
    }
}

/// How many threads run at once.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The value of a line `name : value`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
