//! The folder that a measurement is written to.
//!
//! A folder under `results/` holds one measurement of one commit, and none is ever rewritten.
//! Everything else goes to a folder under `runs/`, which git ignores and the next one replaces.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::machine::Machine;
use crate::results::{Folder, is_topic};

#[derive(clap::Args, Clone, Debug, Default)]
pub struct DestinationArguments {
    /// Write to a folder under runs/ instead of results/, which takes only committed sources
    #[arg(long)]
    pub scratch: bool,
    /// Append a word to the folder's name, for a second measurement on the same day
    #[arg(long, value_name = "WORD", conflicts_with = "scratch")]
    pub suffix: Option<String>,
}

/// A folder that does not exist yet, or may be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub path: PathBuf,
    is_scratch: bool,
}

impl DestinationArguments {
    /// `topic` with the suffix.
    ///
    /// # Errors
    ///
    /// If a folder cannot have this name.
    pub fn topic(&self, topic: &str) -> anyhow::Result<String> {
        let Some(suffix) = &self.suffix else { return Ok(topic.to_owned()) };
        ensure!(
            is_topic(suffix),
            "--suffix is `{suffix}`, expected lower-case letters, digits and hyphens"
        );
        Ok(format!("{topic}-{suffix}"))
    }

    /// Where a new measurement of `topic` goes: `results/<date>-<topic>`, or a folder under `runs`.
    ///
    /// # Errors
    ///
    /// For a folder under `results`, if it exists or the sources are not committed.
    pub fn new_folder(
        &self,
        root: &Path,
        topic: &str,
        machine: &Machine,
    ) -> anyhow::Result<Destination> {
        if self.scratch {
            let path = root.join("runs").join(format!("scratch-{topic}"));
            return Ok(Destination { path, is_scratch: true });
        }
        self.require_commit(machine)?;
        let folder = Folder::new(&root.join("results"), &machine.date, &self.topic(topic)?);
        if folder.path.exists() {
            let state = if folder.is_unfinished() {
                "holds an unfinished measurement with another commit or command"
            } else {
                "holds a measurement, and results are never rewritten"
            };
            bail!("{} {state}; remove it or name another with --suffix", folder.path.display());
        }
        Ok(Destination { path: folder.path, is_scratch: false })
    }

    /// Refuses to measure changed sources, except for a scratch folder.
    ///
    /// # Errors
    ///
    /// If the sources are not committed.
    pub fn require_commit(&self, machine: &Machine) -> anyhow::Result<()> {
        ensure!(
            self.scratch || machine.is_clean,
            "the sources are not committed ({}), so the measurement could not be repeated; \
             commit them, or use --scratch to write under runs/",
            machine.commit
        );
        Ok(())
    }
}

impl Destination {
    /// A folder whose measurement is continued.
    pub fn resumed(folder: &Folder) -> Self {
        Self { path: folder.path.clone(), is_scratch: false }
    }

    /// Makes the folder, and empties it where it may be replaced.
    ///
    /// # Errors
    ///
    /// If it exists and may not be replaced, or the file system refuses.
    pub fn create(&self) -> anyhow::Result<()> {
        let failed = || format!("cannot make {}", self.path.display());
        if self.is_scratch && self.path.exists() {
            fs::remove_dir_all(&self.path).with_context(failed)?;
        }
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent).with_context(failed)?;
        }
        fs::create_dir(&self.path).with_context(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::machine::tests::machine;
    use crate::results::UNFINISHED;

    #[test]
    fn a_measurement_gets_a_folder_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let new = |arguments: &DestinationArguments| {
            arguments.new_folder(root.path(), "peers", &machine())
        };
        let today = DestinationArguments::default();
        let folder = new(&today).unwrap();
        assert_eq!(folder.path, root.path().join("results/2031-02-03-peers"));
        folder.create().unwrap();
        assert!(folder.create().is_err());
        let error = new(&today).unwrap_err().to_string();
        assert!(error.contains("2031-02-03-peers holds a measurement"), "{error}");
        fs::write(folder.path.join(UNFINISHED), "").unwrap();
        let error = new(&today).unwrap_err().to_string();
        assert!(error.contains("2031-02-03-peers holds an unfinished"), "{error}");

        let second = DestinationArguments { suffix: Some("vgg5".into()), ..today.clone() };
        assert!(new(&second).unwrap().path.ends_with("2031-02-03-peers-vgg5"));
        let wrong = DestinationArguments { suffix: Some("../up".into()), ..today };
        assert!(new(&wrong).unwrap_err().to_string().contains("`../up`"));
    }

    #[test]
    fn changed_sources_are_measured_only_under_runs() {
        let root = tempfile::tempdir().unwrap();
        let changed =
            Machine { commit: "0123456, with changes".into(), is_clean: false, ..machine() };
        let results = DestinationArguments::default();
        let error = results.new_folder(root.path(), "peers", &changed).unwrap_err().to_string();
        assert!(error.contains("0123456, with changes") && error.contains("--scratch"), "{error}");
        let scratch = DestinationArguments { scratch: true, suffix: None };
        let folder = scratch.new_folder(root.path(), "peers", &changed).unwrap();
        assert_eq!(folder.path, root.path().join("runs/scratch-peers"));
        folder.create().unwrap();
        fs::write(folder.path.join("old"), "").unwrap();
        folder.create().unwrap();
        assert!(!folder.path.join("old").exists());
    }
}
