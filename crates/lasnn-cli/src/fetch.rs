//! Getting data sets: by a command of their own, or before a run that misses one.

use std::ops::ControlFlow;
use std::path::Path;

use lasnn_datasets::fetch::{self, Event, FetchError, Fetched, Options};
use lasnn_datasets::{DatasetError, RemoteFiles, Source};

use crate::args::{Global, Missing};
use crate::failure::{quoted, wrong};
use crate::progress::{Bar, Progress};
use crate::signals::{self, Interrupted};

/// A data set, or a part of it, is not where it is looked for, and a command gets it.
#[derive(Debug, thiserror::Error)]
#[error("data set `{}` {found} get it with `{command}`", remote.name)]
pub struct NotThere {
    remote: &'static RemoteFiles<'static>,
    found: String,
    command: String,
    source: DatasetError,
}

/// The error of a data set that is missing, with the command that gets it if there is one.
pub fn not_there(source: DatasetError, name: &str, data_dir: &Path) -> anyhow::Error {
    let remote = Source::named(name).and_then(|source| source.remote());
    let Some(remote) = remote else { return source.into() };
    let folder = data_dir.join(remote.folder);
    // What is there is never replaced, so the command alone would not help.
    let found = match folder.symlink_metadata() {
        Ok(_) => format!("is not whole in {}; remove or rename that, then", folder.display()),
        Err(_) => format!("is not in {};", data_dir.display()),
    };
    let command =
        format!("lasnn data fetch {name} --data-dir {}", quoted(&data_dir.to_string_lossy()));
    NotThere { remote, found, command, source }.into()
}

/// Reads images; if they are missing and that is asked for, gets them and reads them then.
///
/// # Errors
///
/// Fails as `read` and [`get`] do.
pub fn or_get<T>(
    missing: &Missing,
    global: &Global,
    read: impl Fn() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let error = match read() {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    match error.downcast_ref::<NotThere>() {
        Some(NotThere { remote, .. }) if missing.fetch => {
            get(remote, missing.mirror.as_deref(), global)?;
            read()
        }
        _ => Err(error),
    }
}

/// Gets a data set, from its official address or from a mirror, and shows how far it is.
///
/// # Errors
///
/// Fails if it cannot be had, or if a signal comes.
pub fn get(
    remote: &RemoteFiles<'_>,
    mirror: Option<&str>,
    global: &Global,
) -> anyhow::Result<Fetched> {
    let progress = Progress::new(global.quiet);
    let mut shown = Shown { progress: &progress, bar: None, line: String::new() };
    let options = Options { mirror, sleep: &signals::sleep, ..Options::default() };
    let fetched = fetch::fetch(remote, &global.data_dir(), &options, &mut shown);
    fetched.map_err(|error| match error {
        FetchError::Mirror { .. } => wrong(error),
        FetchError::Stopped => Interrupted.into(),
        other => other.into(),
    })
}

/// Shows a fetch to a user: a line for each thing that begins, and a bar for how far it is.
struct Shown<'a> {
    progress: &'a Progress,
    bar: Option<Bar>,
    /// The last line.
    line: String,
}

impl Shown<'_> {
    /// Says something once.
    fn say(&mut self, line: String) -> bool {
        let new = self.line != line;
        if new {
            self.progress.say(&line);
            self.line = line;
        }
        new
    }

    /// Says what goes on and shows how far it is.
    fn at(&mut self, line: String, file: &str, done: u64, total: u64) {
        if self.say(line) {
            // The old one goes before the new one comes.
            self.bar = None;
            self.bar = Some(self.progress.bar(file, total));
        }
        if let Some(bar) = &self.bar {
            bar.at(done);
        }
    }
}

impl fetch::Progress for Shown<'_> {
    fn on_event(&mut self, event: &Event<'_>) -> ControlFlow<()> {
        match *event {
            Event::Waiting => {
                self.say("waits for another process that fetches the same data set".into());
            }
            Event::Downloading { file, done, total } => {
                let size = total as f64 / 1e6;
                self.at(format!("downloads {file}, {size:.1} MB"), file, done, total);
            }
            Event::Unpacking { file, done, total } => {
                self.at(format!("unpacks {file}"), file, done, total);
            }
            Event::Retrying { file, reason, wait } => {
                self.say(format!("{file}: {reason}; again in {} s", wait.as_secs()));
            }
        }
        signals::go_on()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::describe;

    #[test]
    fn a_missing_data_set_comes_with_the_command_that_gets_it() {
        let missing =
            |name| not_there(DatasetError::NoDirectory { name }, name, "my data".as_ref());
        assert_eq!(
            describe(&missing("cifar10")),
            "error: data set `cifar10` is not in my data; get it with `lasnn data fetch cifar10 \
             --data-dir 'my data'`\n  because: data set `cifar10` is read from a directory, and no \
             data directory is given"
        );
        let directory = tempfile::TempDir::new().unwrap();
        std::fs::create_dir(directory.path().join("mnist")).unwrap();
        let partly =
            not_there(DatasetError::NoDirectory { name: "mnist" }, "mnist", directory.path());
        let (message, path) = (describe(&partly), directory.path().display());
        let expected = format!(
            "error: data set `mnist` is not whole in {path}/mnist; remove or rename that, then get \
             it with `lasnn data fetch mnist --data-dir {path}`"
        );
        assert!(message.starts_with(&expected), "{message}");
        let other = missing("folder");
        assert!(other.downcast_ref::<NotThere>().is_none());
    }
}
