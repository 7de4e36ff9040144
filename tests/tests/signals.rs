//! A signal is noticed within a second or two, wherever a command is.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lasnn_tests::Workplace;
use lasnn_tests::recipe::tiny_with;
use lasnn_tests::workplace::send;

/// A second is promised; the rest is for a busy machine and an unoptimised program.
const SOON: Duration = Duration::from_secs(5);

/// Starts a command that would take minutes, sends SIGTERM a moment after it has said `words`, and
/// checks that it ends soon, with the command that goes on.
#[track_caller]
fn ends_soon(recipe: &str, command: &[&str], words: &str) {
    let place = Workplace::new();
    place.write("tiny.toml", recipe);
    let mut run =
        place.lasnn(command).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (say, said) = mpsc::channel();
    let lines = BufReader::new(run.stderr.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            // The other end is gone once it has heard what it waits for.
            let _ = say.send(line);
        }
    });
    let mut all = Vec::new();
    while let Ok(line) = said.recv_timeout(Duration::from_secs(120)) {
        all.push(line);
        if all.last().is_some_and(|line| line.contains(words)) {
            break;
        }
    }
    std::thread::sleep(Duration::from_millis(1500));
    assert!(run.try_wait().unwrap().is_none(), "it ended by itself: {all:#?}");
    send("TERM", &run);
    let begun = Instant::now();
    let status = loop {
        match run.try_wait().unwrap() {
            Some(status) => break status,
            None if begun.elapsed() > SOON => {
                run.kill().unwrap();
                panic!("it did not end within {SOON:?}: {all:#?}");
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    assert_eq!(status.code(), Some(1));
    reader.join().unwrap();
    all.extend(said.try_iter());
    assert!(all.last().is_some_and(|line| line.contains("--resume`")), "{all:#?}");
}

#[test]
fn balancing_thresholds_is_ended() {
    let recipe = tiny_with("[conversion]\ntime_steps = 12", "[conversion]\ntime_steps = 20000000");
    ends_soon(&recipe, &["convert", "tiny.toml"], "balances thresholds");
}

/// The reference that runs layer by layer, as GPUs do.
#[test]
fn balancing_thresholds_on_another_backend_is_ended() {
    let recipe = tiny_with("[conversion]\ntime_steps = 12", "[conversion]\ntime_steps = 20000000");
    ends_soon(&recipe, &["convert", "tiny.toml", "--backend", "ndarray"], "balances thresholds");
}

/// One batch over many time steps.
#[test]
fn measuring_is_ended() {
    let recipe = tiny_with("time_steps = [3, 9]", "time_steps = [20000000]");
    ends_soon(&recipe, &["convert", "tiny.toml"], "converted: measures");
}

/// The validation images are measured at the end of each epoch.
#[test]
fn validation_is_ended() {
    let recipe = tiny_with("validation = 16", "validation = 300000")
        .replacen("train = 112", "train = 300096", 1)
        .replacen("batch = 20\n", "batch = 100\n", 1);
    ends_soon(&recipe, &["train", "teacher", "tiny.toml"], "runs in");
}
