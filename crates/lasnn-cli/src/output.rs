//! Results on the standard output.

use std::io::{ErrorKind, Write};

use anyhow::Context;
use serde::Serialize;

use crate::args::Global;

/// Prints a result: as JSON with `--json`, else as `text`. With `--quiet` no text is printed.
///
/// # Errors
///
/// Fails if the result cannot be written.
pub fn print(
    global: &Global,
    json: &impl Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    let shown = match (global.json, global.quiet) {
        (true, _) => serde_json::to_string_pretty(json)?,
        (false, true) => return Ok(()),
        (false, false) => text(),
    };
    match writeln!(std::io::stdout(), "{shown}") {
        // The reader of a pipe may close it before the end, as `head` does. That is no failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the result")
        }
        _ => Ok(()),
    }
}
