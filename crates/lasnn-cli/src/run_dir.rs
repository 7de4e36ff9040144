//! The folder of a run: `<runs>/<recipe>/<run id>/`.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};

use crate::clock;
use crate::failure::invalid_input;
use crate::stage::StageName;

/// The file that is written last. A run that has it is complete.
pub const SUMMARY: &str = "summary.json";

/// The file that a process locks while it works in the run.
const LOCK: &str = ".lock";

/// The folder of a run. This process holds its lock until the value is dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Whether an earlier process has worked in the folder.
    pub resumed: bool,
    /// Keeps other processes out. The system releases the lock when the process ends, even if it is
    /// killed.
    _lock: File,
}

impl RunDir {
    /// Creates a folder for a run of the recipe `name`. Its id ends with the beginning of `hash`.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be created.
    pub fn create(runs: &Path, name: &str, hash: &str) -> anyhow::Result<Self> {
        let id = format!("{}-{}", clock::stamp(SystemTime::now()), short(hash));
        let recipe = runs.join(name);
        fs::create_dir_all(&recipe)
            .with_context(|| format!("cannot create {}", recipe.display()))?;
        // Several runs of one recipe may begin in the same second.
        for attempt in 1..100 {
            let path = match attempt {
                1 => recipe.join(&id),
                _ => recipe.join(format!("{id}.{attempt}")),
            };
            match fs::create_dir(&path) {
                Ok(()) => return Self::hold(path, false),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot create {}", path.display()));
                }
            }
        }
        bail!("cannot create a folder for the run {id} in {}", recipe.display())
    }

    /// The newest run with this hash that is not complete and that no process works in.
    ///
    /// # Errors
    ///
    /// Fails if a folder cannot be read.
    pub fn newest_unfinished(runs: &Path, name: &str, hash: &str) -> anyhow::Result<Option<Self>> {
        let suffix = format!("-{}", short(hash));
        for path in list(&runs.join(name))?.into_iter().rev() {
            let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let stem = id.split('.').next().unwrap_or_default();
            let unfinished = stem.ends_with(&suffix) && !path.join(SUMMARY).exists();
            if unfinished && let Ok(run) = Self::hold(path, true) {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    /// Opens the run in `path` to continue it.
    ///
    /// # Errors
    ///
    /// Fails if the folder is no run with this hash, if the run is complete, or if another process
    /// works in it.
    pub fn open(path: &Path, hash: &str) -> anyhow::Result<Self> {
        let shown = path.display();
        let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !path.is_dir() {
            return Err(invalid_input(format_args!("{shown} is not the folder of a run")));
        }
        if id.split('.').next().and_then(|stem| stem.rsplit('-').next()) != Some(short(hash)) {
            return Err(invalid_input(format_args!(
                "{shown} is not a run of this command with this recipe, seed, backend, data and \
                 version of the program: its name should end with -{}",
                short(hash)
            )));
        }
        if path.join(SUMMARY).exists() {
            return Err(invalid_input(format_args!(
                "{shown} has ended; there is nothing to resume"
            )));
        }
        Self::hold(path.into(), true)
    }

    fn hold(path: PathBuf, resumed: bool) -> anyhow::Result<Self> {
        let lock = path.join(LOCK);
        let context = || format!("cannot lock {}", lock.display());
        let file = File::create(&lock).with_context(context)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, resumed, _lock: file }),
            Err(TryLockError::WouldBlock) => {
                bail!("another process works in {}", path.display())
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(context),
        }
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checkpoint file of a finished stage.
    pub fn checkpoint(&self, stage: &StageName) -> PathBuf {
        self.path.join("checkpoints").join(format!("{stage}.safetensors"))
    }

    /// The folder where the training of a stage saves its state.
    pub fn training(&self, stage: &StageName) -> PathBuf {
        self.path.join("checkpoints").join(stage.as_str())
    }

    /// The log file.
    pub fn log(&self) -> PathBuf {
        self.path.join("log.txt")
    }

    /// Writes a file into the folder.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        write_atomic(&self.path.join(name), text.as_bytes())
    }

    /// Writes the summary, which completes the run.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn finish(&self, summary: &str) -> anyhow::Result<()> {
        self.write(SUMMARY, summary)
    }
}

