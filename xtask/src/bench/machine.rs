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
        let memory = field("/proc/meminfo", "MemTotal").and_then(|text| {
            let kib: u64 = text.split_whitespace().next()?.parse().ok()?;
            Some((kib as f64 / f64::from(1 << 20)).round() as u64)
        });
        Ok(Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            cores: cores(),
            memory_gib: memory.unwrap_or_default(),
            date: run_for_output(date)?.trim().to_owned(),
            commit: commit(workspace),
        })
    }
}

/// The commit, and whether anything differs from it but results, which a comparison writes itself.
fn commit(workspace: &Workspace) -> String {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(&workspace.root).args(arguments);
        run_for_output(command).map(|text| text.trim().to_owned())
    };
    // Not every copy of the sources is a repository.
    let Ok(commit) = git(&["rev-parse", "--short=7", "HEAD"]) else { return "unknown".into() };
    match git(&["status", "--porcelain", "--", ".", ":(exclude)results"]) {
        Ok(changes) if changes.is_empty() => commit,
        _ => format!("{commit}, with changes"),
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
