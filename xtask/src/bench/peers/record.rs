//! The folder of a campaign: its rows, and how far it got.
//!
//! A campaign takes an hour or more, so every comparison is written as soon as it is complete. As
//! long as the folder holds `unfinished.json`, the same command at the same commit continues it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::campaign::{Outcome, Refused};
use super::matrix::Format;
use super::row::Row;
use super::table;
use crate::bench::destination::{Destination, DestinationArguments};
use crate::bench::machine::Machine;
use crate::results::{UNFINISHED, folders};
use crate::workspace::replace_file;

const TOPIC: &str = "peers";
const ROWS: &str = "peers.json";

/// What must be equal for a campaign to be continued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The commit that is measured.
    pub commit: String,
    /// The kind of machine.
    pub machine: String,
    /// The command, without the names of files.
    pub command: String,
    /// The trained student.
    pub checkpoint: Option<PathBuf>,
}

/// What `unfinished.json` holds.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    identity: Identity,
    /// The names of the comparisons that are complete.
    complete: Vec<String>,
    refused: Vec<Refused>,
}

/// The record of a campaign.
#[derive(Debug)]
pub struct Record {
    destination: Destination,
    /// The machine, with the date on which the campaign began.
    machine: Machine,
    state: State,
    rows: Vec<Row>,
    /// Whether the folder is this campaign's already.
    has_folder: bool,
}

impl Record {
    /// Continues the unfinished campaign of the same identity, or begins a new one. A new folder is
    /// made with the first comparison.
    ///
    /// # Errors
    ///
    /// If the sources are not committed, or the folder of today holds another campaign.
    pub fn begin(
        root: &Path,
        arguments: &DestinationArguments,
        machine: &Machine,
        identity: Identity,
    ) -> anyhow::Result<Self> {
        arguments.require_commit(machine)?;
        if !arguments.scratch
            && let Some(record) = resume(root, &arguments.topic(TOPIC)?, machine, &identity)?
        {
            return Ok(record);
        }
        Ok(Self {
            destination: arguments.new_folder(root, TOPIC, machine)?,
            machine: machine.clone(),
            state: State { identity, complete: Vec::new(), refused: Vec::new() },
            rows: Vec::new(),
            has_folder: false,
        })
    }

    pub fn is_complete(&self, comparison: &str) -> bool {
        self.state.complete.iter().any(|complete| complete == comparison)
    }

    /// Writes what a comparison found.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn add(&mut self, comparison: &str, outcomes: Vec<Outcome>) -> anyhow::Result<()> {
        for outcome in outcomes {
            match outcome {
                Outcome::Row(row) => {
                    eprintln!("    {}", row.summary());
                    // The campaign may have been cut off between two files.
                    self.rows.retain(|old| !row.measures_same_as(old));
                    self.rows.push(*row);
                }
                Outcome::Refused(refused) => {
                    eprintln!("    not compared: {}", refused.reason);
                    self.state.refused.retain(|old| *old != refused);
                    self.state.refused.push(refused);
                }
            }
        }
        if !self.has_folder {
            self.destination.create()?;
            self.has_folder = true;
            self.write_state()?;
        }
        let readme = self.readme();
        replace_file(&self.path(ROWS), &(serde_json::to_string_pretty(&self.rows)? + "\n"))?;
        replace_file(&self.path("README.md"), &readme)?;
        self.state.complete.push(comparison.to_owned());
        self.write_state()
    }

    /// Declares the campaign complete.
    ///
    /// # Errors
    ///
    /// If the two sides of a comparison computed different results with the same numbers.
    pub fn finish(self) -> anyhow::Result<()> {
        let state = self.path(UNFINISHED);
        fs::remove_file(&state).with_context(|| format!("cannot remove {}", state.display()))?;
        eprintln!("wrote {}", self.path("README.md").display());
        // Rounded weights make another network, which may give other results.
        let wrong = self.state.refused.iter().filter(|refused| refused.format == Format::F32);
        let wrong: Vec<&str> = wrong.map(|refused| refused.reason.as_str()).collect();
        ensure!(wrong.is_empty(), "the two sides compute different results: {}", wrong.join("; "));
        Ok(())
    }

    fn readme(&self) -> String {
        let command = &self.state.identity.command;
        table::readme(&self.rows, &self.state.refused, &self.machine, command)
    }

    fn write_state(&self) -> anyhow::Result<()> {
        let state = serde_json::to_string_pretty(&self.state)? + "\n";
        replace_file(&self.path(UNFINISHED), &state)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.destination.path.join(name)
    }
}

