//! `cargo xtask results`: the index of the folders under `results/`.
//!
//! Each folder holds one run or one measurement and is never rewritten, so the index is the only
//! file there that changes.

mod folder;
mod index;
mod speed;

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

pub use self::folder::{Folder, UNFINISHED, folders, is_topic};
use crate::workspace::{Workspace, replace_file};

#[derive(clap::Args)]
pub struct ResultsArguments {
    /// Write nothing, and fail if the index is out of date
    #[arg(long)]
    check: bool,
}

pub fn results(workspace: &Workspace, arguments: &ResultsArguments) -> anyhow::Result<()> {
    let results = workspace.root.join("results");
    if arguments.check {
        return check(&results);
    }
    let path = results.join("README.md");
    replace_file(&path, &text(&results)?)?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

/// Compares the index with what would be written.
///
/// # Errors
///
/// If they differ, or a folder under `results` has a wrong name or no README.md.
pub fn check(results: &Path) -> anyhow::Result<()> {
    let path = results.join("README.md");
    let found = fs::read_to_string(&path).with_context(|| {
        format!("cannot read {}; `cargo xtask results` writes it", path.display())
    })?;
    let expected = text(results)?;
    let mut lines = found.lines().zip(expected.lines()).zip(1..);
    let differing = match lines.find(|((found, expected), _)| found != expected) {
        Some((_, line)) => line,
        None if found == expected => return Ok(()),
        None => 1 + found.lines().count().min(expected.lines().count()),
    };
    bail!("{}:{differing} is out of date; `cargo xtask results` writes it", path.display())
}

/// The index. Folders whose measurement is not complete are left out.
fn text(results: &Path) -> anyhow::Result<String> {
    let (unfinished, finished): (Vec<_>, Vec<_>) =
        folders(results)?.into_iter().partition(Folder::is_unfinished);
    for folder in unfinished {
        eprintln!("note: {} is not complete and not in the index", folder.path.display());
    }
    Ok(index::text(&finished)? + &speed::text(&finished)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(results: &Path, name: &str) {
        let folder = results.join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("README.md"), "# Title\n\nA sentence.\n").unwrap();
    }

    #[test]
    fn an_index_that_is_missing_or_out_of_date_fails_the_check() {
        let root = tempfile::tempdir().unwrap();
        let workspace = Workspace { root: root.path().into() };
        let path = root.path().join("results");
        folder(&path, "2031-02-03-a");
        let error = format!("{:#}", check(&path).unwrap_err());
        assert!(error.contains("cargo xtask results"), "{error}");
        results(&workspace, &ResultsArguments { check: false }).unwrap();
        results(&workspace, &ResultsArguments { check: true }).unwrap();

        folder(&path, "2031-02-04-a");
        let error = check(&path).unwrap_err().to_string();
        assert!(error.contains("README.md:") && error.contains("out of date"), "{error}");
        results(&workspace, &ResultsArguments { check: false }).unwrap();
        check(&path).unwrap();
        let index = path.join("README.md");
        fs::write(&index, fs::read_to_string(&index).unwrap() + "more\n").unwrap();
        assert!(check(&path).is_err());
    }

    #[test]
    fn an_unfinished_measurement_is_not_in_the_index() {
        let results = tempfile::tempdir().unwrap();
        folder(results.path(), "2031-02-03-a");
        let before = text(results.path()).unwrap();
        folder(results.path(), "2031-02-04-a");
        fs::write(results.path().join("2031-02-04-a").join(UNFINISHED), "{}").unwrap();
        assert_eq!(text(results.path()).unwrap(), before);
    }
}
