//! A signal ends a command within about a second, in every phase.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use lasnn_tests::recipe::{replaced, tiny_with};
use lasnn_tests::sandbox::send;
use lasnn_tests::{Outcome, Sandbox};

use crate::packs::{VERIFY, files, with_images};

/// A signal is usually noticed within a second or two. The rest is for a busy machine.
const SOON: Duration = Duration::from_secs(15);

/// Starts a command, waits until it has printed `words`, and sends SIGTERM half a second later,
/// when the announced phase is under way. The command must end soon and name the option that
/// continues the run. The phase itself would take much longer than [`SOON`].
#[track_caller]
fn assert_ends_soon(recipe: &str, command: &[&str], words: &str) {
    let sandbox = Sandbox::with("tiny.toml", recipe);
    let mut run =
        sandbox.lasnn(command).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (sender, printed) = mpsc::channel();
    let lines = BufReader::new(run.stderr.take().unwrap()).lines();
    let reader = thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            // The receiver is gone if the test has failed.
            let _ = sender.send(line);
        }
    });
    let mut all = Vec::new();
    while let Ok(line) = printed.recv_timeout(Duration::from_secs(120)) {
        all.push(line);
        if all.last().is_some_and(|line| line.contains(words)) {
            break;
        }
    }
    thread::sleep(Duration::from_millis(500));
    assert!(run.try_wait().unwrap().is_none(), "the command ended by itself: {all:#?}");
    send("TERM", &run);
    let start = Instant::now();
    let status = loop {
        match run.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() > SOON => {
                run.kill().unwrap();
                panic!("the command did not end within {SOON:?}: {all:#?}");
            }
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    assert_eq!(status.code(), Some(1));
    reader.join().unwrap();
    all.extend(printed.try_iter());
    assert!(all.last().is_some_and(|line| line.contains("--resume`")), "{all:#?}");
}

#[test]
fn threshold_balancing_can_be_ended() {
    let recipe = tiny_with("[conversion]\ntime_steps = 12", "[conversion]\ntime_steps = 20000000");
    assert_ends_soon(&recipe, &["convert", "tiny.toml"], "balances thresholds");
}

/// One batch over many time steps.
#[test]
fn measuring_can_be_ended() {
    let recipe = tiny_with("time_steps = [3, 9]", "time_steps = [20000000]");
    assert_ends_soon(&recipe, &["convert", "tiny.toml"], "converted: measures");
}

/// The teacher is measured on the validation images after each epoch. There are so many of them
/// that the four steps of the epoch are over before the signal comes, and its layers are so wide
/// that the measurement would take about a minute.
#[test]
fn validation_can_be_ended() {
    let mut recipe = tiny_with("validation = 16", "validation = 200000");
    assert_eq!(recipe.matches("channels = 8, bias").count(), 2);
    recipe = recipe.replace("channels = 8, bias", "channels = 160, bias");
    for (from, to) in [
        ("train = 80", "train = 200064"),
        ("batch = 20\n", "batch = 100\n"),
        ("channels = 16,", "channels = 160,"),
    ] {
        recipe = replaced(&recipe, from, to);
    }
    assert_ends_soon(&recipe, &["train", "teacher", "tiny.toml"], "runs in");
}

#[test]
fn a_command_that_waits_for_a_pack_can_be_interrupted() {
    let sandbox = with_images();
    sandbox.succeed(&VERIFY);
    let packed = files(&sandbox.path().join("data/packed"));
    let with = |extension| {
        let is = |path: &&PathBuf| path.extension().is_some_and(|found| found == extension);
        packed.iter().find(is).unwrap()
    };
    fs::remove_file(with("pack")).unwrap();
    let lock = File::options().write(true).open(with("lock")).unwrap();
    lock.lock().unwrap();
    for arguments in [&VERIFY[..], &["run", "images.toml", "--data-dir", "data"]] {
        let outcome = interrupt(&mut sandbox.lasnn(arguments), |said| said.contains("waiting for"));
        outcome.assert_failed(1, &["interrupted"]);
    }
    drop(lock);
    sandbox.succeed(&VERIFY);
}

#[test]
fn a_download_that_is_interrupted_keeps_its_part_and_nothing_else() {
    let sandbox = Sandbox::new();
    let mirror = slow_mirror();
    let folder = sandbox.path().join("data/.fetch/mnist");
    let part = folder.join("train-images-idx3-ubyte.gz.part");
    let arrived = || fs::metadata(&part).is_ok_and(|part| part.len() > 0);
    let arguments = ["data", "fetch", "mnist", "--mirror", &mirror, "--data-dir", "data"];
    let mut command = sandbox.lasnn(&arguments);
    let outcome = interrupt(command.env("NO_PROXY", "127.0.0.1"), |_| arrived());
    outcome.assert_failed(1, &["interrupted"]);
    assert!(arrived());
    assert_eq!(files(&folder), std::slice::from_ref(&part));
    assert!(!folder.join("unpacked").exists());
}

/// Starts a command, sends SIGINT as soon as `ready` holds for its standard error, and returns how
/// it ends.
#[track_caller]
fn interrupt(command: &mut Command, ready: impl Fn(&str) -> bool) -> Outcome {
    let printed = tempfile::NamedTempFile::new().unwrap();
    let stderr = printed.reopen().unwrap();
    let mut child = command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
    let text = || fs::read_to_string(printed.path()).unwrap();
    until(&mut child, |_| ready(&text()));
    send("INT", &child);
    until(&mut child, |child| child.try_wait().unwrap().is_some());
    let code = child.wait().unwrap().code();
    Outcome { code, stdout: String::new(), stderr: text() }
}

/// Waits until `holds` is true. After a minute it kills the process and panics.
#[track_caller]
fn until(child: &mut Child, holds: impl Fn(&mut Child) -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds(child) {
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("waited a minute in vain");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The address of a server that sends a file of 9.9 MB in pieces of 1000 bytes every 10 ms.
fn slow_mirror() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            if !stream.read(&mut request).is_ok_and(|read| read > 0) {
                continue;
            }
            let head = "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: 9912422\r\n\r\n";
            let mut sent = stream.write_all(head.as_bytes());
            while sent.is_ok() {
                sent = stream.write_all(&[1; 1000]);
                thread::sleep(Duration::from_millis(10));
            }
        }
    });
    mirror
}