/// The folders of the runs of one recipe, from the oldest to the newest. The list is empty if
/// there are no runs.
///
/// # Errors
///
/// Fails if the folder cannot be read.
pub fn list(recipe: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let context = || format!("cannot read {}", recipe.display());
    let entries = match fs::read_dir(recipe) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(context),
    };
    let mut runs = Vec::new();
    for entry in entries {
        let path = entry.with_context(context)?.path();
        if path.is_dir() {
            runs.push(path);
        }
    }
    // Ids begin with the time, so sorting by name sorts by time.
    runs.sort();
    Ok(runs)
}

/// Whether a process works in the run in `path`.
///
/// The function takes a shared lock and releases it at once, so two callers do not disturb each
/// other.
pub fn is_held(path: &Path) -> bool {
    let lock = File::open(path.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Writes a file so that it is complete or absent, even if the power fails.
///
/// # Errors
///
/// Fails if the file cannot be written.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(context)?;
    }
    // Two runs may write the same file at the same time; the process id separates them.
    let temporary = path.with_added_extension(format!("{}.tmp", std::process::id()));
    let mut file = File::create(&temporary).with_context(context)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(context)?;
    fs::rename(&temporary, path).with_context(context)
}

/// The part of a hash that is in a run id.
fn short(hash: &str) -> &str {
    &hash[..hash.len().min(8)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0123456789abcdef";

    #[test]
    fn an_id_is_time_and_hash_and_is_unique() {
        let runs = tempfile::tempdir().unwrap();
        let first = RunDir::create(runs.path(), "r", HASH).unwrap();
        let second = RunDir::create(runs.path(), "r", HASH).unwrap();
        assert_ne!(first.path(), second.path());
        let id = first.path().file_name().unwrap().to_str().unwrap().to_owned();
        let parts: Vec<&str> = id.split('-').collect();
        assert_eq!((parts[0].len(), parts[1].len(), parts[2]), (8, 6, "01234567"));
    }

    #[test]
    fn the_newest_unfinished_and_unlocked_run_is_resumed() {
        let runs = tempfile::tempdir().unwrap();
        let find = |hash| RunDir::newest_unfinished(runs.path(), "r", hash).unwrap();
        assert!(find(HASH).is_none());
        let ended = RunDir::create(runs.path(), "r", HASH).unwrap();
        ended.finish("{}").unwrap();
        let held = RunDir::create(runs.path(), "r", HASH).unwrap();
        assert!(find(HASH).is_none(), "one is complete, one is locked");
        let path = held.path().to_owned();
        drop(held);
        assert!(find("fedcba9876543210").is_none());
        // A process that another test has just forked holds a copy of the lock until it calls
        // `exec`.
        let wait = || std::thread::sleep(std::time::Duration::from_millis(10));
        let resumed = (0..100)
            .find_map(|_| {
                find(HASH).or_else(|| {
                    wait();
                    None
                })
            })
            .unwrap();
        assert_eq!(resumed.path(), path);
        assert!(resumed.resumed);
    }

    #[test]
    fn only_an_unfinished_run_with_the_same_hash_can_be_opened() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), "r", HASH).unwrap();
        let path = run.path().to_owned();
        let message = |hash| RunDir::open(&path, hash).unwrap_err().to_string();
        assert!(message(HASH).contains("another process works in"));
        assert!(is_held(&path));
        assert!(message("ffffffffffffffff").contains("should end with -ffffffff"));
        run.finish("{}").unwrap();
        drop(run);
        assert!(message(HASH).contains("has ended"));
    }

    #[test]
    fn a_file_is_replaced_and_no_temporary_file_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.json");
        write_atomic(&path, b"first").unwrap();
        write_atomic(&path, b"second").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
