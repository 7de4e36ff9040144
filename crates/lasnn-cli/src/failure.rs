//! Errors that end the program: exit codes and messages.

use std::fmt;
use std::process::ExitCode;

use crate::recipe::RecipeError;

/// The command line, or a file that it names, is wrong. The exit code is 2.
///
/// Every other error is a failed run and ends with exit code 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidInput(String);

/// An error that ends the program with exit code 2.
pub fn invalid_input(message: impl fmt::Display) -> anyhow::Error {
    InvalidInput(message.to_string()).into()
}

/// A signal has stopped the run after it has saved its state.
#[derive(Debug, thiserror::Error)]
#[error("stopped; continue with `{resume}`")]
pub struct Stopped {
    /// The command that continues the run.
    pub resume: String,
}

/// The exit code for `error`: 2 if the command or the recipe is wrong, else 1.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let invalid =
        error.chain().any(|cause| cause.is::<InvalidInput>() || cause.is::<RecipeError>());
    ExitCode::from(if invalid { 2 } else { 1 })
}

/// The error and its causes, one per line. A cause that the line above contains is left out.
pub fn describe(error: &anyhow::Error) -> String {
    let mut text = String::from("error: ");
    let mut last = error.to_string();
    text.push_str(&last);
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !last.contains(&cause) {
            text.push_str("\n  because: ");
            text.push_str(&cause);
        }
        last = cause;
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn invalid_input_below_a_context_keeps_its_exit_code() {
        let code = |error| format!("{:?}", exit_code(&error));
        let two = format!("{:?}", ExitCode::from(2));
        assert_eq!(code(invalid_input("no such stage")), two);
        let nested = Err::<(), _>(invalid_input("no such stage")).context("reading").unwrap_err();
        assert_eq!(code(nested), two);
        assert_ne!(code(anyhow::anyhow!("the disk is full")), two);
    }

    #[test]
    fn a_repeated_cause_is_printed_once() {
        let error = anyhow::anyhow!("disk full").context("cannot write a.json: disk full");
        assert_eq!(describe(&error), "error: cannot write a.json: disk full");
        let error = anyhow::anyhow!("disk full").context("cannot write a.json");
        assert_eq!(describe(&error), "error: cannot write a.json\n  because: disk full");
    }
}
