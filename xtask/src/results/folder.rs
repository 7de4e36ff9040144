//! The folders under `results/` and their names.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// While this file is in a folder, the measurement in it is not complete.
pub const UNFINISHED: &str = "unfinished.json";

/// A folder `results/<date>-<topic>/`, which holds one run or one measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Year, month and day.
    pub date: String,
    pub topic: String,
    pub path: PathBuf,
}

impl Folder {
    /// The folder of a topic under `results`, whether it exists or not.
    pub fn new(results: &Path, date: &str, topic: &str) -> Self {
        let path = results.join(format!("{date}-{topic}"));
        Self { date: date.to_owned(), topic: topic.to_owned(), path }
    }

    pub fn name(&self) -> String {
        format!("{}-{}", self.date, self.topic)
    }

    /// Whether its measurement was cut off or still runs.
    pub fn is_unfinished(&self) -> bool {
        self.path.join(UNFINISHED).exists()
    }

    fn parse(path: &Path) -> Option<Self> {
        let (results, name) = (path.parent()?, path.file_name()?.to_str()?);
        let (date, topic) = name.split_at_checked("YYYY-MM-DD".len())?;
        let topic = topic.strip_prefix('-')?;
        (is_date(date) && is_topic(topic)).then(|| Self::new(results, date, topic))
    }
}

/// All folders under `results`, the newest first. Folders without any file do not count, since git
/// does not know them.
///
/// # Errors
///
/// If a folder is not named `<date>-<topic>` or cannot be read.
pub fn folders(results: &Path) -> anyhow::Result<Vec<Folder>> {
    if !results.is_dir() {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    for path in list(results)? {
        if !has_files(&path)? || path.is_file() {
            continue;
        }
        match Folder::parse(&path) {
            Some(folder) => folders.push(folder),
            None => bail!(
                "{} is not named <date>-<topic>, with a date like 2031-02-03 and a topic of \
                 lower-case letters, digits and hyphens",
                path.display()
            ),
        }
    }
    folders.sort_by(|a, b| b.date.cmp(&a.date).then_with(|| a.topic.cmp(&b.topic)));
    Ok(folders)
}

/// Whether a topic consists of lower-case letters, digits and hyphens.
pub fn is_topic(topic: &str) -> bool {
    !topic.is_empty()
        && topic.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn is_date(date: &str) -> bool {
    let parts: Vec<&str> = date.split('-').collect();
    let number = |part: &str, width: usize, most: u32| {
        let is_number = part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number && part.parse().is_ok_and(|number: u32| (1..=most).contains(&number))
    };
    matches!(parts[..], [year, month, day]
        if number(year, 4, 9999) && number(month, 2, 12) && number(day, 2, 31))
}

/// Whether a path is a file or contains one.
fn has_files(path: &Path) -> anyhow::Result<bool> {
    if !path.is_dir() {
        return Ok(true);
    }
    for entry in list(path)? {
        if has_files(&entry)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn list(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let failed = || format!("cannot list {}", folder.display());
    let entries = fs::read_dir(folder).with_context(failed)?;
    entries.map(|entry| Ok(entry.with_context(failed)?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_date_and_a_topic() {
        let parse = |name: &str| Folder::parse(&Path::new("results").join(name));
        let folder = parse("2031-02-03-vgg5-cpu").unwrap();
        assert_eq!(folder, Folder::new(Path::new("results"), "2031-02-03", "vgg5-cpu"));
        assert_eq!(folder.name(), "2031-02-03-vgg5-cpu");
        for name in
            ["cpu", "2031-02-03", "2031-02-03-", "2031-13-03-a", "2031-2-03-a", "2031-02-03-A"]
        {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn the_newest_folder_is_first_and_empty_folders_do_not_count() {
        let results = tempfile::tempdir().unwrap();
        for name in ["2031-02-03-b", "2031-02-03-a", "2032-01-01-b", "empty/inside"] {
            fs::create_dir_all(results.path().join(name)).unwrap();
            if !name.starts_with("empty") {
                fs::write(results.path().join(name).join("README.md"), "# A\n").unwrap();
            }
        }
        fs::write(results.path().join("README.md"), "").unwrap();
        let names = |found: Vec<Folder>| found.iter().map(Folder::name).collect::<Vec<_>>();
        let found = names(folders(results.path()).unwrap());
        assert_eq!(found, ["2032-01-01-b", "2031-02-03-a", "2031-02-03-b"]);
        fs::write(results.path().join("empty/inside/file"), "").unwrap();
        let error = folders(results.path()).unwrap_err().to_string();
        assert!(error.contains("empty is not named <date>-<topic>"), "{error}");
        assert_eq!(folders(&results.path().join("none")).unwrap(), []);
    }
}
