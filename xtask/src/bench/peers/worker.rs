//! A program that runs one step per line of its input, ours or a peer's.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

/// A started program. It is ended when this is dropped.
pub struct Worker {
    name: String,
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
}

impl Worker {
    /// Starts `command`; `name` is for messages.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(name: &str, mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { bail!("{name} has no pipes") };
        let (sender, answers) = channel();
        // A thread of its own, since a pipe cannot be read with a time limit.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name: name.to_owned(), child, input, answers })
    }

    /// The milliseconds of one step.
    ///
    /// # Errors
    ///
    /// As [`Self::ask`].
    pub fn step(&mut self, limit: Duration) -> anyhow::Result<f64> {
        number(&self.ask("step", limit)?, "ms")
    }

    /// The most memory since `reset`, in MiB.
    ///
    /// # Errors
    ///
    /// As [`Self::ask`].
    pub fn peak(&mut self, limit: Duration) -> anyhow::Result<f64> {
        number(&self.ask("peak", limit)?, "mib")
    }

    /// The answer to one command.
    ///
    /// # Errors
    ///
    /// If there is none within `limit` or the program has ended.
    pub fn ask(&mut self, command: &str, limit: Duration) -> anyhow::Result<Value> {
        // A program that has ended is found out below.
        let _ = writeln!(self.input, "{command}").and_then(|()| self.input.flush());
        match self.answers.recv_timeout(limit) {
            Ok(line) => serde_json::from_str(&line)
                .with_context(|| format!("{} answered `{line}` to `{command}`", self.name)),
            Err(RecvTimeoutError::Timeout) => {
                bail!("{} did not answer `{command}` in {} s", self.name, limit.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("{} ended before it answered `{command}`", self.name)
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(answer: &Value, key: &str) -> anyhow::Result<f64> {
    answer[key].as_f64().with_context(|| format!("`{answer}` has no number `{key}`"))
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Worker {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Worker::start("the stand-in", command).unwrap()
    }

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn every_line_is_answered_in_turn() {
        let mut worker = shell(r#"while read line; do echo "{\"ms\": 2.5, \"mib\": 7}"; done"#);
        assert_eq!(worker.step(SOON).unwrap(), 2.5);
        assert_eq!(worker.peak(SOON).unwrap(), 7.0);
    }

    #[test]
    fn silence_an_end_and_nonsense_are_errors_that_say_who() {
        let error = shell("sleep 60").step(Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("the stand-in did not answer `step`"), "{error}");
        let error = shell("exit 3").step(SOON).unwrap_err().to_string();
        assert!(error.contains("ended before"), "{error}");
        let error = shell("read line; echo hello; sleep 60").step(SOON).unwrap_err().to_string();
        assert!(error.contains("answered `hello`"), "{error}");
    }
}
