//! The log: warnings (or more) on the terminal, and all steps of a run in its `log.txt`.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::progress;

/// The log file of the run. The folder of a run is known only after its data has been read, so
/// earlier lines are buffered and written when the file is opened.
static FILE: Mutex<LogFile> = Mutex::new(LogFile::Buffered(Vec::new()));

enum LogFile {
    Buffered(Vec<u8>),
    Open(File),
}

/// Starts logging. The terminal shows warnings, more with `verbose`, and only errors if `quiet`.
///
/// # Errors
///
/// Fails if logging has been started before.
pub fn start(verbose: u8, quiet: bool) -> anyhow::Result<()> {
    let terminal = match (quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, 2) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    let file = terminal.max(LevelFilter::INFO);
    // Other crates log warnings only: their details are rarely needed, and writing them takes time.
    let filter = tracing_subscriber::filter::filter_fn(move |metadata| {
        metadata.target().starts_with("lasnn") || *metadata.level() <= tracing::Level::WARN
    });
    tracing_subscriber::registry()
        .with(filter)
        .with(
            fmt::layer()
                .with_writer(TerminalLine::default)
                .without_time()
                .with_target(false)
                .with_ansi(io::stderr().is_terminal())
                .with_filter(terminal),
        )
        .with(fmt::layer().with_writer(ToFile).with_ansi(false).with_filter(file))
        .try_init()
        .context("logging cannot be started twice")
}

/// Opens the log file of a run. A resumed run appends to it.
///
/// # Errors
///
/// Fails if the file cannot be opened or written.
pub fn open(path: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mut file = File::options().create(true).append(true).open(path).with_context(context)?;
    let mut log = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    if let LogFile::Buffered(lines) = &*log {
        file.write_all(lines).with_context(context)?;
    }
    *log = LogFile::Open(file);
    Ok(())
}

/// One line for the terminal. It is printed as a whole when it is dropped, above all bars.
#[derive(Default)]
struct TerminalLine(Vec<u8>);

impl Write for TerminalLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for TerminalLine {
    fn drop(&mut self) {
        // If the terminal is gone, the error cannot be reported anywhere.
        let _ = progress::bars().suspend(|| io::stderr().write_all(&self.0));
    }
}

struct ToFile;

impl<'a> MakeWriter<'a> for ToFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for ToFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *FILE.lock().unwrap_or_else(PoisonError::into_inner) {
            LogFile::Buffered(lines) => lines.write(bytes),
            LogFile::Open(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
