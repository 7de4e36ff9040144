//! Where log lines go: the terminal, as loud as asked, and the run's `log.txt`.

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

/// The file's side. A run's folder is known only after its data has been read, so what is said
/// before is kept and written when the file opens.
static FILE: Mutex<Sink> = Mutex::new(Sink::Waiting(Vec::new()));

enum Sink {
    Waiting(Vec<u8>),
    Open(File),
}

/// Starts logging: warnings on the terminal, more with `verbose`, errors only if `quiet`.
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
    // A run is only as fast as its kernels; what the libraries below say at length is rarely asked for.
    let ours = tracing_subscriber::filter::filter_fn(move |metadata| {
        metadata.target().starts_with("lasnn") || *metadata.level() <= tracing::Level::WARN
    });
    tracing_subscriber::registry()
        .with(ours)
        .with(
            fmt::layer()
                .with_writer(Terminal::make)
                .without_time()
                .with_target(false)
                .with_ansi(io::stderr().is_terminal())
                .with_filter(terminal),
        )
        .with(fmt::layer().with_writer(ToFile).with_ansi(false).with_filter(file))
        .try_init()
        .context("logging cannot be started twice")
}

/// Opens (or goes on with) the log file of a run.
///
/// # Errors
///
/// Fails if the file cannot be opened or written.
pub fn open(path: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mut file = File::options().create(true).append(true).open(path).with_context(context)?;
    let mut sink = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Sink::Waiting(said) = &*sink {
        file.write_all(said).with_context(context)?;
    }
    *sink = Sink::Open(file);
    Ok(())
}

/// One line for the terminal; bars step aside for it.
#[derive(Default)]
struct Terminal(Vec<u8>);

impl Terminal {
    fn make() -> Self {
        Self::default()
    }
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nobody is left to be told that the terminal is gone.
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
            Sink::Waiting(said) => said.write(bytes),
            Sink::Open(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
