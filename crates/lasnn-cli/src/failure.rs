//! What a failure means for the exit code.

use std::fmt;
use std::process::ExitCode;

use crate::recipe::RecipeError;

/// The command asks for something that cannot be asked for: exit code 2.
///
/// Everything else that goes wrong is a failed run and ends with exit code 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(String);

/// An error that ends the program with exit code 2.
pub fn wrong(message: impl fmt::Display) -> anyhow::Error {
    Wrong(message.to_string()).into()
}

/// The run was asked to stop and has saved where it is.
#[derive(Debug, thiserror::Error)]
#[error("stopped; go on with `{resume}`")]
pub struct Stopped {
    /// The command that goes on from here.
    pub resume: String,
}

/// The exit code for `error`: 2 if the command or the recipe is wrong, else 1.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let wrong = error.chain().any(|cause| cause.is::<Wrong>() || cause.is::<RecipeError>());
    ExitCode::from(if wrong { 2 } else { 1 })
}

/// The error and its causes, one a line, without saying the same thing twice.
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

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:@%+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_wrong_command_is_known_under_its_context() {
        let code = |error| format!("{:?}", exit_code(&error));
        let two = format!("{:?}", ExitCode::from(2));
        assert_eq!(code(wrong("no such thing")), two);
        let nested = Err::<(), _>(wrong("no such thing")).context("while reading").unwrap_err();
        assert_eq!(code(nested), two);
        assert_ne!(code(anyhow::anyhow!("the disk is full")), two);
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(quoted("--data-dir=/a/b"), "--data-dir=/a/b");
        assert_eq!(quoted("my runs"), "'my runs'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn causes_are_told_once() {
        let error = anyhow::anyhow!("disk full").context("cannot write a.json: disk full");
        assert_eq!(describe(&error), "error: cannot write a.json: disk full");
        let error = anyhow::anyhow!("disk full").context("cannot write a.json");
        assert_eq!(describe(&error), "error: cannot write a.json\n  because: disk full");
    }
}
