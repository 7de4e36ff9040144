//! A program of either side that runs one step for each line of its input.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

/// A running program, which is killed when this is dropped.
pub struct Worker {
    name: String,
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
}

impl Worker {
    /// Starts `command`. Error messages use `name`.
    ///
    /// # Errors
    ///
    /// If the program cannot be started.
    pub fn start(name: &str, mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { bail!("{name} has no pipes") };
        let (sender, answers) = channel();
        // A pipe cannot be read with a time limit, but a channel can.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name: name.to_owned(), child, input, answers })
    }

    /// Runs one step and returns its time in milliseconds.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn step(&mut self, limit: Duration) -> anyhow::Result<f64> {
        number(&self.request("step", limit)?, "ms")
    }

    /// The peak of resident memory since the request `reset`, in MiB.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn peak(&mut self, limit: Duration) -> anyhow::Result<f64> {
        number(&self.request("peak", limit)?, "mib")
    }

    /// Sends one request and returns the answer.
    ///
    /// # Errors
    ///
    /// If there is no answer within `limit`, the program has ended, or the answer is not JSON.
    pub fn request(&mut self, request: &str, limit: Duration) -> anyhow::Result<Value> {
        // If the program has ended, there is no answer, which is an error below.
        let _ = writeln!(self.input, "{request}").and_then(|()| self.input.flush());
        match self.answers.recv_timeout(limit) {
            Ok(line) => serde_json::from_str(&line)
                .with_context(|| format!("{} answered `{line}` to `{request}`", self.name)),
            Err(RecvTimeoutError::Timeout) => {
                bail!("{} did not answer `{request}` in {} s", self.name, limit.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("{} ended before it answered `{request}`", self.name)
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The program may have ended already.
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
    fn requests_are_answered_one_by_one() {
        let mut worker = shell(r#"while read line; do echo "{\"ms\": 2.5, \"mib\": 7}"; done"#);
        assert_eq!(worker.step(SOON).unwrap(), 2.5);
        assert_eq!(worker.peak(SOON).unwrap(), 7.0);
    }

    #[test]
    fn a_program_that_does_not_answer_is_named_in_the_error() {
        let error = shell("sleep 60").step(Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("the stand-in did not answer `step`"), "{error}");
        let error = shell("exit 3").step(SOON).unwrap_err().to_string();
        assert!(error.contains("ended before"), "{error}");
        let error = shell("read line; echo hello; sleep 60").step(SOON).unwrap_err().to_string();
        assert!(error.contains("answered `hello`"), "{error}");
    }
}
