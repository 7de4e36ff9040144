//! The folder of a run: `<runs>/<recipe>/<run id>/`.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};

use crate::clock;
use crate::failure::wrong;
use crate::stage::StageName;

/// Ends a run; its presence says that the run ended.
pub const SUMMARY: &str = "summary.json";

/// Is locked while a process works in the run.
const LOCK: &str = ".lock";

/// The folder of a run, held by this process until dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Whether an earlier process has worked in it.
    pub resumed: bool,
    /// Keeps a second process out. The system lets go of it however the process ends, so a killed
    /// run is never left locked.
    _lock: File,
}

impl RunDir {
    /// A new folder for a run of the recipe `name` with the given hash.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be made.
    pub fn create(runs: &Path, name: &str, hash: &str) -> anyhow::Result<Self> {
        let id = format!("{}-{}", clock::stamp(SystemTime::now()), short(hash));
        let recipe = runs.join(name);
        fs::create_dir_all(&recipe).with_context(|| format!("cannot make {}", recipe.display()))?;
        // Two runs of one recipe may begin in the same second.
        for attempt in 1..100 {
            let path = match attempt {
                1 => recipe.join(&id),
                _ => recipe.join(format!("{id}.{attempt}")),
            };
            match fs::create_dir(&path) {
                Ok(()) => return Self::hold(path, false),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make {}", path.display()));
                }
            }
        }
        bail!("cannot make a folder for the run {id} in {}", recipe.display())
    }

    /// The newest run with this hash that has not ended and that no process works in.
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

    /// The run in `path`, to go on with.
    ///
    /// # Errors
    ///
    /// Fails if it is no run with this hash, if it has ended, or if another process works in it.
    pub fn open(path: &Path, hash: &str) -> anyhow::Result<Self> {
        let shown = path.display();
        let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !path.is_dir() {
            return Err(wrong(format_args!("{shown} is no folder of a run")));
        }
        if id.split('.').next().and_then(|stem| stem.rsplit('-').next()) != Some(short(hash)) {
            return Err(wrong(format_args!(
                "{shown} is not a run of this command with this recipe, seed, backend, data and \
                 version of the program: its name should end with -{}",
                short(hash)
            )));
        }
        if path.join(SUMMARY).exists() {
            return Err(wrong(format_args!("{shown} has ended; there is nothing to resume")));
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a stage's network.
    pub fn checkpoint(&self, stage: StageName) -> PathBuf {
        self.path.join("checkpoints").join(format!("{}.safetensors", stage.name()))
    }

    /// The folder where the training of a stage keeps what it needs to go on.
    pub fn training(&self, stage: StageName) -> PathBuf {
        self.path.join("checkpoints").join(stage.name())
    }

    /// The log file.
    pub fn log(&self) -> PathBuf {
        self.path.join("log.txt")
    }

    /// Writes a file of the run.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        write_atomic(&self.path.join(name), text.as_bytes())
    }

    /// Writes the summary; with it the run has ended.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written.
    pub fn finish(&self, summary: &str) -> anyhow::Result<()> {
        self.write(SUMMARY, summary)
    }
}

/// The folders of the runs of one recipe, oldest first; none if there is no run yet.
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
    // Ids begin with the time, so the order of names is the order of time.
    runs.sort();
    Ok(runs)
}

/// Whether a process works in the run in `path`.
///
/// The lock is tried to find out, and let go of at once. It is shared with others who ask.
pub fn is_held(path: &Path) -> bool {
    let lock = File::open(path.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Writes a file so that it is there whole or not at all, whenever the power goes.
///
/// # Errors
///
/// Fails if it cannot be written.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(context)?;
    }
    // The process id keeps two runs that write the same file apart.
    let temporary = path.with_added_extension(format!("{}.tmp", std::process::id()));
    let mut file = File::create(&temporary).with_context(context)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(context)?;
    fs::rename(&temporary, path).with_context(context)
}

/// The part of a hash that run ids show.
fn short(hash: &str) -> &str {
    &hash[..hash.len().min(8)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0123456789abcdef";

    #[test]
    fn an_id_is_time_and_hash_and_never_taken_twice() {
        let runs = tempfile::tempdir().unwrap();
        let first = RunDir::create(runs.path(), "r", HASH).unwrap();
        let second = RunDir::create(runs.path(), "r", HASH).unwrap();
        assert_ne!(first.path(), second.path());
        let id = first.path().file_name().unwrap().to_str().unwrap().to_owned();
        let parts: Vec<&str> = id.split('-').collect();
        assert_eq!((parts[0].len(), parts[1].len(), parts[2]), (8, 6, "01234567"));
    }

    #[test]
    fn the_newest_run_that_has_not_ended_and_is_free_is_resumed() {
        let runs = tempfile::tempdir().unwrap();
        let find = |hash| RunDir::newest_unfinished(runs.path(), "r", hash).unwrap();
        assert!(find(HASH).is_none());
        let ended = RunDir::create(runs.path(), "r", HASH).unwrap();
        ended.finish("{}").unwrap();
        let held = RunDir::create(runs.path(), "r", HASH).unwrap();
        assert!(find(HASH).is_none(), "one has ended, one is worked in");
        let path = held.path().to_owned();
        drop(held);
        assert!(find("fedcba9876543210").is_none());
        // A process that another test starts just now holds a copy of the lock until it has become
        // its own program.
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
    fn only_an_unfinished_run_of_the_same_hash_can_be_named() {
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
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.json");
        write_atomic(&path, b"first").unwrap();
        write_atomic(&path, b"second").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
