//! Fetching data sets: by `lasnn data fetch`, or before a run that misses one.

use std::ops::ControlFlow;
use std::path::Path;

use lasnn_datasets::fetch::{self, Event, FetchError, Fetched, Options};
use lasnn_datasets::{DatasetError, RemoteFiles, Source};

use crate::args::{FetchOptions, Global};
use crate::escape::shell_quoted;
use crate::failure::invalid_input;
use crate::progress::{Bar, Progress};
use crate::signals::{self, Interrupted};

/// A data set, or a part of it, is missing, and a command can fetch it.
#[derive(Debug, thiserror::Error)]
#[error("data set `{}` {found} fetch it with `{command}`", remote.name)]
pub struct MissingDataset {
    remote: &'static RemoteFiles<'static>,
    found: String,
    command: String,
    source: DatasetError,
}

/// The error of a missing data set. It contains the command that fetches the data set, if one does.
pub fn missing_dataset(source: DatasetError, name: &str, data_dir: &Path) -> anyhow::Error {
    let remote = Source::named(name).and_then(|source| source.remote());
    let Some(remote) = remote else { return source.into() };
    let folder = data_dir.join(remote.folder);
    // Existing files are never replaced, so the command alone would not help.
    let found = match folder.symlink_metadata() {
        Ok(_) => {
            format!("is incomplete in {}; remove or rename that folder, then", folder.display())
        }
        Err(_) => format!("is not in {};", data_dir.display()),
    };
    let command =
        format!("lasnn data fetch {name} --data-dir {}", shell_quoted(&data_dir.to_string_lossy()));
    MissingDataset { remote, found, command, source }.into()
}

/// Reads a data set. If it is missing and `options` say so, fetches it and reads it again.
///
/// # Errors
///
/// Fails as `read` and [`fetch_dataset`] do.
pub fn fetch_if_missing<T>(
    options: &FetchOptions,
    global: &Global,
    read: impl Fn() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let error = match read() {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    match error.downcast_ref::<MissingDataset>() {
        Some(MissingDataset { remote, .. }) if options.fetch => {
            fetch_dataset(remote, options.mirror.as_deref(), global)?;
            read()
        }
        _ => Err(error),
    }
}

/// Fetches a data set from its official address or from a mirror, and shows the progress.
///
/// # Errors
///
/// Fails if a file cannot be fetched or does not have the expected hash, or if a signal comes.
pub fn fetch_dataset(
    remote: &RemoteFiles<'_>,
    mirror: Option<&str>,
    global: &Global,
) -> anyhow::Result<Fetched> {
    let progress = Progress::new(global.quiet);
    let mut with_progress = WithProgress { progress: &progress, bar: None, line: String::new() };
    let options = Options { mirror, sleep: &signals::sleep, ..Options::default() };
    let fetched = fetch::fetch(remote, &global.data_dir(), &options, &mut with_progress);
    fetched.map_err(|error| match error {
        FetchError::Mirror { .. } => invalid_input(error),
        FetchError::Stopped => Interrupted.into(),
        other => other.into(),
    })
}

/// Shows the events of a fetch: a line for each file and step, and a bar.
struct WithProgress<'a> {
    progress: &'a Progress,
    bar: Option<Bar>,
    /// The line that was printed last.
    line: String,
}

impl WithProgress<'_> {
    /// Prints a line unless it is the line that was printed last. Returns whether it was printed.
    fn say(&mut self, line: String) -> bool {
        let new = self.line != line;
        if new {
            self.progress.say(&line);
            self.line = line;
        }
        new
    }

    /// Shows a step of a file and how much of it is done.
    fn at(&mut self, line: String, file: &str, done: u64, total: u64) {
        if self.say(line) {
            // The old bar must disappear before the new one is drawn.
            self.bar = None;
            self.bar = Some(self.progress.bar(file, total));
        }
        if let Some(bar) = &self.bar {
            bar.at(done);
        }
    }
}

impl fetch::Progress for WithProgress<'_> {
    fn on_event(&mut self, event: &Event<'_>) -> ControlFlow<()> {
        match *event {
            Event::Waiting => {
                self.say("waiting for another process that fetches the same data set".into());
            }
            Event::Downloading { file, done, total } => {
                let size = total as f64 / 1e6;
                self.at(format!("downloading {file}, {size:.1} MB"), file, done, total);
            }
            Event::Unpacking { file, done, total } => {
                self.at(format!("unpacking {file}"), file, done, total);
            }
            Event::Retrying { file, reason, wait } => {
                self.say(format!("{file}: {reason}; next attempt in {} s", wait.as_secs()));
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
    fn the_error_of_a_missing_data_set_contains_the_command_that_fetches_it() {
        let missing =
            |name| missing_dataset(DatasetError::NoDirectory { name }, name, "my data".as_ref());
        let message = describe(&missing("cifar10"));
        let expected = "error: data set `cifar10` is not in my data; fetch it with \
                        `lasnn data fetch cifar10 --data-dir 'my data'`\n  because: ";
        assert!(message.starts_with(expected), "{message}");

        let directory = tempfile::TempDir::new().unwrap();
        std::fs::create_dir(directory.path().join("mnist")).unwrap();
        let incomplete =
            missing_dataset(DatasetError::NoDirectory { name: "mnist" }, "mnist", directory.path());
        let (message, path) = (describe(&incomplete), directory.path().display());
        let expected = format!(
            "error: data set `mnist` is incomplete in {path}/mnist; remove or rename that folder, \
             then fetch it with `lasnn data fetch mnist --data-dir {path}`"
        );
        assert!(message.starts_with(&expected), "{message}");

        let other = missing("folder");
        assert!(other.downcast_ref::<MissingDataset>().is_none());
    }
}