/// The newest unfinished campaign of the same identity.
fn resume(
    root: &Path,
    topic: &str,
    machine: &Machine,
    identity: &Identity,
) -> anyhow::Result<Option<Record>> {
    for folder in folders(&root.join("results"))? {
        if folder.topic != topic || !folder.is_unfinished() {
            continue;
        }
        let state: State = read(&folder.path.join(UNFINISHED))?;
        if state.identity != *identity {
            continue;
        }
        let rows = folder.path.join(ROWS);
        let rows = if rows.is_file() { read(&rows)? } else { Vec::new() };
        eprintln!("continues {}", folder.path.display());
        return Ok(Some(Record {
            destination: Destination::resumed(&folder),
            machine: Machine { date: folder.date, ..machine.clone() },
            state,
            rows,
            has_folder: true,
        }));
    }
    Ok(None)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let failed = || format!("cannot read {}", path.display());
    let text = fs::read_to_string(path).with_context(failed)?;
    serde_json::from_str(&text).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::machine::tests::machine;
    use crate::bench::peers::row::tests::row;

    fn identity() -> Identity {
        Identity {
            commit: "0123456".into(),
            machine: "Abacus 9, 2 cores".into(),
            command: "cargo xtask bench peers".into(),
            checkpoint: None,
        }
    }

    fn begin(root: &Path, date: &str, identity: Identity) -> anyhow::Result<Record> {
        let machine = Machine { date: date.into(), ..machine() };
        Record::begin(root, &DestinationArguments::default(), &machine, identity)
    }

    fn outcome() -> Vec<Outcome> {
        vec![Outcome::Row(Box::new(row()))]
    }

    fn refused(format: Format) -> Vec<Outcome> {
        vec![Outcome::Refused(Refused { reason: "spikes differ".into(), format })]
    }

    #[test]
    fn a_campaign_that_was_cut_off_is_continued() {
        let root = tempfile::tempdir().unwrap();
        let mut record = begin(root.path(), "2031-02-03", identity()).unwrap();
        record.add("first", outcome()).unwrap();
        drop(record);

        // Even after midnight.
        let mut record = begin(root.path(), "2031-02-04", identity()).unwrap();
        assert!(record.is_complete("first") && !record.is_complete("second"));
        assert_eq!(record.rows, [row()]);
        let other = Row { peer: "spikingjelly".into(), ..row() };
        record.add("second", vec![Outcome::Row(Box::new(other.clone()))]).unwrap();
        record.finish().unwrap();
        let folder = root.path().join("results/2031-02-03-peers");
        let rows: Vec<Row> = read(&folder.join(ROWS)).unwrap();
        assert_eq!(rows, [row(), other]);
        assert!(!folder.join(UNFINISHED).exists());
        let readme = fs::read_to_string(folder.join("README.md")).unwrap();
        assert!(readme.contains("2031-02-03, commit 0123456"), "{readme}");

        let error = begin(root.path(), "2031-02-03", identity()).unwrap_err().to_string();
        assert!(error.contains("results/2031-02-03-peers"), "{error}");
    }

    #[test]
    fn a_campaign_of_another_commit_command_or_student_is_not_continued() {
        let root = tempfile::tempdir().unwrap();
        begin(root.path(), "2031-02-03", identity()).unwrap().add("first", outcome()).unwrap();
        for other in [
            Identity { commit: "abcdef0".into(), ..identity() },
            Identity { machine: "Abacus 10, 2 cores".into(), ..identity() },
            Identity { command: "cargo xtask bench peers --quick".into(), ..identity() },
            Identity { checkpoint: Some("student.safetensors".into()), ..identity() },
        ] {
            let error = begin(root.path(), "2031-02-03", other.clone()).unwrap_err().to_string();
            assert!(error.contains("2031-02-03-peers holds an unfinished"), "{error}");
            assert!(!begin(root.path(), "2031-02-04", other).unwrap().is_complete("first"));
        }
    }

    #[test]
    fn a_row_that_is_measured_again_takes_the_place_of_the_old_one() {
        let root = tempfile::tempdir().unwrap();
        let mut record = begin(root.path(), "2031-02-03", identity()).unwrap();
        record.add("first", outcome()).unwrap();
        record.add("first", vec![Outcome::Row(Box::new(Row { ours_ms: 9.0, ..row() }))]).unwrap();
        assert_eq!(record.rows, [Row { ours_ms: 9.0, ..row() }]);
    }

    #[test]
    fn other_results_with_the_same_numbers_are_an_error_in_the_end() {
        for (format, is_error) in [(Format::F32, true), (Format::Int12, false)] {
            let root = tempfile::tempdir().unwrap();
            let mut record = begin(root.path(), "2031-02-03", identity()).unwrap();
            record.add("first", refused(format)).unwrap();
            // What was refused before an interruption counts.
            let record = begin(root.path(), "2031-02-03", identity()).unwrap();
            let readme = fs::read_to_string(record.path("README.md")).unwrap();
            assert!(readme.contains("spikes differ"), "{readme}");
            assert_eq!(record.finish().is_err(), is_error);
        }
    }

    #[test]
    fn a_scratch_campaign_begins_anew() {
        let root = tempfile::tempdir().unwrap();
        let begin = || {
            let arguments = DestinationArguments { scratch: true, suffix: None };
            let machine = Machine { is_clean: false, ..machine() };
            Record::begin(root.path(), &arguments, &machine, identity()).unwrap()
        };
        begin().add("first", outcome()).unwrap();
        assert!(root.path().join("runs/scratch-peers/peers.json").is_file());
        let mut record = begin();
        assert!(!record.is_complete("first"));
        record.add("second", refused(Format::Int12)).unwrap();
        assert_eq!(read::<Vec<Row>>(&record.path(ROWS)).unwrap(), []);
        record.finish().unwrap();
    }
}
